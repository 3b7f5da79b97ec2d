//! What stands in the log.

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use uuid::Uuid;

use super::LogError;
use super::tree::{self, Hash};
use crate::signed;

pub const VERSION: u16 = 1;
/// The largest entry that is read: ours take 200 octets.
pub const MAX_ENTRY_BYTES: usize = 1024;
/// The largest batch.
pub const MAX_BATCH: usize = 250;

/// For [`account_hash`]. Parts: salt, account.
const ACCOUNT: &str = "comity log account v1";

#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum Kind {
    /// Certificates for the keys of a batch.
    Issuance = 1,
    /// The end of the device.
    Revocation = 2,
}

/// A batch issued to a device, or a device's end.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Entry {
    pub version: u16,
    pub kind: Kind,
    /// [`account_hash`].
    pub account: Hash,
    pub device: [u8; 16],
    /// Seconds since 1970.
    pub time: u64,
    /// [`batch_root`] of the keys; of an empty batch for a revocation.
    pub root: Hash,
    /// The device that asked for it; none: the operator.
    pub by: Option<[u8; 16]>,
    /// Of `by`'s device key: over [`signed::ENROL`] or [`signed::REVOKE`]. Empty where the operator
    /// revoked.
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub signature: Vec<u8>,
}

impl Entry {
    pub fn read(bytes: &[u8]) -> Result<Self, LogError> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(LogError::Unreadable(
                "an entry is larger than 1 KiB".to_owned(),
            ));
        }
        let entry = Self::mls_decode_exhaustive(bytes)?;
        if entry.version != VERSION {
            return Err(LogError::Version(entry.version));
        }
        Ok(entry)
    }

    pub fn encode(&self) -> Result<Vec<u8>, LogError> {
        Ok(self.mls_encode_to_vec()?)
    }

    #[must_use]
    pub fn device(&self) -> Uuid {
        Uuid::from_bytes(self.device)
    }

    #[must_use]
    pub fn by(&self) -> Option<Uuid> {
        self.by.map(Uuid::from_bytes)
    }

    /// What the device key of [`Self::by`] has signed, if this is an entry of `account`; none where
    /// the operator acted.
    #[must_use]
    pub fn signed_content(&self, account: &str) -> Option<Vec<u8>> {
        let by = self.by?;
        Some(match self.kind {
            Kind::Issuance => enrol_content(account, &by, &self.root),
            Kind::Revocation => {
                signed::content(signed::REVOKE, &[account.as_bytes(), &by, &self.device])
            }
        })
    }
}

/// What a device key signs to have a batch of keys certified.
#[must_use]
pub fn enrol_content(account: &str, device: &[u8; 16], batch_root: &Hash) -> Vec<u8> {
    signed::content(signed::ENROL, &[account.as_bytes(), device, batch_root])
}

/// Root of the tree of a batch's keys, each by the SHA-256 of its SubjectPublicKeyInfo, in order.
#[must_use]
pub fn batch_root(keys: &[Hash]) -> Hash {
    let leaves: Vec<Hash> = keys.iter().map(|key| tree::leaf(key)).collect();
    tree::root(&leaves)
}

/// The account as the log names it: without the salt nobody can tell whose it is.
#[must_use]
pub fn account_hash(salt: &[u8; 32], account: &str) -> Hash {
    openssl::sha::sha256(&signed::content(ACCOUNT, &[salt, account.as_bytes()]))
}
