//! Pre-shared keys: nobody is shut out by one that it lacks, and what is used up is gone.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use comity_mls_engine::{Error, Event, PSK_WITHIN_MS, Refused, RoomState, What};
use comity_mls_wire::room::Answer;
use comity_xmpp::jid::BareJid;
use mls_rs::psk::ExternalPskId;
use world::{World, jid};

struct Stage {
    world: World,
    alice: usize,
    bob: usize,
    carol: usize,
    room: BareJid,
}

impl Stage {
    fn new() -> Self {
        let mut world = World::new(&["a.example", "b.example"]);
        let alice = world.enrolled("alice@a.example");
        let bob = world.enrolled("bob@b.example");
        let carol = world.enrolled("carol@b.example");
        let mut stage = Self {
            world,
            alice,
            bob,
            carol,
            room: jid("~nowhere@a.example"),
        };
        stage.room = stage.make(&["bob@b.example", "carol@b.example"]);
        stage
    }

    fn make(&mut self, guests: &[&str]) -> BareJid {
        let now = self.world.now;
        let guests: Vec<_> = guests.iter().map(|guest| jid(guest)).collect();
        let alice = self.alice;
        let room = self.world.input(alice, |e| e.create_room(None, now));
        let room = room.unwrap();
        self.world.input(alice, |e| e.invite(&room, &guests, now));
        self.world.run();
        room
    }

    fn bring(&mut self, client: usize) {
        let (now, room) = (self.world.now, self.room.clone());
        self.world.input(client, |e| e.bring_psk(&room, now));
        self.world.run();
    }

    fn epoch(&self) -> u64 {
        self.world.rooms[&self.room].group.group_context().epoch
    }

    fn all(&self) -> [usize; 3] {
        [self.alice, self.bob, self.carol]
    }

    /// Whose PSKs this device was told of.
    fn strengthened(&self, client: usize) -> Vec<String> {
        let items = self.world.history(client, &self.room);
        let by = |what| match what {
            What::Strengthened(by) => Some(by.account),
            _ => None,
        };
        items.into_iter().filter_map(|item| by(item.what)).collect()
    }

    fn kept(&self, client: usize) -> usize {
        let rows = self.world.clients[client].store.rows();
        rows.iter().filter(|(space, _)| *space == "psk").count()
    }

    /// The id and the secret that Alice keeps.
    fn secret(&self) -> (ExternalPskId, Vec<u8>) {
        let rows = self.world.clients[self.alice].store.rows();
        let mut rows = rows.into_iter().filter(|(space, _)| *space == "psk");
        let (_, (key, value)) = rows.next().unwrap();
        let device = self.world.device_id(self.alice);
        let mut windows = value.windows(16);
        let place = windows.position(|window| window == device.as_bytes());
        let secret = value[place.unwrap() + 16 + 1..][..32].to_vec();
        (ExternalPskId::new(key), secret)
    }

    fn refused(&self, client: usize) -> Vec<String> {
        let events = self.world.clients[client].events.iter();
        let why = |event: &Event| match event {
            Event::Refused {
                what: Refused::Psk,
                why,
                ..
            } => Some(why.clone()),
            _ => None,
        };
        events.filter_map(why).collect()
    }

    /// All are in one epoch, in which everybody is heard, and nobody keeps what is used up.
    fn assert_well(&mut self) {
        let room = self.room.clone();
        let all = self.all();
        self.world.assert_agreement(&room, &all);
        for client in all {
            assert_eq!(self.kept(client), 0);
        }
        let now = self.world.now;
        for client in all {
            self.world
                .input(client, |e| e.send(&room, "text", b"still here", now));
            self.world.run();
        }
        for client in all {
            assert_eq!(self.world.words(client, &room), ["still here"; 3]);
        }
        self.world.assert_unwarned();
    }
}

#[test]
fn a_psk_is_handed_out_in_the_room_and_used_once() {
    let mut stage = Stage::new();
    let before = stage.epoch();
    stage.bring(stage.bob);
    assert_eq!(stage.epoch(), before + 1);
    for client in stage.all() {
        assert_eq!(stage.strengthened(client), ["bob@b.example"]);
    }
    stage.assert_well();
}

#[test]
fn who_does_not_have_it_yet_is_waited_for() {
    let mut stage = Stage::new();
    let before = stage.epoch();
    stage.world.disconnect(stage.carol);
    stage.bring(stage.alice);
    assert_eq!(stage.epoch(), before);
    // It is written down: what dies and starts again knows of it, on either side.
    stage.world.restart(stage.alice);
    stage.world.restart(stage.bob);
    stage.world.run();
    assert_eq!(stage.epoch(), before);
    let (now, room) = (stage.world.now, stage.room.clone());
    let second = stage.world.engine(stage.alice).bring_psk(&room, now);
    assert!(matches!(second, Err(Error::TooMuch { limit: 1, .. })));
    stage.world.connect(stage.carol);
    stage.world.run();
    assert_eq!(stage.epoch(), before + 1);
    stage.assert_well();
}

#[test]
fn who_never_says_to_hold_it_is_not_shut_out() {
    let mut stage = Stage::new();
    let before = stage.epoch();
    stage.world.disconnect(stage.carol);
    stage.bring(stage.alice);
    stage.world.run_for(PSK_WITHIN_MS + 60_000);
    assert_eq!(stage.epoch(), before);
    let refused = stage.refused(stage.alice);
    assert!(
        refused.len() == 1 && refused[0].contains("carol@b.example"),
        "{refused:?}"
    );
    assert_eq!(stage.kept(stage.alice), 0);
    stage.world.connect(stage.carol);
    stage.world.run();
    let room = stage.room.clone();
    let all = stage.all();
    stage.world.assert_agreement(&room, &all);
    // The next takes the place of what Bob and Carol were given.
    stage.bring(stage.alice);
    assert_eq!(stage.epoch(), before + 1);
    assert!(all.iter().all(|client| stage.kept(*client) == 0));
}

#[test]
fn who_comes_after_it_was_handed_out_does_not_hold_it() {
    let mut stage = Stage::new();
    let dave = stage.world.enrolled("dave@b.example");
    stage.world.disconnect(stage.carol);
    stage.bring(stage.alice);
    let (now, room) = (stage.world.now, stage.room.clone());
    stage.world.input(stage.bob, |e| {
        e.invite(&room, &[jid("dave@b.example")], now)
    });
    stage.world.run();
    stage.world.connect(stage.carol);
    stage.world.run_for(PSK_WITHIN_MS + 60_000);
    let refused = stage.refused(stage.alice);
    assert!(
        refused.len() == 1 && refused[0].contains("dave@b.example"),
        "{refused:?}"
    );
    let all = [stage.alice, stage.bob, stage.carol, dave];
    stage.world.assert_agreement(&room, &all);
}

#[test]
fn a_room_heals_another_whose_devices_it_has() {
    let mut stage = Stage::new();
    let source = stage.make(&["carol@b.example", "bob@b.example"]);
    let before = stage.epoch();
    let (now, room) = (stage.world.now, stage.room.clone());
    stage
        .world
        .input(stage.bob, |e| e.heal(&room, &source, now));
    stage.world.run();
    assert_eq!(stage.epoch(), before + 1);
    for client in stage.all() {
        assert_eq!(stage.strengthened(client), ["bob@b.example"]);
    }
    stage.assert_well();
    // Nothing of it went over the wire: the log has no message as long as a secret would make it,
    // and who lacks the other room's group cannot follow.
    let (now, carol) = (stage.world.now, stage.carol);
    stage.world.disconnect(carol);
    stage
        .world
        .input(stage.bob, |e| e.heal(&room, &source, now));
    stage.world.run();
    stage.world.input(stage.alice, |e| e.update(&source, now));
    stage.world.run();
    // The other room has moved on: it is exported from its new epoch, and all come to that.
    stage.world.connect(carol);
    stage.world.run();
    assert_eq!(stage.epoch(), before + 2);
    let all = stage.all();
    stage.world.assert_agreement(&room, &all);
    assert!(all.iter().all(|client| stage.kept(*client) == 0));
    stage.world.assert_unwarned();
}

#[test]
fn a_room_heals_none_that_has_others_in_it() {
    let mut stage = Stage::new();
    let two = stage.make(&["bob@b.example"]);
    let (now, room) = (stage.world.now, stage.room.clone());
    let nowhere = jid("~nowhere@a.example");
    let carol = stage.world.device_id(stage.carol);
    let engine = stage.world.engine(stage.bob);
    let refused = engine.heal(&room, &two, now).unwrap_err();
    let expected = Error::NotShared {
        room: two.clone(),
        account: jid("carol@b.example"),
        device: carol,
    };
    assert_eq!(refused, expected);
    let refused = engine.heal(&room, &room, now).unwrap_err();
    assert!(matches!(refused, Error::RoomClosed(..)), "{refused}");
    let refused = engine.heal(&room, &nowhere, now).unwrap_err();
    assert!(matches!(refused, Error::UnknownRoom(_)), "{refused}");
    let refused = engine.bring_psk(&nowhere, now).unwrap_err();
    assert!(matches!(refused, Error::UnknownRoom(_)), "{refused}");
    // The smaller one is healed from the larger.
    stage.world.input(stage.bob, |e| e.heal(&two, &room, now));
    stage.world.run();
    let epoch = stage.world.rooms[&two].group.group_context().epoch;
    assert_eq!(epoch, 2);
    stage.world.assert_unwarned();
}

/// A program that keeps no rules does not wait for who lacks it: that one comes back by itself.
#[test]
fn a_psk_that_a_member_lacks_is_come_back_from() {
    let mut stage = Stage::new();
    let mut mallory = stage.world.raw("mallory@b.example", 0x66);
    let dave = stage.world.enrolled("dave@b.example");
    let (now, room) = (stage.world.now, stage.room.clone());
    let invite = |stage: &mut Stage, guest: &str| {
        let guest = [jid(guest)];
        stage
            .world
            .input(stage.alice, |e| e.invite(&room, &guest, now));
        stage.world.run();
    };
    invite(&mut stage, "mallory@b.example");
    stage.bring(stage.alice);
    invite(&mut stage, "dave@b.example");
    stage.world.catch_up(&mut mallory, &room);
    let (id, secret) = stage.secret();
    mallory.knows(&id, &secret);
    let request = mallory.commits(|builder| builder.add_external_psk(id).unwrap());
    let answer = stage.world.hand_in(&mut mallory, &room, request).unwrap();
    assert!(matches!(answer, Answer::Accepted(_)));
    let all = stage.all();
    stage.world.assert_agreement(&room, &all);
    for client in all {
        assert_eq!(stage.strengthened(client), ["mallory@b.example"]);
        assert_eq!(stage.kept(client), 0);
    }
    let rooms = stage.world.engine(dave).rooms().unwrap();
    assert_eq!(rooms[0].state, RoomState::Resyncing);
    // Alice's is used up; of a program that lost it she is told.
    assert_eq!(stage.refused(stage.alice).len(), 1);
    stage.world.run_for(60 * 60 * 1_000);
    stage
        .world
        .assert_agreement(&room, &[all[0], all[1], all[2], dave]);
}
