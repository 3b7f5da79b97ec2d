//! In rooms of ours where proposals wait and nobody is sending, one device after the other is asked to
//! commit them (`mls/PROTOCOL.md` §7.4.3).

use std::time::Duration;

use comity_mls_service::room::nominate::{FIRST_AFTER_MS, LATER_MS};
use comity_mls_service::room::rows;
use comity_mls_wire::room::{Entry, EntryKind};

use super::{Home, tell};
use crate::deliver::Deliveries;
use crate::module::{Later, Module, Tick};

pub(in crate::module) const MODULE: Module = Module {
    name: "mls_nominate",
    tick: Some(Tick { every: TICK, run }),
    ..Module::EMPTY
};

/// How exactly the times are kept.
const TICK: Duration = Duration::from_millis(500);
/// After a fault, a room is looked at again.
const AGAIN_MS: u64 = 30_000;
/// Rooms read from storage at a time, at the start.
const PAGE: usize = 256;

/// An entry of a room of ours: a proposal waits from now on.
pub(super) fn note(home: &Home, entry: &Entry) {
    if entry.kind == EntryKind::Proposal && home.hosts.serves(entry.room.domain()) {
        let at = entry.time.saturating_add(FIRST_AFTER_MS);
        let nominations = &home.services.rooms.nominations;
        nominations.look(entry.room.as_str(), at);
    }
}

fn run(home: Home) -> Later<Deliveries> {
    Box::pin(async move {
        let nominations = &home.services.rooms.nominations;
        if nominations.begin() {
            begin(&home).await;
        }
        let mut deliveries = Deliveries::none();
        for room in nominations.take(home.now_ms()) {
            deliveries.extend(nominate(&home, &room).await);
        }
        deliveries
    })
}

/// What waits from before the start: who was asked then stands in storage as well.
async fn begin(home: &Home) {
    let nominations = &home.services.rooms.nominations;
    let (mut after, now) = (String::new(), home.now_ms());
    loop {
        match home.storage.rooms_pending(&after, PAGE).await {
            Ok(found) => {
                for room in &found {
                    nominations.look(room, now);
                }
                match found.into_iter().last() {
                    Some(last) => after = last,
                    None => return,
                }
            }
            Err(error) => {
                tracing::error!(%error, "rooms in which proposals wait are not known");
                return nominations.again();
            }
        }
    }
}

async fn nominate(home: &Home, room: &str) -> Deliveries {
    let mut deliveries = Deliveries::none();
    let (rooms, now) = (&home.services.rooms, home.now_ms());
    let Ok(address) = rows::address(room) else {
        tracing::error!(room, "the database holds a room that is none");
        return deliveries;
    };
    if rooms.closed.reason(room).is_some() {
        // Nobody may commit; it may be opened again.
        rooms.nominations.look(room, now.saturating_add(LATER_MS));
        return deliveries;
    }
    match rooms.hub.nominate(&address, now).await {
        Ok(done) => {
            if let Some(again) = done.again {
                rooms.nominations.look(room, again);
            }
            let Some((member, reply)) = done.asked else {
                return deliveries;
            };
            home.counters.nominations.add(1);
            tracing::info!(
                room, account = %member.account, device = %member.device,
                "a device is asked to commit what is pending"
            );
            for domain in reply.wake {
                deliveries.wake(domain);
            }
            if let Some(entry) = &reply.entry {
                tell(home, entry);
            }
        }
        Err(refused) => {
            tracing::error!(room, error = %refused.refusal(), "nobody can be asked to commit");
            let again = now.saturating_add(AGAIN_MS);
            rooms.nominations.look(room, again);
        }
    }
    deliveries
}
