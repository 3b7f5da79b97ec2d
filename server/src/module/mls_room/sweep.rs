//! Leaves that have to go: looked for in our rooms when the server starts, for what became known
//! when nobody could act upon it, every day, and when certificates turn out to be revoked.

use std::sync::atomic::Ordering;

use comity_mls_service::room::rows;

use super::{Home, tell};
use crate::deliver::Deliveries;

const DAY_MS: u64 = 24 * 3600 * 1000;
/// Rooms read from storage at a time.
const PAGE: usize = 256;

/// All rooms, after the start and once a day: somebody may have been idle for too long.
pub(super) async fn daily(home: &Home) -> Deliveries {
    let (now, swept) = (home.now_ms(), &home.services.rooms.swept);
    if now < swept.load(Ordering::Relaxed).saturating_add(DAY_MS) {
        return Deliveries::none();
    }
    swept.store(now, Ordering::Relaxed);
    let mut deliveries = Deliveries::none();
    let mut after = String::new();
    loop {
        let found = match home.storage.rooms(&after, PAGE).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "rooms cannot be looked through");
                return deliveries;
            }
        };
        deliveries.extend(sweep(home, &found).await);
        match found.into_iter().last() {
            Some(last) => after = last,
            None => return deliveries,
        }
    }
}

/// Certificates of that domain are revoked, by a list that is new: rooms of ours with members there
/// are looked through.
pub(crate) async fn revoked(home: &Home, domain: &str) -> Deliveries {
    let mut deliveries = Deliveries::none();
    let mut after = String::new();
    loop {
        let found = match home.storage.rooms_with(domain, &after, PAGE).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(domain, %error, "rooms with who is revoked are not known");
                return deliveries;
            }
        };
        deliveries.extend(sweep(home, &found).await);
        match found.into_iter().last() {
            Some(last) => after = last,
            None => return deliveries,
        }
    }
}

pub(super) async fn sweep(home: &Home, rooms: &[String]) -> Deliveries {
    let mut deliveries = Deliveries::none();
    for room in rooms {
        let Ok(address) = rows::address(room) else {
            tracing::error!(room, "the database holds a room that is none");
            continue;
        };
        for reply in home.services.rooms.hub.sweep(&address, home.now_ms()).await {
            for domain in reply.wake {
                deliveries.wake(domain);
            }
            if let Some(entry) = &reply.entry {
                tell(home, entry);
            }
        }
        home.services
            .rooms
            .hub
            .snapshot(&address, home.now_ms())
            .await;
    }
    deliveries
}
