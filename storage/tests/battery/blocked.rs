use comity_storage::{BLOCKED_LIMIT, BlockPeer, Blocked, UnblockPeer};

use super::empty;

fn blocked(domain: &str, since: u64, reason: &str) -> Blocked {
    Blocked {
        domain: domain.to_owned(),
        since,
        reason: reason.to_owned(),
    }
}

#[tokio::test]
async fn a_domain_is_blocked_until_it_is_no_longer() {
    let storage = empty().await;
    let block = |since, reason| storage.write(BlockPeer(blocked("b.example", since, reason)));
    assert!(block(7, "spam").await.unwrap());
    // Blocked already: since then, for another reason.
    assert!(block(9, "more spam").await.unwrap());
    let all = storage.blocked_peers().await.unwrap();
    assert_eq!(all, [blocked("b.example", 7, "more spam")]);
    let unblock = || {
        storage.write(UnblockPeer {
            domain: "b.example".to_owned(),
        })
    };
    assert!(unblock().await.unwrap());
    assert!(!unblock().await.unwrap());
    assert!(storage.blocked_peers().await.unwrap().is_empty());
}

#[tokio::test]
async fn there_is_a_limit_to_them() {
    let storage = empty().await;
    let all: Vec<usize> = (0..BLOCKED_LIMIT).collect();
    // The writer's own queue is shorter.
    for some in all.chunks(256) {
        let block = |n: &usize| BlockPeer(blocked(&format!("{n}.example"), 1, ""));
        let answers: Vec<_> = some.iter().map(|n| storage.submit(block(n))).collect();
        for answer in answers {
            assert!(answer.await.unwrap());
        }
    }
    let one_more = BlockPeer(blocked("b.example", 1, ""));
    assert!(!storage.write(one_more).await.unwrap());
    let known = BlockPeer(blocked("0.example", 1, "known"));
    assert!(storage.write(known).await.unwrap());
}
