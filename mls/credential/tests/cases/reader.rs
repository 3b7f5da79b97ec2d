//! The corpus of certificates. The tests of the credentials, of the hub, of the directory and of the
//! engine include this file, so that all of them are held to the same decisions.

use std::collections::HashMap;
use std::sync::Arc;

use comity_mls_credential::certificate::{Certificate, issuer_id};
use comity_mls_credential::keys::{Algorithm, PrivateKey};
use comity_mls_credential::leaf::{CredentialError, IssuerId, Issuers};
use comity_xmpp::jid::BareJid;
use mls_rs_core::crypto::CipherSuite;
use mls_rs_core::extension::ExtensionList;
use mls_rs_core::identity::{
    CertificateChain, Credential, CredentialType, IdentityProvider, MemberValidationContext,
    SigningIdentity,
};
use mls_rs_core::time::MlsTime;
use openssl::base64::decode_block;
use uuid::Uuid;

/// One certificate, and what is to be decided on it.
pub(crate) struct Case {
    pub(crate) name: String,
    /// Whom it names; where it names nobody, who shows it.
    pub(crate) account: BareJid,
    pub(crate) device: Uuid,
    /// Seconds since 1970 when it is judged.
    pub(crate) at: u64,
    /// Nothing if it is believed, otherwise words of the refusal.
    pub(crate) refused: Option<String>,
    pub(crate) key: PrivateKey,
    pub(crate) certificate: Vec<u8>,
}

impl Case {
    /// The suite its key signs for.
    pub(crate) fn suite(&self) -> CipherSuite {
        match self.key.algorithm() {
            Algorithm::P256 => CipherSuite::P256_AES128,
            Algorithm::Ed25519 => CipherSuite::CURVE25519_AES128,
        }
    }

    pub(crate) fn identity(&self) -> SigningIdentity {
        let chain = CertificateChain::from(vec![self.certificate.clone()]);
        let key = self.key.public().unwrap().to_mls();
        SigningIdentity::new(Credential::X509(chain), key)
    }
}

/// The issuing CAs of the corpus.
#[derive(Clone, Default)]
pub(crate) struct Shelf(pub(crate) HashMap<(String, IssuerId), Arc<[u8]>>);

impl Issuers for Shelf {
    fn issuer(&self, domain: &str, id: &IssuerId) -> Option<Arc<[u8]>> {
        self.0.get(&(domain.to_owned(), *id)).cloned()
    }
}

pub(crate) fn read() -> (Shelf, Vec<Case>) {
    let mut shelf = Shelf::default();
    let mut cases = Vec::new();
    for block in include_str!("certificates.txt").split("\n\n").skip(1) {
        let lines: HashMap<&str, &str> = block
            .lines()
            .map(|line| line.split_once(':').unwrap())
            .map(|(key, value)| (key, value.trim()))
            .collect();
        let certificate = decode_block(lines["certificate"]).unwrap();
        if let Some(domain) = lines.get("issuer") {
            let key = Certificate::read(&certificate).unwrap().public_key;
            let id = issuer_id(&key).unwrap();
            shelf
                .0
                .insert(((*domain).to_owned(), id), certificate.into());
            continue;
        }
        assert_ne!(
            lines.contains_key("believed"),
            lines.contains_key("refused")
        );
        cases.push(Case {
            name: lines["case"].to_owned(),
            account: BareJid::parse(lines["account"]).unwrap(),
            device: lines["device"].parse().unwrap(),
            at: lines["at"].parse().unwrap(),
            refused: lines.get("refused").map(|words| (*words).to_owned()),
            key: PrivateKey::from_pkcs8(&decode_block(lines["key"]).unwrap()).unwrap(),
            certificate,
        });
    }
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    (shelf, cases)
}

/// A client that believes anything, so that what it makes is for others to judge.
#[derive(Clone)]
pub(crate) struct Credulous;

impl IdentityProvider for Credulous {
    type Error = CredentialError;

    fn validate_member(
        &self,
        _signing_identity: &SigningIdentity,
        _timestamp: Option<MlsTime>,
        _context: MemberValidationContext<'_>,
    ) -> Result<(), CredentialError> {
        Ok(())
    }

    fn validate_external_sender(
        &self,
        _signing_identity: &SigningIdentity,
        _timestamp: Option<MlsTime>,
        _extensions: Option<&ExtensionList>,
    ) -> Result<(), CredentialError> {
        Ok(())
    }

    fn identity(
        &self,
        signing_identity: &SigningIdentity,
        _extensions: &ExtensionList,
    ) -> Result<Vec<u8>, CredentialError> {
        Ok(signing_identity.signature_key.to_vec())
    }

    fn valid_successor(
        &self,
        _predecessor: &SigningIdentity,
        _successor: &SigningIdentity,
        _extensions: &ExtensionList,
    ) -> Result<bool, CredentialError> {
        Ok(true)
    }

    fn supported_types(&self) -> Vec<CredentialType> {
        vec![CredentialType::X509]
    }
}
