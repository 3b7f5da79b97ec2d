//! A domain's transparency log: everything its Authentication Service ever issued or revoked, in a
//! tree that can only grow (RFC 6962 §2.1), and a map from each account to its part of it, so that
//! one proof shows an account all that was issued in its name (RFC 9750 §8.4.3).
//!
//! [`tree`] hashes and [`proof`] proves; [`map`] is the map; [`entry`] and [`head`] are what stands
//! in the log and what is signed of it; [`evidence`] is what a client is shown, and the checks.
//!
//! Whoever keeps a log keeps hashes by their place; which places an answer needs is said here, so
//! that they can be fetched at once. Absent: storage, clocks, and who is entitled to ask.

pub mod entry;
pub mod evidence;
pub mod head;
pub mod map;
pub mod proof;
pub mod tree;

pub use entry::{Entry, Kind, account_hash};
pub use evidence::{AccountEvidence, Inclusion};
pub use head::{Head, SignedHead};
pub use tree::{Frontier, Hash};

use crate::keys::KeyError;

/// Why a log, or what was shown of it, is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error("it is of version {0}, and only version 1 is known: upgrade")]
    Version(u16),
    #[error("it is of {found}, not of {expected}")]
    OtherDomain { expected: String, found: String },
    /// With the domain's anchors it may be believed.
    #[error("it is signed by a CA of {0} that is not known here: fetch its anchors")]
    UnknownSigner(String),
    #[error("the signature over the head does not verify")]
    Signature,
    #[error("the entry is not in the log that the head names")]
    NotIncluded,
    #[error("the certificate's key is not in the batch that the entry names")]
    NotInBatch,
    #[error("the entry is for another account or device than the certificate")]
    OtherDevice,
    #[error("the account's place in the map is not what the head names")]
    NotInMap,
    #[error("{0} entries is no size that a log has here")]
    Size(u64),
    #[error("OpenSSL failed: {0}")]
    OpenSsl(String),
    #[error(transparent)]
    Key(KeyError),
}

impl From<mls_rs_codec::Error> for LogError {
    fn from(error: mls_rs_codec::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl From<KeyError> for LogError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

#[cfg(test)]
mod tests;
