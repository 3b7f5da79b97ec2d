use super::*;
use crate::{CreateAccount, DeleteAccount, Storage};

const ROMEO: &str = "romeo@a.example";

async fn open() -> Storage {
    let storage = Storage::open(":memory:".as_ref()).await.unwrap();
    let account = CreateAccount {
        account: ROMEO.to_owned(),
        domain: "a.example".to_owned(),
        created: 0,
        keys: Vec::new(),
    };
    storage.write(account).await.unwrap();
    storage
}

fn new(max_items: usize) -> NewNode {
    NewNode {
        config: "c1".to_owned(),
        max_items,
        created: 1,
        nodes_limit: 2,
    }
}

fn item(node: &str, id: &str, expected: Option<&str>) -> Publish {
    Publish {
        account: ROMEO.to_owned(),
        node: node.to_owned(),
        expected: expected.map(str::to_owned),
        new: new(2),
        persist: true,
        item: id.to_owned(),
        publisher: ROMEO.to_owned(),
        payload: format!("<x>{id}</x>").into_bytes(),
        published: 5,
        quota: Quota { bytes: 1_000 },
    }
}

fn ids(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.id.as_str()).collect()
}

#[tokio::test]
async fn items_are_kept_newest_first_and_the_oldest_give_way() {
    let storage = open().await;
    let published = |evicted: &[&str]| Published::Published {
        evicted: evicted.iter().map(|id| (*id).to_owned()).collect(),
    };
    let done = storage.write(item("n", "1", None)).await.unwrap();
    assert_eq!(done, published(&[]));
    storage.write(item("n", "2", Some("c1"))).await.unwrap();
    // Published again: it is the newest now.
    let done = storage.write(item("n", "1", Some("c1"))).await.unwrap();
    assert_eq!(done, published(&[]));
    let done = storage.write(item("n", "3", Some("c1"))).await.unwrap();
    assert_eq!(done, published(&["2"]));
    let kept = storage.pubsub_items(ROMEO, "n", 10).await.unwrap();
    assert_eq!(ids(&kept), ["3", "1"]);
    let named = ["1".to_owned(), "2".to_owned()];
    let named = storage.pubsub_items_named(ROMEO, "n", &named).await;
    assert_eq!(ids(&named.unwrap()), ["1"]);
    let change = ConfigureNode {
        account: ROMEO.to_owned(),
        node: "n".to_owned(),
        expected: "c1".to_owned(),
        config: "c2".to_owned(),
        max_items: 1,
    };
    assert_eq!(storage.write(change).await.unwrap(), Configured::Configured);
    let kept = storage.pubsub_items(ROMEO, "n", 10).await.unwrap();
    assert_eq!(ids(&kept), ["3"]);
}

#[tokio::test]
async fn what_was_decided_upon_something_else_changes_nothing() {
    let storage = open().await;
    let refused = |publish: Publish| {
        let storage = storage.clone();
        async move { storage.write(publish).await.unwrap() }
    };
    assert_eq!(refused(item("n", "1", Some("c1"))).await, Published::Stale);
    storage.write(item("n", "1", None)).await.unwrap();
    assert_eq!(refused(item("n", "2", None)).await, Published::Stale);
    assert_eq!(refused(item("n", "2", Some("c0"))).await, Published::Stale);
    let nobody = Publish {
        account: "nobody@a.example".to_owned(),
        ..item("n", "1", None)
    };
    assert_eq!(refused(nobody).await, Published::NoAccount);
    let large = Publish {
        payload: vec![b'x'; 1_000],
        ..item("n", "2", Some("c1"))
    };
    assert_eq!(refused(large).await, Published::OverQuota);
    storage.write(item("m", "1", None)).await.unwrap();
    assert_eq!(refused(item("o", "1", None)).await, Published::TooManyNodes);
    assert_eq!(storage.pubsub_nodes(ROMEO).await.unwrap().len(), 2);
    let stale = ConfigureNode {
        account: ROMEO.to_owned(),
        node: "n".to_owned(),
        expected: "c0".to_owned(),
        config: "c2".to_owned(),
        max_items: 1,
    };
    assert_eq!(storage.write(stale).await.unwrap(), Configured::Stale);
}

#[tokio::test]
async fn what_is_only_told_is_not_kept() {
    let storage = open().await;
    let told = Publish {
        persist: false,
        ..item("n", "1", None)
    };
    storage.write(told).await.unwrap();
    assert!(storage.pubsub_node(ROMEO, "n").await.unwrap().is_some());
    assert!(
        storage
            .pubsub_items(ROMEO, "n", 10)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn retracting_purging_deleting() {
    let storage = open().await;
    storage.write(item("n", "1", None)).await.unwrap();
    let retract = |node: &str, item: &str| Retract {
        account: ROMEO.to_owned(),
        node: node.to_owned(),
        item: item.to_owned(),
    };
    for (node, id, outcome) in [
        ("n", "1", Retracted::Retracted),
        ("n", "1", Retracted::NoItem),
        ("m", "1", Retracted::NoNode),
    ] {
        assert_eq!(storage.write(retract(node, id)).await.unwrap(), outcome);
    }
    storage.write(item("n", "2", Some("c1"))).await.unwrap();
    let purge = |node: &str| PurgeNode {
        account: ROMEO.to_owned(),
        node: node.to_owned(),
    };
    assert!(storage.write(purge("n")).await.unwrap());
    assert!(!storage.write(purge("m")).await.unwrap());
    assert!(
        storage
            .pubsub_items(ROMEO, "n", 10)
            .await
            .unwrap()
            .is_empty()
    );
    let delete = || DeleteNode {
        account: ROMEO.to_owned(),
        node: "n".to_owned(),
    };
    assert!(storage.write(delete()).await.unwrap());
    assert!(!storage.write(delete()).await.unwrap());
}

#[tokio::test]
async fn affiliations_come_and_go() {
    let storage = open().await;
    storage.write(item("n", "1", None)).await.unwrap();
    let affiliate = |affiliation: Option<&str>| Affiliate {
        account: ROMEO.to_owned(),
        node: "n".to_owned(),
        affiliations: vec![(
            "juliet@b.example".to_owned(),
            affiliation.map(str::to_owned),
        )],
        limit: 2,
    };
    assert!(storage.write(affiliate(Some("member"))).await.unwrap());
    let found = storage.pubsub_affiliation(ROMEO, "n", "juliet@b.example");
    assert_eq!(found.await.unwrap().as_deref(), Some("member"));
    assert!(storage.write(affiliate(None)).await.unwrap());
    let held = storage.pubsub_affiliations(ROMEO, "n").await.unwrap();
    assert!(held.is_empty());
}

#[tokio::test]
async fn subscriptions_end_with_their_node_and_everything_with_the_account() {
    let storage = open().await;
    storage.write(item("n", "1", None)).await.unwrap();
    let subscribe = |jid: &str, pending| {
        storage.write(Subscribe {
            account: ROMEO.to_owned(),
            node: "n".to_owned(),
            jid: jid.to_owned(),
            pending,
            limit: 2,
        })
    };
    assert!(subscribe("juliet@b.example", true).await.unwrap());
    assert!(subscribe("juliet@b.example", false).await.unwrap());
    // Asking again does not undo the approval.
    assert!(subscribe("juliet@b.example", true).await.unwrap());
    let held = storage.pubsub_subscriptions(ROMEO, "n").await.unwrap();
    assert_eq!((held.len(), held[0].pending), (1, false));
    assert!(subscribe("nurse@b.example", false).await.unwrap());
    assert!(!subscribe("tybalt@b.example", false).await.unwrap());
    let account = ROMEO.to_owned();
    storage.write(DeleteAccount { account }).await.unwrap();
    assert!(storage.pubsub_nodes(ROMEO).await.unwrap().is_empty());
    let held = storage.pubsub_subscriptions(ROMEO, "n").await.unwrap();
    assert!(held.is_empty());
}
