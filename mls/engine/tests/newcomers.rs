//! Devices of an account that is in the room: those it lets in, and those that its Authentication
//! Service alone has made.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use comity_mls_engine::{Event, RoomState, Warning, What};
use comity_mls_wire::authenticated::AuthenticatedData;
use comity_mls_wire::room::Request;
use comity_xmpp::jid::BareJid;
use world::raw::Raw;
use world::{World, jid};

/// Alice and Bob in a room with Mallory, whose program keeps no rules and whose hub lets her.
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

    fn hand_in(&mut self, request: Request) {
        let answer = self
            .world
            .hand_in(&mut self.mallory, &self.room, request)
            .unwrap();
        assert!(matches!(answer, comity_mls_wire::room::Answer::Accepted(_)));
    }

    fn state(&mut self, client: usize) -> RoomState {
        self.world.engine(client).rooms().unwrap()[0].state
    }

    fn stopped(&self, client: usize) -> Vec<String> {
        let events = self.world.clients[client].events.iter();
        events
            .filter_map(|event| match event {
                Event::RoomStopped { why, .. } => Some(why.clone()),
                _ => None,
            })
            .collect()
    }

    fn warned(&self, client: usize) -> bool {
        self.world.clients[client].events.iter().any(|event| {
            let Event::Warning { warning, .. } = event else {
                return false;
            };
            matches!(warning, Warning::Unendorsed { .. })
        })
    }
}

#[test]
fn a_ghost_that_hub_and_member_let_in_is_followed_by_nobody() {
    let mut stage = Stage::new();
    let ghost = stage.world.raw("alice@a.example", 0x99);
    let request = stage.mallory.commit(&[&ghost], Vec::new());
    stage.hand_in(request);
    for client in [stage.alice, stage.bob] {
        assert_eq!(stage.state(client), RoomState::Stopped);
        let why = stage.stopped(client);
        assert!(why[0].contains("endorsement"), "{why:?}");
    }
}

#[test]
fn a_ghost_that_is_proposed_is_warned_of_and_committed_by_nobody() {
    let mut stage = Stage::new();
    let ghost = stage.world.raw("alice@a.example", 0x99);
    let request = stage.mallory.propose_add(&ghost, Vec::new());
    stage.hand_in(request);
    let (room, now) = (stage.room.clone(), stage.world.now);
    for client in [stage.alice, stage.bob] {
        stage
            .world
            .input(client, |e| e.send(&room, "text", b"hello", now));
        assert!(stage.warned(client));
    }
    stage.world.run_for(120_000);
    let commits = stage.world.rooms[&room].commits;
    assert_eq!(commits, 1, "nobody commits it");
    // It stays so after a restart: what was found is kept.
    stage.world.restart(stage.bob);
    stage.world.run_for(120_000);
    assert_eq!(stage.world.rooms[&room].commits, 1);
    // Another member does.
    stage.world.catch_up(&mut stage.mallory, &room);
    let mut request = stage.mallory.commit(&[], Vec::new());
    if let Request::Commit(bundle) = &mut request {
        bundle.joiners = vec![ghost.joiner()];
    }
    stage.hand_in(request);
    for client in [stage.alice, stage.bob] {
        assert_eq!(stage.state(client), RoomState::Stopped);
    }
}

#[test]
fn what_a_leaf_of_the_account_vouches_for_is_followed() {
    let mut stage = Stage::new();
    let mut eve = stage.world.raw("eve@b.example", 0x77);
    let (room, now) = (stage.room.clone(), stage.world.now);
    let alice = stage.alice;
    stage
        .world
        .input(alice, |e| e.invite(&room, &[jid("eve@b.example")], now));
    stage.world.run();
    stage.world.catch_up(&mut eve, &room);
    stage.world.catch_up(&mut stage.mallory, &room);
    let tablet = stage.world.raw("eve@b.example", 0x78);
    let endorsement = eve.endorse(&tablet);
    let data = AuthenticatedData::endorsing(vec![endorsement]);
    let request = stage.mallory.commit(&[&tablet], data.to_bytes().unwrap());
    stage.hand_in(request);
    let (alice, bob) = (stage.alice, stage.bob);
    stage.world.assert_agreement(&room, &[alice, bob]);
    stage.world.assert_unwarned();
}

#[test]
fn an_account_lets_its_new_device_into_its_rooms() {
    let mut stage = Stage::new();
    let phone = stage.world.enrolled("alice@a.example");
    let (room, now) = (stage.room.clone(), stage.world.now);
    let id = stage.world.device_id(phone);
    // Others cannot: they would need its endorsement, and their own program says so.
    let bob = stage.bob;
    let alices = [jid("alice@a.example")];
    stage.world.input(bob, |e| e.invite(&room, &alices, now));
    stage.world.run();
    let refused = stage.world.clients[bob]
        .events
        .iter()
        .any(|event| matches!(event, Event::NotInvited { device: None, .. }));
    assert!(refused);
    let alice = stage.alice;
    stage.world.input(alice, |e| e.invite(&room, &alices, now));
    stage.world.run();
    stage.world.assert_agreement(&room, &[alice, bob, phone]);
    let seen = stage.world.history(bob, &room).into_iter().any(
        |item| matches!(item.what, What::Added(change) if change.who.device == id.into_bytes()),
    );
    assert!(seen);
}
