//! `comity stats`, and what `comity top` shows.

use super::State;
use super::protocol::Answer;
use super::user::{Result, text};

pub(super) async fn stats(state: &State) -> Result {
    let totals = state.storage.totals().await.map_err(text)?;
    let mut stats = state.house.stats();
    for domain in &mut stats.domains {
        let found = totals
            .accounts
            .iter()
            .find(|(name, _)| *name == domain.domain);
        domain.accounts = found.map_or(0, |(_, accounts)| *accounts);
    }
    stats.accounts = stats.domains.iter().map(|domain| domain.accounts).sum();
    stats.devices = totals.devices;
    stats.rooms = totals.rooms;
    stats.room_copies = totals.copies;
    stats.outbox_stanzas = totals.outbox;
    stats.offline_messages = totals.offline;
    stats.database_octets = totals.database;
    Ok(Answer::Stats {
        stats: Box::new(stats),
    })
}
