use std::collections::HashMap;

use crate::transparency::proof::{
    assemble, consistency, inclusion, verify_consistency, verify_inclusion,
};
use crate::transparency::tree::{Frontier, Hash, Place, empty, leaf, node, places, root};

/// The tree of the vectors that came with the first logs (certificate-transparency, `merkletree`).
const INPUTS: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
const A: &str = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
const B: &str = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
const C: &str = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
const D: &str = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
const E: &str = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
const F: &str = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn hashes(texts: &[&str]) -> Vec<Hash> {
    let octets = texts.iter().map(|text| unhex(text));
    octets.map(|hash| hash.try_into().unwrap()).collect()
}

/// A log that keeps every hash.
struct Kept {
    frontier: Frontier,
    hashes: HashMap<Place, Hash>,
    leaves: Vec<Hash>,
}

impl Kept {
    fn of(inputs: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut kept = Self {
            frontier: Frontier::default(),
            hashes: HashMap::new(),
            leaves: Vec::new(),
        };
        for input in inputs {
            let leaf = leaf(&input);
            kept.leaves.push(leaf);
            for placed in kept.frontier.push(leaf) {
                kept.hashes.insert(placed.place, placed.hash);
            }
        }
        kept
    }

    fn numbered(size: u64) -> Self {
        Self::of((0..size).map(|n| n.to_be_bytes().to_vec()))
    }

    fn at(&self, place: &Place) -> Option<Hash> {
        self.hashes.get(place).copied()
    }

    fn path(&self, index: u64, size: u64) -> Vec<Hash> {
        assemble(&inclusion(index, size), |place| self.at(place)).unwrap()
    }

    fn proof(&self, first: u64, second: u64) -> Vec<Hash> {
        assemble(&consistency(first, second), |place| self.at(place)).unwrap()
    }

    fn root(&self, size: u64) -> Hash {
        root(&self.leaves[..usize::try_from(size).unwrap()])
    }
}

/// RFC 6962 §2.1, word for word.
fn defined(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty(),
        [leaf] => *leaf,
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            node(&defined(&leaves[..k]), &defined(&leaves[k..]))
        }
    }
}

#[test]
fn the_published_vectors_hold() {
    let kept = Kept::of(INPUTS.iter().map(|input| unhex(input)));
    for (size, expected) in (1..).zip(hashes(&ROOTS)) {
        assert_eq!(kept.root(size), expected, "{size}");
    }
    let empty_root = hashes(&["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]);
    assert_eq!(empty(), empty_root[0]);

    let paths: [(u64, u64, &[&str]); 4] = [
        (0, 8, &[A, B, C]),
        (5, 8, &[D, E, ROOTS[3]]),
        (2, 3, &[ROOTS[1]]),
        (1, 5, &[ROOTS[0], B, D]),
    ];
    for (index, size, path) in paths {
        assert_eq!(kept.path(index, size), hashes(path), "{index} of {size}");
    }
    let proofs: [(u64, u64, &[&str]); 4] = [
        (1, 1, &[]),
        (1, 8, &[A, B, C]),
        (6, 8, &[F, E, ROOTS[3]]),
        (2, 5, &[B, D]),
    ];
    for (first, second, proof) in proofs {
        assert_eq!(kept.proof(first, second), hashes(proof), "{first} {second}");
    }
}

#[test]
fn a_tree_that_grows_is_the_one_that_is_defined() {
    let kept = Kept::numbered(130);
    for size in 0..=130 {
        let leaves = &kept.leaves[..size];
        assert_eq!(root(leaves), defined(leaves), "{size}");
        let frontier = Frontier::of(leaves);
        let size = u64::try_from(size).unwrap();
        let found: Vec<_> = places(size).iter().map(|p| kept.at(p).unwrap()).collect();
        assert_eq!(frontier.hashes(), found);
        assert_eq!(Frontier::restore(size, found), Some(frontier));
    }
    assert_eq!(Frontier::restore(3, vec![[0; 32]]), None);
}

#[test]
fn every_leaf_of_every_tree_is_proved_and_nothing_else() {
    let kept = Kept::numbered(70);
    for size in 1..=70 {
        let root = kept.root(size);
        for index in 0..size {
            let leaf = kept.leaves[usize::try_from(index).unwrap()];
            let path = kept.path(index, size);
            assert!(verify_inclusion(&leaf, index, size, &path, &root));
            assert!(!verify_inclusion(
                &leaf,
                index,
                size,
                &path,
                &kept.root(size - 1)
            ));
            assert!(!verify_inclusion(&[7; 32], index, size, &path, &root));
            assert!(!verify_inclusion(&leaf, index, 0, &path, &root));
            if size > 1 {
                let other = (index + 1) % size;
                assert!(!verify_inclusion(&leaf, other, size, &path, &root));
                assert!(!verify_inclusion(&leaf, index, size, &path[1..], &root));
                let longer = [&path[..], &[[0; 32]]].concat();
                assert!(!verify_inclusion(&leaf, index, size, &longer, &root));
                for at in 0..path.len() {
                    let mut spoiled = path.clone();
                    spoiled[at][0] ^= 1;
                    assert!(!verify_inclusion(&leaf, index, size, &spoiled, &root));
                }
            }
        }
        assert!(inclusion(size, size).is_empty());
        assert!(!verify_inclusion(&[0; 32], size, size, &[], &root));
    }
}

#[test]
fn every_tree_begins_with_every_smaller_one_and_with_no_other() {
    let kept = Kept::numbered(70);
    let mut other = kept.leaves.clone();
    other[0][0] ^= 1;
    for second in 1..=70 {
        let new = kept.root(second);
        assert!(verify_consistency(0, second, &[], &empty(), &new));
        assert!(!verify_consistency(second + 1, second, &[], &new, &new));
        for first in 1..=second {
            let old = kept.root(first);
            let proof = kept.proof(first, second);
            assert!(
                verify_consistency(first, second, &proof, &old, &new),
                "{first} {second}"
            );
            let forged = root(&other[..usize::try_from(first).unwrap()]);
            assert!(!verify_consistency(first, second, &proof, &forged, &new));
            if first == second {
                assert!(!verify_consistency(first, second, &[new], &old, &new));
                continue;
            }
            assert!(!verify_consistency(first, second, &proof, &old, &forged));
            let longer = [&proof[..], &[[0; 32]]].concat();
            assert!(!verify_consistency(first, second, &longer, &old, &new));
            assert!(!verify_consistency(first, second, &proof[1..], &old, &new));
            for at in 0..proof.len() {
                let mut spoiled = proof.clone();
                spoiled[at][31] ^= 1;
                assert!(!verify_consistency(first, second, &spoiled, &old, &new));
            }
        }
    }
}

#[test]
fn proofs_over_a_million_entries_read_a_few_dozen_hashes() {
    const MILLION: u64 = 1_000_003;
    // By level, as a log keeps them.
    let mut levels: Vec<Vec<Hash>> = Vec::new();
    let mut frontier = Frontier::default();
    let began = std::time::Instant::now();
    for n in 0..MILLION {
        for placed in frontier.push(leaf(&n.to_be_bytes())) {
            let level = usize::try_from(placed.place.level).unwrap();
            if level == levels.len() {
                levels.push(Vec::new());
            }
            levels[level].push(placed.hash);
        }
    }
    println!("built in {:?}", began.elapsed());
    let root = frontier.root();
    let read = std::cell::Cell::new(0);
    let hash = |place: &Place| {
        read.set(read.get() + 1);
        let level = &levels[usize::try_from(place.level).unwrap()];
        level.get(usize::try_from(place.index).unwrap()).copied()
    };
    let began = std::time::Instant::now();
    let mut most = 0;
    for step in 0..1_000 {
        let at = 1 + step * 997;
        read.set(0);
        let path = assemble(&inclusion(at, MILLION), hash).unwrap();
        most = most.max(read.take());
        assert!(verify_inclusion(
            &leaf(&at.to_be_bytes()),
            at,
            MILLION,
            &path,
            &root
        ));
        let old: Vec<Hash> = places(at).iter().map(|p| hash(p).unwrap()).collect();
        let old = Frontier::restore(at, old).unwrap().root();
        read.set(0);
        let proof = assemble(&consistency(at, MILLION), hash).unwrap();
        most = most.max(read.take());
        assert!(verify_consistency(at, MILLION, &proof, &old, &root));
    }
    println!(
        "2000 proofs in {:?}, at most {most} hashes read",
        began.elapsed()
    );
    assert!(most <= 40, "{most}");
}
