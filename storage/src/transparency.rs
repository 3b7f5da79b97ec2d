//! The transparency log of a domain: entries, and the hashes that prove them, by their places.
//!
//! Whoever appends computes over what [`Storage::transparency_before`] gave; [`Logged`] carries out
//! an issuance or revocation together with its entry, if the log is still the one computed over.
//! The hashes of complete subtrees never change; those of the map do, so that what is read of it is
//! read in one snapshot with its head.

mod append;
mod audit;
mod read;

#[cfg(test)]
mod tests;

pub use append::{Append, AppendedEntry, BeginLog, Effect, Logged, LoggedOutcome};
pub use audit::{LoggedKey, MapRow, UnloggedRevocation};
pub use read::{AccountEntries, Before, LoggedAccount, LoggedEntry, MapPlaces};

/// A complete subtree of the log: `2^level` leaves, with `index` such subtrees before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodePlace {
    pub level: u32,
    pub index: u64,
}

/// A subtree of the map: the accounts whose hash begins with the first `depth` bits of `prefix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MapPlace {
    pub depth: u16,
    pub prefix: [u8; 32],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapNode {
    pub hash: [u8; 32],
    /// Where one account is below: what the map holds of it. Storage does not look inside.
    pub leaf: Option<Vec<u8>>,
}

/// Hashes side by side, as rows hold them.
fn split(hashes: &[u8]) -> Vec<[u8; 32]> {
    let (hashes, _) = hashes.as_chunks::<32>();
    hashes.to_vec()
}
