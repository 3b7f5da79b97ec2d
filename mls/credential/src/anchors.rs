//! A domain's anchors: the statement that names its root and issuing CAs, signed by the root and by
//! the domain's TLS key, so that a client can check a remote domain against the public web PKI and
//! need not believe its own server (RFC 9750 §4).
//!
//! [`statement`] is what is published, [`tls`] the signature by the TLS key, [`pinned`] the rules
//! of what may follow what, [`store`] the memory that hub and engine share.

pub mod pinned;
pub mod statement;
pub mod store;
pub mod tls;

use crate::leaf::CredentialError;

pub use pinned::Pinned;
pub use statement::{Handover, Signed, Statement};
pub use store::{AcceptedCrl, Anchors};
pub use tls::{TlsKey, TlsRoots};

/// Why an anchors statement is not believed. The state before stays as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnchorsError {
    #[error("the statement cannot be read: {0}")]
    Unreadable(String),
    #[error("the statement is of version {0}, and only version 1 is known: upgrade")]
    Version(u16),
    #[error("the statement is of {found}, not of {expected}")]
    OtherDomain { expected: String, found: String },
    #[error("the statement is good from {issued} to {expires}, and it is {at}: fetch a newer one")]
    Expired { issued: u64, expires: u64, at: u64 },
    #[error("{0}")]
    Malformed(&'static str),
    #[error("a CA certificate in the statement: {0}")]
    Authority(#[from] CredentialError),
    #[error("the signature of the {0} does not verify")]
    Signature(&'static str),
    #[error("the TLS chain of {domain} is not believed: {why}")]
    Tls { domain: String, why: String },
    #[error(
        "{domain} showed sequence {known} before and now {found}: it, or who answers for it, goes back"
    )]
    Backwards {
        domain: String,
        known: u64,
        found: u64,
    },
    #[error(
        "{domain} shows two statements with sequence {sequence}, or one that follows another: it speaks with two tongues"
    )]
    Forked { domain: String, sequence: u64 },
    #[error(
        "the root of {domain} changed without the old root's signature: compare {found} with its operator"
    )]
    RootChanged { domain: String, found: String },
    #[error(
        "the statement of {domain} is signed by an issuing CA that the domain has replaced: whoever \
         shows it may have stolen that CA's key"
    )]
    Replaced { domain: String },
    #[error("OpenSSL failed: {0}")]
    OpenSsl(String),
    #[error(transparent)]
    Key(crate::keys::KeyError),
}

impl From<openssl::error::ErrorStack> for AnchorsError {
    fn from(error: openssl::error::ErrorStack) -> Self {
        Self::OpenSsl(error.to_string())
    }
}

impl From<crate::keys::KeyError> for AnchorsError {
    fn from(error: crate::keys::KeyError) -> Self {
        Self::Key(error)
    }
}

impl From<mls_rs_codec::Error> for AnchorsError {
    fn from(error: mls_rs_codec::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

#[cfg(test)]
mod tests;
