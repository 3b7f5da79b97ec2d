//! The signature by a domain's TLS key, and the check of its chain against the web PKI.

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, Id, PKey, PKeyRef, Private};
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Signer, Verifier};
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509CheckFlags, X509VerifyParam};
use openssl::x509::{X509, X509PurposeId, X509StoreContext};

use super::AnchorsError;
use super::statement::Der;

/// The longest TLS chain that is looked at.
const MAX_CHAIN: usize = 8;
/// RSA keys below this are not believed (CA/Browser Forum BR §6.1.5).
const MIN_RSA_BITS: u32 = 2048;

/// Scheme (RFC 8446 §4.2.3), chain, leaf first, and signature.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct TlsSignature {
    pub chain: Vec<Der>,
    pub scheme: u16,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub signature: Vec<u8>,
}

/// How a TLS key signs here: ECDSA, Ed25519 or RSA-PSS, each with the one hash of its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    EcdsaP256,
    EcdsaP384,
    EcdsaP521,
    Ed25519,
    RsaPss,
}

/// The certificates a TLS chain may end in.
#[derive(Clone, Default)]
pub struct TlsRoots {
    roots: Vec<X509>,
}

/// A domain's TLS key and chain, for signing its statement.
#[derive(Clone)]
pub struct TlsKey {
    key: PKey<Private>,
    chain: Vec<Der>,
}

impl TlsRoots {
    /// Takes roots in DER; what OpenSSL cannot read is left out, as browsers do with odd roots in
    /// the system's store.
    pub fn new<'a>(roots: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let roots = roots
            .into_iter()
            .filter_map(|der| X509::from_der(der).ok())
            .collect();
        Self { roots }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.roots.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    fn store(&self, host: &str, at: u64) -> Result<X509Store, AnchorsError> {
        let mut builder = X509StoreBuilder::new()?;
        for root in &self.roots {
            builder.add_cert(root.clone())?;
        }
        let mut param = X509VerifyParam::new()?;
        param.set_purpose(X509PurposeId::SSL_SERVER)?;
        param.set_depth(i32::try_from(MAX_CHAIN).unwrap_or(8));
        // RFC 9525 §6.3: names are in the subjectAltName, never in the subject.
        param.set_hostflags(
            X509CheckFlags::NEVER_CHECK_SUBJECT | X509CheckFlags::NO_PARTIAL_WILDCARDS,
        );
        param.set_host(host)?;
        let at = i64::try_from(at).map_err(|_| AnchorsError::OpenSsl("time".to_owned()))?;
        param.set_time(at);
        builder.set_param(&param)?;
        Ok(builder.build())
    }
}

impl TlsKey {
    /// Reads a chain (leaf first) and its private key, as PEM files hold them.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, AnchorsError> {
        let certificates = X509::stack_from_pem(chain)?;
        let key = PKey::private_key_from_pem(key)?;
        let Some(leaf) = certificates.first() else {
            return Err(AnchorsError::Malformed("the TLS chain is empty"));
        };
        if !leaf.public_key()?.public_eq(&key) {
            return Err(AnchorsError::Malformed(
                "the TLS key is not that of the first certificate in the chain",
            ));
        }
        Scheme::of(&key)?;
        let chain = certificates
            .iter()
            .take(MAX_CHAIN)
            .map(|certificate| Ok(Der(certificate.to_der()?)))
            .collect::<Result<_, AnchorsError>>()?;
        Ok(Self { key, chain })
    }

    /// The chain, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[Der] {
        &self.chain
    }

    pub(crate) fn sign(&self, content: &[u8]) -> Result<TlsSignature, AnchorsError> {
        let scheme = Scheme::of(&self.key)?;
        let mut signer = match scheme.digest() {
            Some(digest) => Signer::new(digest, &self.key)?,
            None => Signer::new_without_digest(&self.key)?,
        };
        if scheme == Scheme::RsaPss {
            signer.set_rsa_padding(Padding::PKCS1_PSS)?;
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        }
        Ok(TlsSignature {
            chain: self.chain.clone(),
            scheme: scheme.code(),
            signature: signer.sign_oneshot_to_vec(content)?,
        })
    }
}

impl TlsSignature {
    /// Does the chain speak for the domain's server, and did its key sign this?
    pub(crate) fn verify(
        &self,
        content: &[u8],
        domain: &str,
        roots: &TlsRoots,
        at: u64,
    ) -> Result<(), AnchorsError> {
        let refused = |why: &str| AnchorsError::Tls {
            domain: domain.to_owned(),
            why: why.to_owned(),
        };
        if self.chain.len() > MAX_CHAIN {
            return Err(refused("it is longer than 8 certificates"));
        }
        let mut chain = Vec::with_capacity(self.chain.len());
        for Der(der) in &self.chain {
            chain.push(X509::from_der(der).map_err(|_| refused("it cannot be read"))?);
        }
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(refused("it is empty"));
        };
        // RFC 7622 §3.2: domainparts are U-labels, certificates hold A-labels (RFC 5280 §7.2).
        let host = idna::domain_to_ascii(domain).map_err(|_| refused("the name is no host"))?;
        check_chain(leaf, intermediates, &roots.store(&host, at)?)?.map_err(|why| refused(&why))?;
        let key = leaf.public_key()?;
        let scheme = Scheme::of(&key)?;
        if scheme.code() != self.scheme || !scheme.verifies(&key, content, &self.signature) {
            return Err(AnchorsError::Signature("TLS key"));
        }
        Ok(())
    }
}

/// The inner error is the chain's, the outer one ours.
fn check_chain(
    leaf: &X509,
    intermediates: &[X509],
    store: &X509Store,
) -> Result<Result<(), String>, AnchorsError> {
    let mut untrusted = Stack::new()?;
    for certificate in intermediates {
        untrusted.push(certificate.clone())?;
    }
    let mut context = X509StoreContext::new()?;
    Ok(context.init(store, leaf, &untrusted, |context| {
        let good = context.verify_cert()?;
        Ok(if good {
            Ok(())
        } else {
            Err(context.error().error_string().to_owned())
        })
    })?)
}

impl Scheme {
    fn of<T: HasPublic>(key: &PKeyRef<T>) -> Result<Self, AnchorsError> {
        const OTHER: AnchorsError =
            AnchorsError::Malformed("the TLS key is neither ECDSA, nor Ed25519, nor RSA");
        match key.id() {
            Id::ED25519 => Ok(Self::Ed25519),
            Id::RSA if key.bits() >= MIN_RSA_BITS => Ok(Self::RsaPss),
            Id::EC => match key.ec_key()?.group().curve_name() {
                Some(Nid::X9_62_PRIME256V1) => Ok(Self::EcdsaP256),
                Some(Nid::SECP384R1) => Ok(Self::EcdsaP384),
                Some(Nid::SECP521R1) => Ok(Self::EcdsaP521),
                _ => Err(OTHER),
            },
            _ => Err(OTHER),
        }
    }

    /// RFC 8446 §4.2.3.
    fn code(self) -> u16 {
        match self {
            Self::EcdsaP256 => 0x0403,
            Self::EcdsaP384 => 0x0503,
            Self::EcdsaP521 => 0x0603,
            Self::Ed25519 => 0x0807,
            Self::RsaPss => 0x0804,
        }
    }

    fn digest(self) -> Option<MessageDigest> {
        match self {
            Self::EcdsaP256 | Self::RsaPss => Some(MessageDigest::sha256()),
            Self::EcdsaP384 => Some(MessageDigest::sha384()),
            Self::EcdsaP521 => Some(MessageDigest::sha512()),
            Self::Ed25519 => None,
        }
    }

    fn verifies<T: HasPublic>(self, key: &PKeyRef<T>, content: &[u8], signature: &[u8]) -> bool {
        let verified = || -> Result<bool, openssl::error::ErrorStack> {
            let mut verifier = match self.digest() {
                Some(digest) => Verifier::new(digest, key)?,
                None => Verifier::new_without_digest(key)?,
            };
            if self == Self::RsaPss {
                verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
                verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
            }
            verifier.verify_oneshot(signature, content)
        };
        verified().unwrap_or(false)
    }
}
