use std::path::Path;

use super::*;
use crate::{Outgoing, Storage};

const ROOM: &str = "~room@a.example";
const ALICE: DeviceId = [1; 16];
const BOB: DeviceId = [2; 16];

async fn storage() -> Storage {
    Storage::open(Path::new(":memory:")).await.unwrap()
}

fn entry(seq: u64) -> Entry {
    Entry {
        seq,
        kind: 3,
        epoch: 0,
        time: 1000 + seq,
        sender: "alice@a.example".into(),
        device: Some(ALICE),
        payload: Some(vec![u8::try_from(seq % 251).unwrap(); 10]),
        digest: [7; 32],
        head: [u8::try_from(seq % 251).unwrap(); 32],
        signature: None,
    }
}

fn change(account: &str, device: DeviceId, joined: bool, local: bool) -> Change {
    Change {
        account: account.into(),
        domain: account.split('@').nth(1).unwrap().into(),
        device,
        joined,
        local,
    }
}

fn begin(epoch: u64) -> Begin {
    Begin {
        group_id: vec![9],
        epoch,
        state: vec![1, u8::try_from(epoch).unwrap()],
        tree: vec![2, u8::try_from(epoch).unwrap()],
        group_info: vec![3, u8::try_from(epoch).unwrap()],
        direct: None,
    }
}

fn next(epoch: u64) -> Epoch {
    Epoch {
        epoch,
        group_info: vec![3, u8::try_from(epoch).unwrap()],
    }
}

/// The room as it begins, said to stand at an entry.
fn snapshot(seq: u64) -> Snapshot {
    Snapshot {
        seq,
        state: begin(0).state,
        tree: begin(0).tree,
    }
}

fn create() -> Append {
    Append {
        room: ROOM.into(),
        at: At::Nowhere(Box::new(begin(0))),
        entry: entry(1),
        now: 1001,
        pending: PendingChange::Keep,
        updated: None,
        gone: Vec::new(),
        come: vec![Leaf {
            leaf: 0,
            account: "alice@a.example".into(),
            device: ALICE,
        }],
        changes: vec![change("alice@a.example", ALICE, true, true)],
        domains: Vec::new(),
        welcome: None,
        answer: Some(Answer {
            account: "alice@a.example".into(),
            device: ALICE,
            key: [5; 16],
            digest: [6; 32],
            seq: 1,
            epoch: 0,
            time: 1001,
            head: [1; 32],
        }),
        outbox: Vec::new(),
        barred: None,
        nominated: None,
    }
}

fn message(epoch: u64, seq: u64) -> Append {
    Append {
        at: At::Seq {
            epoch,
            seq: seq - 1,
            next: None,
        },
        entry: entry(seq),
        come: Vec::new(),
        changes: Vec::new(),
        answer: None,
        ..create()
    }
}

fn welcome(seq: u64) -> Welcome {
    Welcome {
        id: [4; 16],
        room: ROOM.into(),
        seq,
        head: [2; 32],
        epoch: 1,
        sender: "alice@a.example".into(),
        joiners: vec![Joiner {
            account: "bob@b.example".into(),
            domain: "b.example".into(),
            device: BOB,
            key_package: vec![8],
        }],
        welcome: vec![1, 1],
        welcome_hash: [0; 32],
        tree: vec![2, 2],
        tree_hash: [0; 32],
        tree_inflated: Some(3),
    }
}

/// Ends epoch 0 with entry 2, in which Bob joins.
fn invite(local: bool) -> Append {
    Append {
        at: At::Seq {
            epoch: 0,
            seq: 1,
            next: Some(next(1)),
        },
        entry: entry(2),
        pending: PendingChange::Clear,
        come: vec![Leaf {
            leaf: 1,
            account: "bob@b.example".into(),
            device: BOB,
        }],
        changes: vec![change("bob@b.example", BOB, true, local)],
        domains: vec![Presence {
            domain: "b.example".into(),
            present: true,
        }],
        welcome: Some(welcome(2)),
        outbox: vec![Outgoing {
            destination: "b.example".into(),
            stanza: b"<message/>".to_vec(),
            created: 1,
            expires: u64::MAX >> 1,
        }],
        answer: None,
        ..create()
    }
}

#[tokio::test]
async fn a_room_is_created_once() {
    let storage = storage().await;
    assert_eq!(storage.write(create()).await.unwrap(), Appended::Done);
    assert_eq!(storage.write(create()).await.unwrap(), Appended::Moved);
    let room = storage.room(ROOM).await.unwrap().unwrap();
    assert_eq!((room.seq, room.epoch_seq, room.epoch), (1, 1, 0));
    assert_eq!((room.group_id, room.group_info), (vec![9], vec![3, 0]));
    assert_eq!((room.snapshot, room.since), (snapshot(1), Vec::new()));
    assert_eq!(room.members, create().come);
    let answer = storage
        .room_answer(ROOM, "alice@a.example", ALICE, [5; 16])
        .await
        .unwrap();
    assert_eq!(answer, create().answer);
}

#[tokio::test]
async fn one_of_two_commits_ends_the_epoch() {
    let storage = storage().await;
    storage.write(create()).await.unwrap();
    let (one, other) = tokio::join!(storage.write(invite(false)), storage.write(invite(false)));
    let mut outcomes = [one.unwrap(), other.unwrap()];
    outcomes.sort_by_key(|outcome| *outcome == Appended::Moved);
    assert_eq!(outcomes, [Appended::Done, Appended::Moved]);
    assert_eq!(storage.outbox_length("b.example").await.unwrap(), 1);
    let room = storage.room(ROOM).await.unwrap().unwrap();
    assert_eq!((room.seq, room.epoch_seq, room.epoch), (2, 2, 1));
    assert_eq!(room.group_info, next(1).group_info);
    assert_eq!(room.members.len(), 2);
}

#[tokio::test]
async fn a_refused_entry_leaves_everything_as_it_was() {
    let storage = storage().await;
    storage.write(create()).await.unwrap();
    let before = storage.room(ROOM).await.unwrap();
    // Another epoch, another seq.
    for append in [message(1, 2), message(0, 3)] {
        assert_eq!(storage.write(append).await.unwrap(), Appended::Moved);
    }
    assert_eq!(storage.room(ROOM).await.unwrap(), before);
    let entries = storage
        .room_entries(ROOM, 0, 99, 99, 1 << 20)
        .await
        .unwrap();
    assert_eq!(entries, [entry(1)]);
}

#[tokio::test]
async fn proposals_wait_until_the_epoch_ends() {
    let storage = storage().await;
    storage.write(create()).await.unwrap();
    let pending = Pending {
        seq: 2,
        leaf: Some(0),
        removes: Some(0),
        reference: vec![3, 3],
        time: 5,
    };
    let propose = Append {
        pending: PendingChange::Add(pending.clone()),
        at: At::Seq {
            epoch: 0,
            seq: 1,
            next: None,
        },
        ..message(0, 2)
    };
    storage.write(propose).await.unwrap();
    let hubs = Pending {
        seq: 3,
        leaf: None,
        removes: Some(1),
        reference: vec![4],
        time: 6,
    };
    let by_hub = Append {
        pending: PendingChange::Add(hubs.clone()),
        answer: None,
        ..message(0, 3)
    };
    storage.write(by_hub).await.unwrap();
    let room = storage.room(ROOM).await.unwrap().unwrap();
    assert_eq!(room.pending, [pending, hubs]);
    assert_eq!(room.since, [entry(2), entry(3)]);
    let commit = Append {
        at: At::Seq {
            epoch: 0,
            seq: 3,
            next: Some(next(1)),
        },
        entry: entry(4),
        ..invite(false)
    };
    storage.write(commit).await.unwrap();
    let room = storage.room(ROOM).await.unwrap().unwrap();
    assert!(room.pending.is_empty());
    assert_eq!(room.epoch_seq, 4);
    for (domain, after, expected) in [
        ("b.example", "", &[ROOM][..]),
        ("a.example", "", &[ROOM]),
        ("b.example", ROOM, &[]),
        ("example", "", &[]),
    ] {
        assert_eq!(
            storage.rooms_with(domain, after, 9).await.unwrap(),
            expected
        );
    }
}

#[tokio::test]
async fn a_device_gets_what_follows_its_joining_up_to_its_removal() {
    let storage = storage().await;
    storage.write(create()).await.unwrap();
    storage.write(invite(true)).await.unwrap();
    storage.write(message(1, 3)).await.unwrap();
    let remove = Append {
        gone: vec![1],
        changes: vec![change("bob@b.example", BOB, false, true)],
        ..message(1, 4)
    };
    storage.write(remove).await.unwrap();
    storage.write(message(1, 5)).await.unwrap();
    let bob = async || {
        storage
            .device_rooms("bob@b.example", BOB, None)
            .await
            .unwrap()
    };
    let expected = DeviceRoom {
        room: ROOM.into(),
        since: 2,
        until: Some(4),
        cursor: 2,
        held: 5,
    };
    assert_eq!(bob().await, [expected]);
    let advance = |seq| AdvanceCursor {
        account: "bob@b.example".into(),
        device: BOB,
        room: ROOM.into(),
        seq,
        now: 7,
    };
    assert!(storage.write(advance(3)).await.unwrap());
    assert!(!storage.write(advance(3)).await.unwrap());
    assert_eq!(bob().await[0].cursor, 3);
    // No further than its membership; and then it has nothing more to get.
    assert!(storage.write(advance(99)).await.unwrap());
    assert_eq!(bob().await, []);
    let alice = storage
        .device_rooms("alice@a.example", ALICE, Some(ROOM))
        .await
        .unwrap();
    assert_eq!((alice[0].since, alice[0].until), (1, None));
}

#[tokio::test]
async fn a_cursor_does_not_outrun_the_log() {
    let storage = storage().await;
    storage.write(create()).await.unwrap();
    storage.write(message(0, 2)).await.unwrap();
    let far = AdvanceCursor {
        account: "alice@a.example".into(),
        device: ALICE,
        room: ROOM.into(),
        seq: u64::MAX,
        now: 7,
    };
    assert!(storage.write(far).await.unwrap());
    let rooms = storage
        .device_rooms("alice@a.example", ALICE, None)
        .await
        .unwrap();
    assert_eq!(rooms[0].cursor, 2);
}

#[tokio::test]
async fn a_domain_fetches_with_what_concerns_it() {
    let storage = storage().await;
    storage.write(create()).await.unwrap();
    storage.write(invite(false)).await.unwrap();
    let state = storage.room_domain(ROOM, "b.example").await.unwrap();
    let mut expected = DomainState {
        since: 2,
        until: None,
        acknowledged: 1,
    };
    assert_eq!(state.as_ref(), Some(&expected));
    let changes = storage.room_changes(ROOM, "b.example", 1, 9).await.unwrap();
    assert_eq!(changes, [(2, change("bob@b.example", BOB, true, false))]);
    let waiting = storage
        .welcome_for_domain(ROOM, 2, "b.example")
        .await
        .unwrap();
    assert_eq!(waiting, Some(welcome(2)));
    let acknowledge = |domain: &str| AcknowledgeDomain {
        room: ROOM.into(),
        domain: domain.into(),
        seq: 99,
        welcomes: vec![[4; 16]],
        active: Vec::new(),
    };
    assert!(!storage.write(acknowledge("c.example")).await.unwrap());
    assert!(storage.write(acknowledge("b.example")).await.unwrap());
    expected.acknowledged = 2;
    let state = storage.room_domain(ROOM, "b.example").await.unwrap();
    assert_eq!(state, Some(expected));
    let waiting = storage
        .welcome_for_domain(ROOM, 2, "b.example")
        .await
        .unwrap();
    assert_eq!(waiting, None);
}

fn receive(seq: u64) -> Receive {
    Receive {
        room: ROOM.into(),
        domain: "b.example".into(),
        after: Some((seq - 1, entry(seq - 1).head)),
        entry: entry(seq),
        changes: Vec::new(),
        welcome: None,
        now: 5,
    }
}

fn first(seq: u64) -> Receive {
    Receive {
        after: None,
        changes: vec![change("bob@b.example", BOB, true, true)],
        welcome: Some(welcome(seq)),
        ..receive(seq)
    }
}

#[tokio::test]
async fn a_copy_grows_without_gaps_or_doubles() {
    let storage = storage().await;
    assert_eq!(storage.write(receive(3)).await.unwrap(), Received::Moved);
    assert_eq!(storage.write(first(2)).await.unwrap(), Received::Stored);
    assert_eq!(storage.write(first(2)).await.unwrap(), Received::Moved);
    assert_eq!(storage.write(receive(4)).await.unwrap(), Received::Moved);
    assert_eq!(storage.write(receive(3)).await.unwrap(), Received::Stored);
    assert_eq!(storage.write(receive(3)).await.unwrap(), Received::Moved);
    let copy = storage.room_copy(ROOM, "b.example").await.unwrap().unwrap();
    assert_eq!((copy.seq, copy.head, copy.left), (3, entry(3).head, false));
    let entries = storage
        .room_entries(ROOM, 0, 99, 99, 1 << 20)
        .await
        .unwrap();
    assert_eq!(entries, [entry(2), entry(3)]);
    let rooms = storage
        .device_rooms("bob@b.example", BOB, None)
        .await
        .unwrap();
    assert_eq!((rooms[0].since, rooms[0].held), (2, 3));
    assert_eq!(
        storage.room_copies("b.example", "", 9).await.unwrap(),
        [(ROOM.into(), 3)]
    );
}

#[tokio::test]
async fn a_copy_ends_with_its_last_device_and_begins_anew() {
    let storage = storage().await;
    storage.write(first(2)).await.unwrap();
    let leave = Receive {
        changes: vec![change("bob@b.example", BOB, false, true)],
        ..receive(3)
    };
    storage.write(leave).await.unwrap();
    assert!(
        storage
            .room_copy(ROOM, "b.example")
            .await
            .unwrap()
            .unwrap()
            .left
    );
    assert_eq!(storage.room_copies("b.example", "", 9).await.unwrap(), []);
    assert_eq!(storage.write(first(9)).await.unwrap(), Received::Stored);
    let copy = storage.room_copy(ROOM, "b.example").await.unwrap().unwrap();
    assert_eq!((copy.seq, copy.left), (9, false));
    let rooms = storage
        .device_rooms("bob@b.example", BOB, None)
        .await
        .unwrap();
    let spans: Vec<_> = rooms.iter().map(|room| (room.since, room.until)).collect();
    assert_eq!(spans, [(2, Some(3)), (9, None)]);
}

#[tokio::test]
async fn a_welcome_waits_until_it_is_acknowledged_and_does_not_come_back() {
    let storage = storage().await;
    storage.write(first(2)).await.unwrap();
    let waiting = async |sent: &[[u8; 16]]| {
        storage
            .welcomes_for("bob@b.example", BOB, sent, 8)
            .await
            .unwrap()
    };
    assert_eq!(waiting(&[]).await, [welcome(2)]);
    assert_eq!(waiting(&[[4; 16]]).await, []);
    let acknowledge = |account: &str| AcknowledgeWelcome {
        id: [4; 16],
        account: account.into(),
        device: BOB,
    };
    assert!(!storage.write(acknowledge("eve@b.example")).await.unwrap());
    assert!(storage.write(acknowledge("bob@b.example")).await.unwrap());
    assert!(!storage.write(acknowledge("bob@b.example")).await.unwrap());
    let again = ReceiveWelcome {
        welcome: welcome(2),
        now: 9,
    };
    storage.write(again).await.unwrap();
    assert_eq!(waiting(&[]).await, []);
}

#[tokio::test]
async fn entries_come_within_a_budget() {
    let storage = storage().await;
    storage.write(create()).await.unwrap();
    for seq in 2..=40 {
        storage.write(message(0, seq)).await.unwrap();
    }
    let count = async |limit, bytes| {
        storage
            .room_entries(ROOM, 1, 99, limit, bytes)
            .await
            .unwrap()
            .len()
    };
    assert_eq!(count(99, 1 << 20).await, 39);
    assert_eq!(count(17, 1 << 20).await, 17);
    assert_eq!(count(99, 200).await, 20);
    assert_eq!(count(99, 0).await, 1);
}

#[tokio::test]
async fn payloads_go_when_everybody_has_them_or_retention_ends() {
    let storage = storage().await;
    storage.write(create()).await.unwrap();
    storage.write(invite(false)).await.unwrap();
    let keep = KeepSnapshot {
        room: ROOM.into(),
        snapshot: snapshot(2),
    };
    assert!(storage.write(keep).await.unwrap());
    storage.write(message(1, 3)).await.unwrap();
    let held = async || {
        let entries = storage.room_entries(ROOM, 0, 99, 99, 1 << 20).await;
        let held: Vec<_> = entries
            .unwrap()
            .into_iter()
            .filter_map(|entry| entry.payload.map(|_| entry.seq))
            .collect();
        held
    };
    let purge = PurgeRooms {
        held_before: 2000,
        before: 500,
        from: 0,
    };
    // Alice needs not what she began with; Bob's domain has nothing yet.
    storage.write(purge.clone()).await.unwrap();
    assert_eq!(held().await, [2, 3]);
    let advance = AdvanceCursor {
        account: "alice@a.example".into(),
        device: ALICE,
        room: ROOM.into(),
        seq: 3,
        now: 7,
    };
    storage.write(advance).await.unwrap();
    storage.write(purge.clone()).await.unwrap();
    assert_eq!(held().await, [2, 3]);
    let acknowledge = AcknowledgeDomain {
        room: ROOM.into(),
        domain: "b.example".into(),
        seq: 2,
        welcomes: Vec::new(),
        active: Vec::new(),
    };
    storage.write(acknowledge).await.unwrap();
    storage.write(purge.clone()).await.unwrap();
    assert_eq!(held().await, [3]);
    let end = PurgeRooms {
        before: 2000,
        ..purge
    };
    storage.write(end).await.unwrap();
    assert_eq!(held().await, [0_u64; 0]);
    // The chain of heads closes all the same.
    let entries = storage
        .room_entries(ROOM, 0, 99, 99, 1 << 20)
        .await
        .unwrap();
    assert_eq!(entries.len(), 3);
    let waiting = storage
        .welcome_for_domain(ROOM, 2, "b.example")
        .await
        .unwrap();
    assert_eq!(waiting, None);
}

#[tokio::test]
async fn each_of_our_domains_has_its_own_reach() {
    let storage = storage().await;
    storage.write(first(2)).await.unwrap();
    storage.write(receive(3)).await.unwrap();
    let carol = Receive {
        domain: "c.example".into(),
        changes: vec![change("carol@c.example", ALICE, true, true)],
        welcome: None,
        ..first(5)
    };
    assert_eq!(storage.write(carol).await.unwrap(), Received::Stored);
    let bob = DeviceView {
        account: "bob@b.example",
        domain: "b.example",
        device: BOB,
    };
    let held = async || {
        let entries = storage.device_entries(bob, ROOM, 2, 99, 9, 999).await;
        let seqs: Vec<_> = entries.unwrap().iter().map(|entry| entry.seq).collect();
        seqs
    };
    // Entry 4 is on its way: nobody jumps over it.
    assert_eq!(held().await, [3]);
    storage.write(receive(4)).await.unwrap();
    assert_eq!(held().await, [3, 4]);
    let remove = Receive {
        changes: vec![change("bob@b.example", BOB, false, true)],
        ..receive(5)
    };
    storage.write(remove).await.unwrap();
    storage.write(receive(6)).await.unwrap();
    // The last one it gets.
    assert_eq!(held().await, [3, 4, 5]);
}

#[tokio::test]
async fn the_operator_sees_who_is_in_a_room_and_closes_it() {
    let storage = storage().await;
    let close = |room: &str, reason: &str| {
        CloseRoom(Closed {
            room: room.into(),
            since: 5,
            reason: reason.into(),
        })
    };
    let outcome = storage.write(close(ROOM, "")).await.unwrap();
    assert_eq!(outcome, RoomClosed::Unknown);
    assert!(storage.room_detail(ROOM, 10).await.unwrap().is_none());
    storage.write(create()).await.unwrap();
    let all = storage.room_summaries("", 10).await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].devices, all[0].accounts, all[0].domains), (1, 1, 0));
    assert!(storage.room_summaries(ROOM, 10).await.unwrap().is_empty());
    let detail = storage.room_detail(ROOM, 10).await.unwrap().unwrap();
    assert_eq!(detail.summary, all[0]);
    assert_eq!(detail.members[0].device, ALICE);
    assert_eq!((detail.held, detail.octets), (1, 10));
    for reason in ["", "spam"] {
        let outcome = storage.write(close(ROOM, reason)).await.unwrap();
        assert_eq!(outcome, RoomClosed::Closed);
    }
    let closed = storage.closed_rooms().await.unwrap();
    assert_eq!((closed.len(), &*closed[0].reason), (1, "spam"));
    let open = || storage.write(OpenRoom { room: ROOM.into() });
    assert!(open().await.unwrap());
    assert!(!open().await.unwrap());
}

/// Ends the epoch with an entry that brings nobody.
fn commit(epoch: u64, seq: u64) -> Append {
    Append {
        at: At::Seq {
            epoch,
            seq: seq - 1,
            next: Some(next(epoch + 1)),
        },
        pending: PendingChange::Clear,
        ..message(epoch, seq)
    }
}

#[tokio::test]
async fn what_changes_the_group_is_followed_from_the_snapshot() {
    let storage = storage().await;
    storage.write(create()).await.unwrap();
    storage.write(commit(0, 2)).await.unwrap();
    storage.write(message(1, 3)).await.unwrap();
    let mut large = commit(1, 4);
    large.entry.payload = Some(vec![7; 100_000]);
    storage.write(large.clone()).await.unwrap();
    let room = async || storage.room(ROOM).await.unwrap().unwrap();
    let found = room().await;
    assert_eq!(found.snapshot, snapshot(1));
    assert_eq!(found.since, [entry(2), large.entry.clone()]);

    let keep = |seq| KeepSnapshot {
        room: ROOM.into(),
        snapshot: Snapshot {
            seq,
            state: vec![4; 100_000],
            tree: vec![5],
        },
    };
    // Nothing is known of what has not come.
    assert!(!storage.write(keep(5)).await.unwrap());
    assert!(storage.write(keep(2)).await.unwrap());
    let found = room().await;
    assert_eq!(found.snapshot, keep(2).snapshot);
    assert_eq!(found.since, [large.entry]);
    assert!(storage.write(keep(4)).await.unwrap());
    // A slower one comes too late.
    assert!(!storage.write(keep(3)).await.unwrap());
    let found = room().await;
    assert_eq!(
        (found.snapshot, found.since),
        (keep(4).snapshot, Vec::new())
    );
}

#[tokio::test]
async fn what_is_to_be_followed_is_not_purged() {
    let storage = storage().await;
    storage.write(create()).await.unwrap();
    storage.write(commit(0, 2)).await.unwrap();
    storage.write(message(1, 3)).await.unwrap();
    let purge = PurgeRooms {
        held_before: u64::MAX >> 1,
        before: u64::MAX >> 1,
        from: 0,
    };
    storage.write(purge.clone()).await.unwrap();
    let held = async || {
        let entries = storage.room_entries(ROOM, 0, 9, 9, 9999).await.unwrap();
        let held = entries.iter().map(|entry| entry.payload.is_some());
        held.collect::<Vec<_>>()
    };
    assert_eq!(held().await, [false, true, false]);
    let keep = KeepSnapshot {
        room: ROOM.into(),
        snapshot: snapshot(3),
    };
    assert!(storage.write(keep).await.unwrap());
    storage.write(purge).await.unwrap();
    assert_eq!(held().await, [false, false, false]);
}
