//! The transparency logs of domains (RFC 9750 §8.4.3): that whatever certificate is accepted here is
//! in its domain's log ([`inclusion`]), that everything logged in this account's name was asked for
//! by its devices ([`own`]), and that a domain shows everybody one log ([`heads`]).
//!
//! Nothing here stands in the way of an accepted commit: what does not hold is told to the person.

mod heads;
mod inclusion;
mod own;

use std::collections::HashMap;

use bytes::Bytes;
use comity_mls_credential::transparency::{Entry, Hash};
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};

/// Proofs of consistency that are awaited at a time; what comes beyond is compared the next time.
const MAX_PROVING: usize = 64;

/// What this session has under way.
#[derive(Default)]
pub(crate) struct Logs {
    /// Heads that differ from the one that is kept, by domain and the two sizes.
    proving: HashMap<(String, u64, u64), Proving>,
    /// Entries of this account that have come and are not all there are.
    entries: Vec<Bytes>,
}

impl Logs {
    pub(crate) fn clear(&mut self) {
        self.proving.clear();
        self.entries.clear();
    }
}

struct Proving {
    first: Hash,
    second: Hash,
    /// The head that is kept if it holds.
    newer: Vec<u8>,
}

/// The newest head of a domain that was shown to continue those before.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
struct Kept {
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    signed: Vec<u8>,
}

/// A certificate that was accepted and of which no evidence has come yet.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
struct Check {
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    certificate: Vec<u8>,
    /// Milliseconds since 1970.
    since: u64,
    /// The person knows that there is none.
    warned: bool,
}

/// What was seen of this account's entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
struct Own {
    salt: Option<[u8; 32]>,
    count: u64,
    frontier: Vec<Hash>,
}

/// Rows of [`crate::Space::Transparency`].
fn row(kind: &str, name: &[u8]) -> Vec<u8> {
    [kind.as_bytes(), &[0], name].concat()
}

const HEAD: &str = "head";
const CHECK: &str = "check";
const DONE: &str = "done";
const OWN: &str = "own";
const SAID: &str = "said";

/// Entries in the order they stand.
fn read_entries(entries: &[Bytes]) -> Option<Vec<Entry>> {
    entries
        .iter()
        .map(|entry| Entry::read(entry).ok())
        .collect()
}
