//! What must hold at the end of a history.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use comity_mls_engine::{Event, RoomState, Warning, What};
use comity_mls_service::room::rows;
use comity_mls_wire::room::{Entry, EntryKind, GENESIS, Member, Payload};
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use super::fleet::Fleet;

const ALL: usize = 100_000;

pub(super) async fn all(fleet: &mut Fleet, room: &BareJid) -> Happened {
    catch_up(fleet, room).await;
    let log = fleet.log(room.domain(), room).await;
    the_log_is_whole(&log);
    copies_are_the_log(fleet, room, &log).await;
    nobody_was_warned(fleet);
    let members = fleet.members(room).await;
    everybody_holds_the_epoch(fleet, room, &members);
    let happened = Happened::of(fleet, &log);
    for client in 0..fleet.clients.len() {
        nothing_is_shown_twice(fleet, client, room);
        if fleet
            .member(client)
            .is_some_and(|member| members.contains(&member))
        {
            what_was_accepted_is_there(fleet, client, room, &log).await;
        }
    }
    happened
}

/// What a history has been through, to see that it was put to the test.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Happened {
    pub(super) commits: usize,
    pub(super) proposals: usize,
    pub(super) external: usize,
    pub(super) messages: usize,
    pub(super) returns: usize,
    pub(super) kills: u64,
}

impl Happened {
    fn of(fleet: &Fleet, log: &[Entry]) -> Self {
        let count = |kind| log.iter().filter(|entry| entry.kind == kind).count();
        let external = |entry: &&Entry| match &entry.payload {
            Payload::Held(payload) => comity_mls_service::room::external::is_one(payload),
            Payload::Purged(_) => false,
        };
        let events = fleet.clients.iter().flat_map(|client| &client.events);
        Self {
            commits: count(EntryKind::Commit),
            proposals: count(EntryKind::Proposal),
            external: log.iter().filter(external).count(),
            messages: count(EntryKind::Application),
            returns: events
                .filter(|event| matches!(event, Event::RoomResynced { .. }))
                .count(),
            kills: fleet.kills,
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.commits += other.commits;
        self.proposals += other.proposals;
        self.external += other.external;
        self.messages += other.messages;
        self.returns += other.returns;
        self.kills += other.kills;
    }
}

/// Copies are compared with their hub every hour; then everything is carried.
async fn catch_up(fleet: &mut Fleet, room: &BareJid) {
    let names: Vec<String> = fleet.servers.keys().cloned().collect();
    for domain in names.iter().filter(|domain| *domain != room.domain()) {
        let copies = &fleet.servers[domain].copies;
        for (room, held) in copies.rooms(domain, None, ALL).await.unwrap() {
            fleet.fetch(domain, &room, held).await;
        }
    }
    fleet.run_for(60 * 60 * 1_000).await;
}

/// Without gaps, chained, and with one commit for each epoch.
fn the_log_is_whole(log: &[Entry]) {
    let (mut head, mut epoch) = (GENESIS, 0);
    for (place, entry) in (1..).zip(log) {
        assert_eq!(entry.seq, place);
        assert!(entry.follows(&head), "{place}");
        head = entry.head;
        if entry.kind == EntryKind::Commit {
            assert_eq!(entry.epoch, epoch, "the commit at {place}");
            epoch += 1;
        } else if place > 1 && entry.kind != EntryKind::Notice {
            assert_eq!(entry.epoch, epoch, "the entry at {place}");
        }
    }
}

async fn copies_are_the_log(fleet: &Fleet, room: &BareJid, log: &[Entry]) {
    for domain in fleet.servers.keys() {
        for entry in fleet.log(domain, room).await {
            let place = usize::try_from(entry.seq - 1).unwrap();
            assert_eq!(entry.head, log[place].head, "{domain} {}", entry.seq);
        }
    }
}

fn nobody_was_warned(fleet: &Fleet) {
    for client in &fleet.clients {
        for event in &client.events {
            let bad = match event {
                Event::RoomStopped { .. } => true,
                Event::Warning { warning, .. } => matches!(
                    warning,
                    Warning::ChainBroken { .. }
                        | Warning::HeadUnsigned { .. }
                        | Warning::HeadForged { .. }
                        | Warning::Fork { .. }
                        | Warning::Replayed { .. }
                        | Warning::WrongSender { .. }
                        | Warning::Unendorsed { .. }
                ),
                _ => false,
            };
            assert!(!bad, "{}: {event:?}", client.account);
        }
    }
}

fn everybody_holds_the_epoch(fleet: &mut Fleet, room: &BareJid, members: &BTreeSet<Member>) {
    let mut held = BTreeMap::new();
    for client in 0..fleet.clients.len() {
        let member = fleet.member(client).unwrap();
        let inside = fleet.state(client, room) == Some(RoomState::Active);
        let account = member.account.clone();
        assert_eq!(inside, members.contains(&member), "{account}");
        if inside {
            let engine = &mut fleet.clients[client].engine;
            let authenticator = engine.epoch_authenticator(room).unwrap();
            held.entry(authenticator)
                .or_insert_with(Vec::new)
                .push(account);
        }
    }
    assert_eq!(held.len(), 1, "{held:?}");
}

fn nothing_is_shown_twice(fleet: &Fleet, client: usize, room: &BareJid) {
    let state = &fleet.clients[client];
    let mut seen = HashSet::new();
    for item in state.engine.history(room, 0, 1_000).unwrap() {
        if let What::Message(message) = item.what {
            let (account, seq) = (&state.account, item.seq);
            assert!(seen.insert(message.content), "{account}: {seq}");
            assert!(seen.insert(message.id.to_vec()), "{account}: {seq}");
        }
    }
}

/// Each message that was accepted since the device came stands in its history, read; or told as
/// unreadable, if it was out of step.
async fn what_was_accepted_is_there(fleet: &Fleet, client: usize, room: &BareJid, log: &[Entry]) {
    let member = fleet.member(client).unwrap();
    let storage = &fleet.servers[member.account.domain()].storage;
    let (name, device) = (member.account.as_str(), member.device.into_bytes());
    let rooms = storage.device_rooms(name, device, Some(room.as_str()));
    let since = rooms.await.unwrap().last().unwrap().since;
    let state = &fleet.clients[client];
    let out_of_step = state.rolled_back > 0
        || state
            .events
            .iter()
            .any(|e| matches!(e, Event::RoomResyncing { .. }));
    let items = state.engine.history(room, 0, 1_000).unwrap();
    for entry in log
        .iter()
        .filter(|e| e.seq > since && e.kind == EntryKind::Application)
    {
        let of_it: Vec<_> = items.iter().filter(|item| item.seq == entry.seq).collect();
        match of_it[..] {
            // The room's name, which is nothing new, or is shown as such.
            [] => assert!(matches!(entry.payload, Payload::Held(_))),
            [item] => match &item.what {
                What::Message(message) => assert!(fleet.was_said(&message.content)),
                What::Unreadable(why) => assert!(out_of_step, "{name} {}: {why:?}", entry.seq),
                other => panic!("{name} {}: {other:?}", entry.seq),
            },
            _ => panic!("{name} {}: {of_it:?}", entry.seq),
        }
    }
    let acknowledged = fleet.clients.iter().flat_map(|c| &c.events);
    for seq in acknowledged.filter_map(|event| match event {
        Event::Sent { seq, .. } if *seq > since => Some(*seq),
        _ => None,
    }) {
        let there = items.iter().any(|item| item.seq == seq);
        assert!(there, "{name} lacks the message at {seq}");
    }
}

impl Fleet {
    pub(super) async fn members(&self, room: &BareJid) -> BTreeSet<Member> {
        let found = self.servers[room.domain()]
            .storage
            .room(room.as_str())
            .await;
        let found = found.unwrap().unwrap().members;
        let member = |leaf: comity_storage::rooms::Leaf| Member {
            account: rows::address(&leaf.account).unwrap(),
            device: Uuid::from_bytes(leaf.device),
        };
        found.into_iter().map(member).collect()
    }

    async fn log(&self, domain: &str, room: &BareJid) -> Vec<Entry> {
        let storage = &self.servers[domain].storage;
        let found = storage.room_entries(room.as_str(), 0, u64::MAX, ALL, usize::MAX);
        let found = found.await.unwrap();
        found
            .into_iter()
            .map(|row| rows::entry(room, row).unwrap())
            .collect()
    }
}
