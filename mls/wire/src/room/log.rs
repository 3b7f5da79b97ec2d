//! The hash chain over a room's log: who holds h(seq) holds all that was ordered before it.

use comity_xmpp::jid::BareJid;
use ring::digest::{Context, SHA256, digest};

use super::{Entry, EntryKind, Hash, Payload};

/// h(0): before anything was ordered.
pub const GENESIS: Hash = [0; 32];

/// SHA-256 of a payload, as the chain takes it in and as a purged payload leaves it behind.
#[must_use]
pub fn payload_hash(payload: &[u8]) -> Hash {
    finish(&digest(&SHA256, payload))
}

/// h(seq) from h(seq-1) and what is ordered at seq. `time` in milliseconds since 1970.
#[must_use]
pub fn head(
    previous: &Hash,
    room: &BareJid,
    seq: u64,
    kind: EntryKind,
    time: u64,
    sender: &BareJid,
    payload: &Hash,
) -> Hash {
    let mut hash = Context::new(&SHA256);
    hash.update(previous);
    hash.update(room.as_str().as_bytes());
    hash.update(&[0]);
    hash.update(&seq.to_be_bytes());
    hash.update(&[kind.octet()]);
    hash.update(&time.to_be_bytes());
    hash.update(sender.as_str().as_bytes());
    hash.update(&[0]);
    hash.update(payload);
    finish(&hash.finish())
}

fn finish(digest: &ring::digest::Digest) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

impl Payload {
    #[must_use]
    pub fn hash(&self) -> Hash {
        match self {
            Self::Held(payload) => payload_hash(payload),
            Self::Purged(hash) => *hash,
        }
    }
}

impl Entry {
    /// h(seq) as it follows from this entry's own words and the head before it.
    #[must_use]
    pub fn computed_head(&self, previous: &Hash) -> Hash {
        head(
            previous,
            &self.room,
            self.seq,
            self.kind,
            self.time,
            &self.sender,
            &self.payload.hash(),
        )
    }

    /// Whether the head it carries continues the chain.
    #[must_use]
    pub fn follows(&self, previous: &Hash) -> bool {
        self.head == self.computed_head(previous)
    }
}
