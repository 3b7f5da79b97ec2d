//! Is this batch what its device may publish? Nothing is written before all of it has been judged.

use std::collections::HashSet;

use comity_mls_credential::keys::PublicKey;
use comity_mls_credential::leaf::Leaf;
use comity_mls_credential::provider::{Provider, fits};
use comity_mls_credential::signed;
use comity_mls_wire::keys::Published;
use comity_mls_wire::policy::{SUITES, required_capabilities};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room;
use comity_storage::key_packages as stored;
use comity_xmpp::jid::BareJid;
use mls_rs::extension::recommended::LastResortKeyPackageExt;
use mls_rs::external_client::ExternalClient;
use mls_rs::external_client::builder::MlsConfig;
use mls_rs::{CryptoProvider, KeyPackage, MlsMessage};
use mls_rs_codec::MlsEncode as _;
use mls_rs_core::extension::{ExtensionType, MlsExtension as _};
use mls_rs_core::group::{Capabilities, ProposalType};
use mls_rs_core::identity::CredentialType;
use mls_rs_core::protocol_version::ProtocolVersion;
use mls_rs_core::time::MlsTime;
use mls_rs_crypto_openssl::OpensslCryptoProvider;
use uuid::Uuid;

use super::package;

/// How far a device's clock may be from ours; mls-rs lets lifetimes begin an hour early as well.
const CLOCK_TOLERANCE_S: u64 = 3600;

/// A device about to publish, and what its batch is judged by.
pub struct Publisher {
    pub(super) account: BareJid,
    pub(super) device: Uuid,
    pub(super) device_key: Vec<u8>,
    pub(super) provider: Provider,
    pub(super) lifetime_s: u64,
}

/// A batch in which every package was found good.
pub struct Examined {
    pub(super) account: BareJid,
    pub(super) device: Uuid,
    pub(super) packages: Vec<stored::KeyPackage>,
}

impl Publisher {
    /// Judges a batch at this time (seconds since 1970). A refusal names the first package that is
    /// not good, and why.
    pub fn examine(
        &self,
        batch: &[Published],
        signature: &[u8],
        now_s: u64,
    ) -> Result<Examined, Refusal> {
        self.check_signature(batch, signature)?;
        let client = ExternalClient::builder()
            .crypto_provider(OpensslCryptoProvider::default())
            .identity_provider(self.provider.clone())
            .build();
        let mut packages = Vec::with_capacity(batch.len());
        let mut last_resorts = HashSet::new();
        for (place, published) in batch.iter().enumerate() {
            let package = self
                .examine_one(&client, published, now_s)
                .map_err(|fault| fault.at(place))?;
            if package.last_resort && !last_resorts.insert(package.suite) {
                let why = "there is another last resort of its cipher suite";
                return Err(Fault::Package(why.to_owned()).at(place));
            }
            packages.push(package);
        }
        Ok(Examined {
            account: self.account.clone(),
            device: self.device,
            packages,
        })
    }

    fn check_signature(&self, batch: &[Published], signature: &[u8]) -> Result<(), Refusal> {
        let marks: Vec<[u8; 1]> = batch.iter().map(|p| [u8::from(p.last_resort)]).collect();
        let mut parts = vec![self.account.as_str().as_bytes(), self.device.as_bytes()];
        for (published, mark) in batch.iter().zip(&marks) {
            parts.push(mark);
            parts.push(&published.package);
        }
        let content = signed::content(signed::PUBLISH, &parts);
        let key = PublicKey::from_spki(&self.device_key).map_err(|_| Refusal::BadSignature)?;
        if key.verifies(&content, signature) {
            Ok(())
        } else {
            Err(Refusal::BadSignature)
        }
    }

    fn examine_one<C: MlsConfig>(
        &self,
        client: &ExternalClient<C>,
        published: &Published,
        now_s: u64,
    ) -> Result<stored::KeyPackage, Fault> {
        let unreadable = |fault: &dyn std::fmt::Display| Fault::Package(fault.to_string());
        let message = MlsMessage::from_bytes(&published.package).map_err(|e| unreadable(&e))?;
        let Some(read) = message.as_key_package() else {
            return Err(Fault::Package(
                "the MLSMessage holds no KeyPackage".to_owned(),
            ));
        };
        let suite = *read.cipher_suite;
        if !SUITES.contains(&suite) {
            return Err(Fault::Package(format!(
                "cipher suite {suite} is not in use here, which is {SUITES:?}"
            )));
        }
        let leaf = self.examine_credential(read, now_s)?;
        let key_package = client
            .validate_key_package(message.clone(), Some(MlsTime::from(now_s)))
            .map_err(|e| unreadable(&e))?;
        let bytes = key_package
            .mls_encode_to_vec()
            .map_err(|e| unreadable(&e))?;
        let said = package::read(&bytes).map_err(Fault::Package)?;
        check_last_resort(&key_package, published.last_resort)?;
        check_capabilities(&said.capabilities, suite)?;
        self.check_lifetime(&said, &leaf, now_s)?;
        let extensions = said.capabilities.extensions.iter().map(|e| **e).collect();
        Ok(stored::KeyPackage {
            suite,
            last_resort: published.last_resort,
            reference: reference(&key_package)?,
            signer: room::payload_hash(&key_package.signing_identity().signature_key),
            extensions,
            not_before: said.not_before,
            not_after: said.not_after,
            package: published.package.to_vec(),
        })
    }

    fn examine_credential(&self, package: &KeyPackage, now_s: u64) -> Result<Leaf, Fault> {
        let credential = |fault: &dyn std::fmt::Display| Fault::Credential(fault.to_string());
        let leaf = self
            .provider
            .member(package.signing_identity(), Some(now_s))
            .map_err(|e| credential(&e))?;
        fits(&leaf, package.cipher_suite()).map_err(|e| credential(&e))?;
        if leaf.account != self.account || leaf.device != Some(self.device) {
            return Err(Fault::Credential(format!(
                "{} device {} was expected, and the certificate names {leaf}",
                self.account, self.device
            )));
        }
        Ok(leaf)
    }

    fn check_lifetime(&self, said: &package::Said, leaf: &Leaf, now_s: u64) -> Result<(), Fault> {
        let refuse = |why: String| Err(Fault::Package(why));
        let longest = self.lifetime_s + CLOCK_TOLERANCE_S;
        if said.not_after > now_s + longest
            || said.not_after.saturating_sub(said.not_before) > longest + CLOCK_TOLERANCE_S
        {
            return refuse(format!(
                "its lifetime ends at {}, and at most {} s are allowed",
                said.not_after, self.lifetime_s
            ));
        }
        if said.not_after > leaf.not_after {
            return refuse(format!(
                "its lifetime ends at {}, after that of its certificate at {}",
                said.not_after, leaf.not_after
            ));
        }
        Ok(())
    }
}

/// The mark in the package and the mark of the publication are the same: with the extension alone
/// a package would be served once though its secret stays, with the mark alone a client would
/// forget the secret of one that is served again.
fn check_last_resort(package: &KeyPackage, published: bool) -> Result<(), Fault> {
    let extension = LastResortKeyPackageExt::extension_type();
    match (package.extensions.has_extension(extension), published) {
        (true, false) => Err(Fault::Package(
            "it has the last_resort extension and is published as an ordinary one".to_owned(),
        )),
        (false, true) => Err(Fault::Package(
            "it is published as last resort and lacks the last_resort extension".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Every room requires these, so a package without them could be added to none.
fn check_capabilities(capabilities: &Capabilities, suite: u16) -> Result<(), Fault> {
    let lacks = |what: &str, number: u16| {
        Err(Fault::Package(format!(
            "its leaf does not support {what} {number:#06x}, which every room requires"
        )))
    };
    if !capabilities
        .protocol_versions
        .contains(&ProtocolVersion::MLS_10)
    {
        return lacks("protocol version", ProtocolVersion::MLS_10.raw_value());
    }
    if !capabilities.cipher_suites.iter().any(|s| **s == suite) {
        return lacks("cipher suite", suite);
    }
    for extension in required_capabilities::EXTENSIONS {
        if !capabilities
            .extensions
            .contains(&ExtensionType::new(extension))
        {
            return lacks("extension", extension);
        }
    }
    for proposal in required_capabilities::PROPOSALS {
        if !capabilities
            .proposals
            .contains(&ProposalType::new(proposal))
        {
            return lacks("proposal", proposal);
        }
    }
    for credential in required_capabilities::CREDENTIALS {
        if !capabilities
            .credentials
            .contains(&CredentialType::new(credential))
        {
            return lacks("credential", credential);
        }
    }
    Ok(())
}

/// RFC 9420 §5.2.
fn reference(package: &KeyPackage) -> Result<Vec<u8>, Fault> {
    let crypto = OpensslCryptoProvider::default();
    let suite = crypto
        .cipher_suite_provider(package.cipher_suite())
        .ok_or_else(|| Fault::Package("its cipher suite is not supported".to_owned()))?;
    let reference = package
        .to_reference(&suite)
        .map_err(|fault| Fault::Package(fault.to_string()))?;
    Ok(reference.to_vec())
}

/// What is wrong with one package.
enum Fault {
    Package(String),
    Credential(String),
}

impl Fault {
    /// People count from one.
    fn at(self, place: usize) -> Refusal {
        let place = place + 1;
        match self {
            Self::Package(why) => Refusal::InvalidMessage {
                why: format!("KeyPackage {place} of the batch: {why}"),
            },
            Self::Credential(why) => Refusal::BadCredential {
                why: format!("KeyPackage {place} of the batch: {why}"),
            },
        }
    }
}
