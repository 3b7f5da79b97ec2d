use std::path::Path;

use super::*;
use crate::CreateAccount;

async fn storage() -> Storage {
    let storage = Storage::open(Path::new(":memory:")).await.unwrap();
    for account in ["alice@a.example", "bob@a.example"] {
        create(&storage, account).await;
    }
    storage
}

async fn create(storage: &Storage, account: &str) {
    storage
        .write(CreateAccount {
            account: account.to_owned(),
            domain: "a.example".to_owned(),
            keys: Vec::new(),
            created: 1,
        })
        .await
        .unwrap();
}

fn device(id: u8, account: &str, key: u8) -> RegisterDevice {
    RegisterDevice {
        id: [id; 16],
        account: account.to_owned(),
        name: "phone".to_owned(),
        device_key: vec![key],
        now: 7,
        limit: 2,
    }
}

fn certificate(key: u8, device: u8) -> IssuedCertificate {
    IssuedCertificate {
        key_hash: [key; 32],
        serial: vec![key, 1],
        issuer: [9; 32],
        device: [device; 16],
        certificate: vec![key; 3],
        issued: 7,
        expires: 100,
    }
}

fn batch(device: u8, keys: &[u8], since: u64) -> RecordCertificates {
    RecordCertificates {
        account: "alice@a.example".to_owned(),
        device: [device; 16],
        certificates: keys.iter().map(|key| certificate(*key, device)).collect(),
        since,
        limit: 3,
    }
}

#[tokio::test]
async fn a_device_is_registered_once() {
    let storage = storage().await;
    let alice = "alice@a.example";
    let register = |change| storage.write(change);
    assert_eq!(
        register(device(1, alice, 1)).await.unwrap(),
        Registered::New
    );
    // The same key again is the same device; another account's is not.
    assert_eq!(
        register(device(2, alice, 1)).await.unwrap(),
        Registered::Known([1; 16])
    );
    assert_eq!(
        register(device(2, "bob@a.example", 1)).await.unwrap(),
        Registered::KeyTaken
    );
    assert_eq!(
        register(device(2, "nobody@a.example", 2)).await.unwrap(),
        Registered::NoAccount
    );
    assert_eq!(
        register(device(2, alice, 2)).await.unwrap(),
        Registered::New
    );
    assert_eq!(
        register(device(3, alice, 3)).await.unwrap(),
        Registered::TooMany
    );
    // An id is nobody else's.
    assert!(register(device(1, "bob@a.example", 9)).await.is_err());
    let devices = storage.devices(alice).await.unwrap();
    assert_eq!(devices.len(), 2);
    assert_eq!(
        storage.device(alice, &[1; 16]).await.unwrap().unwrap().name,
        "phone"
    );
    let other = storage.device("bob@a.example", &[1; 16]).await.unwrap();
    assert_eq!(other, None);
}

#[tokio::test]
async fn a_revoked_device_stays_revoked_and_makes_room() {
    let storage = storage().await;
    let alice = "alice@a.example";
    storage.write(device(1, alice, 1)).await.unwrap();
    storage.write(device(2, alice, 2)).await.unwrap();
    let revoke = |account: &str, now| {
        storage.write(RevokeDevice {
            account: account.to_owned(),
            id: [1; 16],
            now,
        })
    };
    assert_eq!(
        revoke("bob@a.example", 8).await.unwrap(),
        RevokedDevice::Unknown
    );
    assert_eq!(revoke(alice, 8).await.unwrap(), RevokedDevice::Revoked);
    assert_eq!(revoke(alice, 9).await.unwrap(), RevokedDevice::Already(8));
    assert_eq!(
        storage.write(device(3, alice, 1)).await.unwrap(),
        Registered::KeyTaken
    );
    assert_eq!(
        storage.write(device(3, alice, 3)).await.unwrap(),
        Registered::New
    );
    assert_eq!(
        storage.write(batch(1, &[1], 7)).await.unwrap(),
        Recorded::NoDevice
    );
}

#[tokio::test]
async fn the_devices_of_a_deleted_account_are_revoked() {
    let storage = storage().await;
    let alice = "alice@a.example";
    storage.write(device(1, alice, 1)).await.unwrap();
    storage
        .write(crate::DeleteAccount {
            account: alice.to_owned(),
        })
        .await
        .unwrap();
    create(&storage, alice).await;
    let devices = storage.devices(alice).await.unwrap();
    assert!(devices[0].revoked.is_some());
}

#[tokio::test]
async fn a_key_has_one_certificate_and_an_account_a_rate() {
    let storage = storage().await;
    storage
        .write(device(1, "alice@a.example", 1))
        .await
        .unwrap();
    let record = |keys: &'static [u8], since| storage.write(batch(1, keys, since));
    assert_eq!(record(&[1, 2], 7).await.unwrap(), Recorded::Recorded);
    assert_eq!(record(&[3, 2], 7).await.unwrap(), Recorded::KeyUsed);
    assert_eq!(record(&[3, 4], 7).await.unwrap(), Recorded::TooMany);
    assert_eq!(record(&[3], 7).await.unwrap(), Recorded::Recorded);
    // What was issued before the time in question does not count.
    assert_eq!(record(&[4, 5], 8).await.unwrap(), Recorded::Recorded);
    assert_eq!(
        storage.write(batch(9, &[6], 7)).await.unwrap(),
        Recorded::NoDevice
    );
    let mut found = storage
        .certificates_of_keys(&[[1; 32], [6; 32], [3; 32]])
        .await
        .unwrap();
    found.sort_by_key(|certificate| certificate.key_hash);
    assert_eq!(found, [certificate(1, 1), certificate(3, 1)]);
}

#[tokio::test]
async fn published_statements_follow_each_other() {
    let storage = storage().await;
    let publish = |over, sequence, signed: u8| {
        storage.write(PublishAnchors {
            published: PublishedAnchors {
                domain: "a.example".to_owned(),
                sequence,
                signed: vec![signed],
                issued: 1,
            },
            over,
        })
    };
    assert_eq!(storage.published_anchors("a.example").await.unwrap(), None);
    assert!(!publish(Some(6), 7, 1).await.unwrap());
    assert!(publish(None, 7, 0).await.unwrap());
    assert!(!publish(None, 8, 9).await.unwrap());
    assert!(!publish(Some(7), 7, 9).await.unwrap());
    assert!(!publish(Some(7), 6, 9).await.unwrap());
    let mut over = 7;
    for sequence in (10..500).step_by(10) {
        assert!(publish(Some(over), sequence, 1).await.unwrap());
        over = sequence;
    }
    let newest = storage.published_anchors("a.example").await.unwrap();
    assert_eq!(newest.unwrap().sequence, 490);
}

#[tokio::test]
async fn a_pinned_domain_never_goes_back_under_its_root() {
    let storage = storage().await;
    let pin = |over: Option<u8>, root: u8, sequence, expires| {
        storage.write(PinAnchors {
            pinned: PinnedAnchors {
                domain: "b.example".to_owned(),
                root: [root; 32],
                sequence,
                expires,
                record: vec![root],
            },
            over: over.map(|root| [root; 32]),
        })
    };
    assert!(!pin(Some(1), 1, 5, 50).await.unwrap());
    assert!(pin(None, 1, 5, 50).await.unwrap());
    assert!(!pin(None, 2, 5, 50).await.unwrap());
    assert!(!pin(Some(1), 1, 4, 40).await.unwrap());
    assert!(pin(Some(1), 1, 6, 60).await.unwrap());
    assert!(!pin(Some(3), 2, 7, 70).await.unwrap());
    assert!(pin(Some(1), 2, 0, 70).await.unwrap());
    let pinned = storage.pinned_anchors("b.example").await.unwrap().unwrap();
    assert_eq!((pinned.root, pinned.sequence), ([2; 32], 0));
    let ending = |from, until| storage.pinned_anchors_ending(from, until, 10);
    assert_eq!(ending(0, 70).await.unwrap(), ["b.example"]);
    assert!(ending(0, 69).await.unwrap().is_empty());
    assert_eq!(storage.pinned_domains(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn certificates_of_revoked_devices_are_found_until_they_expire() {
    let storage = storage().await;
    for id in [1, 2] {
        let made = storage.write(device(id, "alice@a.example", id)).await;
        assert_eq!(made.unwrap(), Registered::New);
    }
    storage.write(batch(1, &[1, 2], 0)).await.unwrap();
    storage.write(batch(2, &[3], 0)).await.unwrap();
    let revoked = async |from| {
        let found = storage.revoked_certificates(&[9; 32], from, 10).await;
        found.unwrap()
    };
    assert_eq!(revoked(0).await, []);
    let end = RevokeDevice {
        account: "alice@a.example".to_owned(),
        id: [1; 16],
        now: 50,
    };
    storage.write(end).await.unwrap();
    let mut found = revoked(100).await;
    found.sort_by(|one, other| one.serial.cmp(&other.serial));
    let one = |serial: u8| RevokedCertificate {
        serial: vec![serial, 1],
        revoked: 50,
    };
    assert_eq!(found, [one(1), one(2)]);
    assert_eq!(revoked(101).await, []);
    let other = storage.revoked_certificates(&[8; 32], 0, 10).await;
    assert_eq!(other.unwrap(), []);
}

#[tokio::test]
async fn lists_go_forward_over_what_was_known() {
    let storage = storage().await;
    let list = |number, over| StoreRevocationList {
        list: RevocationList {
            issuer: [9; 32],
            domain: "a.example".to_owned(),
            number,
            list: vec![1, 2],
        },
        over,
    };
    assert!(!storage.write(list(5, Some(4))).await.unwrap());
    assert!(storage.write(list(5, None)).await.unwrap());
    assert!(!storage.write(list(5, None)).await.unwrap());
    assert!(!storage.write(list(5, Some(5))).await.unwrap());
    assert!(!storage.write(list(7, Some(4))).await.unwrap());
    assert!(storage.write(list(7, Some(5))).await.unwrap());
    let stored = storage.revocation_list(&[9; 32]).await.unwrap().unwrap();
    assert_eq!(stored, list(7, None).list);
    assert_eq!(storage.revocation_lists(9).await.unwrap(), [stored]);
    assert_eq!(storage.revocation_list(&[8; 32]).await.unwrap(), None);
}
