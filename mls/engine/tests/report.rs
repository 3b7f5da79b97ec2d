//! Messages that are shown to the hub's operator.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use comity_mls_credential::franking;
use comity_mls_engine::{Error, Event, MessageId, Refused, What};
use comity_mls_wire::room::MessageReport;
use comity_xmpp::jid::BareJid;
use uuid::Uuid;
use world::{World, jid};

struct Stage {
    world: World,
    alice: usize,
    bob: usize,
    room: BareJid,
}

impl Stage {
    fn new() -> Self {
        let mut world = World::new(&["a.example", "b.example"]);
        let alice = world.enrolled("alice@a.example");
        let bob = world.enrolled("bob@b.example");
        let now = world.now;
        let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
        world.input(alice, |e| e.invite(&room, &[jid("bob@b.example")], now));
        world.run();
        Self {
            world,
            alice,
            bob,
            room,
        }
    }

    fn say(&mut self, client: usize, words: &str) -> MessageId {
        let (room, now) = (self.room.clone(), self.world.now);
        let id = self
            .world
            .input(client, |e| e.send(&room, "text", words.as_bytes(), now));
        self.world.run();
        id.unwrap()
    }

    fn report(&mut self, client: usize, id: MessageId) -> Result<(), Error> {
        let (room, now) = (self.room.clone(), self.world.now);
        self.world.engine(client).report(&room, id, "threats", now)
    }

    fn told(&self, client: usize, wanted: MessageId) -> usize {
        let events = self.world.clients[client].events.iter();
        let is_it = |event: &&Event| matches!(event, Event::Reported { id, .. } if *id == wanted);
        events.filter(is_it).count()
    }

    fn reports(&self) -> &[MessageReport] {
        &self.world.rooms[&self.room].told
    }
}

#[test]
fn what_somebody_said_is_shown_to_the_hub_with_proof() {
    let mut stage = Stage::new();
    let (alice, bob) = (stage.alice, stage.bob);
    let id = stage.say(bob, "I know where you live");
    let other = stage.say(bob, "see you tomorrow");
    stage.report(alice, id).unwrap();
    stage.world.run();
    assert_eq!((stage.told(alice, id), stage.reports().len()), (1, 1));
    let report = &stage.reports()[0];
    assert_eq!(&report.content[..], b"I know where you live");
    assert_eq!((report.id, report.why.as_str()), (id.0, "threats"));
    // It fits what the hub has, and its key fits no other message.
    let message = franking::Message {
        id: report.id.as_bytes(),
        content_type: &report.content_type,
        content: &report.content,
    };
    let tags: Vec<_> = [report.seq, report.seq + 1]
        .map(|seq| stage.world.rooms[&stage.room].tag(seq).unwrap())
        .into();
    assert!(message.fits(&report.key, &tags[0]).unwrap());
    assert!(!message.fits(&report.key, &tags[1]).unwrap());
    let same = franking::Message {
        id: other.0.as_bytes(),
        content_type: "text",
        content: b"see you tomorrow",
    };
    assert!(!same.fits(&report.key, &tags[1]).unwrap());
    stage.world.assert_unwarned();
}

#[test]
fn a_report_waits_for_its_hub_and_outlasts_the_program() {
    let mut stage = Stage::new();
    let (alice, bob) = (stage.alice, stage.bob);
    let id = stage.say(bob, "I know where you live");
    stage.world.disconnect(alice);
    stage.report(alice, id).unwrap();
    stage.world.run();
    assert!(stage.reports().is_empty());
    stage.world.restart(alice);
    stage.world.run();
    assert_eq!((stage.told(alice, id), stage.reports().len()), (1, 1));
    stage.world.restart(alice);
    stage.world.run();
    assert_eq!(stage.reports().len(), 1);
    let rows = stage.world.clients[alice].store.rows();
    assert!(rows.iter().all(|(space, _)| *space != "complaint"));
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let mut stage = Stage::new();
    let (alice, bob) = (stage.alice, stage.bob);
    let own = stage.say(alice, "hello");
    let id = stage.say(bob, "hello");
    assert_eq!(stage.report(alice, own), Err(Error::OwnMessage));
    let nothing = MessageId(Uuid::from_u128(1));
    let refused = stage.report(alice, nothing);
    assert_eq!(refused, Err(Error::UnknownMessage(nothing.0)));
    let now = stage.world.now;
    let nowhere = jid("~nowhere@a.example");
    let refused = stage.world.engine(alice).report(&nowhere, id, "", now);
    assert!(matches!(refused, Err(Error::UnknownRoom(_))));
    // The hub has taken enough.
    let room = stage.room.clone();
    stage.world.rooms.get_mut(&room).unwrap().takes_reports = false;
    stage.report(alice, id).unwrap();
    stage.world.run();
    let refused = stage.world.clients[alice].events.iter().any(
        |event| matches!(event, Event::Refused { what: Refused::Report(of), .. } if *of == id),
    );
    assert!(refused);
    assert_eq!(stage.told(alice, id), 0);
    let words = stage.world.history(alice, &room);
    let messages = words.iter().filter(|i| matches!(i.what, What::Message(_)));
    assert_eq!(messages.count(), 2);
}
