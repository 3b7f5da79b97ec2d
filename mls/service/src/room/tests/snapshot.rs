//! A room is taken up from its snapshot and what was accepted since.

use comity_mls_credential::provider::Provider;
use comity_mls_wire::room::Request;
use comity_storage::rooms::RoomRow;

use super::members::{invite, propose};
use super::world::{Device, NOW, World, room};
use crate::room::public_tree::Observer;
use crate::room::replay::ReplayError;
use crate::room::state::{LoadError, Room, Since};

async fn stored(world: &World) -> RoomRow {
    let row = world.a.storage.room(room().as_str()).await;
    row.unwrap().unwrap()
}

/// Commits until it is time for a snapshot; gives how many commits that took.
async fn commit_until_it_is_time(world: &World, alice: &mut Device) -> usize {
    for commits in 1..=Since::MOST_ENTRIES {
        let bundle = alice.bundle(&[], &[]);
        let reply = world.ask(alice, Request::Commit(bundle)).await.unwrap();
        alice.group().apply_pending_commit().unwrap();
        if reply.snapshot {
            return commits;
        }
    }
    panic!("it is never time");
}

#[tokio::test]
async fn a_room_is_written_down_whole_now_and_then() {
    let world = World::new().await;
    let mut alice = world.room().await;
    for _ in 0..2 {
        let begun = stored(&world).await;
        // It is not time for another.
        world.a.hub.snapshot(&room(), *NOW).await;
        assert_eq!(stored(&world).await, begun);
        let commits = commit_until_it_is_time(&world, &mut alice).await;
        // The server ends before the snapshot, and takes up the room as it was.
        let row = stored(&world).await;
        assert_eq!(row.snapshot, begun.snapshot);
        assert_eq!(row.since.len(), begun.since.len() + commits);
        world.stands_after_a_restart(&alice).await;
        // A hub that was started since makes it as well.
        world.a.restarted(&world.cas).snapshot(&room(), *NOW).await;
        let row = stored(&world).await;
        assert_eq!((row.snapshot.seq, row.since.len()), (row.seq, 0));
        world.stands_after_a_restart(&alice).await;
        // The one that did not make it reads it anew, and both go on.
        world.a.hub.snapshot(&room(), *NOW).await;
        let bundle = alice.bundle(&[], &[]);
        world.commit(&mut alice, bundle).await;
    }
}

#[tokio::test]
async fn what_is_followed_for_a_day_is_written_down() {
    let world = World::new().await;
    let mut alice = world.room().await;
    let bundle = alice.bundle(&[], &[]);
    world.commit(&mut alice, bundle).await;
    for (hours, left) in [(23, 1), (25, 0)] {
        let now = *NOW + hours * 60 * 60 * 1000;
        world.a.restarted(&world.cas).snapshot(&room(), now).await;
        assert_eq!(stored(&world).await.since.len(), left);
    }
    world.stands_after_a_restart(&alice).await;
}

#[tokio::test]
async fn a_commit_writes_neither_state_nor_tree() {
    let world = World::new().await;
    let mut alice = world.room().await;
    let bob = world.device("bob@b.example", 2);
    let snapshot = stored(&world).await.snapshot;
    let mut bob = invite(&world, &mut alice, bob).await;
    let leave = bob.group().propose_self_remove(Vec::new()).unwrap();
    world.accept(&bob, propose(&leave)).await;
    let row = stored(&world).await;
    assert_eq!(row.snapshot, snapshot);
    let followed: Vec<u64> = row.since.iter().map(|entry| entry.seq).collect();
    assert_eq!(followed, [2, 3]);
    assert_eq!(row.pending.len(), 1);
}

#[tokio::test]
async fn what_was_accepted_is_followed_whatever_is_believed_by_now() {
    let world = World::new().await;
    let mut alice = world.room().await;
    let bob = world.device("bob@b.example", 2);
    let bob = invite(&world, &mut alice, bob).await;
    world.cas.revoked.lock().unwrap().push(bob.serial());
    world
        .cas
        .hidden
        .lock()
        .unwrap()
        .push("b.example".to_owned());
    world.stands_after_a_restart(&alice).await;
    let bundle = alice.bundle(&[], &[]);
    world.commit(&mut alice, bundle).await;
}

#[tokio::test]
async fn what_does_not_lead_to_the_room_is_not_taken_up() {
    let world = World::new().await;
    let mut alice = world.room().await;
    for _ in 0..2 {
        let bundle = alice.bundle(&[], &[]);
        world.commit(&mut alice, bundle).await;
    }
    let observer = Observer::new(Provider::new(world.cas.clone()), &[2]);
    let good = stored(&world).await;
    let load = |row: RoomRow| Room::load(&observer, &room(), row).map(drop);
    load(good.clone()).unwrap();
    let with = |change: &dyn Fn(&mut RoomRow)| {
        let mut row = good.clone();
        change(&mut row);
        load(row).unwrap_err()
    };
    let gone = with(&|row| row.since[1].payload = None);
    assert!(
        matches!(gone, LoadError::Replay(ReplayError::Gone(3))),
        "{gone}"
    );
    let spoilt: [&dyn Fn(&mut RoomRow); 4] = [
        &|row| row.since[0].payload = Some(b"nothing".to_vec()),
        &|row| row.since.swap(0, 1),
        &|row| drop(row.since.remove(0)),
        &|row| row.since[1] = row.since[0].clone(),
    ];
    for spoil in spoilt {
        let fault = with(spoil);
        let entry = matches!(fault, LoadError::Replay(ReplayError::Entry(..)));
        assert!(entry, "{fault}");
    }
    let short = with(&|row| drop(row.since.pop()));
    assert!(
        matches!(short, LoadError::Elsewhere { found: 1, epoch: 2 }),
        "{short}"
    );
    let cut = with(&|row| row.snapshot.tree.truncate(9));
    assert!(
        matches!(cut, LoadError::Replay(ReplayError::Snapshot(_))),
        "{cut}"
    );
    let other = with(&|row| *row.group_info.last_mut().unwrap() ^= 1);
    assert!(matches!(other, LoadError::Group(_)), "{other}");
}

/// What a joiner fetches is at most seven tenths of the tree that it comes to.
#[tokio::test]
async fn a_tree_travels_packed() {
    let world = World::new().await;
    let mut alice = world.room().await;
    let devices: Vec<Device> = (0..60)
        .map(|n| {
            let domain = ["a.example", "b.example"][n % 2];
            world.device(&format!("citizen{n}@{domain}"), n as u128 + 100)
        })
        .collect();
    let all: Vec<&Device> = devices.iter().collect();
    let bundle = alice.bundle(&all, &[]);
    world.commit(&mut alice, bundle).await;
    let tree = alice.group().export_tree().to_bytes().unwrap();
    let (_, fanout) = world.outbox(0).await.remove(0);
    let packed = fanout.welcome.unwrap().tree;
    assert_eq!(packed.open().unwrap(), tree);
    let (packed, whole) = (packed.octets.len(), tree.len());
    println!("{packed} of {whole} octets");
    assert!(packed * 10 <= whole * 7, "{packed} of {whole} octets");
}
