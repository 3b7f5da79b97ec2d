//! Two domains: what the hub sends, what the other keeps, and how gaps are closed.

use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Answer, Entry, Fanout, Request, Stamped};
use comity_storage::rooms::DeviceView;

use super::world::{Device, NOW, World, jid, room};
use crate::error::Refused;
use crate::room::{Outcome, Reply, rows};

async fn from_b(world: &World, request: Request) -> Result<Reply, Refusal> {
    let stamped = Stamped {
        device: None,
        request,
    };
    let from = jid("b.example");
    let asked = world.a.hub.request(&room(), &from, stamped, *NOW).await;
    asked.map_err(Refused::refusal)
}

async fn fetch(world: &World, after: u64) -> Vec<Entry> {
    let request = Request::Fetch { after, limit: 100 };
    match from_b(world, request).await.unwrap().answer {
        Answer::Entries(entries) => entries,
        other => panic!("{other:?}"),
    }
}

fn view<'a>(device: &'a Device) -> DeviceView<'a> {
    DeviceView {
        account: device.member.account.as_str(),
        domain: device.member.account.domain(),
        device: device.member.device.into_bytes(),
    }
}

/// Alice's room with Bob of b.example invited; his domain has heard nothing yet.
async fn invited(world: &World) -> (Device, Device) {
    let mut alice = world.room().await;
    let bob = world.device("bob@b.example", 2);
    let bundle = alice.bundle(&[&bob], &[]);
    world.commit(&mut alice, bundle).await;
    (alice, bob)
}

#[tokio::test]
async fn a_welcome_crosses_over_and_messages_follow() {
    let world = World::new().await;
    let (mut alice, mut bob) = invited(&world).await;
    let message = alice.message("hello");
    world.accept(&alice, message).await;
    let outbox = world.outbox(0).await;
    assert_eq!(outbox.len(), 2, "one stanza for each entry and domain");
    let stored = world.carry().await;
    assert!(matches!(stored[0], Outcome::Stored { welcome: Some(_) }));
    assert_eq!(stored[1], Outcome::Stored { welcome: None });
    // A stanza that comes twice changes nothing.
    let again = world.carry().await;
    assert!(matches!(again[0], Outcome::Known { held: 3, .. }));
    let waiting = world
        .b
        .storage
        .welcomes_for("bob@b.example", bob.member.device.into_bytes(), &[], 9)
        .await
        .unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].seq, 2);
    let welcome = rows::welcome(waiting[0].clone()).unwrap();
    bob.join(&welcome.welcome, &welcome.tree.open().unwrap());
    let entries = world
        .b
        .storage
        .device_entries(view(&bob), room().as_str(), 2, 99, 9, 9999)
        .await
        .unwrap();
    assert_eq!(entries.len(), 1);
    bob.follow(entries[0].payload.as_ref().unwrap());
}

#[tokio::test]
async fn a_gap_is_noticed_and_fetched() {
    let world = World::new().await;
    let (mut alice, _bob) = invited(&world).await;
    for text in ["one", "two", "three"] {
        let message = alice.message(text);
        world.accept(&alice, message).await;
    }
    let outbox = world.outbox(0).await;
    let receive = async |place: usize| world.b.receive(&outbox[place].1).await;
    // Nothing is known yet: an entry of a room nobody is in.
    assert_eq!(receive(1).await, Outcome::Gap { after: 0 });
    assert!(matches!(receive(0).await, Outcome::Stored { .. }));
    assert_eq!(receive(3).await, Outcome::Gap { after: 2 });
    for entry in fetch(&world, 2).await {
        let fanout = Fanout {
            entry,
            welcome: None,
        };
        assert!(matches!(
            world.b.receive(&fanout).await,
            Outcome::Stored { .. }
        ));
    }
    assert_eq!(
        receive(3).await,
        Outcome::Known {
            held: 5,
            welcome: None
        }
    );
}

#[tokio::test]
async fn a_domain_that_lost_everything_begins_with_its_joining() {
    let world = World::new().await;
    let (_alice, bob) = invited(&world).await;
    let entries = fetch(&world, 0).await;
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].seq, entries[0].changes.len()), (2, 1));
    let fanout = Fanout {
        entry: entries[0].clone(),
        welcome: None,
    };
    assert!(matches!(
        world.b.receive(&fanout).await,
        Outcome::Stored { .. }
    ));
    // The Welcome is sent once more beside.
    let outbox = world.outbox(0).await;
    assert_eq!(outbox.len(), 2);
    let last = &outbox[1].1;
    assert!(matches!(
        world.b.receive(last).await,
        Outcome::Known {
            held: 2,
            welcome: Some(_)
        }
    ));
    let device = bob.member.device.into_bytes();
    let storage = &world.b.storage;
    let waiting = storage.welcomes_for("bob@b.example", device, &[], 9).await;
    assert_eq!(waiting.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_acknowledged_is_not_sent_again() {
    let world = World::new().await;
    invited(&world).await;
    let id = world.outbox(0).await[0].1.welcome.as_ref().unwrap().id;
    let acknowledge = Request::Acknowledge {
        seq: 2,
        welcomes: vec![id],
        active: Vec::new(),
    };
    let reply = from_b(&world, acknowledge).await.unwrap();
    assert_eq!(reply.answer, Answer::Acknowledged);
    fetch(&world, 0).await;
    assert_eq!(world.outbox(0).await.len(), 1);
    let room = room();
    let part = world.a.storage.room_domain(room.as_str(), "b.example");
    assert_eq!(part.await.unwrap().unwrap().acknowledged, 2);
}

#[tokio::test]
async fn a_domain_without_devices_in_the_room_gets_nothing() {
    let world = World::new().await;
    let mut alice = world.room().await;
    for request in [
        Request::Fetch { after: 0, limit: 9 },
        Request::Acknowledge {
            seq: 1,
            welcomes: Vec::new(),
            active: Vec::new(),
        },
    ] {
        assert_eq!(from_b(&world, request).await.unwrap_err(), Refusal::NoRoom);
    }
    // Nor after its last device has left.
    let bob = world.device("bob@b.example", 2);
    let bundle = alice.bundle(&[&bob], &[]);
    world.commit(&mut alice, bundle).await;
    let leaf = alice.leaf_of(&bob);
    let bundle = alice.bundle(&[], &[leaf]);
    world.commit(&mut alice, bundle).await;
    let message = alice.message("alone");
    world.accept(&alice, message).await;
    assert_eq!(world.outbox(0).await.len(), 2);
    let last = world.carry().await.pop();
    assert_eq!(last, Some(Outcome::Stored { welcome: None }));
    let seqs: Vec<u64> = fetch(&world, 0).await.iter().map(|e| e.seq).collect();
    assert_eq!(seqs, [2, 3]);
    let room = room();
    let copy = world.b.storage.room_copy(room.as_str(), "b.example");
    assert!(copy.await.unwrap().unwrap().left);
}

#[tokio::test]
async fn a_hub_that_tells_another_story_is_not_believed() {
    let world = World::new().await;
    let (mut alice, _bob) = invited(&world).await;
    let message = alice.message("true");
    world.accept(&alice, message).await;
    let outbox = world.outbox(0).await;
    world.b.receive(&outbox[0].1).await;
    let mut forged = outbox[1].1.clone();
    forged.entry.time += 1;
    assert!(matches!(
        world.b.receive(&forged).await,
        Outcome::Refused { .. }
    ));
    assert!(matches!(
        world.b.receive(&outbox[1].1).await,
        Outcome::Stored { .. }
    ));
}

#[tokio::test]
async fn a_sent_stanza_is_in_the_outbox_before_anybody_is_answered() {
    let world = World::new().await;
    let (mut alice, _bob) = invited(&world).await;
    let before = world.outbox(0).await.len();
    let message = alice.message("durable");
    let reply = world.ask(&alice, message).await.unwrap();
    assert_eq!(reply.wake, ["b.example"]);
    assert_eq!(world.outbox(0).await.len(), before + 1);
    assert_eq!(reply.entry.unwrap().seq, 3);
}
