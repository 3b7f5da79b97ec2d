use comity_storage::{
    Delivered, Enqueue, Enqueued, OUTBOX_LIMIT, Outgoing, Queue, RemoveOutgoing, Storage,
};

use super::empty;

fn outgoing(destination: &str, number: u64) -> Outgoing {
    Outgoing {
        destination: destination.to_owned(),
        stanza: number.to_string().into_bytes(),
        created: number,
        expires: 100 + number,
    }
}

async fn enqueue(storage: &Storage, destination: &str, numbers: std::ops::Range<u64>) {
    let answers: Vec<_> = numbers
        .map(|number| storage.submit(Enqueue(outgoing(destination, number))))
        .collect();
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Enqueued::Queued);
    }
}

async fn numbers(storage: &Storage, destination: &str) -> Vec<u64> {
    let rows = storage.outbox(destination, 0, 1000).await.unwrap();
    assert!(rows.is_sorted_by(|a, b| a.id < b.id));
    for row in &rows {
        assert_eq!(row.stanza, row.created.to_string().into_bytes());
        assert_eq!(row.expires, 100 + row.created);
        assert_eq!(row.destination, destination);
    }
    let length = storage.outbox_length(destination).await.unwrap();
    assert_eq!(usize::try_from(length).unwrap(), rows.len());
    rows.iter().map(|row| row.created).collect()
}

#[tokio::test]
async fn each_domain_has_a_queue_in_order_of_the_calls() {
    let storage = empty().await;
    enqueue(&storage, "b.example", 0..300).await;
    enqueue(&storage, "c.example", 0..2).await;
    enqueue(&storage, "b.example", 300..310).await;
    assert_eq!(
        numbers(&storage, "b.example").await,
        (0..310).collect::<Vec<_>>()
    );
    let both = ["b.example", "c.example"];
    assert_eq!(storage.outbox_destinations().await.unwrap(), both);
    let first = storage.outbox("b.example", 0, 4).await.unwrap();
    let next = storage.outbox("b.example", first[3].id, 1).await.unwrap();
    assert_eq!(next[0].created, 4);
}

#[tokio::test]
async fn a_queue_has_a_length_and_an_age() {
    let storage = empty().await;
    enqueue(&storage, "b.example", 3..5).await;
    enqueue(&storage, "c.example", 6..7).await;
    let queue = |destination: &str, length, oldest| Queue {
        destination: destination.to_owned(),
        length,
        oldest,
    };
    let all = storage.outbox_queues("", 10).await.unwrap();
    assert_eq!(all, [queue("b.example", 2, 3), queue("c.example", 1, 6)]);
    let rest = storage.outbox_queues("b.example", 10).await.unwrap();
    assert_eq!(rest, all[1..]);
    assert_eq!(storage.outbox_queues("", 1).await.unwrap(), all[..1]);
}

#[tokio::test]
async fn an_acknowledgement_covers_all_before_and_nothing_else() {
    let storage = empty().await;
    enqueue(&storage, "b.example", 0..3).await;
    enqueue(&storage, "c.example", 0..1).await;
    enqueue(&storage, "b.example", 3..5).await;
    let rows = storage.outbox("b.example", 0, 10).await.unwrap();
    let delivered = |through| Delivered {
        destination: "b.example".to_owned(),
        through,
    };
    // The fourth has a higher id than the row for the other domain.
    assert_eq!(storage.write(delivered(rows[3].id)).await.unwrap(), 4);
    assert_eq!(storage.write(delivered(rows[3].id)).await.unwrap(), 0);
    assert_eq!(numbers(&storage, "b.example").await, [4]);
    assert_eq!(numbers(&storage, "c.example").await, [0]);
    assert_eq!(storage.write(delivered(rows[4].id)).await.unwrap(), 1);
    assert_eq!(storage.outbox_destinations().await.unwrap(), ["c.example"]);
}

#[tokio::test]
async fn an_id_is_never_used_twice() {
    let storage = empty().await;
    enqueue(&storage, "b.example", 0..1).await;
    let first = storage.outbox("b.example", 0, 1).await.unwrap()[0].id;
    let delivered = Delivered {
        destination: "b.example".to_owned(),
        through: first,
    };
    storage.write(delivered).await.unwrap();
    enqueue(&storage, "b.example", 1..2).await;
    assert!(storage.outbox("b.example", 0, 1).await.unwrap()[0].id > first);
}

#[tokio::test]
async fn what_expired_is_found_and_removed() {
    let storage = empty().await;
    enqueue(&storage, "b.example", 0..4).await;
    enqueue(&storage, "c.example", 0..4).await;
    assert!(storage.outbox_expired(100, 10).await.unwrap().is_empty());
    let expired = storage.outbox_expired(102, 3).await.unwrap();
    let found: Vec<u64> = expired.iter().map(|row| row.expires).collect();
    assert_eq!(found, [100, 100, 101]);
    let ids: Vec<i64> = expired.iter().map(|row| row.id).collect();
    let remove = || RemoveOutgoing { ids: ids.clone() };
    assert_eq!(storage.write(remove()).await.unwrap(), 3);
    assert_eq!(storage.write(remove()).await.unwrap(), 0);
    assert_eq!(storage.outbox_expired(102, 3).await.unwrap().len(), 1);
    assert_eq!(numbers(&storage, "b.example").await, [2, 3]);
}

#[tokio::test]
async fn a_dead_domain_costs_bounded_disk() {
    let storage = empty().await;
    // By parts, since the writer's own queue is shorter.
    let limit = u64::try_from(OUTBOX_LIMIT).unwrap();
    for start in (0..limit).step_by(2000) {
        enqueue(&storage, "b.example", start..limit.min(start + 2000)).await;
    }
    let answers = [
        storage.submit(Enqueue(outgoing("b.example", limit))),
        storage.submit(Enqueue(outgoing("c.example", 0))),
        storage.submit(Enqueue(outgoing("b.example", limit))),
    ];
    let mut outcomes = Vec::new();
    for answer in answers {
        outcomes.push(answer.await.unwrap());
    }
    assert_eq!(outcomes, [Enqueued::Full, Enqueued::Queued, Enqueued::Full]);
    assert_eq!(storage.outbox_length("b.example").await.unwrap(), limit);
}
