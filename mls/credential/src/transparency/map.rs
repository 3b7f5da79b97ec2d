//! The map from accounts to their entries: a binary tree over the bits of the account hash, in
//! which a subtree of one account is that account's leaf and a subtree of none is 32 zero octets.
//! Proofs are as long as the logarithm of the number of accounts.
//!
//! Leaves and nodes begin with octets of their own, and a leaf holds its whole key, so that under
//! one root a key has one value, whatever shape the tree is given.

use super::LogError;
use super::tree::{Hash, tagged};
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};

/// Bits of a key, and so the deepest place.
pub const BITS: u16 = 256;
const EMPTY: Hash = [0; 32];

/// What the map holds of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Value {
    /// Entries of the log that are the account's.
    pub count: u64,
    /// Root of the tree of these entries alone, in their order.
    pub root: Hash,
}

/// A subtree: that of the keys which begin with the first `depth` bits of `prefix`, whose other
/// bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub depth: u16,
    pub prefix: Hash,
}

/// A subtree that holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    pub hash: Hash,
    /// The one key below, where it is one.
    pub leaf: Option<Leaf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Leaf {
    pub key: Hash,
    pub value: Value,
}

/// Where the way of a key down from the root ends.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Proof {
    /// The subtrees beside the way, from the root down.
    pub siblings: Vec<Hash>,
    /// The leaf at its end, which may be another key's; none where the subtree is empty.
    pub end: Option<Leaf>,
}

impl Place {
    /// The subtree of the keys that begin as `key` does.
    #[must_use]
    pub fn above(key: &Hash, depth: u16) -> Self {
        let mut prefix = [0; 32];
        for (at, octet) in key.iter().enumerate() {
            let kept = depth.saturating_sub(u16::try_from(8 * at).unwrap_or(u16::MAX));
            prefix[at] = match kept {
                0 => break,
                1..8 => octet & (0xff << (8 - kept)),
                _ => *octet,
            };
        }
        Self { depth, prefix }
    }

    /// The other half of the subtree above.
    #[must_use]
    pub fn sibling(&self) -> Self {
        let mut prefix = self.prefix;
        if let Some(bit) = self.depth.checked_sub(1) {
            prefix[usize::from(bit / 8)] ^= 0x80 >> (bit % 8);
        }
        Self { prefix, ..*self }
    }
}

/// The places that a proof for the key may need at depths from `from` to `to`: those on its way and
/// those beside it.
#[must_use]
pub fn needed(key: &Hash, from: u16, to: u16) -> Vec<Place> {
    (from..to.min(BITS + 1))
        .flat_map(|depth| {
            let place = Place::above(key, depth);
            let beside = (depth > 0).then(|| place.sibling());
            std::iter::once(place).chain(beside)
        })
        .collect()
}

/// The proof of a key, from the subtrees on its way and beside it, which are none where they are
/// empty.
pub fn prove<E>(
    key: &Hash,
    mut node: impl FnMut(&Place) -> Result<Option<Node>, E>,
) -> Result<Proof, E> {
    let mut siblings = Vec::new();
    for depth in 0..=BITS {
        let place = Place::above(key, depth);
        if depth > 0 {
            siblings.push(node(&place.sibling())?.map_or(EMPTY, |node| node.hash));
        }
        match node(&place)? {
            Some(Node { leaf: None, .. }) => {}
            Some(Node { leaf, .. }) => {
                return Ok(Proof {
                    siblings,
                    end: leaf,
                });
            }
            None => break,
        }
    }
    Ok(Proof {
        siblings,
        end: None,
    })
}

/// What the map with this root holds for the key.
pub fn verify(root: &Hash, key: &Hash, proof: &Proof) -> Result<Option<Value>, LogError> {
    let depth = u16::try_from(proof.siblings.len()).unwrap_or(u16::MAX);
    if depth > BITS {
        return Err(LogError::NotInMap);
    }
    let end = match &proof.end {
        // Another key's leaf stands for the absence of ours only in a subtree that ours is in.
        Some(leaf) if Place::above(&leaf.key, depth) != Place::above(key, depth) => {
            return Err(LogError::NotInMap);
        }
        Some(leaf) => leaf.hash(),
        None => EMPTY,
    };
    if climb(key, end, &proof.siblings) != *root {
        return Err(LogError::NotInMap);
    }
    Ok(proof
        .end
        .filter(|leaf| leaf.key == *key)
        .map(|leaf| leaf.value))
}

/// The map after `key` has this value: what `proof` of that key says otherwise stays. The new root,
/// and every subtree that is new or changed.
#[must_use]
pub fn update(key: &Hash, value: Value, proof: &Proof) -> (Hash, Vec<(Place, Node)>) {
    let leaf = Leaf { key: *key, value };
    let mut siblings = proof.siblings.clone();
    let mut changed = Vec::new();
    if let Some(other) = proof.end.filter(|other| other.key != *key) {
        // Both go down until their ways part.
        let parts_at = common_bits(key, &other.key);
        while siblings.len() < parts_at {
            siblings.push(EMPTY);
        }
        siblings.push(other.hash());
        let depth = u16::try_from(siblings.len()).unwrap_or(BITS);
        let node = Node {
            hash: other.hash(),
            leaf: Some(other),
        };
        changed.push((Place::above(&other.key, depth), node));
    }
    let mut hash = leaf.hash();
    let mut below = Some(leaf);
    for depth in (0..=siblings.len()).rev() {
        let place = Place::above(key, u16::try_from(depth).unwrap_or(BITS));
        changed.push((place, Node { hash, leaf: below }));
        below = None;
        if let Some(sibling) = depth.checked_sub(1).and_then(|at| siblings.get(at)) {
            hash = join(key, depth - 1, &hash, sibling);
        }
    }
    (hash, changed)
}

/// The root of a map that holds nothing.
#[must_use]
pub fn empty() -> Hash {
    EMPTY
}

/// The root of a map that holds exactly this, for whoever checks a whole log: `leaves` by ascending
/// key, each once.
#[must_use]
pub fn root(leaves: &[Leaf]) -> Hash {
    subtree(leaves, 0)
}

fn subtree(leaves: &[Leaf], depth: usize) -> Hash {
    match leaves {
        [] => EMPTY,
        [leaf] => leaf.hash(),
        _ if depth >= usize::from(BITS) => EMPTY,
        _ => {
            let middle = leaves.partition_point(|leaf| !bit(&leaf.key, depth));
            let (left, right) = leaves.split_at(middle);
            tagged(
                0x03,
                &[&subtree(left, depth + 1), &subtree(right, depth + 1)],
            )
        }
    }
}

impl Leaf {
    #[must_use]
    pub fn hash(&self) -> Hash {
        let Value { count, root } = &self.value;
        tagged(0x02, &[&self.key, &count.to_be_bytes(), root])
    }
}

fn climb(key: &Hash, end: Hash, siblings: &[Hash]) -> Hash {
    let from_the_end = siblings.iter().enumerate().rev();
    from_the_end.fold(end, |hash, (bit, sibling)| join(key, bit, &hash, sibling))
}

/// The node above the way of `key` at `depth` and its sibling.
fn join(key: &Hash, depth: usize, own: &Hash, sibling: &Hash) -> Hash {
    match bit(key, depth) {
        true => tagged(0x03, &[sibling, own]),
        false => tagged(0x03, &[own, sibling]),
    }
}

fn bit(key: &Hash, at: usize) -> bool {
    key.get(at / 8)
        .is_some_and(|octet| octet & (0x80 >> (at % 8)) != 0)
}

fn common_bits(a: &Hash, b: &Hash) -> usize {
    (0..usize::from(BITS))
        .find(|at| bit(a, *at) != bit(b, *at))
        .unwrap_or(usize::from(BITS))
}
