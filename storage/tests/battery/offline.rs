use comity_storage::{DeleteOffline, Storage, StoreOffline, StoredOffline, TakeOffline};

use super::with;

const ALICE: &str = "alice@a.example";
const BOB: &str = "bob@a.example";

fn message(account: &str, number: u64) -> StoreOffline {
    StoreOffline {
        account: account.to_owned(),
        stanza: number.to_string().into_bytes(),
        received: number,
        limit: 5,
    }
}

async fn numbers(storage: &Storage, account: &str) -> Vec<u64> {
    let waiting = storage.offline(account, 0, 100).await.unwrap();
    assert!(waiting.is_sorted_by(|a, b| a.id < b.id));
    for message in &waiting {
        assert_eq!(message.stanza, message.received.to_string().into_bytes());
    }
    waiting.iter().map(|message| message.received).collect()
}

#[tokio::test]
async fn messages_wait_in_order_up_to_the_limit() {
    let storage = with(&[ALICE, BOB]).await;
    // Submitted at once, so that the multi-row way is taken, which has to count for itself.
    let answers: Vec<_> = (0..16)
        .map(|number| {
            let account = [ALICE, BOB, "nobody@a.example"][usize::try_from(number % 3).unwrap()];
            storage.submit(message(account, number))
        })
        .collect();
    let mut outcomes = Vec::new();
    for answer in answers {
        outcomes.push(answer.await.unwrap());
    }
    for (number, outcome) in outcomes.into_iter().enumerate() {
        let expected = match (number % 3, number / 3) {
            (2, _) => StoredOffline::NoAccount,
            (_, 0..5) => StoredOffline::Stored,
            _ => StoredOffline::Full,
        };
        assert_eq!(outcome, expected, "message {number}");
    }
    assert_eq!(numbers(&storage, ALICE).await, [0, 3, 6, 9, 12]);
    assert_eq!(numbers(&storage, BOB).await, [1, 4, 7, 10, 13]);
    assert_eq!(storage.offline_count(ALICE).await.unwrap(), 5);
}

#[tokio::test]
async fn what_has_gone_makes_room() {
    let storage = with(&[ALICE]).await;
    for number in 0..5 {
        storage.write(message(ALICE, number)).await.unwrap();
    }
    assert_eq!(
        storage.write(message(ALICE, 5)).await.unwrap(),
        StoredOffline::Full
    );
    let take = |limit| TakeOffline {
        account: ALICE.to_owned(),
        limit,
    };
    let taken = storage.write(take(2)).await.unwrap();
    let taken: Vec<u64> = taken.iter().map(|message| message.received).collect();
    assert_eq!(taken, [0, 1]);
    assert_eq!(
        storage.write(message(ALICE, 6)).await.unwrap(),
        StoredOffline::Stored
    );
    assert_eq!(numbers(&storage, ALICE).await, [2, 3, 4, 6]);
    assert_eq!(storage.write(take(100)).await.unwrap().len(), 4);
    assert!(storage.write(take(100)).await.unwrap().is_empty());
}

#[tokio::test]
async fn only_ones_own_messages_are_deleted() {
    let storage = with(&[ALICE, BOB]).await;
    for number in 0..4 {
        storage.write(message(ALICE, number)).await.unwrap();
        storage.write(message(BOB, number)).await.unwrap();
    }
    let ids = async |account| -> Vec<i64> {
        let waiting = storage.offline(account, 0, 100).await.unwrap();
        waiting.iter().map(|message| message.id).collect()
    };
    let mut both = ids(ALICE).await[1..3].to_vec();
    both.extend(ids(BOB).await);
    let delete = DeleteOffline {
        account: ALICE.to_owned(),
        ids: both,
    };
    assert_eq!(storage.write(delete).await.unwrap(), 2);
    assert_eq!(numbers(&storage, ALICE).await, [0, 3]);
    assert_eq!(numbers(&storage, BOB).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn reading_goes_on_after_an_id() {
    let storage = with(&[ALICE]).await;
    for number in 0..5 {
        storage.write(message(ALICE, number)).await.unwrap();
    }
    let first = storage.offline(ALICE, 0, 3).await.unwrap();
    let rest = storage.offline(ALICE, first[2].id, 3).await.unwrap();
    let rest: Vec<u64> = rest.iter().map(|message| message.received).collect();
    assert_eq!((first.len(), rest), (3, vec![3, 4]));
}
