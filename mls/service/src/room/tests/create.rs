//! How a room begins, and what is refused.

use comity_mls_wire::policy::{Handshakes, Policy, Role};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Answer, Request, Stamped, direct};
use mls_rs::ExtensionList;

use super::world::{Device, NOW, World, jid, key, room};
use crate::error::Refused;

#[tokio::test]
async fn the_first_entry_is_the_creators_group_info() {
    let world = World::new().await;
    let mut alice = world.device("alice@a.example", 1);
    let create = alice.create(&world.a, &Policy::of_creator(&alice.member.account));
    let accepted = world.accept(&alice, Request::Create(create.clone())).await;
    assert_eq!((accepted.seq, accepted.epoch, accepted.time), (1, 0, *NOW));
    let info = world.info(&alice).await;
    assert_eq!(info.members, [alice.member.clone()]);
    assert_eq!((info.seq, info.head), (1, accepted.head));
    let room = room();
    let entries = world.a.storage.room_entries(room.as_str(), 0, 9, 9, 9999);
    let entry = entries.await.unwrap().remove(0);
    assert_eq!(entry.payload.as_deref(), Some(&create.group_info[..]));
    assert!(entry.signature.is_some());
}

#[tokio::test]
async fn what_was_accepted_is_answered_again_and_nothing_else() {
    let world = World::new().await;
    let mut alice = world.device("alice@a.example", 1);
    let create = alice.create(&world.a, &Policy::of_creator(&alice.member.account));
    let accepted = world.accept(&alice, Request::Create(create.clone())).await;
    let again = world.accept(&alice, Request::Create(create.clone())).await;
    assert_eq!(again, accepted);
    let mut other = alice.create(&world.a, &Policy::of_creator(&alice.member.account));
    let refusal = world.refuse(&alice, Request::Create(other.clone())).await;
    assert_eq!(refusal, Refusal::RoomExists);
    other.key = create.key;
    let refusal = world.refuse(&alice, Request::Create(other)).await;
    assert_eq!(refusal, Refusal::KeyReused);
}

async fn refused(world: &World, alice: &Device, create: comity_mls_wire::room::Create) -> String {
    let refusal = world.refuse(alice, Request::Create(create)).await;
    match refusal {
        Refusal::NotAllowed { rule } => rule,
        Refusal::BadRequest { why } | Refusal::BadCredential { why } => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_context_without_what_a_room_needs_is_refused() {
    let world = World::new().await;
    let mut alice = world.device("alice@a.example", 1);
    let good = Policy::of_creator(&alice.member.account);
    let check = async |alice: &mut Device, context: ExtensionList, words: &str| {
        let create = alice.create_with(context);
        let why = refused(&world, alice, create).await;
        assert!(why.contains(words), "{why}");
    };
    let whole = Device::context(world.a.key(), &good);
    for (extension, words) in [
        (0xF1C0, "policy component"),
        (5, "external_senders"),
        (3, "required_capabilities"),
    ] {
        let mut context = whole.clone();
        context.remove(extension.into());
        check(&mut alice, context, words).await;
    }
    check(
        &mut alice,
        Device::context(world.b.key(), &good),
        "external_senders",
    )
    .await;
    let mut private = good.clone();
    private.handshakes = Handshakes::Private;
    check(
        &mut alice,
        Device::context(world.a.key(), &private),
        "PublicMessages",
    )
    .await;
    let mut others = Policy::of_creator(&jid("eve@a.example"));
    others.set_role(&alice.member.account, Role::Admin);
    check(&mut alice, Device::context(world.a.key(), &others), "owns").await;
    let mut suites = good;
    suites.suites = vec![1];
    check(&mut alice, Device::context(world.a.key(), &suites), "suite").await;
}

#[tokio::test]
async fn a_group_of_somebody_else_or_of_no_use_is_refused() {
    let world = World::new().await;
    let mut alice = world.device("alice@a.example", 1);
    let eve = world.device("eve@a.example", 2);
    let policy = Policy::of_creator(&alice.member.account);
    let good = alice.create(&world.a, &policy);
    assert!(refused(&world, &eve, good.clone()).await.contains("leaf"));
    let mut broken = good.clone();
    broken.tree = good.tree.slice(..good.tree.len() - 1);
    refused(&world, &alice, broken).await;
    let mut broken = good.clone();
    let mut bytes = good.group_info.to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    broken.group_info = bytes.into();
    refused(&world, &alice, broken).await;
    let mut broken = good.clone();
    broken.group_info = alice.package().to_bytes().unwrap().into();
    assert!(refused(&world, &alice, broken).await.contains("GroupInfo"));
    // The tree inside as well.
    let mut inside = good.clone();
    let info = alice.group().group_info_message_allowing_ext_commit(true);
    inside.group_info = info.unwrap().to_bytes().unwrap().into();
    assert!(refused(&world, &alice, inside).await.contains("beside"));
    world.accept(&alice, Request::Create(good)).await;
}

#[tokio::test]
async fn only_a_proven_device_creates_and_only_at_home() {
    let world = World::new().await;
    let mut alice = world.device("alice@a.example", 1);
    let policy = Policy::of_creator(&alice.member.account);
    let create = alice.create(&world.a, &policy);
    let unproven = Stamped {
        device: None,
        request: Request::Create(create),
    };
    let from = &alice.member.account;
    let refused = world.a.hub.request(&room(), from, unproven, *NOW).await;
    assert_eq!(refused.unwrap_err(), Refused::Because(Refusal::NoDevice));
    let mut bob = world.device("bob@b.example", 2);
    let create = bob.create(&world.a, &Policy::of_creator(&bob.member.account));
    let refusal = world.refuse(&bob, Request::Create(create)).await;
    assert!(matches!(refusal, Refusal::NotAllowed { .. }));
}

#[tokio::test]
async fn a_direct_room_has_its_address_and_its_two_accounts() {
    let world = World::new().await;
    let mut bob = world.device("bob@b.example", 2);
    let (one, other) = (jid("alice@a.example"), jid("bob@b.example"));
    let address = direct(&jid("a.example"), &one, &other);
    let ask = async |bob: &Device, create| {
        let request = Stamped {
            device: Some(bob.member.device),
            request: Request::Create(create),
        };
        let hub = &world.a.hub;
        hub.request(&address, &bob.member.account, request, *NOW)
            .await
            .map_err(Refused::refusal)
    };
    let mut open = bob.create(&world.a, &Policy::of_creator(&other));
    open.direct_with = Some(one.clone());
    let refusal = ask(&bob, open).await.unwrap_err();
    assert!(matches!(refusal, Refusal::NotAllowed { .. }), "{refusal:?}");
    let mut create = bob.create(&world.a, &Policy::of_direct(&other, &one));
    create.direct_with = Some(one.clone());
    // Elsewhere it is refused, at its address accepted, though Bob is of another domain.
    let refusal = world.refuse(&bob, Request::Create(create.clone())).await;
    assert!(matches!(refusal, Refusal::NotAllowed { .. }), "{refusal:?}");
    let reply = ask(&bob, create).await.unwrap();
    assert!(matches!(reply.answer, Answer::Accepted(_)));
    assert_eq!(reply.wake, ["b.example"]);
    // Who comes second waits for the Welcome.
    let mut alice = world.device("alice@a.example", 1);
    let mut second = alice.create(&world.a, &Policy::of_direct(&one, &other));
    second.direct_with = Some(other);
    second.key = key();
    assert_eq!(ask(&alice, second).await.unwrap_err(), Refusal::RoomExists);
}

#[tokio::test]
async fn an_unknown_issuer_is_named_so_that_its_anchors_can_be_fetched() {
    let world = World::new().await;
    let mut alice = world.room().await;
    let bob = world.device("bob@b.example", 2);
    world.cas.hidden.lock().unwrap().clear();
    let bundle = alice.bundle(&[&bob], &[]);
    world
        .cas
        .hidden
        .lock()
        .unwrap()
        .push("b.example".to_owned());
    let ask = async || {
        let request = Stamped {
            device: Some(alice.member.device),
            request: Request::Commit(bundle.clone()),
        };
        let from = &alice.member.account;
        world.a.hub.request(&room(), from, request, *NOW).await
    };
    let before = world.facts().await;
    let refused = ask().await.unwrap_err();
    assert!(
        matches!(&refused, Refused::Issuer { domain, .. } if domain == "b.example"),
        "{refused:?}"
    );
    assert_eq!(world.facts().await, before);
    world.cas.hidden.lock().unwrap().clear();
    ask().await.unwrap();
}
