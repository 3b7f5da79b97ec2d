//! One commit ends an epoch; everybody else catches up.

use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Answer, Request, Stamped};

use super::world::{NOW, World, key, room};

/// Alice's room with Bob in it, joined.
async fn two(world: &World) -> (super::world::Device, super::world::Device) {
    let mut alice = world.room().await;
    let mut bob = world.device("bob@b.example", 2);
    let bundle = alice.bundle(&[&bob], &[]);
    let welcome = bundle.welcome.clone().unwrap();
    world.commit(&mut alice, bundle).await;
    let tree = alice.group().export_tree().to_bytes().unwrap();
    bob.join(&welcome, &tree);
    (alice, bob)
}

#[tokio::test]
async fn of_two_commits_one_wins_and_the_other_learns_where_it_stands() {
    let world = World::new().await;
    let (mut alice, mut bob) = two(&world).await;
    let (one, other) = (alice.bundle(&[], &[]), bob.bundle(&[], &[]));
    let (one, other) = tokio::join!(
        world.ask(&alice, Request::Commit(one)),
        world.ask(&bob, Request::Commit(other))
    );
    let stale = Refusal::StaleEpoch { epoch: 2, seq: 3 };
    match (one, other) {
        (Ok(_), Err(refusal)) | (Err(refusal), Ok(_)) => assert_eq!(refusal, stale),
        both => panic!("{both:?}"),
    }
    assert_eq!(world.info(&alice).await.epoch, 2);
}

#[tokio::test]
async fn commits_in_turn_keep_everybody_together() {
    let world = World::new().await;
    let (mut alice, mut bob) = two(&world).await;
    for round in 0..20_u64 {
        let (by, other) = if round % 2 == 0 {
            (&mut alice, &mut bob)
        } else {
            (&mut bob, &mut alice)
        };
        let bundle = by.bundle(&[], &[]);
        let commit = bundle.commit.clone();
        let accepted = world.commit(by, bundle).await;
        assert_eq!((accepted.epoch, accepted.seq), (round + 2, round + 3));
        other.follow(&commit);
        let (one, two) = (
            by.group().epoch_authenticator().unwrap(),
            other.group().epoch_authenticator().unwrap(),
        );
        assert_eq!(one.as_bytes(), two.as_bytes());
    }
}

#[tokio::test]
async fn messages_are_of_the_current_epoch() {
    let world = World::new().await;
    let (mut alice, mut bob) = two(&world).await;
    let old = bob.message("late");
    let message = alice.message("hello");
    let sent = world.accept(&alice, message).await;
    assert_eq!((sent.seq, sent.epoch), (3, 1));
    let bundle = alice.bundle(&[], &[]);
    world.commit(&mut alice, bundle).await;
    let refusal = world.refuse(&bob, old).await;
    assert_eq!(refusal, Refusal::StaleEpoch { epoch: 2, seq: 4 });
}

#[tokio::test]
async fn what_is_no_message_of_this_group_is_refused() {
    let world = World::new().await;
    let (mut alice, _bob) = two(&world).await;
    let Request::Send { epoch, message, .. } = alice.message("hello") else {
        unreachable!()
    };
    let check = async |epoch, message: Vec<u8>, expected: &str| {
        let request = Request::Send {
            key: key(),
            epoch,
            message: message.into(),
        };
        let refusal = format!("{:?}", world.refuse(&alice, request).await);
        assert!(refusal.contains(expected), "{refusal}");
    };
    check(2, message.to_vec(), "BadRequest").await;
    check(epoch, b"nothing".to_vec(), "InvalidMessage").await;
    let mut other = message.to_vec();
    other[6] ^= 1;
    check(epoch, other, "another group").await;
    check(epoch, vec![0; 70_000], "LimitReached").await;
    let mut longer = message.to_vec();
    longer.push(0);
    check(epoch, longer, "InvalidMessage").await;
}

#[tokio::test]
async fn strangers_learn_nothing() {
    let world = World::new().await;
    let (mut alice, _bob) = two(&world).await;
    let eve = world.device("eve@a.example", 9);
    let message = alice.message("hello");
    for request in [
        Request::Info,
        Request::GroupInfo,
        Request::Status { key: key() },
        message,
    ] {
        assert_eq!(world.refuse(&eve, request).await, Refusal::NoRoom);
    }
    // Another device of Alice is a stranger as well.
    let tablet = world.device("alice@a.example", 10);
    assert_eq!(world.refuse(&tablet, Request::Info).await, Refusal::NoRoom);
}

#[tokio::test]
async fn a_lost_answer_is_found_by_its_key_after_a_restart_too() {
    let world = World::new().await;
    let (mut alice, _bob) = two(&world).await;
    let message = alice.message("hello");
    let Request::Send { key: used, .. } = message else {
        unreachable!()
    };
    let accepted = world.accept(&alice, message.clone()).await;
    assert_eq!(world.accept(&alice, message.clone()).await, accepted);
    let hub = world.a.restarted(&world.cas);
    let ask = async |request| {
        let request = Stamped {
            device: Some(alice.member.device),
            request,
        };
        let from = &alice.member.account;
        hub.request(&room(), from, request, *NOW)
            .await
            .unwrap()
            .answer
    };
    let status = ask(Request::Status { key: used }).await;
    assert_eq!(status, Answer::Status(Some(accepted.clone())));
    assert_eq!(ask(message).await, Answer::Accepted(accepted));
    let status = ask(Request::Status { key: key() }).await;
    assert_eq!(status, Answer::Status(None));
}

#[tokio::test]
async fn two_processes_of_one_domain_order_one_log() {
    let world = World::new().await;
    let (mut alice, mut bob) = two(&world).await;
    let hub = world.a.restarted(&world.cas);
    for round in 0..5_u64 {
        // Each hub finds the room further on than it remembers.
        let (message, request) = (alice.message("one"), bob.message("other"));
        let first = world.accept(&alice, message).await;
        let stamped = Stamped {
            device: Some(bob.member.device),
            request,
        };
        let reply = hub
            .request(&room(), &bob.member.account, stamped, *NOW)
            .await;
        let Answer::Accepted(second) = reply.unwrap().answer else {
            unreachable!()
        };
        assert_eq!((first.seq, second.seq), (2 * round + 3, 2 * round + 4));
    }
}
