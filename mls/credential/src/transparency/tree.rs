//! Hashing of the log, as RFC 6962 §2.1 has it, and the right edge of a tree that grows.

use openssl::sha::Sha256;

pub type Hash = [u8; 32];

/// Levels a tree can have: more entries than certificates can ever be issued.
pub const MAX_LEVELS: u32 = 48;
/// The largest log.
pub const MAX_SIZE: u64 = 1 << MAX_LEVELS;

/// `MTH({})`: the root of an empty tree.
#[must_use]
pub fn empty() -> Hash {
    openssl::sha::sha256(b"")
}

/// `MTH({d(0)})`.
#[must_use]
pub fn leaf(input: &[u8]) -> Hash {
    tagged(0x00, &[input])
}

/// Two subtrees under one node.
#[must_use]
pub fn node(left: &Hash, right: &Hash) -> Hash {
    tagged(0x01, &[left, right])
}

/// The first octet tells leaves from nodes, and those of the map from those of the log.
pub(super) fn tagged(tag: u8, parts: &[&[u8]]) -> Hash {
    let mut hash = Sha256::new();
    hash.update(&[tag]);
    for part in parts {
        hash.update(part);
    }
    hash.finish()
}

/// Where a complete subtree stands: it has `2^level` leaves, and `index` such subtrees before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub level: u32,
    pub index: u64,
}

/// A subtree that has come to be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub place: Place,
    pub hash: Hash,
}

/// The complete subtrees that make up a tree, the largest first: all that is needed to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    hashes: Vec<Hash>,
}

impl Frontier {
    /// From what was stored; None where there are not as many hashes as the size needs.
    #[must_use]
    pub fn restore(size: u64, hashes: Vec<Hash>) -> Option<Self> {
        let fits = size <= MAX_SIZE && hashes.len() == places(size).len();
        fits.then_some(Self { size, hashes })
    }

    /// Of all these leaf hashes.
    pub fn of<'a>(leaves: impl IntoIterator<Item = &'a Hash>) -> Self {
        let mut frontier = Self::default();
        for leaf in leaves {
            frontier.push(*leaf);
        }
        frontier
    }

    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The largest subtree first, as [`places`] lists them.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// Appends a leaf hash; the subtrees that are complete by it, the leaf itself first.
    pub fn push(&mut self, leaf: Hash) -> Vec<Placed> {
        let mut place = Place {
            level: 0,
            index: self.size,
        };
        let mut made = vec![Placed { place, hash: leaf }];
        let mut hash = leaf;
        // Each one bit at the end of the size is a subtree that the new one completes to a larger.
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.hashes.pop() else { break };
            hash = node(&left, &hash);
            place = Place {
                level: place.level + 1,
                index: place.index >> 1,
            };
            made.push(Placed { place, hash });
        }
        self.hashes.push(hash);
        self.size += 1;
        made
    }

    #[must_use]
    pub fn root(&self) -> Hash {
        fold(&self.hashes)
    }
}

/// The complete subtrees that make up a tree of that size, the largest first.
#[must_use]
pub fn places(size: u64) -> Vec<Place> {
    range(0, size)
}

/// The complete subtrees of the leaves from `start` to `end`, where `start` is a multiple of the
/// largest of them.
pub(super) fn range(start: u64, end: u64) -> Vec<Place> {
    let mut places = Vec::new();
    let mut at = start;
    while at < end {
        let level = (end - at).ilog2();
        places.push(Place {
            level,
            index: at >> level,
        });
        at += 1 << level;
    }
    places
}

/// The root above subtrees that stand side by side, the largest first.
#[must_use]
pub fn fold(hashes: &[Hash]) -> Hash {
    let mut from_the_right = hashes.iter().rev();
    let Some(last) = from_the_right.next() else {
        return empty();
    };
    from_the_right.fold(*last, |right, left| node(left, &right))
}

/// `MTH` of these leaf hashes.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    Frontier::of(leaves).root()
}
