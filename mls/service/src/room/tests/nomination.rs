//! Who is asked to commit what is pending where nobody is sending.

use std::sync::Arc;

use comity_mls_wire::policy::{Policy, Role};
use comity_mls_wire::room::{EntryKind, Member, Notice, Payload, Request};
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use super::members::{invite, propose};
use super::world::{Device, NOW, World, jid, room};
use crate::room::nominate::{Active, FIRST_AFTER_MS, IN_A_ROW, IN_AN_EPOCH, LATER_MS, Next, next};
use crate::room::policy::Deed;
use crate::room::state::{Barred, Nominated, Pending, Since, State};

/// As the policy has it by default.
const NEXT_AFTER_MS: u64 = 30_000;

fn member(account: &str) -> Member {
    Member {
        account: BareJid::parse(account).unwrap(),
        device: Uuid::from_u128(1),
    }
}

/// An owner, an admin and two plain members; the proposal came at 1,000.
fn state(pending: Vec<Pending>) -> State {
    let names = [
        "owner@a.example",
        "admin@b.example",
        "bob@b.example",
        "carol@a.example",
    ];
    let mut policy = Policy::of_creator(&jid(names[0]));
    policy.set_role(&jid(names[1]), Role::Admin);
    State {
        room: room(),
        group_id: Arc::from(&b"g"[..]),
        epoch: 5,
        seq: 42,
        head: [0; 32],
        time: 1_000,
        epoch_seq: 40,
        policy: Arc::new(policy),
        members: Arc::new((0..).zip(names.map(member)).collect()),
        updates: Arc::default(),
        pending: Arc::new(pending),
        group_info: Arc::from(&b""[..]),
        barred: Arc::default(),
        nominated: Arc::default(),
        since: Since::default(),
        domains: Arc::new(["a.example", "b.example"].map(str::to_owned).into()),
        signed: 0,
    }
}

fn pending(leaf: u32, by: &str, deed: Deed, removes: Option<u32>) -> Pending {
    Pending {
        seq: 42,
        leaf: Some(leaf),
        by: Some(jid(by)),
        reference: vec![1],
        deed,
        removes,
        time: 1_000,
    }
}

fn leaves(leaf: u32, who: &str) -> Pending {
    pending(leaf, who, Deed::SelfRemove, Some(leaf))
}

fn asked(state: &mut State, who: &str, time: u64) {
    Arc::make_mut(&mut state.nominated).push(Nominated {
        member: member(who),
        time,
    });
}

#[track_caller]
fn check(state: &State, there: &[(&str, u64)], now: u64, expected: &str) {
    let active: Active = there.iter().map(|(who, at)| (member(who), *at)).collect();
    let found = match next(state, &active, now) {
        Next::Nothing => "nothing".to_owned(),
        Next::At(time) => format!("at {time}"),
        Next::Now(member) => member.account.to_string(),
    };
    assert_eq!(found, expected);
}

#[test]
fn whose_turn_it_is_to_commit() {
    let (owner, admin, bob, carol) = (
        "owner@a.example",
        "admin@b.example",
        "bob@b.example",
        "carol@a.example",
    );
    let first = 1_000 + FIRST_AFTER_MS;
    check(&state(Vec::new()), &[(bob, 9)], first, "nothing");
    let mut room = state(vec![leaves(0, owner)]);
    // Who has something to send is first.
    check(&room, &[(bob, 9)], first - 1, &format!("at {first}"));
    // Then who was there last; a leaf that was never heard of comes in the order of the tree.
    check(&room, &[], first, admin);
    check(&room, &[(bob, 9)], first, bob);
    check(&room, &[(bob, 9), (carol, 10)], first, carol);
    // Never the one that is to go.
    check(&room, &[(bob, 9), (owner, 10)], first, bob);
    // Then the next, after a while, and the first again when all were asked.
    asked(&mut room, bob, 5_000);
    let second = 5_000 + NEXT_AFTER_MS;
    check(&room, &[(bob, 9_000)], second - 1, &format!("at {second}"));
    check(&room, &[(bob, 9_000), (carol, 8)], second, carol);
    asked(&mut room, carol, 6_000);
    asked(&mut room, admin, 7_000);
    check(
        &room,
        &[(bob, 9), (carol, 10)],
        7_000 + NEXT_AFTER_MS,
        carol,
    );
    // Whose commits nobody takes is not asked.
    room.barred = Arc::new(vec![Barred {
        member: member(carol),
        seq: 3,
        time: 0,
    }]);
    check(&room, &[(bob, 9), (carol, 10)], 7_000 + NEXT_AFTER_MS, bob);
    // After a number of them once an hour, and not for ever.
    while room.nominated.len() < IN_A_ROW {
        asked(&mut room, bob, 8_000);
    }
    let later = 8_000 + LATER_MS;
    check(&room, &[], later - 1, &format!("at {later}"));
    check(&room, &[], later, admin);
    while room.nominated.len() < IN_AN_EPOCH {
        asked(&mut room, bob, 8_000);
    }
    check(&room, &[], u64::MAX, "nothing");
    // An Add that waits for an admin is left to one, though others could commit the rest.
    let add = Deed::Add {
        member: member("eve@b.example"),
        key: vec![1],
    };
    let mut room = state(vec![leaves(3, carol), pending(2, bob, add, None)]);
    let mut policy = Policy::clone(&room.policy);
    policy.rights.add = Role::Admin;
    policy.nomination_s = 1;
    room.policy = Arc::new(policy);
    check(&room, &[(bob, 9), (owner, 8)], 2_000, owner);
    asked(&mut room, owner, 5_000);
    check(&room, &[(bob, 9), (owner, 8)], 6_000, admin);
    asked(&mut room, admin, 5_000);
    check(&room, &[(bob, 9), (owner, 8)], 6_000, bob);
    // Nobody is left.
    let all = [(0, owner), (1, admin), (2, bob), (3, carol)];
    let room = state(all.map(|(leaf, who)| leaves(leaf, who)).to_vec());
    check(&room, &[], first, "nothing");
}

struct Stage {
    world: World,
    alice: Device,
    bob: Device,
    carol: Device,
}

impl Stage {
    /// Carol of a leaves a room that is Alice's of a, with Bob of b in it.
    async fn new() -> Self {
        let world = World::new().await;
        let mut alice = world.room().await;
        let bob = world.device("bob@b.example", 2);
        let mut bob = invite(&world, &mut alice, bob).await;
        let carol = world.device("carol@a.example", 3);
        let bundle = alice.bundle(&[&carol], &[]);
        bob.follow(&bundle.commit);
        let welcome = bundle.welcome.clone().unwrap();
        world.commit(&mut alice, bundle).await;
        let tree = alice.group().export_tree().to_bytes().unwrap();
        let mut carol = carol;
        carol.join(&welcome, &tree);
        Self {
            world,
            alice,
            bob,
            carol,
        }
    }

    async fn carol_leaves(&mut self) {
        let leave = self.carol.group().propose_self_remove(Vec::new()).unwrap();
        let asked = self.world.accept(&self.carol, propose(&leave));
        asked.await;
        let payload = leave.to_bytes().unwrap();
        self.alice.follow(&payload);
        self.bob.follow(&payload);
    }

    async fn nominate(&self, now: u64) -> (Option<Member>, Option<u64>) {
        let done = self.world.a.hub.nominate(&room(), now).await.unwrap();
        let asked = done.asked.map(|(member, reply)| {
            let entry = reply.entry.unwrap();
            assert_eq!(entry.kind, EntryKind::Notice);
            assert_eq!((entry.sender.as_str(), entry.device), ("a.example", None));
            assert!(entry.signature.is_some());
            assert_eq!(reply.wake, ["b.example"]);
            let Payload::Held(payload) = &entry.payload else {
                panic!("purged")
            };
            let Some(Notice::Nominated(said)) = Notice::from_bytes(payload) else {
                panic!("no nomination")
            };
            assert_eq!(said.member().as_ref(), Some(&member));
            member
        });
        (asked, done.again)
    }
}

#[tokio::test]
async fn one_after_the_other_is_asked_to_commit() {
    let mut stage = Stage::new().await;
    assert_eq!(stage.nominate(*NOW).await, (None, None));
    stage.carol_leaves().await;
    let first = *NOW + FIRST_AFTER_MS;
    assert_eq!(stage.nominate(*NOW).await, (None, Some(first)));
    // Bob's domain says that he was there; what it says of others' devices counts for nothing.
    let active = vec![stage.alice.member.clone(), stage.bob.member.clone()];
    let acknowledge = Request::Acknowledge {
        seq: 1,
        welcomes: Vec::new(),
        active,
    };
    let stamped = comity_mls_wire::room::Stamped {
        device: None,
        request: acknowledge,
    };
    let hub = &stage.world.a.hub;
    hub.request(&room(), &jid("b.example"), stamped, *NOW + 60_000)
        .await
        .unwrap();
    let bob = stage.bob.member.clone();
    let second = first + NEXT_AFTER_MS;
    assert_eq!(stage.nominate(first).await, (Some(bob), Some(second)));
    // A hub that starts anew knows it still, and asks the next when his time is over.
    stage.world.a.hub = stage.world.a.restarted(&stage.world.cas);
    assert_eq!(stage.nominate(second - 1).await, (None, Some(second)));
    let alice = stage.alice.member.clone();
    let third = second + NEXT_AFTER_MS;
    assert_eq!(stage.nominate(second).await, (Some(alice), Some(third)));
    // The copies of other domains take it all.
    for outcome in stage.world.carry().await {
        assert!(
            matches!(outcome, crate::room::Outcome::Stored { .. }),
            "{outcome:?}"
        );
    }
    // With the commit it is over.
    let bundle = stage.alice.bundle(&[], &[]);
    stage.world.commit(&mut stage.alice, bundle).await;
    assert_eq!(stage.nominate(third).await, (None, None));
    let restarted = stage.world.a.restarted(&stage.world.cas);
    let done = restarted.nominate(&room(), third).await.unwrap();
    assert!(done.asked.is_none() && done.again.is_none());
    assert_eq!(stage.world.info(&stage.alice).await.members.len(), 2);
}

#[tokio::test]
async fn who_acknowledged_last_at_home_is_asked_first() {
    let mut stage = Stage::new().await;
    let storage = &stage.world.a.storage;
    for (device, now) in [(&stage.alice, *NOW + 2_000), (&stage.carol, *NOW + 3_000)] {
        let advance = comity_storage::rooms::AdvanceCursor {
            account: device.member.account.as_str().to_owned(),
            device: device.member.device.into_bytes(),
            room: room().as_str().to_owned(),
            seq: 3,
            now,
        };
        storage.write(advance).await.unwrap();
    }
    let found = storage.room_active(room().as_str(), 9).await.unwrap();
    let times: Vec<u64> = found.iter().map(|active| active.time).collect();
    assert_eq!(times.first(), Some(&(*NOW + 2_000)), "{found:?}");
    stage.carol_leaves().await;
    let (asked, _) = stage.nominate(*NOW + FIRST_AFTER_MS).await;
    assert_eq!(asked, Some(stage.alice.member.clone()));
}
