use std::path::Path;

use super::*;
use crate::{
    CreateAccount, DeleteAccount, IssuedCertificate, RecordCertificates, Recorded, RegisterDevice,
    RevokeDevice, RevokedDevice, Storage,
};

const DOMAIN: &str = "a.example";
const ALICE: &str = "alice@a.example";

async fn storage() -> Storage {
    let storage = Storage::open(Path::new(":memory:")).await.unwrap();
    create(&storage).await;
    register(&storage, 1).await;
    storage
}

async fn create(storage: &Storage) {
    let account = CreateAccount {
        account: ALICE.to_owned(),
        domain: DOMAIN.to_owned(),
        keys: Vec::new(),
        created: 1,
    };
    storage.write(account).await.unwrap();
}

async fn register(storage: &Storage, id: u8) {
    let device = RegisterDevice {
        id: [id; 16],
        account: ALICE.to_owned(),
        name: "phone".to_owned(),
        device_key: vec![id],
        now: 7,
        limit: 2,
    };
    storage.write(device).await.unwrap();
}

fn certificates(device: u8, keys: &[u8]) -> RecordCertificates {
    RecordCertificates {
        account: ALICE.to_owned(),
        device: [device; 16],
        certificates: keys
            .iter()
            .map(|key| IssuedCertificate {
                key_hash: [*key; 32],
                serial: vec![*key],
                issuer: [9; 32],
                device: [device; 16],
                certificate: vec![*key; 3],
                issued: 7,
                expires: 100,
            })
            .collect(),
        since: 0,
        limit: 100,
    }
}

/// Hashes are whatever is given: storage does not look.
fn append(index: u64, hash: u8, count: u64, device: u8, keys: &[u8], revoked: bool) -> Append {
    Append {
        domain: DOMAIN.to_owned(),
        entry: AppendedEntry {
            index,
            entry: vec![u8::try_from(index).unwrap(); 4],
            leaves: keys.iter().map(|key| [*key; 32]).collect(),
            device: [device; 16],
            revoked,
        },
        nodes: vec![(NodePlace { level: 0, index }, [5; 32])],
        map: vec![(
            MapPlace {
                depth: 0,
                prefix: [0; 32],
            },
            MapNode {
                hash: [u8::try_from(count).unwrap(); 32],
                leaf: Some(vec![1]),
            },
        )],
        account: LoggedAccount {
            account: ALICE.to_owned(),
            hash: [hash; 32],
            salt: [hash; 32],
            count,
            frontier: vec![[6; 32]; 2],
        },
        head: vec![8],
    }
}

fn issue(index: u64, hash: u8, count: u64, keys: &[u8]) -> Logged<RecordCertificates> {
    Logged {
        change: certificates(1, keys),
        append: append(index, hash, count, 1, keys, false),
    }
}

#[tokio::test]
async fn certificates_and_their_entry_are_stored_together_or_not_at_all() {
    let storage = storage().await;
    let done = LoggedOutcome::Done(Recorded::Recorded);
    assert_eq!(storage.write(issue(0, 1, 1, &[1, 2])).await.unwrap(), done);
    // Computed over an older log.
    let moved = storage.write(issue(0, 1, 1, &[3])).await.unwrap();
    assert_eq!(moved, LoggedOutcome::Moved);
    let hashes = [[3; 32]];
    assert!(
        storage
            .certificates_of_keys(&hashes)
            .await
            .unwrap()
            .is_empty()
    );
    // What is refused is not logged.
    let used = storage.write(issue(1, 1, 2, &[2])).await.unwrap();
    assert_eq!(used, LoggedOutcome::Done(Recorded::KeyUsed));
    let head = storage.transparency_head(DOMAIN).await.unwrap();
    assert_eq!(head, Some((1, vec![8])));
    assert_eq!(storage.write(issue(1, 1, 2, &[3])).await.unwrap(), done);

    let account = storage.transparency_account(ALICE).await.unwrap().unwrap();
    assert_eq!((account.count, account.frontier.len()), (2, 2));
    let (entry, place) = storage
        .transparency_of_key(DOMAIN, &[2; 32])
        .await
        .unwrap()
        .unwrap();
    assert_eq!((entry.index, place, entry.leaves.len()), (0, 1, 2));
    let other = storage.transparency_of_key("b.example", &[2; 32]).await;
    assert_eq!(other.unwrap(), None);
    let places = [
        NodePlace { level: 0, index: 1 },
        NodePlace { level: 1, index: 0 },
    ];
    let nodes = storage.transparency_nodes(DOMAIN, &places).await.unwrap();
    assert_eq!(nodes.len(), 1);
    let place = MapPlace {
        depth: 0,
        prefix: [0; 32],
    };
    let shown = storage
        .transparency_entries_of(DOMAIN, &[1; 32], 1, 10, &[place])
        .await
        .unwrap();
    assert_eq!((shown.entries, shown.map.len()), (vec![vec![1; 4]], 1));
    assert_eq!(shown.map[&place].hash, [2; 32]);
}

#[tokio::test]
async fn a_revocation_is_logged_once() {
    let storage = storage().await;
    storage.write(issue(0, 1, 1, &[1])).await.unwrap();
    let revoke = |index, count| {
        storage.write(Logged {
            change: RevokeDevice {
                account: ALICE.to_owned(),
                id: [1; 16],
                now: 9,
            },
            append: append(index, 1, count, 1, &[], true),
        })
    };
    let revoked = revoke(1, 2).await.unwrap();
    assert_eq!(revoked, LoggedOutcome::Done(RevokedDevice::Revoked));
    let again = revoke(2, 3).await.unwrap();
    assert_eq!(again, LoggedOutcome::Done(RevokedDevice::Already(9)));
    assert_eq!(
        storage.transparency_page(DOMAIN, 0, 9).await.unwrap().len(),
        2
    );
    assert!(
        storage
            .unlogged_revocations(DOMAIN, 9)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn whoever_is_given_a_name_again_begins_anew() {
    let storage = storage().await;
    storage.write(issue(0, 1, 1, &[1])).await.unwrap();
    let deletion = DeleteAccount {
        account: ALICE.to_owned(),
    };
    storage.write(deletion).await.unwrap();
    assert_eq!(storage.transparency_account(ALICE).await.unwrap(), None);
    let unlogged = storage.unlogged_revocations(DOMAIN, 9).await.unwrap();
    assert_eq!(unlogged.len(), 1);
    assert_eq!(
        (unlogged[0].device, unlogged[0].account),
        ([1; 16], [1; 32])
    );
    assert!(
        storage
            .unlogged_revocations("b.example", 9)
            .await
            .unwrap()
            .is_empty()
    );

    create(&storage).await;
    register(&storage, 2).await;
    let batch = |hash| Logged {
        change: certificates(2, &[2]),
        append: append(1, hash, 1, 2, &[2], false),
    };
    // Computed before the deletion, for the account that is gone.
    assert_eq!(storage.write(batch(1)).await.unwrap(), LoggedOutcome::Moved);
    let done = LoggedOutcome::Done(Recorded::Recorded);
    assert_eq!(storage.write(batch(2)).await.unwrap(), done);
    let account = storage.transparency_account(ALICE).await.unwrap().unwrap();
    assert_eq!(account.hash, [2; 32]);
    // The end of the old one's device is told afterwards.
    assert!(storage.write(append(2, 1, 2, 1, &[], true)).await.unwrap());
    assert!(
        storage
            .unlogged_revocations(DOMAIN, 9)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_log_begins_once() {
    let storage = storage().await;
    for head in [1, 2] {
        let begin = BeginLog {
            domain: DOMAIN.to_owned(),
            head: vec![head],
        };
        storage.write(begin).await.unwrap();
    }
    let head = storage.transparency_head(DOMAIN).await.unwrap();
    assert_eq!(head, Some((0, vec![1])));
    assert!(storage.write(append(0, 1, 1, 1, &[], false)).await.unwrap());
    assert!(!storage.write(append(0, 1, 1, 1, &[], false)).await.unwrap());
}

#[tokio::test]
async fn a_log_is_read_piece_by_piece() {
    let storage = storage().await;
    for index in 0..5_u8 {
        let change = issue(u64::from(index), 1, u64::from(index) + 1, &[index]);
        storage.write(change).await.unwrap();
    }
    let page = storage.transparency_page(DOMAIN, 3, 9).await.unwrap();
    assert_eq!(page.len(), 2);
    assert_eq!(page[0].1, Some(vec![8]));
    let keys = storage
        .transparency_keys_page(DOMAIN, &[1; 32], 2)
        .await
        .unwrap();
    assert_eq!(keys.len(), 2);
    assert_eq!((keys[0].key_hash, keys[0].logged), ([2; 32], true));
    let after = NodePlace { level: 0, index: 3 };
    let nodes = storage
        .transparency_nodes_page(DOMAIN, Some(after), 9)
        .await;
    assert_eq!(nodes.unwrap().len(), 1);
    let map = storage
        .transparency_map_page(DOMAIN, None, 9)
        .await
        .unwrap();
    assert_eq!(map.len(), 1);
    let accounts = storage.transparency_accounts_page(DOMAIN, &[], 9).await;
    assert_eq!(accounts.unwrap().len(), 1);
}
