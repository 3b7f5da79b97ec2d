use std::sync::Arc;

use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use crate::issue::{self, Issuer, Validity};
use crate::keys::{Algorithm, PrivateKey};
use crate::leaf::{IssuerId, Issuers, Leaf};
use crate::transparency::entry::{Entry, Kind, account_hash, batch_root};
use crate::transparency::evidence::{AccountEvidence, Inclusion};
use crate::transparency::head::{Head, SignedHead};
use crate::transparency::map::{self, Value};
use crate::transparency::{LogError, tree};

const SALT: [u8; 32] = [7; 32];
const ALICE: &str = "alice@a.example";

struct One(Issuer, IssuerId);

impl Issuers for One {
    fn issuer(&self, domain: &str, id: &IssuerId) -> Option<Arc<[u8]>> {
        (domain == "a.example" && *id == self.1).then(|| self.0.certificate.clone().into())
    }
}

fn authority() -> One {
    let key = PrivateKey::generate(Algorithm::P256).unwrap();
    let id = crate::certificate::issuer_id(&key.public().unwrap()).unwrap();
    let validity = Validity {
        not_before: 0,
        not_after: 4_000_000_000,
    };
    One(issue::root("a.example", key, validity).unwrap(), id)
}

fn head(authority: &One, size: u64) -> Head {
    Head {
        version: 1,
        domain: "a.example".to_owned(),
        size,
        root: [1; 32],
        map_root: [2; 32],
        time: 3,
        issuer: authority.1.0,
    }
}

fn sign(authority: &One, head: &Head) -> Vec<u8> {
    head.sign(|content| authority.0.key.sign(content).map_err(LogError::from))
        .unwrap()
}

#[test]
fn a_head_is_believed_by_the_domains_anchors() {
    let authority = authority();
    let said = head(&authority, 5);
    let signed = sign(&authority, &said);
    assert_eq!(
        SignedHead::verify(&signed, "a.example", &authority),
        Ok(said.clone())
    );
    assert!(matches!(
        SignedHead::verify(&signed, "b.example", &authority),
        Err(LogError::OtherDomain { .. })
    ));
    let mut spoiled = signed.clone();
    *spoiled.last_mut().unwrap() ^= 1;
    assert_eq!(
        SignedHead::verify(&spoiled, "a.example", &authority),
        Err(LogError::Signature)
    );
    let stranger = self::authority();
    let forged = sign(&stranger, &said);
    assert_eq!(
        SignedHead::verify(&forged, "a.example", &authority),
        Err(LogError::Signature)
    );
    let foreign = sign(&stranger, &head(&stranger, 5));
    assert_eq!(
        SignedHead::verify(&foreign, "a.example", &authority),
        Err(LogError::UnknownSigner("a.example".to_owned()))
    );
    for bytes in [&b""[..], &[0xff; 64], &vec![0; 3000]] {
        assert!(matches!(
            SignedHead::verify(bytes, "a.example", &authority),
            Err(LogError::Unreadable(_))
        ));
    }
    let newer = Head { version: 2, ..said };
    assert_eq!(
        SignedHead::verify(&sign(&authority, &newer), "a.example", &authority),
        Err(LogError::Version(2))
    );
    let endless = head(&authority, u64::MAX);
    assert_eq!(
        SignedHead::verify(&sign(&authority, &endless), "a.example", &authority),
        Err(LogError::Size(u64::MAX))
    );
}

#[test]
fn two_heads_of_one_size_must_be_one() {
    let authority = authority();
    let said = head(&authority, 5);
    let mut other = said.clone();
    other.time += 1;
    assert!(!said.contradicts(&other));
    other.map_root[0] ^= 1;
    assert!(said.contradicts(&other));
    other.size += 1;
    assert!(!said.contradicts(&other));
}

/// A log of two entries, the second of which certifies `leaf`.
fn evidence(authority: &One) -> (Leaf, Inclusion, Head) {
    let device = Uuid::from_u128(5);
    let key = PrivateKey::generate(Algorithm::P256).unwrap();
    let validity = Validity {
        not_before: 0,
        not_after: 1_000,
    };
    let account = BareJid::parse(ALICE).unwrap();
    let certificate = issue::leaf(
        &account,
        Some(device),
        &key.public().unwrap(),
        &authority.0,
        validity,
    )
    .unwrap();
    let leaf = Leaf::read(&certificate).unwrap();
    let hash = openssl::sha::sha256(&leaf.public_key);
    let keys = [[9; 32], hash, [8; 32]];
    let entry = Entry {
        version: 1,
        kind: Kind::Issuance,
        account: account_hash(&SALT, ALICE),
        device: device.into_bytes(),
        time: 1,
        root: batch_root(&keys),
        by: Some(device.into_bytes()),
        signature: vec![1],
    };
    let first = tree::leaf(b"another");
    let encoded = entry.encode().unwrap();
    let inclusion = Inclusion {
        salt: SALT,
        index: 1,
        path: vec![first],
        place: 1,
        batch: 3,
        batch_path: vec![tree::leaf(&keys[0]), tree::leaf(&keys[2])],
        entry: encoded.clone(),
    };
    let head = Head {
        root: tree::root(&[first, tree::leaf(&encoded)]),
        ..head(authority, 2)
    };
    (leaf, inclusion, head)
}

#[test]
fn a_certificate_is_shown_to_be_in_the_log() {
    let authority = authority();
    let (leaf, good, head) = evidence(&authority);
    let read = Inclusion::read(&good.encode().unwrap()).unwrap();
    assert_eq!(read, good);
    assert!(read.verify(&leaf, &head).is_ok());

    let refused = |error: LogError, change: fn(&mut Inclusion, &mut Leaf, &mut Head)| {
        let (mut shown, mut leaf, mut head) = (good.clone(), leaf.clone(), head.clone());
        change(&mut shown, &mut leaf, &mut head);
        assert_eq!(shown.verify(&leaf, &head), Err(error));
    };
    refused(LogError::OtherDevice, |shown, _, _| shown.salt[0] ^= 1);
    refused(LogError::OtherDevice, |_, leaf, _| {
        leaf.account = BareJid::parse("mallory@a.example").unwrap();
    });
    refused(LogError::OtherDevice, |_, leaf, _| {
        leaf.device = Some(Uuid::from_u128(6));
    });
    refused(LogError::OtherDevice, |_, leaf, _| leaf.device = None);
    refused(LogError::NotInBatch, |_, leaf, _| leaf.public_key[30] ^= 1);
    refused(LogError::NotInBatch, |shown, _, _| shown.place = 0);
    refused(LogError::NotInBatch, |shown, _, _| shown.batch = 5);
    refused(LogError::NotInBatch, |shown, _, _| {
        shown.batch = 4_000_000_000;
    });
    refused(LogError::NotIncluded, |shown, _, _| shown.index = 0);
    refused(LogError::NotIncluded, |shown, _, _| shown.path.clear());
    refused(LogError::NotIncluded, |_, _, head| head.root[0] ^= 1);
    refused(LogError::NotIncluded, |_, _, head| head.size = 1);
    assert!(Inclusion::read(&[0; 20_000]).is_err());
}

#[test]
fn an_entry_tells_what_its_device_signed() {
    let authority = authority();
    let (_, inclusion, _) = evidence(&authority);
    let entry = Entry::read(&inclusion.entry).unwrap();
    let key = PrivateKey::generate(Algorithm::P256).unwrap();
    let content = entry.signed_content(ALICE).unwrap();
    let signature = key.sign(&content).unwrap();
    assert!(key.public().unwrap().verifies(&content, &signature));
    assert_ne!(entry.signed_content("mallory@a.example").unwrap(), content);
    let ended = Entry {
        kind: Kind::Revocation,
        ..entry.clone()
    };
    assert_ne!(ended.signed_content(ALICE).unwrap(), content);
    let by_operator = Entry { by: None, ..ended };
    assert_eq!(by_operator.signed_content(ALICE), None);

    let mut newer = entry.clone();
    newer.version = 2;
    assert_eq!(
        Entry::read(&newer.encode().unwrap()),
        Err(LogError::Version(2))
    );
    let mut trailing = inclusion.entry;
    trailing.push(0);
    assert!(Entry::read(&trailing).is_err());
    let unknown = Entry {
        signature: vec![0; 2_000],
        ..entry
    };
    assert!(Entry::read(&unknown.encode().unwrap()).is_err());
}

#[test]
fn an_account_sees_how_many_entries_are_its() {
    let authority = authority();
    let key = account_hash(&SALT, ALICE);
    let value = Value {
        count: 2,
        root: [4; 32],
    };
    let nothing = map::Proof {
        siblings: Vec::new(),
        end: None,
    };
    let (map_root, _) = map::update(&key, value, &nothing);
    let head = Head {
        map_root,
        ..head(&authority, 2)
    };
    let shown = AccountEvidence {
        salt: SALT,
        proof: map::Proof {
            siblings: Vec::new(),
            end: Some(map::Leaf { key, value }),
        },
    };
    let read = AccountEvidence::read(&shown.encode().unwrap()).unwrap();
    assert_eq!(read.verify(ALICE, &head), Ok(value));
    // The leaf is another's: bob has nothing.
    assert_eq!(read.verify("bob@a.example", &head).unwrap().count, 0);
    let hidden = AccountEvidence {
        proof: nothing,
        ..read
    };
    assert_eq!(hidden.verify(ALICE, &head), Err(LogError::NotInMap));
}
