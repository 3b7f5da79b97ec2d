//! Audit paths and consistency proofs (RFC 6962 §2.1.1, §2.1.2): which subtrees they are made of,
//! and the checks (RFC 9162 §2.1.3.2, §2.1.4.2).

use super::tree::{Hash, Place, fold, node, range};

/// One hash of a proof: that of the complete subtrees at these places, side by side.
pub type Part = Vec<Place>;

/// What the audit path of leaf `index` in a tree of `size` is made of, from the leaf up. Empty
/// where there is no such leaf.
#[must_use]
pub fn inclusion(index: u64, size: u64) -> Vec<Part> {
    let mut parts = Vec::new();
    if index >= size {
        return parts;
    }
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            parts.push(range(middle, end));
            end = middle;
        } else {
            parts.push(range(start, middle));
            start = middle;
        }
    }
    parts.reverse();
    parts
}

/// What the proof is made of that a tree of `second` leaves begins with the tree of `first`. Empty
/// where the two are the same, or there is nothing to prove.
#[must_use]
pub fn consistency(first: u64, second: u64) -> Vec<Part> {
    let mut parts = Vec::new();
    if first == 0 || first >= second {
        return parts;
    }
    let (mut start, mut end) = (0, second);
    // RFC 6962 §2.1.2: the subtree that is the whole first tree is not repeated.
    let mut whole = true;
    while end != first {
        let middle = start + split(end - start);
        if first <= middle {
            parts.push(range(middle, end));
            end = middle;
        } else {
            parts.push(range(start, middle));
            start = middle;
            whole = false;
        }
    }
    if !whole {
        parts.push(range(start, end));
    }
    parts.reverse();
    parts
}

/// The largest power of two below `count`, which is 2 at least.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// All places that the parts need, to be fetched at once.
#[must_use]
pub fn needed(parts: &[Part]) -> Vec<Place> {
    parts.iter().flatten().copied().collect()
}

/// The proof, from the hashes of its places; None where one is missing.
pub fn assemble(parts: &[Part], hash: impl Fn(&Place) -> Option<Hash>) -> Option<Vec<Hash>> {
    parts
        .iter()
        .map(|part| {
            let hashes = part.iter().map(&hash).collect::<Option<Vec<_>>>()?;
            Some(fold(&hashes))
        })
        .collect()
}

/// Is the leaf at `index` in the tree of `size` with this root?
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            // Subtrees that have no sibling on the right are not in the path.
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Does the tree of `second` leaves begin with that of `first`?
#[must_use]
pub fn verify_consistency(
    first: u64,
    second: u64,
    proof: &[Hash],
    first_root: &Hash,
    second_root: &Hash,
) -> bool {
    if first == second {
        return proof.is_empty() && first_root == second_root;
    }
    if first == 0 || first > second {
        // Every tree begins with the empty one.
        return first == 0 && proof.is_empty();
    }
    let mut hashes = proof.iter();
    let begin = match first.is_power_of_two() {
        true => Some(first_root),
        false => hashes.next(),
    };
    let Some(begin) = begin else { return false };
    let (mut at, mut last) = (first - 1, second - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut old, mut new) = (*begin, *begin);
    for sibling in hashes {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old = node(sibling, &old);
            new = node(sibling, &new);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new = node(&new, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && old == *first_root && new == *second_root
}
