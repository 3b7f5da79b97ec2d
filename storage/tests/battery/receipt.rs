use comity_storage::{
    Enqueue, ForgetQueues, Once, Outgoing, Receipt, Receive, RenewOutboxQueue, Storage,
    StoreOffline, StoredOffline,
};

use super::{empty, with};

fn receipt(queue: &str, number: i64) -> Receipt {
    Receipt {
        ours: "a.example".to_owned(),
        peer: "b.example".to_owned(),
        queue: queue.to_owned(),
        number,
        heard: 1000,
    }
}

async fn keep(storage: &Storage, receipt: Option<Receipt>, account: &str) -> Option<StoredOffline> {
    let change = StoreOffline {
        account: account.to_owned(),
        stanza: b"<message/>".to_vec(),
        received: 1,
        limit: 100,
    };
    storage.write(Once { receipt, change }).await.unwrap()
}

async fn held(storage: &Storage, queue: &str) -> i64 {
    storage.held("a.example", "b.example", queue).await.unwrap()
}

#[tokio::test]
async fn a_place_is_used_once_and_with_its_effects() {
    let alice = "alice@a.example";
    let storage = with(&[alice]).await;
    assert_eq!(held(&storage, "q").await, 0);
    let stored = Some(StoredOffline::Stored);
    assert_eq!(keep(&storage, Some(receipt("q", 4)), alice).await, stored);
    assert_eq!(held(&storage, "q").await, 4);
    for again in [4, 3] {
        assert_eq!(
            keep(&storage, Some(receipt("q", again)), alice).await,
            None,
            "{again}"
        );
    }
    assert_eq!(keep(&storage, Some(receipt("q", 9)), alice).await, stored);
    // What has no place is kept in any case.
    assert_eq!(keep(&storage, None, alice).await, stored);
    assert_eq!(storage.offline_count(alice).await.unwrap(), 3);
    // A refusal is an end too.
    let nobody = keep(&storage, Some(receipt("q", 10)), "nobody@a.example").await;
    assert_eq!(nobody, Some(StoredOffline::NoAccount));
    assert_eq!(held(&storage, "q").await, 10);
}

#[tokio::test]
async fn places_without_effects_and_other_queues() {
    let storage = empty().await;
    let receive = |queue, number| storage.write(Receive(receipt(queue, number)));
    assert_eq!(receive("q", 5).await.unwrap(), 0);
    assert_eq!(receive("q", 5).await.unwrap(), 5);
    assert_eq!(receive("q", 2).await.unwrap(), 5);
    assert_eq!(receive("q", 6).await.unwrap(), 5);
    // The peer has begun anew: the old queue is over, and its numbers mean nothing here.
    assert_eq!(receive("new", 1).await.unwrap(), 0);
    assert_eq!(
        (held(&storage, "new").await, held(&storage, "q").await),
        (1, 0)
    );
    assert_eq!(
        storage.held("a.example", "c.example", "q").await.unwrap(),
        0
    );
    let forget = |before| storage.write(ForgetQueues { before });
    assert_eq!(forget(1000).await.unwrap(), 0);
    assert_eq!(forget(1001).await.unwrap(), 1);
    assert_eq!(held(&storage, "new").await, 0);
}

#[tokio::test]
async fn a_queue_that_went_back_in_time_gets_another_name() {
    let storage = empty().await;
    let first = storage.outbox_queue().await.unwrap();
    assert_eq!((first.queue.len(), first.highest), (32, 0));
    for _ in 0..3 {
        let row = Outgoing {
            destination: "b.example".to_owned(),
            stanza: Vec::new(),
            created: 1,
            expires: 2,
        };
        storage.write(Enqueue(row)).await.unwrap();
    }
    assert_eq!(storage.outbox_queue().await.unwrap().highest, 3);
    assert!(!storage.write(RenewOutboxQueue { held: 3 }).await.unwrap());
    assert_eq!(storage.outbox_queue().await.unwrap().queue, first.queue);
    assert!(storage.write(RenewOutboxQueue { held: 4 }).await.unwrap());
    assert_ne!(storage.outbox_queue().await.unwrap().queue, first.queue);
}
