use comity_storage::StoreOffline;

use super::{create, with};

#[tokio::test]
async fn what_there_is_is_counted() {
    let storage = with(&["alice@a.example", "bob@a.example", "carol@c.example"]).await;
    let totals = storage.totals().await.unwrap();
    let accounts = [("a.example".to_owned(), 2), ("c.example".to_owned(), 1)];
    assert_eq!(totals.accounts, accounts);
    assert_eq!((totals.rooms, totals.outbox, totals.offline), (0, 0, 0));
    assert!(totals.database > 0);
    let store = StoreOffline {
        account: "alice@a.example".to_owned(),
        stanza: b"<message/>".to_vec(),
        received: 7,
        limit: 10,
    };
    storage.write(store).await.unwrap();
    create(&storage, "dave@c.example").await;
    let totals = storage.totals().await.unwrap();
    assert_eq!((totals.accounts[1].1, totals.offline), (2, 1));
    let alice = storage.account_summary("alice@a.example").await.unwrap();
    assert_eq!((alice.offline, alice.contacts, alice.devices), (1, 0, 0));
    let nobody = storage.account_summary("nobody@a.example").await.unwrap();
    assert_eq!(nobody, comity_storage::AccountSummary::default());
}
