//! `comity stats`, and what `comity top` shows.

use comity_storage::Storage;

use super::State;
use super::house::House;
use super::protocol::{Answer, Stats};
use super::user::{Result, text};

pub(super) async fn stats(state: &State) -> Result {
    let stats = gather(&state.storage, &*state.house).await.map_err(text)?;
    Ok(Answer::Stats {
        stats: Box::new(stats),
    })
}

/// Of the server's memory and of its storage.
pub(crate) async fn gather(
    storage: &Storage,
    house: &dyn House,
) -> std::result::Result<Stats, comity_storage::Error> {
    let totals = storage.totals().await?;
    let mut stats = house.stats();
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
    stats.uploads = totals.uploads;
    stats.upload_octets = totals.upload_octets;
    stats.database_octets = totals.database;
    Ok(stats)
}
