//! A leaf certificate: the account and device it names, and the chain that makes it true.

use std::fmt;
use std::sync::Arc;

use comity_xmpp::jid::BareJid;
use uuid::Uuid;

/// SHA-256 of an issuing CA's SubjectPublicKeyInfo: its subjectKeyIdentifier, and the
/// authorityKeyIdentifier of all it issues. A leaf thus names its issuer by hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IssuerId(pub [u8; 32]);

impl fmt::Debug for IssuerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0[..8] {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("…")
    }
}

/// What a leaf certificate says; not yet that it is true: see [`verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// id-on-xmppAddr: an account, or for a hub the domain itself.
    pub account: BareJid,
    /// `urn:uuid:…`; a hub has none.
    pub device: Option<Uuid>,
    /// Seconds since 1970.
    pub not_before: u64,
    pub not_after: u64,
    pub serial: Vec<u8>,
    pub issuer: IssuerId,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
}

/// Why a credential is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    #[error("no CA {issuer:?} of {domain} is known here: fetch its anchors")]
    UnknownIssuer { domain: String, issuer: IssuerId },
    #[error("the certificate for {account} was not issued by a CA of its domain")]
    WrongIssuer { account: String },
    #[error("the certificate is valid from {not_before} to {not_after}, and it is {at}")]
    OutsideValidity {
        not_before: u64,
        not_after: u64,
        at: u64,
    },
    #[error("{0}")]
    Malformed(&'static str),
    #[error("the successor names {found}, the predecessor {expected}")]
    NotSuccessor { expected: String, found: String },
}

/// The issuing CAs one believes, each already checked under its domain's pinned root.
pub trait Issuers: Send + Sync {
    /// The certificate (DER) of that issuing CA of that domain.
    fn issuer(&self, domain: &str, id: &IssuerId) -> Option<Arc<[u8]>>;
}

impl Leaf {
    pub fn read(der: &[u8]) -> Result<Self, CredentialError> {
        let _ = der;
        todo!()
    }
}

/// Believes a leaf certificate or says why not. Time is given where something is made or accepted
/// and withheld where something is followed. A root of domain `b` speaks only for JIDs at `b`.
pub fn verify(der: &[u8], issuers: &dyn Issuers, at: Option<u64>) -> Result<Leaf, CredentialError> {
    let _ = (der, issuers, at);
    todo!()
}
