use comity_storage::{BlockContacts, ContactsBlocked, DeleteAccount, Storage, UnblockContacts};

use super::with;

const ALICE: &str = "alice@a.example";

async fn block(storage: &Storage, jids: &[&str]) -> ContactsBlocked {
    let change = BlockContacts {
        account: ALICE.to_owned(),
        jids: jids.iter().map(|jid| (*jid).to_owned()).collect(),
        limit: 3,
    };
    storage.write(change).await.unwrap()
}

async fn unblock(storage: &Storage, jids: Option<&[&str]>) -> Vec<String> {
    let change = UnblockContacts {
        account: ALICE.to_owned(),
        jids: jids.map(|jids| jids.iter().map(|jid| (*jid).to_owned()).collect()),
    };
    storage.write(change).await.unwrap()
}

#[tokio::test]
async fn addresses_are_blocked_until_they_are_no_longer() {
    let storage = with(&[ALICE]).await;
    let new = |jids: &[&str]| {
        ContactsBlocked::Blocked(jids.iter().map(|jid| (*jid).to_owned()).collect())
    };
    assert_eq!(block(&storage, &["b.example"]).await, new(&["b.example"]));
    let both = block(&storage, &["b.example", "eve@c.example"]).await;
    assert_eq!(both, new(&["eve@c.example"]));
    assert_eq!(
        storage.blocklist(ALICE).await.unwrap(),
        ["b.example", "eve@c.example"]
    );
    assert_eq!(
        unblock(&storage, Some(&["b.example", "x.example"])).await,
        ["b.example"]
    );
    assert_eq!(unblock(&storage, None).await, ["eve@c.example"]);
    assert!(storage.blocklists().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_list_is_bounded_and_goes_with_its_account() {
    let storage = with(&[ALICE]).await;
    let full = block(
        &storage,
        &["1.example", "2.example", "3.example", "4.example"],
    )
    .await;
    assert_eq!(full, ContactsBlocked::Full);
    assert!(storage.blocklist(ALICE).await.unwrap().is_empty());
    block(&storage, &["1.example", "2.example", "3.example"]).await;
    // What is blocked already takes no room.
    let again = block(&storage, &["3.example"]).await;
    assert_eq!(again, ContactsBlocked::Blocked(Vec::new()));
    let delete = DeleteAccount {
        account: ALICE.to_owned(),
    };
    assert!(storage.write(delete).await.unwrap());
    assert!(storage.blocklists().await.unwrap().is_empty());
    assert_eq!(
        block(&storage, &["1.example"]).await,
        ContactsBlocked::NoAccount
    );
}
