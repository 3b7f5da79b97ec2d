//! Signature keys in their three spellings: SubjectPublicKeyInfo (X.509), the key bytes of MLS
//! (RFC 9420 §5.1.1: raw Ed25519, or an uncompressed P-256 point), and OpenSSL's own.

use std::fmt;
use std::sync::{Arc, OnceLock};

use mls_rs_core::crypto::{CipherSuite, SignaturePublicKey, SignatureSecretKey};
use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private, Public};
use openssl::sign::{Signer, Verifier};

use crate::der;

/// The signature algorithms of the suites in use (RFC 9420 §17.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256.
    P256,
    Ed25519,
}

/// SubjectPublicKeyInfo up to the key bytes: id-ecPublicKey, prime256v1 (RFC 5480 §2.1.1).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The same for id-Ed25519, which has no parameters (RFC 8410 §4).
const ED25519_SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// AlgorithmIdentifier of ecdsa-with-SHA256 (RFC 5758 §3.2) and of Ed25519 (RFC 8410 §3): neither
/// takes parameters.
const ECDSA_SHA256: [u8; 12] = [
    0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
];
const ED25519: [u8; 7] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("only P-256 keys with named curve and uncompressed point, and Ed25519 keys, are used")]
    Unsupported,
    #[error("the key bytes are no {0:?} key")]
    Invalid(Algorithm),
    #[error("OpenSSL failed: {0}")]
    OpenSsl(String),
    #[error("the private key does not leave the token it lies in")]
    Kept,
    /// With what the operator should do.
    #[error("{0}")]
    Token(String),
}

impl From<ErrorStack> for KeyError {
    fn from(error: ErrorStack) -> Self {
        Self::OpenSsl(error.to_string())
    }
}

impl Algorithm {
    /// What a cipher suite signs with; None for suites that are not in use here.
    #[must_use]
    pub fn of_suite(suite: CipherSuite) -> Option<Self> {
        match suite {
            CipherSuite::P256_AES128 => Some(Self::P256),
            CipherSuite::CURVE25519_AES128 | CipherSuite::CURVE25519_CHACHA => Some(Self::Ed25519),
            _ => None,
        }
    }

    fn spki_prefix(self) -> &'static [u8] {
        match self {
            Self::P256 => &P256_SPKI,
            Self::Ed25519 => &ED25519_SPKI,
        }
    }

    fn key_length(self) -> usize {
        match self {
            Self::P256 => 65,
            Self::Ed25519 => 32,
        }
    }

    /// What it signs, as X.509 and PKCS#10 write it: content, algorithm and signature in their one
    /// DER spelling.
    pub(crate) fn signed(self, content: &[u8], signature: &[u8]) -> Vec<u8> {
        let bits = der::tlv(der::BIT_STRING, &[&[0], signature]);
        der::tlv(der::SEQUENCE, &[content, self.identifier(), &bits])
    }

    /// The AlgorithmIdentifier of its signatures.
    pub(crate) fn identifier(self) -> &'static [u8] {
        match self {
            Self::P256 => &ECDSA_SHA256,
            Self::Ed25519 => &ED25519,
        }
    }

    /// The digest OpenSSL is told; Ed25519 hashes by itself.
    #[cfg(test)]
    pub(crate) fn digest(self) -> MessageDigest {
        match self {
            Self::P256 => MessageDigest::sha256(),
            Self::Ed25519 => MessageDigest::null(),
        }
    }
}

/// A public signature key that is known to be one of its algorithm.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo (DER); each key has one spelling, others are refused.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        for algorithm in [Algorithm::P256, Algorithm::Ed25519] {
            if let Some(bytes) = der.strip_prefix(algorithm.spki_prefix()) {
                return Self::from_mls(algorithm, bytes);
            }
        }
        Err(KeyError::Unsupported)
    }

    /// Reads the key bytes of MLS.
    pub fn from_mls(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, KeyError> {
        // SEC 1 §2.3.3: 0x04 marks the uncompressed point.
        let shaped = bytes.len() == algorithm.key_length()
            && (algorithm == Algorithm::Ed25519 || bytes[0] == 0x04);
        let key = Self {
            algorithm,
            bytes: bytes.to_vec(),
        };
        let real = shaped
            && match algorithm {
                // OpenSSL checks that the point lies on the curve.
                Algorithm::P256 => key.point().is_ok(),
                Algorithm::Ed25519 => key.to_openssl().is_ok(),
            };
        if !real {
            return Err(KeyError::Invalid(algorithm));
        }
        Ok(key)
    }

    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    #[must_use]
    pub fn to_spki(&self) -> Vec<u8> {
        [self.algorithm.spki_prefix(), &self.bytes].concat()
    }

    #[must_use]
    pub fn to_mls(&self) -> SignaturePublicKey {
        SignaturePublicKey::new(self.bytes.clone())
    }

    /// The key bytes as MLS writes them.
    #[must_use]
    pub fn as_mls(&self) -> &[u8] {
        &self.bytes
    }

    /// Does `signature` cover `content`? ECDSA signatures are DER, as in MLS and X.509.
    #[must_use]
    pub fn verifies(&self, content: &[u8], signature: &[u8]) -> bool {
        self.try_verify(content, signature).unwrap_or(false)
    }

    fn try_verify(&self, content: &[u8], signature: &[u8]) -> Result<bool, KeyError> {
        let key = self.to_openssl()?;
        let mut verifier = match self.algorithm {
            Algorithm::P256 => Verifier::new(MessageDigest::sha256(), &key)?,
            Algorithm::Ed25519 => Verifier::new_without_digest(&key)?,
        };
        Ok(verifier.verify_oneshot(signature, content)?)
    }

    /// From the bytes themselves: OpenSSL's decoders of SubjectPublicKeyInfo look for providers each
    /// time, which takes longer than verifying a signature.
    pub(crate) fn to_openssl(&self) -> Result<PKey<Public>, KeyError> {
        Ok(match self.algorithm {
            Algorithm::P256 => {
                PKey::from_ec_key(EcKey::from_public_key(p256()?, &*self.point()?)?)?
            }
            Algorithm::Ed25519 => PKey::public_key_from_raw_bytes(&self.bytes, Id::ED25519)?,
        })
    }

    fn point(&self) -> Result<EcPoint, ErrorStack> {
        EcPoint::from_bytes(p256()?, &self.bytes, &mut *BigNumContext::new()?)
    }
}

fn p256() -> Result<&'static EcGroup, ErrorStack> {
    static GROUP: OnceLock<EcGroup> = OnceLock::new();
    if let Some(group) = GROUP.get() {
        return Ok(group);
    }
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    Ok(GROUP.get_or_init(|| group))
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:", self.algorithm)?;
        for byte in self.bytes.iter().skip(1).take(8) {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("…")
    }
}

/// Signs with a private key that does not leave the place it lies in: a PKCS#11 token.
pub trait Signing: Send + Sync {
    /// The signature in the form MLS uses (ECDSA: DER).
    ///
    /// # Errors
    /// [`KeyError::Token`], with what the operator should do.
    fn sign(&self, content: &[u8]) -> Result<Vec<u8>, KeyError>;
}

/// A private signature key: in memory, or in a place that only signs with it.
#[derive(Clone)]
pub struct PrivateKey {
    algorithm: Algorithm,
    key: Held,
}

#[derive(Clone)]
enum Held {
    Memory(PKey<Private>),
    Token {
        public: PublicKey,
        token: Arc<dyn Signing>,
    },
}

impl PrivateKey {
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let key = match algorithm {
            Algorithm::P256 => PKey::from_ec_key(EcKey::generate(p256()?)?)?,
            Algorithm::Ed25519 => PKey::generate_ed25519()?,
        };
        Ok(Self {
            algorithm,
            key: Held::Memory(key),
        })
    }

    /// A key that lies in a token.
    #[must_use]
    pub fn in_token(public: PublicKey, token: Arc<dyn Signing>) -> Self {
        Self {
            algorithm: public.algorithm(),
            key: Held::Token { public, token },
        }
    }

    /// Reads a PKCS#8 key (DER).
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        Self::from_openssl(PKey::private_key_from_der(der)?)
    }

    /// Reads a key in PEM.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        Self::from_openssl(PKey::private_key_from_pem(pem)?)
    }

    pub fn to_pkcs8(&self) -> Result<Vec<u8>, KeyError> {
        Ok(self.in_memory()?.private_key_to_pkcs8()?)
    }

    pub fn to_pem(&self) -> Result<Vec<u8>, KeyError> {
        Ok(self.in_memory()?.private_key_to_pem_pkcs8()?)
    }

    /// The key as mls-rs's OpenSSL provider takes it: the P-256 scalar, or Ed25519's seed with the
    /// public key behind it.
    pub fn to_mls(&self) -> Result<SignatureSecretKey, KeyError> {
        let key = self.in_memory()?;
        let bytes = match self.algorithm {
            Algorithm::P256 => key.ec_key()?.private_key().to_vec_padded(32)?,
            Algorithm::Ed25519 => [key.raw_private_key()?, key.raw_public_key()?].concat(),
        };
        Ok(SignatureSecretKey::new(bytes))
    }

    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Does it lie in a token?
    #[must_use]
    pub fn is_in_token(&self) -> bool {
        matches!(self.key, Held::Token { .. })
    }

    pub fn public(&self) -> Result<PublicKey, KeyError> {
        match &self.key {
            Held::Memory(key) => PublicKey::from_spki(&key.public_key_to_der()?),
            Held::Token { public, .. } => Ok(public.clone()),
        }
    }

    pub fn sign(&self, content: &[u8]) -> Result<Vec<u8>, KeyError> {
        let key = match &self.key {
            Held::Memory(key) => key,
            Held::Token { public, token } => {
                let signature = token.sign(content)?;
                // What a token signs with another key, or wrongly, must not leave the house.
                if !public.verifies(content, &signature) {
                    return Err(KeyError::Token(
                        "the token signs with another key than the certificate's: look whether \
                         the right token is plugged in"
                            .to_owned(),
                    ));
                }
                return Ok(signature);
            }
        };
        let mut signer = match self.algorithm {
            Algorithm::P256 => Signer::new(MessageDigest::sha256(), key)?,
            Algorithm::Ed25519 => Signer::new_without_digest(key)?,
        };
        Ok(signer.sign_oneshot_to_vec(content)?)
    }

    fn in_memory(&self) -> Result<&PKey<Private>, KeyError> {
        match &self.key {
            Held::Memory(key) => Ok(key),
            Held::Token { .. } => Err(KeyError::Kept),
        }
    }

    #[cfg(test)]
    pub(crate) fn as_openssl(&self) -> &PKey<Private> {
        self.in_memory().unwrap()
    }

    fn from_openssl(key: PKey<Private>) -> Result<Self, KeyError> {
        let algorithm = match key.id() {
            Id::ED25519 => Algorithm::Ed25519,
            Id::EC if key.ec_key()?.group().curve_name() == Some(Nid::X9_62_PRIME256V1) => {
                Algorithm::P256
            }
            _ => return Err(KeyError::Unsupported),
        };
        Ok(Self {
            algorithm,
            key: Held::Memory(key),
        })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({:?}, …)", self.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Algorithm; 2] = [Algorithm::P256, Algorithm::Ed25519];

    #[test]
    fn a_key_is_the_same_in_every_spelling() {
        for algorithm in BOTH {
            let private = PrivateKey::generate(algorithm).unwrap();
            let public = private.public().unwrap();
            assert_eq!(
                public.to_spki(),
                private.as_openssl().public_key_to_der().unwrap()
            );
            assert_eq!(PublicKey::from_spki(&public.to_spki()).unwrap(), public);
            assert_eq!(
                PublicKey::from_mls(algorithm, public.as_mls()).unwrap(),
                public
            );
            let read = PrivateKey::from_pkcs8(&private.to_pkcs8().unwrap()).unwrap();
            assert_eq!(read.public().unwrap(), public);
            let read = PrivateKey::from_pem(&private.to_pem().unwrap()).unwrap();
            assert_eq!(read.public().unwrap(), public);
        }
    }

    #[test]
    fn a_signature_covers_its_content_and_no_other() {
        for algorithm in BOTH {
            let private = PrivateKey::generate(algorithm).unwrap();
            let public = private.public().unwrap();
            let signature = private.sign(b"content").unwrap();
            assert!(public.verifies(b"content", &signature));
            assert!(!public.verifies(b"contenu", &signature));
            assert!(!public.verifies(b"content", &signature[1..]));
            assert!(!public.verifies(b"content", b""));
            let other = PrivateKey::generate(algorithm).unwrap().public().unwrap();
            assert!(!other.verifies(b"content", &signature));
        }
    }

    /// A token with a key of its own.
    struct Token(PrivateKey);

    impl Signing for Token {
        fn sign(&self, content: &[u8]) -> Result<Vec<u8>, KeyError> {
            self.0.sign(content)
        }
    }

    #[test]
    fn a_key_in_a_token_signs_and_does_not_leave_it() {
        for algorithm in BOTH {
            let inside = PrivateKey::generate(algorithm).unwrap();
            let public = inside.public().unwrap();
            let held = PrivateKey::in_token(public.clone(), Arc::new(Token(inside)));
            let signature = held.sign(b"content").unwrap();
            assert!(public.verifies(b"content", &signature));
            assert_eq!(held.public().unwrap(), public);
            assert_eq!(held.to_pem(), Err(KeyError::Kept));
            assert_eq!(held.to_pkcs8(), Err(KeyError::Kept));
            assert_eq!(held.to_mls().err(), Some(KeyError::Kept));

            let wrong = PrivateKey::generate(algorithm).unwrap();
            let swapped = PrivateKey::in_token(public, Arc::new(Token(wrong)));
            assert!(matches!(swapped.sign(b"content"), Err(KeyError::Token(_))));
        }
    }

    #[test]
    fn other_keys_and_other_spellings_are_refused() {
        let group = EcGroup::from_curve_name(Nid::SECP384R1).unwrap();
        let p384 = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let spki = p384.public_key_to_der().unwrap();
        assert_eq!(PublicKey::from_spki(&spki), Err(KeyError::Unsupported));
        let pkcs8 = p384.private_key_to_pkcs8().unwrap();
        assert_eq!(
            PrivateKey::from_pkcs8(&pkcs8).unwrap_err(),
            KeyError::Unsupported
        );
        assert!(PublicKey::from_spki(b"").is_err());

        let good = PrivateKey::generate(Algorithm::P256)
            .unwrap()
            .public()
            .unwrap();
        let mut trailing = good.to_spki();
        trailing.push(0);
        let mut off_curve = good.to_spki();
        *off_curve.last_mut().unwrap() ^= 1;
        let mut compressed = good.as_mls().to_vec();
        compressed[0] = 0x02;
        // The neutral element has an octet of its own (SEC 1 §2.3.3), and zeros are no point.
        let zeros = [&P256_SPKI[..], &[4], &[0; 64]].concat();
        let neutral = [&P256_SPKI[..], &[0]].concat();
        for spki in [trailing, off_curve, zeros, neutral] {
            assert_eq!(
                PublicKey::from_spki(&spki),
                Err(KeyError::Invalid(Algorithm::P256))
            );
        }
        assert!(PublicKey::from_mls(Algorithm::P256, &compressed).is_err());
        assert!(PublicKey::from_mls(Algorithm::Ed25519, &[1; 31]).is_err());
    }
}
