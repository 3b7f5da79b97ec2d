use comity_storage::{
    Account, Created, DeleteAccount, EnableAccount, Enqueue, HostSecret, ScramHash, SetContact,
    SetScramKeys, StoreOffline,
};

use super::{account_of, create, empty, keys, with};

#[tokio::test]
async fn an_account_is_made_once() {
    let storage = with(&["alice@a.example"]).await;
    let mut again = account_of("alice@a.example");
    again.keys.clear();
    assert_eq!(storage.write(again).await.unwrap(), Created::Exists);
    let alice = Account {
        account: "alice@a.example".to_owned(),
        enabled: true,
        created: 1000,
    };
    assert_eq!(
        storage.account("alice@a.example").await.unwrap(),
        Some(alice)
    );
    let kept = storage.scram_keys("alice@a.example").await.unwrap();
    assert!(kept == [keys(ScramHash::Sha1, 1), keys(ScramHash::Sha256, 2)]);
}

#[tokio::test]
async fn of_a_hundred_that_want_a_name_one_gets_it() {
    let storage = empty().await;
    let answers: Vec<_> = (0..100)
        .map(|_| {
            let storage = storage.clone();
            tokio::spawn(async move { storage.write(account_of("alice@a.example")).await.unwrap() })
        })
        .collect();
    let mut created = 0;
    for answer in answers {
        created += usize::from(answer.await.unwrap() == Created::Created);
    }
    assert_eq!(created, 1);
}

#[tokio::test]
async fn a_new_password_replaces_all_keys() {
    let storage = with(&["alice@a.example"]).await;
    let set = |account: &str| SetScramKeys {
        account: account.to_owned(),
        keys: vec![keys(ScramHash::Sha256, 9)],
    };
    assert!(storage.write(set("alice@a.example")).await.unwrap());
    let kept = storage.scram_keys("alice@a.example").await.unwrap();
    assert!(kept == [keys(ScramHash::Sha256, 9)]);
    assert!(!storage.write(set("bob@a.example")).await.unwrap());
    assert!(
        storage
            .scram_keys("bob@a.example")
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_disabled_account_keeps_its_keys() {
    let storage = with(&["alice@a.example"]).await;
    let enable = |account: &str, enabled| EnableAccount {
        account: account.to_owned(),
        enabled,
    };
    for enabled in [false, true] {
        let known = storage
            .write(enable("alice@a.example", enabled))
            .await
            .unwrap();
        let alice = storage.account("alice@a.example").await.unwrap().unwrap();
        assert_eq!((known, alice.enabled), (true, enabled));
        assert_eq!(
            storage.scram_keys("alice@a.example").await.unwrap().len(),
            2
        );
    }
    assert!(!storage.write(enable("bob@a.example", true)).await.unwrap());
}

#[tokio::test]
async fn accounts_are_listed_by_domain_in_parts() {
    let storage = with(&["c@a.example", "a@a.example", "b@b.example", "b@a.example"]).await;
    let names = async |after: &str, limit| -> Vec<String> {
        let found = storage.accounts("a.example", after, limit).await.unwrap();
        found.into_iter().map(|account| account.account).collect()
    };
    assert_eq!(names("", 2).await, ["a@a.example", "b@a.example"]);
    assert_eq!(names("b@a.example", 2).await, ["c@a.example"]);
    assert!(names("c@a.example", 2).await.is_empty());
}

#[tokio::test]
async fn a_deleted_account_leaves_nothing_to_its_successor() {
    let storage = with(&["alice@a.example", "bob@a.example"]).await;
    for account in ["alice@a.example", "bob@a.example"] {
        let message = StoreOffline {
            account: account.to_owned(),
            stanza: b"<message/>".to_vec(),
            received: 1,
            limit: 10,
        };
        storage.write(message).await.unwrap();
        let contact = SetContact {
            account: account.to_owned(),
            contact: "carol@c.example".to_owned(),
            name: None,
            groups: vec!["friends".to_owned()],
            limit: 10,
        };
        storage.write(contact).await.unwrap();
    }
    let delete = || DeleteAccount {
        account: "alice@a.example".to_owned(),
    };
    assert!(storage.write(delete()).await.unwrap());
    assert!(!storage.write(delete()).await.unwrap());
    assert_eq!(storage.account("alice@a.example").await.unwrap(), None);
    create(&storage, "alice@a.example").await;
    assert_eq!(storage.offline_count("alice@a.example").await.unwrap(), 0);
    assert_eq!(
        storage.roster("alice@a.example").await.unwrap(),
        Default::default()
    );
    assert_eq!(storage.offline_count("bob@a.example").await.unwrap(), 1);
    assert_eq!(
        storage
            .roster("bob@a.example")
            .await
            .unwrap()
            .contacts
            .len(),
        1
    );
}

#[tokio::test]
async fn what_a_deleted_account_had_sent_still_goes_out() {
    let storage = with(&["alice@a.example"]).await;
    let outgoing = comity_storage::Outgoing {
        destination: "b.example".to_owned(),
        stanza: b"<message from='alice@a.example'/>".to_vec(),
        created: 1,
        expires: 2,
    };
    storage.write(Enqueue(outgoing)).await.unwrap();
    let delete = DeleteAccount {
        account: "alice@a.example".to_owned(),
    };
    assert!(storage.write(delete).await.unwrap());
    assert_eq!(storage.outbox_length("b.example").await.unwrap(), 1);
}

#[tokio::test]
async fn the_first_secret_proposed_is_kept() {
    let storage = empty().await;
    let secret = async |domain: &str, byte| {
        let proposal = HostSecret {
            domain: domain.to_owned(),
            proposed: [byte; 32],
        };
        storage.write(proposal).await.unwrap()
    };
    assert_eq!(secret("a.example", 1).await, [1; 32]);
    assert_eq!(secret("a.example", 2).await, [1; 32]);
    assert_eq!(secret("b.example", 3).await, [3; 32]);
}
