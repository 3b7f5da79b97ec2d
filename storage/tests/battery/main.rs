//! The battery: what any engine behind [`Storage`] has to do. A noun a file.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod account_data;
mod accounts;
mod archive;
mod blocked;
mod blocklist;
mod durability;
mod fast;
mod managed;
mod offline;
mod outbox;
mod receipt;
mod roster;
mod summary;
mod uploads;

use std::path::Path;

use comity_storage::{CreateAccount, Created, KeptScramKeys, ScramHash, Storage};

/// An empty storage.
async fn empty() -> Storage {
    Storage::open(Path::new(":memory:")).await.unwrap()
}

/// One with accounts.
async fn with(accounts: &[&str]) -> Storage {
    let storage = empty().await;
    for account in accounts {
        create(&storage, account).await;
    }
    storage
}

async fn create(storage: &Storage, account: &str) {
    let created = storage.write(account_of(account)).await.unwrap();
    assert_eq!(created, Created::Created, "{account}");
}

fn account_of(account: &str) -> CreateAccount {
    CreateAccount {
        account: account.to_owned(),
        domain: account.split_once('@').unwrap().1.to_owned(),
        created: 1000,
        keys: vec![keys(ScramHash::Sha1, 1), keys(ScramHash::Sha256, 2)],
    }
}

fn keys(hash: ScramHash, seed: u8) -> KeptScramKeys {
    KeptScramKeys {
        hash,
        salt: vec![seed; 16],
        iterations: 10_000 + u32::from(seed),
        stored_key: vec![seed, 1],
        server_key: vec![seed, 2],
    }
}
