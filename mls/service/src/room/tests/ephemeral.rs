//! Messages outside the log: handed on to the members' domains, written nowhere, and bounded.

use std::collections::BTreeSet;

use comity_mls_wire::authenticated::AuthenticatedData;
use comity_mls_wire::limits::EPHEMERAL_BYTES;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Answer, Request, Stamped};

use super::world::{Device, NOW, World, key, room};

/// Alice's room with Bob in it.
async fn two(world: &World) -> (Device, Device) {
    let mut alice = world.room().await;
    let mut bob = world.device("bob@b.example", 2);
    let bundle = alice.bundle(&[&bob], &[]);
    let welcome = bundle.welcome.clone().unwrap();
    world.commit(&mut alice, bundle).await;
    let tree = alice.group().export_tree().to_bytes().unwrap();
    bob.join(&welcome, &tree);
    (alice, bob)
}

fn sealed(by: &mut Device, data: Vec<u8>) -> Vec<u8> {
    let message = by.group().encrypt_application_message(b"typing", data);
    message.unwrap().to_bytes().unwrap()
}

fn hint(by: &mut Device) -> Request {
    let message = sealed(by, AuthenticatedData::ephemeral().to_bytes().unwrap());
    let epoch = by.group().current_epoch();
    Request::Ephemeral {
        epoch,
        message: message.into(),
    }
}

#[tokio::test]
async fn it_goes_to_the_domains_of_the_members_and_nothing_is_written() {
    let world = World::new().await;
    let (mut alice, _bob) = two(&world).await;
    let (facts, outbox) = (world.facts().await, world.outbox(0).await.len());
    let said = hint(&mut alice);
    let reply = world.ask(&alice, said).await.unwrap();
    assert_eq!((reply.answer, reply.entry), (Answer::Relayed, None));
    let (ephemeral, domains) = reply.ephemeral.unwrap();
    assert_eq!((ephemeral.room, ephemeral.epoch), (room(), 1));
    assert_eq!(
        (&ephemeral.sender, ephemeral.device),
        (&alice.member.account, alice.member.device)
    );
    let both = ["a.example", "b.example"].map(str::to_owned);
    assert_eq!(domains, BTreeSet::from(both));
    assert!(reply.wake.is_empty());
    assert_eq!(world.facts().await, facts);
    assert_eq!(world.outbox(0).await.len(), outbox);
}

#[tokio::test]
async fn what_is_of_an_epoch_that_has_ended_or_of_a_stranger_goes_nowhere() {
    let world = World::new().await;
    let (mut alice, mut bob) = two(&world).await;
    let late = hint(&mut bob);
    let bundle = alice.bundle(&[], &[]);
    world.commit(&mut alice, bundle).await;
    let stale = Refusal::StaleEpoch { epoch: 2, seq: 3 };
    assert_eq!(world.refuse(&bob, late.clone()).await, stale);
    let eve = world.device("eve@a.example", 9);
    assert_eq!(world.refuse(&eve, late).await, Refusal::NoRoom);
    let mut early = hint(&mut alice);
    if let Request::Ephemeral { epoch, .. } = &mut early {
        *epoch = 9;
    }
    let refusal = world.refuse(&alice, early).await;
    assert!(matches!(refusal, Refusal::BadRequest { .. }), "{refusal:?}");
}

#[tokio::test]
async fn neither_passes_for_the_other() {
    let world = World::new().await;
    let (mut alice, _bob) = two(&world).await;
    let unmarked = Request::Ephemeral {
        epoch: 1,
        message: sealed(&mut alice, Vec::new()).into(),
    };
    let marked = AuthenticatedData::ephemeral().to_bytes().unwrap();
    let for_the_log = Request::Send {
        key: key(),
        epoch: 1,
        message: sealed(&mut alice, marked).into(),
    };
    let malformed = Request::Ephemeral {
        epoch: 1,
        message: b"nothing".to_vec().into(),
    };
    for request in [unmarked, for_the_log, malformed] {
        let refusal = world.refuse(&alice, request).await;
        assert!(
            matches!(refusal, Refusal::InvalidMessage { .. }),
            "{refusal:?}"
        );
    }
    let large = Request::Ephemeral {
        epoch: 1,
        message: vec![0; EPHEMERAL_BYTES + 1].into(),
    };
    let refusal = world.refuse(&alice, large).await;
    assert!(
        matches!(refusal, Refusal::LimitReached { .. }),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn a_flood_ends_at_the_rate_and_at_the_policy() {
    let world = World::new().await;
    let (mut alice, mut bob) = two(&world).await;
    let mut now = *NOW;
    let mut ask = async |by: &mut Device, wait: u64| {
        now += wait;
        let stamped = Stamped {
            device: Some(by.member.device),
            request: hint(by),
        };
        let account = by.member.account.clone();
        let asked = world.a.hub.request(&room(), &account, stamped, now).await;
        asked.map_err(crate::error::Refused::refusal)
    };
    for _ in 0..120 {
        ask(&mut alice, 0).await.unwrap();
    }
    let refusal = ask(&mut alice, 0).await.unwrap_err();
    assert!(
        matches!(refusal, Refusal::RateLimited { .. }),
        "{refusal:?}"
    );
    for _ in 120..500 {
        ask(&mut alice, 500).await.unwrap();
    }
    let refusal = ask(&mut alice, 500).await.unwrap_err();
    assert!(
        matches!(refusal, Refusal::LimitReached { .. }),
        "{refusal:?}"
    );
    // Nobody else is the worse for it.
    ask(&mut bob, 0).await.unwrap();
}
