//! What both tables of lies share: a room that the liar has its way with, another in which nobody
//! lies, and what holds after every lie: nothing is shown that was not said by whom it is shown of,
//! nothing twice, and the client goes on.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each table uses a part of it, and a test may panic"
)]

use std::collections::BTreeSet;

use comity_mls_engine::{Event, RoomState, What};
use comity_mls_wire::room::{Answer, Entry, Member, Request};
use comity_xmpp::jid::BareJid;

use crate::world::raw::Raw;
use crate::world::{World, jid};

pub const ALICE: &str = "alice@a.example";
pub const BOB: &str = "bob@b.example";
pub const CAROL: &str = "carol@b.example";
pub const MALLORY: &str = "mallory@b.example";

/// One row of a table.
pub struct Row {
    pub lie: &'static str,
    pub play: fn(&mut Stage),
    /// The names of what Bob is told from the lie on, beside what every honest day brings: no more,
    /// no less.
    pub told: &'static [&'static str],
    pub ends: Ends,
}

/// How the room of the lie stands afterwards. The other room goes on in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Everybody hears everybody.
    GoesOn,
    /// Bob's device follows it no further, and says so.
    Stopped,
    /// The lie has cut Bob off from the others; his device still holds what it held.
    Apart,
}

pub struct Stage {
    pub world: World,
    pub alice: usize,
    pub bob: usize,
    pub carol: usize,
    pub mallory: Raw,
    /// Where the liar is.
    pub room: BareJid,
    /// Where nobody lies.
    pub other: BareJid,
    /// Who said what, in order, in either room.
    truth: Vec<(BareJid, String, Vec<u8>)>,
    /// Where Bob's events begin to count.
    since: usize,
}

impl Stage {
    pub fn new() -> Self {
        let mut world = World::new(&["a.example", "b.example", "c.example"]);
        let alice = world.enrolled(ALICE);
        let bob = world.enrolled(BOB);
        let carol = world.enrolled(CAROL);
        let mut mallory = world.raw(MALLORY, 0x66);
        let now = world.now;
        let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
        let guests = [BOB, CAROL, MALLORY].map(jid);
        world.input(alice, |e| e.invite(&room, &guests, now));
        world.run();
        let other = world.input(alice, |e| e.create_room(None, now)).unwrap();
        world.input(alice, |e| e.invite(&other, &[jid(BOB)], now));
        world.run();
        world.catch_up(&mut mallory, &room);
        let mut stage = Self {
            world,
            alice,
            bob,
            carol,
            mallory,
            room,
            other,
            truth: Vec::new(),
            since: 0,
        };
        // Everybody has been heard once, so that what is counted is counted from somewhere.
        for client in [alice, bob, carol] {
            stage.say(client, "hello");
        }
        stage.since = stage.world.clients[bob].events.len();
        stage
    }

    pub fn device(&self, client: usize) -> Member {
        Member {
            account: self.world.clients[client].account.clone(),
            device: self.world.device_id(client),
        }
    }

    pub fn say(&mut self, client: usize, words: &str) {
        let room = self.room.clone();
        self.say_in(client, &room, words);
    }

    pub fn say_in(&mut self, client: usize, room: &BareJid, words: &str) {
        let now = self.world.now;
        let bytes = words.as_bytes();
        let account = self.world.clients[client].account.as_str().to_owned();
        self.truth.push((room.clone(), account, bytes.to_vec()));
        self.world
            .input(client, |e| e.send(room, "text", bytes, now));
        self.world.run();
    }

    pub fn update(&mut self, client: usize) {
        let (room, now) = (self.room.clone(), self.world.now);
        self.world.input(client, |e| e.update(&room, now));
        self.world.run();
    }

    /// Bob's session is gone: what follows waits for him at his server.
    pub fn hold(&mut self) {
        let bob = self.bob;
        self.world.disconnect(bob);
    }

    pub fn release(&mut self) {
        let bob = self.bob;
        self.world.connect(bob);
        self.world.run();
    }

    /// Everybody is away for so many days.
    pub fn days_pass(&mut self, days: u64) {
        let everybody = 0..self.world.clients.len();
        everybody.clone().for_each(|c| self.world.disconnect(c));
        self.world.now += days * 86_400_000;
        everybody.for_each(|c| self.world.connect(c));
        self.world.run_for(60_000);
    }

    /// Bob is shown another log from here on, that fits in itself.
    pub fn lie(&mut self, lie: impl FnOnce(&mut Vec<Entry>)) {
        let bob = self.device(self.bob);
        self.world
            .rooms
            .get_mut(&self.room)
            .unwrap()
            .lie_to(&bob, lie);
        self.release();
    }

    /// Bob is shown once what does not fit, then the truth.
    pub fn garble(&mut self, lie: impl FnOnce(&mut Vec<Entry>)) {
        let bob = self.device(self.bob);
        self.world
            .rooms
            .get_mut(&self.room)
            .unwrap()
            .garble_for(&bob, lie);
        self.release();
        self.world.run_for(100_000);
        self.world
            .rooms
            .get_mut(&self.room)
            .unwrap()
            .is_honest_to(&bob);
        self.hold();
        self.release();
        self.world.run_for(100_000);
    }

    /// Mallory hands something in, and the hub takes it.
    pub fn hand_in(&mut self, request: Request) {
        let room = self.room.clone();
        let answer = self.world.hand_in(&mut self.mallory, &room, request);
        assert!(matches!(answer, Ok(Answer::Accepted(_))), "{answer:?}");
    }

    /// Mallory really says this.
    pub fn mallory_says(&mut self, content: &[u8]) {
        let truth = (self.room.clone(), MALLORY.to_owned(), content.to_vec());
        self.truth.push(truth);
    }

    /// So does this client, by an input of the row's own.
    pub fn says(&mut self, client: usize, content: &[u8]) {
        let account = self.world.clients[client].account.as_str().to_owned();
        self.truth
            .push((self.room.clone(), account, content.to_vec()));
    }

    /// What Bob was told since the lie began, by name.
    fn told(&self) -> BTreeSet<String> {
        let events = &self.world.clients[self.bob].events[self.since..];
        events.iter().filter_map(name).collect()
    }

    fn shown(&self, client: usize, room: &BareJid) -> Vec<(String, Vec<u8>)> {
        let items = self.world.history(client, room);
        let messages = items.into_iter().filter_map(|item| match item.what {
            What::Message(message) => Some((message.sender.account, message.content)),
            _ => None,
        });
        messages.collect()
    }

    /// Whatever a device shows was said, by whom it says, in the order it was said, once.
    fn assert_genuine(&self, lie: &str) {
        for client in [self.alice, self.bob, self.carol] {
            for room in [&self.room, &self.other] {
                let shown = self.shown(client, room);
                for account in [ALICE, BOB, CAROL, MALLORY] {
                    let mut said = self
                        .truth
                        .iter()
                        .filter(|(r, a, _)| r == room && a == account);
                    for (_, content) in shown.iter().filter(|(by, _)| by == account) {
                        let text = String::from_utf8_lossy(content);
                        let found = said.any(|(_, _, true_one)| true_one == content);
                        assert!(found, "{lie}: {account} never said, or not then: {text}");
                    }
                }
                let strangers = shown.iter().map(|(by, _)| by.as_str());
                let known = [ALICE, BOB, CAROL, MALLORY];
                assert!(strangers.into_iter().all(|by| known.contains(&by)), "{lie}");
            }
        }
    }

    fn assert_heard(&mut self, lie: &str, room: &BareJid, between: &[usize]) {
        let room = room.clone();
        for speaker in between {
            let words = format!("after the lie, {speaker}");
            self.say_in(*speaker, &room, &words);
            self.world.run_for(120_000);
            let account = self.world.clients[*speaker].account.as_str().to_owned();
            for client in between {
                let last = self.shown(*client, &room).pop();
                let expected = (account.clone(), words.clone().into_bytes());
                assert_eq!(last, Some(expected), "{lie}: {client} of {room}");
            }
        }
    }

    fn state(&self, room: &BareJid) -> RoomState {
        let rooms = self.world.clients[self.bob].engine.rooms().unwrap();
        rooms.iter().find(|info| info.room == *room).unwrap().state
    }

    fn check(mut self, row: &Row) {
        let lie = row.lie;
        self.world.lie = None;
        self.world.run_for(600_000);
        let (room, other) = (self.room.clone(), self.other.clone());
        let (alice, bob, carol) = (self.alice, self.bob, self.carol);
        match row.ends {
            Ends::GoesOn => self.assert_heard(lie, &room, &[alice, bob, carol]),
            Ends::Stopped => {
                assert_eq!(self.state(&room), RoomState::Stopped, "{lie}");
                let now = self.world.now;
                let said = self.world.engine(bob).send(&room, "text", b"x", now);
                assert!(said.is_err(), "{lie}");
            }
            Ends::Apart => {
                self.say(alice, "to whom it reaches");
                self.world.run_for(120_000);
            }
        }
        self.assert_heard(lie, &other, &[alice, bob]);
        let told: BTreeSet<String> = row.told.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(self.told(), told, "{lie}");
        self.assert_genuine(lie);
        // A restart finds the same.
        let before = self.shown(bob, &room);
        self.world.restart(bob);
        self.world.run();
        assert_eq!(self.shown(bob, &room), before, "{lie}");
    }
}

/// The name of an event that an honest day does not bring.
fn name(event: &Event) -> Option<String> {
    let debug = match event {
        Event::Warning { warning, .. } => format!("{warning:?}"),
        Event::Item { item, .. } => match &item.what {
            What::Unreadable(_) | What::RemovedByHub(_) | What::Barred(_) | What::Rejoined(_) => {
                format!("{:?}", item.what)
            }
            _ => return None,
        },
        Event::RoomStopped { .. }
        | Event::RoomResyncing { .. }
        | Event::RoomResynced { .. }
        | Event::NotInvited { .. }
        | Event::MemberRevoked { .. }
        | Event::UnverifiedDevice { .. }
        | Event::OwnDevice { .. }
        | Event::Refused { .. } => format!("{event:?}"),
        _ => return None,
    };
    let end = debug.find(|c: char| !c.is_alphanumeric());
    Some(debug[..end.unwrap_or(debug.len())].to_owned())
}

/// Plays every row, each in a world of its own, and names all that fail.
pub fn run(table: &[Row]) {
    let mut failed = Vec::new();
    for row in table {
        let played = std::panic::catch_unwind(|| {
            let mut stage = Stage::new();
            (row.play)(&mut stage);
            stage.check(row);
        });
        if played.is_err() {
            failed.push(row.lie);
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {}: {failed:#?}",
        failed.len(),
        table.len()
    );
}
