//! What must hold at the end of a history.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use comity_mls_engine::{Event, Item, MessageId, RoomState, Warning, What};
use comity_mls_service::room::rows;
use comity_mls_wire::room::{Entry, EntryKind, GENESIS, Member, Payload};
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use super::fleet::Fleet;
use super::stays::whoever_was_there_has_read_it;

const ALL: usize = 100_000;

pub(super) async fn all(fleet: &mut Fleet) -> Happened {
    let mut happened = Happened::of(fleet);
    (happened.served, happened.last_resorts) = fleet.book.check();
    nobody_was_warned(fleet);
    fleet.compare_authenticators();
    for place in fleet.places.clone() {
        let room = &place.room;
        let log = fleet.log(room.domain(), room).await;
        the_log_is_whole(&log);
        copies_are_the_log(fleet, room, &log).await;
        let members = fleet.members(room).await;
        everybody_holds_the_epoch(fleet, room, &members);
        happened.count(&log);
        happened.delivered += whoever_was_there_has_read_it(fleet, room, &log).await;
        for client in 0..fleet.clients.len() {
            nothing_is_shown_twice(fleet, client, room);
            if fleet
                .member(client)
                .is_some_and(|member| members.contains(&member))
            {
                what_was_accepted_is_there(fleet, client, room, &log).await;
            }
        }
    }
    happened
}

/// What a history has been through, to see that it was put to the test.
#[derive(Clone, Debug, Default)]
pub(super) struct Happened {
    pub(super) clients: usize,
    pub(super) rooms: usize,
    pub(super) commits: usize,
    pub(super) proposals: usize,
    pub(super) external: usize,
    pub(super) messages: usize,
    pub(super) returns: usize,
    pub(super) kills: u64,
    pub(super) rolled_back: usize,
    /// Devices that found out that their data is an older copy.
    pub(super) restored: usize,
    /// Those that had to be invited again.
    pub(super) lost: usize,
    /// KeyPackages: ordinary ones, each once; and how often a last resort.
    pub(super) served: usize,
    pub(super) last_resorts: usize,
    /// Messages to members of their epochs, each counted for each.
    pub(super) delivered: usize,
}

impl Happened {
    fn of(fleet: &Fleet) -> Self {
        let events = || fleet.clients.iter().flat_map(|client| &client.events);
        Self {
            clients: fleet.clients.len(),
            rooms: fleet.places.len(),
            returns: events()
                .filter(|event| matches!(event, Event::RoomResynced { .. }))
                .count(),
            restored: events()
                .filter(|event| matches!(event, Event::Restored))
                .count(),
            kills: fleet.kills,
            rolled_back: fleet.clients.iter().map(|c| c.rolled_back).sum(),
            lost: fleet.lost,
            ..Self::default()
        }
    }

    fn count(&mut self, log: &[Entry]) {
        let count = |kind| log.iter().filter(|entry| entry.kind == kind).count();
        let external = |entry: &&Entry| match &entry.payload {
            Payload::Held(payload) => comity_mls_service::room::external::is_one(payload),
            Payload::Purged(_) => false,
        };
        self.commits += count(EntryKind::Commit);
        self.proposals += count(EntryKind::Proposal);
        self.messages += count(EntryKind::Application);
        self.external += log.iter().filter(external).count();
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.clients += other.clients;
        self.rooms += other.rooms;
        self.commits += other.commits;
        self.proposals += other.proposals;
        self.external += other.external;
        self.messages += other.messages;
        self.returns += other.returns;
        self.kills += other.kills;
        self.rolled_back += other.rolled_back;
        self.restored += other.restored;
        self.lost += other.lost;
        self.served += other.served;
        self.last_resorts += other.last_resorts;
        self.delivered += other.delivered;
    }
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
        let state = fleet.state(client, room);
        let inside = state == Some(RoomState::Active);
        let account = member.account.clone();
        assert_eq!(
            inside,
            members.contains(&member),
            "{client}:{account} is {state:?} in {room}"
        );
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
    for item in fleet.history(client, room) {
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
    let name = format!("{client}:{}", fleet.clients[client].account);
    let since = fleet.since(client, room).await;
    let out_of_step = fleet.was_out_of_step(client, room, log);
    let items = fleet.history(client, room);
    for entry in log
        .iter()
        .filter(|e| e.seq > since && e.kind == EntryKind::Application)
    {
        let of_it: Vec<_> = items.iter().filter(|item| item.seq == entry.seq).collect();
        match of_it[..] {
            // The room's name, which is nothing new, or is shown as such; or what was said before.
            [] => assert!(matches!(entry.payload, Payload::Held(_))),
            [item] => match &item.what {
                What::Message(message) => assert!(fleet.was_said(&message.content)),
                What::Unreadable(why) => assert!(out_of_step, "{name} {}: {why:?}", entry.seq),
                other => panic!("{name} {}: {other:?}", entry.seq),
            },
            _ => panic!("{name} {}: {of_it:?}", entry.seq),
        }
    }
    // A device whose data was put back may have said the same again; it is shown once.
    let mut acknowledged: BTreeMap<Vec<u8>, Vec<u64>> = BTreeMap::new();
    for (id, seq) in fleet.acknowledged(room).filter(|(_, seq)| *seq > since) {
        acknowledged
            .entry(id.0.as_bytes().to_vec())
            .or_default()
            .push(seq);
    }
    for seqs in acknowledged.values() {
        let there = items.iter().any(|item| seqs.contains(&item.seq));
        assert!(
            there,
            "{name} lacks the message at {seqs:?} of {room}, since {since}"
        );
    }
}

impl Fleet {
    /// The entry with which a device came to what it has of a room: it was let in, or found itself in
    /// a room that its data knew nothing of.
    async fn since(&self, client: usize, room: &BareJid) -> u64 {
        let member = self.member(client).unwrap();
        let storage = &self.servers[member.account.domain()].storage;
        let (name, device) = (member.account.as_str(), member.device.into_bytes());
        let rooms = storage.device_rooms(name, device, Some(room.as_str()));
        let since = rooms.await.unwrap().last().unwrap().since;
        let found = self.clients[client]
            .events
            .iter()
            .filter_map(|event| match event {
                Event::RoomResyncing { room: of, seq, why }
                    if of == room && why.contains("older copy of it") =>
                {
                    Some(*seq)
                }
                _ => None,
            });
        found.chain([since]).max().unwrap()
    }

    /// What devices were told to have its place in the log.
    pub(super) fn acknowledged(&self, room: &BareJid) -> impl Iterator<Item = (MessageId, u64)> {
        let events = self.clients.iter().flat_map(|client| &client.events);
        events.filter_map(move |event| match event {
            Event::Sent { room: of, id, seq } if of == room => Some((*id, *seq)),
            _ => None,
        })
    }

    pub(super) fn history(&self, client: usize, room: &BareJid) -> Vec<Item> {
        let engine = &self.clients[client].engine;
        let (mut items, mut after) = (Vec::new(), 0);
        loop {
            let page: Vec<Item> = engine.history(room, after, 1_000).unwrap();
            let Some(last) = page.last() else {
                return items;
            };
            after = last.seq;
            items.extend(page);
        }
    }

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
