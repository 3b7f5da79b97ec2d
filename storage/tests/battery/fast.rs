//! Generations of tokens: two are valid until the newer is used, and none outlives a password.

use comity_storage::{
    CreateAccount, FastKey, IssueFastToken, KeptScramKeys, ScramHash, SetScramKeys, Storage,
    UseFastToken,
};

const ALICE: &str = "alice@a.example";

async fn storage() -> Storage {
    let storage = Storage::open(":memory:".as_ref()).await.unwrap();
    let account = CreateAccount {
        account: ALICE.to_owned(),
        domain: "a.example".to_owned(),
        created: 0,
        keys: Vec::new(),
    };
    storage.write(account).await.unwrap();
    storage
}

fn key(account: &str, agent: &str) -> FastKey {
    FastKey {
        account: account.to_owned(),
        agent: agent.to_owned(),
        mechanism: "HT".to_owned(),
    }
}

async fn issue(storage: &Storage, agent: &str, now: u64) -> Option<u64> {
    let change = IssueFastToken {
        key: key(ALICE, agent),
        now,
        expires: now + 100,
        limit: 2,
    };
    storage.write(change).await.unwrap()
}

async fn show(storage: &Storage, generation: u64, now: u64, count: Option<u64>) -> bool {
    let change = UseFastToken {
        key: key(ALICE, "phone"),
        generation,
        count,
        now,
        invalidate: false,
    };
    storage.write(change).await.unwrap()
}

#[tokio::test]
async fn two_generations_are_valid_until_the_newer_is_used() {
    let storage = storage().await;
    assert_eq!(issue(&storage, "phone", 10).await, Some(10));
    assert!(show(&storage, 10, 20, None).await);
    assert_eq!(issue(&storage, "phone", 30).await, Some(30));
    assert!(show(&storage, 10, 40, None).await);
    assert!(show(&storage, 30, 40, None).await);
    assert!(!show(&storage, 10, 40, None).await);
    // It expires, and a clock that stands still makes no generation twice.
    assert!(!show(&storage, 30, 130, None).await);
    assert_eq!(issue(&storage, "phone", 30).await, Some(31));
}

#[tokio::test]
async fn a_count_comes_once() {
    let storage = storage().await;
    issue(&storage, "phone", 10).await;
    assert!(show(&storage, 10, 20, Some(1)).await);
    assert!(!show(&storage, 10, 20, Some(1)).await);
    assert!(show(&storage, 10, 20, Some(3)).await);
    assert!(!show(&storage, 10, 20, Some(2)).await);
    assert!(show(&storage, 10, 20, None).await);
}

#[tokio::test]
async fn tokens_end_with_the_password_the_client_and_the_number_of_others() {
    let storage = storage().await;
    issue(&storage, "phone", 10).await;
    let keys = KeptScramKeys {
        hash: ScramHash::Sha256,
        salt: vec![1],
        iterations: 4096,
        stored_key: vec![2],
        server_key: vec![3],
    };
    for _ in 0..2 {
        issue(&storage, "phone", 10).await;
        let change = SetScramKeys {
            account: ALICE.to_owned(),
            keys: vec![keys.clone()],
        };
        storage.write(change).await.unwrap();
        assert_eq!(
            storage.fast_token(&key(ALICE, "phone")).await.unwrap(),
            None
        );
    }
    issue(&storage, "phone", 20).await;
    let last = UseFastToken {
        key: key(ALICE, "phone"),
        generation: 20,
        count: None,
        now: 21,
        invalidate: true,
    };
    assert!(storage.write(last).await.unwrap());
    assert!(!show(&storage, 20, 21, None).await);
    for (agent, now) in [("phone", 30), ("laptop", 31), ("tablet", 32)] {
        issue(&storage, agent, now).await;
    }
    assert_eq!(
        storage.fast_token(&key(ALICE, "phone")).await.unwrap(),
        None
    );
    assert!(
        storage
            .fast_token(&key(ALICE, "tablet"))
            .await
            .unwrap()
            .is_some()
    );
    let nobody = IssueFastToken {
        key: key("nobody@a.example", "phone"),
        now: 1,
        expires: 2,
        limit: 2,
    };
    assert_eq!(storage.write(nobody).await.unwrap(), None);
}
