//! Whoever was a member of an epoch has read what was accepted in it: also a device that is out by
//! now, or was out in between.

use std::collections::{HashMap, HashSet};

use comity_mls_engine::{Event, What};
use comity_mls_service::room::external;
use comity_mls_wire::room::{Entry, Member, Payload};
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use super::fleet::{Fleet, jid};

/// The commits with which a device came and went; none: it is there.
type Stay = (u64, Option<u64>);

/// How often somebody was owed a message, each of which is there.
pub(super) async fn whoever_was_there_has_read_it(
    fleet: &Fleet,
    room: &BareJid,
    log: &[Entry],
) -> usize {
    // A device whose data was put back may have said the same again; it is shown once.
    let mut accepted: HashMap<Uuid, Vec<u64>> = HashMap::new();
    for (id, seq) in fleet.acknowledged(room) {
        accepted.entry(id.0).or_default().push(seq);
    }
    let mut owed = 0;
    for (member, stays) in stays(fleet, room).await {
        let client = fleet.client_of(&member).unwrap();
        if fleet.was_out_of_step(client, room, log) {
            continue;
        }
        let history = fleet.history(client, room).into_iter();
        let read: HashSet<u64> = history
            .filter(|item| matches!(item.what, What::Message(_)))
            .map(|item| item.seq)
            .collect();
        let there = |seq: &u64| {
            let within = |(came, went): &Stay| came < seq && went.is_none_or(|went| *seq < went);
            stays.iter().any(within)
        };
        for seqs in accepted.values().filter(|seqs| seqs.iter().any(there)) {
            let found = seqs.iter().any(|seq| read.contains(seq));
            assert!(
                found,
                "{client}:{} was in {room} {stays:?} and lacks the message at {seqs:?}",
                member.account
            );
            owed += 1;
        }
    }
    owed
}

/// As the hub has told the domains who came and went.
async fn stays(fleet: &Fleet, room: &BareJid) -> HashMap<Member, Vec<Stay>> {
    let storage = &fleet.servers[room.domain()].storage;
    let mut stays: HashMap<Member, Vec<Stay>> = HashMap::new();
    for domain in fleet.servers.keys() {
        let changes = storage.room_changes(room.as_str(), domain, 0, u64::MAX);
        for (seq, change) in changes.await.unwrap() {
            let member = Member {
                account: jid(&change.account),
                device: Uuid::from_bytes(change.device),
            };
            let of_it = stays.entry(member).or_default();
            match change.joined {
                true => of_it.push((seq, None)),
                false => of_it.last_mut().unwrap().1 = Some(seq),
            }
        }
    }
    stays
}

impl Fleet {
    /// It was put back, or lost the group once and came back to it: so it missed what was said
    /// meanwhile. That it was told so may itself have been lost in a crash; the log has its return.
    pub(super) fn was_out_of_step(&self, client: usize, room: &BareJid, log: &[Entry]) -> bool {
        let state = &self.clients[client];
        let member = self.member(client).unwrap();
        let returned = |entry: &Entry| {
            let own = entry.sender == member.account && entry.device == Some(member.device);
            own && matches!(&entry.payload, Payload::Held(payload) if external::is_one(payload))
        };
        let lost =
            |event: &Event| matches!(event, Event::RoomResyncing { room: of, .. } if of == room);
        state.rolled_back > 0 || state.events.iter().any(lost) || log.iter().any(returned)
    }
}
