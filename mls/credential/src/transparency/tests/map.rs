use std::collections::{BTreeMap, HashMap};

use crate::transparency::map::{
    Leaf, Node, Place, Proof, Value, empty, needed, prove, root, update, verify,
};
use crate::transparency::tree::Hash;

#[derive(Default)]
struct Kept {
    nodes: HashMap<Place, Node>,
    values: BTreeMap<Hash, Value>,
}

impl Kept {
    fn prove(&self, key: &Hash) -> Proof {
        prove(key, |place| Ok::<_, ()>(self.nodes.get(place).copied())).unwrap()
    }

    fn put(&mut self, key: Hash, value: Value) -> Hash {
        let (root, changed) = update(&key, value, &self.prove(&key));
        self.nodes.extend(changed);
        self.values.insert(key, value);
        root
    }

    fn root(&self) -> Hash {
        let leaves: Vec<Leaf> = self
            .values
            .iter()
            .map(|(key, value)| Leaf {
                key: *key,
                value: *value,
            })
            .collect();
        root(&leaves)
    }
}

fn value(count: u64) -> Value {
    Value {
        count,
        root: [u8::try_from(count % 251).unwrap(); 32],
    }
}

fn key(n: u64) -> Hash {
    openssl::sha::sha256(&n.to_be_bytes())
}

#[test]
fn a_map_that_grows_is_the_one_that_is_defined() {
    let mut kept = Kept::default();
    assert_eq!(kept.root(), empty());
    for n in 0..300 {
        // Every third changes what is there already.
        let key = key(if n % 3 == 2 { n / 2 } else { n });
        let root = kept.put(key, value(n + 1));
        assert_eq!(root, kept.root(), "{n}");
    }
    let root = kept.root();
    for (key, value) in &kept.values {
        assert_eq!(verify(&root, key, &kept.prove(key)), Ok(Some(*value)));
    }
    for n in 1_000..1_100 {
        assert_eq!(verify(&root, &key(n), &kept.prove(&key(n))), Ok(None));
    }
}

#[test]
fn keys_that_part_late_are_told_apart() {
    let mut kept = Kept::default();
    let mut late = [0xaa; 32];
    for bit in [255, 254, 8, 7, 0] {
        let mut other = late;
        other[bit / 8] ^= 0x80 >> (bit % 8);
        kept.put(other, value(u64::try_from(bit).unwrap() + 1));
    }
    let absent = kept.prove(&late);
    assert_eq!(verify(&kept.root(), &late, &absent), Ok(None));
    let root = kept.put(late, value(9));
    assert_eq!(root, kept.root());
    let proof = kept.prove(&late);
    assert_eq!(proof.siblings.len(), 256);
    assert_eq!(verify(&root, &late, &proof), Ok(Some(value(9))));
    late[31] ^= 1;
    assert_eq!(
        verify(&root, &late, &kept.prove(&late)),
        Ok(Some(value(256)))
    );
}

#[test]
fn nobody_hides_an_account_or_gives_it_another_value() {
    let mut kept = Kept::default();
    for n in 0..50 {
        kept.put(key(n), value(n + 1));
    }
    let root = kept.root();
    let key = key(7);
    let good = kept.prove(&key);
    let refused = |change: fn(&mut Proof)| {
        let mut proof = good.clone();
        change(&mut proof);
        assert!(verify(&root, &key, &proof).is_err(), "{proof:?}");
    };
    refused(|proof| proof.end = None);
    refused(|proof| proof.end.as_mut().unwrap().value.count += 1);
    refused(|proof| proof.end.as_mut().unwrap().key[31] ^= 1);
    refused(|proof| proof.end.as_mut().unwrap().key[0] ^= 0x80);
    refused(|proof| proof.siblings.truncate(1));
    refused(|proof| proof.siblings.push([0; 32]));
    refused(|proof| proof.siblings[0][0] ^= 1);
    refused(|proof| proof.siblings = vec![[0; 32]; 257]);
    // Another's proof, true for that other.
    let other = kept.prove(&super::map::key(8));
    assert!(verify(&root, &key, &other).is_err());
}

#[test]
fn a_proof_needs_the_places_that_are_named() {
    let mut kept = Kept::default();
    for n in 0..2_000 {
        kept.put(key(n), value(1));
    }
    let key = key(3);
    let named = needed(&key, 0, 40);
    let found: HashMap<Place, Node> = named
        .iter()
        .filter_map(|place| Some((*place, *kept.nodes.get(place)?)))
        .collect();
    let proof = prove(&key, |place| Ok::<_, ()>(found.get(place).copied())).unwrap();
    assert_eq!(verify(&kept.root(), &key, &proof), Ok(Some(value(1))));
    assert!(proof.siblings.len() < 30);
}
