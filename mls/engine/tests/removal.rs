//! What the hub removes of itself: with proof it is committed, without it nobody of ours has a part in
//! it, and whoever follows another member's commit is not split off.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use comity_mls_credential::signed;
use comity_mls_engine::{Because, Event, HubRemoval, RoomState, Warning, What};
use comity_mls_wire::authenticated::{AuthenticatedData, Ground, Idle, Revocation, SignedRequest};
use comity_mls_wire::room::Member;
use comity_xmpp::jid::BareJid;
use world::raw::Raw;
use world::{World, jid};

/// Alice, who owns the room, Bob, and Mallory, whose program keeps no rules.
struct Stage {
    world: World,
    alice: usize,
    bob: usize,
    mallory: Raw,
    room: BareJid,
}

impl Stage {
    fn new() -> Self {
        let mut world = World::new(&["a.example", "b.example"]);
        let alice = world.enrolled("alice@a.example");
        let bob = world.enrolled("bob@b.example");
        let mut mallory = world.raw("mallory@b.example", 0x66);
        let now = world.now;
        let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
        let guests = [jid("bob@b.example"), jid("mallory@b.example")];
        world.input(alice, |e| e.invite(&room, &guests, now));
        world.run();
        world.catch_up(&mut mallory, &room);
        Self {
            world,
            alice,
            bob,
            mallory,
            room,
        }
    }

    fn bob(&self) -> Member {
        Member {
            account: jid("bob@b.example"),
            device: self.world.device_id(self.bob),
        }
    }

    fn say(&mut self, client: usize, text: &str) {
        let (room, now) = (self.room.clone(), self.world.now);
        self.world
            .input(client, |e| e.send(&room, "text", text.as_bytes(), now));
        self.world.run();
    }

    fn hub_removes(&mut self, member: &Member, data: &AuthenticatedData) {
        let room = self.room.clone();
        self.world
            .hub_removes(&room, member, data.to_bytes().unwrap());
    }

    fn removals(&self, client: usize) -> Vec<HubRemoval> {
        let history = self.world.history(client, &self.room);
        history
            .into_iter()
            .filter_map(|item| match item.what {
                What::RemovedByHub(removal) => Some(removal),
                _ => None,
            })
            .collect()
    }

    fn unproven(&self, client: usize) -> Vec<String> {
        let events = self.world.clients[client].events.iter();
        events
            .filter_map(|event| match event {
                Event::Warning {
                    warning: Warning::RemovalUnproven { why, .. },
                    ..
                } => Some(why.clone()),
                _ => None,
            })
            .collect()
    }

    fn commits(&self) -> u64 {
        self.world.rooms[&self.room].commits
    }
}

fn revocation((serial, crl_number): (Vec<u8>, u64)) -> AuthenticatedData {
    AuthenticatedData::grounded(Ground::Revocation(Revocation { serial, crl_number }))
}

#[test]
fn who_is_revoked_is_put_out_within_one_commit_and_everybody_is_told_why() {
    let mut stage = Stage::new();
    let (room, bob) = (stage.room.clone(), stage.bob());
    let list = stage.world.revoke(&room, &bob);
    stage.hub_removes(&bob, &revocation(list));
    stage.world.run_for(10_000);
    assert_eq!(stage.commits(), 2);
    let expected = HubRemoval {
        who: (&bob).into(),
        because: Because::Revoked,
    };
    for client in [stage.alice, stage.bob] {
        assert_eq!(stage.removals(client), std::slice::from_ref(&expected));
    }
    let rooms = stage.world.engine(stage.bob).rooms().unwrap();
    assert_eq!(rooms[0].state, RoomState::Left);
    let flagged = stage.world.clients[stage.alice].events.iter().any(
        |event| matches!(event, Event::MemberRevoked { device, .. } if device.id() == bob.device),
    );
    assert!(flagged);
    assert!(stage.unproven(stage.alice).is_empty());
}

#[test]
fn the_evidence_may_come_after_what_it_proves() {
    let mut stage = Stage::new();
    let (room, bob) = (stage.room.clone(), stage.bob());
    let (serial, number) = stage.world.revoke(&room, &bob);
    // The notices are still on their way when the proposal comes; it brings them to ask.
    for client in [stage.alice, stage.bob] {
        stage.world.disconnect(client);
    }
    stage.hub_removes(&bob, &revocation((serial, number)));
    stage.world.connect(stage.alice);
    stage.world.run_for(10_000);
    assert_eq!(stage.commits(), 2);
    assert_eq!(stage.removals(stage.alice)[0].because, Because::Revoked);
    assert!(stage.unproven(stage.alice).is_empty());
}

#[test]
fn nothing_is_said_to_a_revoked_member_and_who_may_removes_it_if_the_hub_does_not() {
    let mut stage = Stage::new();
    let (room, bob) = (stage.room.clone(), stage.bob());
    stage.world.revoke(&room, &bob);
    stage.world.run();
    let alice = stage.alice;
    stage.say(alice, "not for Bob");
    stage.world.run_for(20_000);
    assert_eq!(stage.commits(), 1);
    assert!(stage.world.words(alice, &room).is_empty());
    stage.world.run_for(60_000);
    assert_eq!(stage.commits(), 2);
    assert_eq!(stage.world.words(alice, &room), ["not for Bob"]);
    assert!(stage.world.words(stage.bob, &room).is_empty());
    assert!(!stage.world.rooms[&room].members().contains(&bob));
}

/// Each of these: nobody commits it, nobody sends, the person is told, and a commit of another
/// member that carries it is followed.
fn check_unproven(ground: impl Fn(&mut Stage) -> AuthenticatedData) {
    let mut stage = Stage::new();
    let (room, bob) = (stage.room.clone(), stage.bob());
    let data = ground(&mut stage);
    stage.hub_removes(&bob, &data);
    let alice = stage.alice;
    stage.say(alice, "held back");
    stage.world.run_for(120_000);
    assert_eq!(stage.commits(), 1, "{data:?}");
    assert!(stage.world.words(alice, &room).is_empty());
    assert_eq!(stage.unproven(alice).len(), 1, "{data:?}");
    // It is known after a restart still.
    stage.world.restart(alice);
    stage.world.run_for(120_000);
    assert_eq!(stage.commits(), 1, "{data:?}");
    stage.world.catch_up(&mut stage.mallory, &room);
    let request = stage.mallory.commit(&[], Vec::new());
    stage
        .world
        .hand_in(&mut stage.mallory, &room, request)
        .unwrap();
    stage.world.run_for(10_000);
    assert_eq!(stage.removals(alice)[0].because, Because::Unproven);
    stage.world.assert_agreement(&room, &[alice]);
    assert_eq!(stage.world.words(alice, &room), ["held back"]);
}

#[test]
fn a_removal_without_a_ground_is_followed_and_never_committed() {
    check_unproven(|_| AuthenticatedData::default());
}

#[test]
fn a_revocation_that_no_list_knows_is_followed_and_never_committed() {
    // The list that is named does not name the certificate.
    check_unproven(|stage| {
        let serial = stage.world.rooms[&stage.room].serial(&stage.bob());
        revocation((serial, 1))
    });
    // A list that nobody has.
    check_unproven(|stage| {
        let serial = stage.world.rooms[&stage.room].serial(&stage.bob());
        revocation((serial, u64::MAX))
    });
    // The certificate of somebody else, who is revoked.
    check_unproven(|stage| {
        let room = stage.room.clone();
        let mallory = stage.mallory.member.clone();
        let serial = stage.world.rooms[&room].serial(&mallory);
        revocation((serial, 1))
    });
}

#[test]
fn a_request_that_does_not_hold_is_followed_and_never_committed() {
    let bob = jid("bob@b.example");
    let departure = |request| AuthenticatedData::grounded(Ground::Departure(request));
    let ban = |request| AuthenticatedData::grounded(Ground::Ban(request));
    // Mallory asks in her own name for Bob's departure, and may not ban him.
    check_unproven(|stage| departure(stage.mallory.ask(signed::DEPARTURE, &bob)));
    check_unproven(|stage| ban(stage.mallory.ask(signed::BAN, &bob)));
    // As if Bob had, or Alice.
    let by = |stage: &mut Stage, label, by: &str, client: usize| {
        let signature = stage.mallory.ask(label, &bob).signature;
        let device = stage.world.device_id(client);
        SignedRequest::new(&bob, &jid(by), device, 1, signature)
    };
    check_unproven(|stage| departure(by(stage, signed::DEPARTURE, "bob@b.example", stage.bob)));
    check_unproven(|stage| ban(by(stage, signed::BAN, "alice@a.example", stage.alice)));
    let idle = Idle {
        updated_epoch: 0,
        limit_s: 1,
    };
    check_unproven(|_| AuthenticatedData::grounded(Ground::Idle(idle)));
}

#[test]
fn who_asked_to_go_is_let_go() {
    let mut stage = Stage::new();
    let mallory = stage.mallory.member.clone();
    let request = stage.mallory.ask(signed::DEPARTURE, &mallory.account);
    let data = AuthenticatedData::grounded(Ground::Departure(request));
    stage.hub_removes(&mallory, &data);
    stage.world.run_for(10_000);
    let (alice, bob, room) = (stage.alice, stage.bob, stage.room.clone());
    for client in [alice, bob] {
        assert_eq!(stage.removals(client)[0].because, Because::Departed);
    }
    stage.world.assert_agreement(&room, &[alice, bob]);
    stage.world.assert_unwarned();
}

const DAY: u64 = 24 * 60 * 60 * 1_000;

#[test]
fn who_is_idle_is_put_out_and_nobody_who_is_only_said_to_be() {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    let carol = world.enrolled("carol@b.example");
    let now = world.now;
    let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
    let guests = [jid("bob@b.example"), jid("carol@b.example")];
    world.input(alice, |e| e.invite(&room, &guests, now));
    world.run();
    let member = |world: &World, client: usize| Member {
        account: world.clients[client].account.clone(),
        device: world.device_id(client),
    };
    let whom = [carol, bob].map(|client| member(&world, client));
    let idle = |limit_s| {
        let idle = Idle {
            updated_epoch: 1,
            limit_s,
        };
        AuthenticatedData::grounded(Ground::Idle(idle))
            .to_bytes()
            .unwrap()
    };
    let limit_s = 90 * 24 * 60 * 60;
    world.disconnect(carol);
    // The others' programs sleep most of the time, and renew their keys when they run.
    for _ in 0..10 {
        world.now += 9 * DAY;
        world.run_for(DAY);
    }
    world.hub_removes(&room, &whom[0], idle(limit_s));
    world.run_for(60_000);
    assert_eq!(world.rooms[&room].members().len(), 2);
    let because = world.history(alice, &room).into_iter().rev();
    let because: Vec<Because> = because
        .filter_map(|item| match item.what {
            What::RemovedByHub(removal) => Some(removal.because),
            _ => None,
        })
        .collect();
    assert_eq!(because, [Because::Idle]);
    world.assert_agreement(&room, &[alice, bob]);

    // Bob has renewed his keys all the time.
    world.hub_removes(&room, &whom[1], idle(limit_s));
    world.run_for(60_000);
    let unproven = |event: &&Event| {
        matches!(
            event,
            Event::Warning {
                warning: Warning::RemovalUnproven { .. },
                ..
            }
        )
    };
    let told = world.clients[alice].events.iter();
    assert_eq!(told.filter(unproven).count(), 1);
    assert_eq!(world.rooms[&room].members().len(), 2);
}
