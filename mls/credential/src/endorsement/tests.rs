//! Who comes, by what right, and who does not.

use super::*;
use crate::keys::{Algorithm, PrivateKey};

const NOW: u64 = 1_800_000_000;
const GROUP: &[u8] = b"group";
const PHONE: Uuid = Uuid::from_u128(1);
const LAPTOP: Uuid = Uuid::from_u128(2);
const GHOST: Uuid = Uuid::from_u128(9);

fn jid(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}

/// An endorsement with everything that may be wrong about it.
#[derive(Clone)]
struct Words {
    group: &'static [u8],
    device: Uuid,
    key: Vec<u8>,
    not_after: u64,
    endorser: Uuid,
    spoiled: bool,
}

struct Stage {
    alice: BareJid,
    bob: BareJid,
    phone: PrivateKey,
    bobs: PrivateKey,
    /// Of the device that comes.
    new: PrivateKey,
    other: PrivateKey,
}

impl Stage {
    fn new(algorithm: Algorithm) -> Self {
        let key = || PrivateKey::generate(algorithm).unwrap();
        Self {
            alice: jid("alice@a.example"),
            bob: jid("bob@b.example"),
            phone: key(),
            bobs: key(),
            new: key(),
            other: key(),
        }
    }

    /// Alice's phone and a device of Bob's that bears the same id as Alice's laptop.
    fn present(&self) -> Vec<Present> {
        let present = |account: &BareJid, device, key: &PrivateKey| Present {
            account: account.clone(),
            device,
            key: key.public().unwrap(),
        };
        vec![
            present(&self.alice, PHONE, &self.phone),
            present(&self.bob, LAPTOP, &self.bobs),
        ]
    }

    fn good(&self) -> Words {
        Words {
            group: GROUP,
            device: GHOST,
            key: self.new.public().unwrap().as_mls().to_vec(),
            not_after: NOW + 3600,
            endorser: PHONE,
            spoiled: false,
        }
    }

    /// What comes of it when somebody adds the device with these endorsements.
    fn admit(
        &self,
        account: &BareJid,
        sender: Option<&BareJid>,
        signer: &PrivateKey,
        endorsements: &[Words],
        at: Option<u64>,
    ) -> Result<Admission, Unendorsed> {
        let made: Vec<_> = endorsements
            .iter()
            .map(|words| {
                let hash = key_hash(&words.key);
                let content = content(words.group, words.device, &hash, words.not_after);
                let mut signature = signer.sign(&content).unwrap();
                if words.spoiled {
                    *signature.last_mut().unwrap() ^= 1;
                }
                (words, hash, signature)
            })
            .collect();
        let offered = made.iter().map(|(words, hash, signature)| Offered {
            device: words.device,
            key_hash: hash,
            not_after: words.not_after,
            endorser: words.endorser,
            signature,
        });
        let key = self.new.public().unwrap();
        let newcomer = Newcomer {
            account,
            device: GHOST,
            signature_key: key.as_mls(),
            sender,
        };
        admit(GROUP, &newcomer, &self.present(), offered, at)
    }
}

#[test]
fn by_what_right_a_device_comes() {
    for algorithm in [Algorithm::P256, Algorithm::Ed25519] {
        let stage = Stage::new(algorithm);
        let (alice, bob, carol) = (&stage.alice, &stage.bob, &jid("carol@a.example"));
        let good = [stage.good()];
        let check = |account, sender, endorsements: &[Words], expected| {
            let found = stage.admit(account, sender, &stage.phone, endorsements, Some(NOW));
            assert_eq!(found, Ok(expected), "{account} {sender:?}");
        };
        check(carol, Some(alice), &[], Admission::First);
        check(carol, None, &[], Admission::First);
        check(alice, Some(alice), &[], Admission::Own);
        check(alice, Some(bob), &good, Admission::Endorsed(PHONE));
        check(alice, None, &good, Admission::Endorsed(PHONE));
        // One that does not hold is no harm beside one that does.
        let mut wrong = stage.good();
        wrong.spoiled = true;
        let both = [wrong, stage.good()];
        check(alice, Some(bob), &both, Admission::Endorsed(PHONE));
    }
}

#[test]
fn a_ghost_does_not_come() {
    let stage = Stage::new(Algorithm::P256);
    let (alice, bob) = (&stage.alice, &stage.bob);
    let refuse = |endorsements: &[Words], signer: &PrivateKey, at, expected: Unendorsed| {
        for sender in [Some(bob), None] {
            let found = stage.admit(alice, sender, signer, endorsements, at);
            assert_eq!(found, Err(expected.clone()), "{sender:?}");
        }
    };
    let change = |change: &dyn Fn(&mut Words)| {
        let mut words = stage.good();
        change(&mut words);
        [words]
    };
    let missing = || Unendorsed::Missing {
        account: alice.clone(),
    };
    let now = Some(NOW);
    let phone = &stage.phone;
    refuse(&[], phone, now, missing());
    // For another device.
    refuse(&change(&|w| w.device = PHONE), phone, now, missing());
    let key = stage.other.public().unwrap().as_mls().to_vec();
    let other_key = change(&|w| w.key.clone_from(&key));
    refuse(&other_key, phone, now, Unendorsed::OtherKey);
    let signature = || Unendorsed::Signature(PHONE);
    refuse(&change(&|w| w.group = b"another"), phone, now, signature());
    refuse(&change(&|w| w.spoiled = true), phone, now, signature());
    // By a key that the AS has certified and no leaf has; by the new leaf's own.
    refuse(&change(&|_| {}), &stage.other, now, signature());
    refuse(&change(&|_| {}), &stage.new, now, signature());
    // By itself, by nobody, by a device of another account.
    for endorser in [GHOST, Uuid::nil(), LAPTOP] {
        let words = change(&|w| w.endorser = endorser);
        refuse(&words, phone, now, Unendorsed::NoEndorser(endorser));
        refuse(&words, &stage.bobs, now, Unendorsed::NoEndorser(endorser));
    }
}

#[test]
fn it_holds_for_a_day_where_something_is_accepted() {
    let stage = Stage::new(Algorithm::P256);
    let check = |not_after: u64, at: Option<u64>, holds: bool| {
        let mut words = stage.good();
        words.not_after = not_after;
        let bob = Some(&stage.bob);
        let found = stage.admit(&stage.alice, bob, &stage.phone, &[words], at);
        assert_eq!(found.is_ok(), holds, "{not_after} {at:?} {found:?}");
    };
    check(NOW, Some(NOW), true);
    check(NOW - CLOCK_TOLERANCE_S, Some(NOW), true);
    check(NOW - CLOCK_TOLERANCE_S - 1, Some(NOW), false);
    check(NOW + LIFETIME_S + CLOCK_TOLERANCE_S, Some(NOW), true);
    check(NOW + LIFETIME_S + CLOCK_TOLERANCE_S + 1, Some(NOW), false);
    check(u64::MAX, Some(NOW), false);
    // Whoever follows judges no times.
    check(0, None, true);
    check(u64::MAX, None, true);
}
