//! What a log shows to those who ask, and what they check of it.

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};

use super::LogError;
use super::entry::{Entry, Kind, MAX_BATCH, account_hash};
use super::head::Head;
use super::map::{self, Value};
use super::proof::verify_inclusion;
use super::tree::{self, Hash};
use crate::certificate::sha256;
use crate::leaf::Leaf;

/// The largest piece of evidence that is read: ours take 2 KiB.
pub const MAX_EVIDENCE_BYTES: usize = 16 * 1024;

/// That the certificate of a key was issued for all to see.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Inclusion {
    /// Of the account.
    pub salt: [u8; 32],
    /// [`Entry`], as it stands in the log.
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub entry: Vec<u8>,
    pub index: u64,
    pub path: Vec<Hash>,
    /// The key's place in the batch, the batch's size, and the path there.
    pub place: u32,
    pub batch: u32,
    pub batch_path: Vec<Hash>,
}

impl Inclusion {
    pub fn read(bytes: &[u8]) -> Result<Self, LogError> {
        bounded(bytes)?;
        Ok(Self::mls_decode_exhaustive(bytes)?)
    }

    pub fn encode(&self) -> Result<Vec<u8>, LogError> {
        Ok(self.mls_encode_to_vec()?)
    }

    /// Is the certificate's key in a batch that the log of this head holds for its account and
    /// device?
    pub fn verify(&self, leaf: &Leaf, head: &Head) -> Result<Entry, LogError> {
        let entry = Entry::read(&self.entry)?;
        let device = leaf.device.ok_or(LogError::OtherDevice)?;
        if entry.account != account_hash(&self.salt, leaf.account.as_str())
            || entry.device != device.into_bytes()
        {
            return Err(LogError::OtherDevice);
        }
        let key = sha256(&leaf.public_key).map_err(|error| LogError::OpenSsl(error.to_string()))?;
        let (place, batch) = (u64::from(self.place), u64::from(self.batch));
        let in_batch = entry.kind == Kind::Issuance
            && self.batch as usize <= MAX_BATCH
            && verify_inclusion(
                &tree::leaf(&key),
                place,
                batch,
                &self.batch_path,
                &entry.root,
            );
        if !in_batch {
            return Err(LogError::NotInBatch);
        }
        let stands = tree::leaf(&self.entry);
        if !verify_inclusion(&stands, self.index, head.size, &self.path, &head.root) {
            return Err(LogError::NotIncluded);
        }
        Ok(entry)
    }
}

/// That an account has these entries and no others.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct AccountEvidence {
    pub salt: [u8; 32],
    pub proof: map::Proof,
}

impl AccountEvidence {
    pub fn read(bytes: &[u8]) -> Result<Self, LogError> {
        bounded(bytes)?;
        Ok(Self::mls_decode_exhaustive(bytes)?)
    }

    pub fn encode(&self) -> Result<Vec<u8>, LogError> {
        Ok(self.mls_encode_to_vec()?)
    }

    /// How many entries the account has under this head, and the root of their tree.
    pub fn verify(&self, account: &str, head: &Head) -> Result<Value, LogError> {
        let key = account_hash(&self.salt, account);
        let value = map::verify(&head.map_root, &key, &self.proof)?;
        Ok(value.unwrap_or_else(|| Value {
            count: 0,
            root: tree::empty(),
        }))
    }
}

fn bounded(bytes: &[u8]) -> Result<(), LogError> {
    if bytes.len() > MAX_EVIDENCE_BYTES {
        return Err(LogError::Unreadable(
            "evidence is larger than 16 KiB".to_owned(),
        ));
    }
    Ok(())
}
