//! What has waited too long for another domain goes back to its sender.

use std::time::Duration;

use comity_storage::{ForgetQueues, OutboxRow, RemoveOutgoing};
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::stanza::Stanza;
use tracing::{error, info};

use super::{Later, Module, Tick, message};
use crate::deliver::{self, Deliveries};
use crate::home::Home;

/// Rows told about at a time; the rest waits for the next round.
const BATCH: usize = 1024;
/// The queue of a domain not heard of for a year is forgotten (`s2s/QUEUE.md`).
const REMEMBERED_MS: u64 = 365 * 24 * 3600 * 1000;

pub const MODULE: Module = Module {
    name: "outbox",
    tick: Some(Tick {
        every: Duration::from_secs(60),
        run: expire,
    }),
    ..Module::EMPTY
};

fn expire(home: Home) -> Later<Deliveries> {
    Box::pin(async move {
        let before = home.now_ms().saturating_sub(REMEMBERED_MS);
        if let Err(fault) = home.storage.write(ForgetQueues { before }).await {
            error!(%fault, "queues of domains long gone could not be forgotten");
        }
        remind(&home).await;
        match bounces(&home).await {
            Ok(deliveries) => deliveries,
            Err(fault) => {
                error!(%fault, "expired stanzas could not be read: again at the next round");
                Deliveries::none()
            }
        }
    })
}

/// Domains that found no room among those being reached are tried again.
async fn remind(home: &Home) {
    match home.storage.outbox_destinations().await {
        Ok(domains) => domains.iter().for_each(|domain| home.remote.remind(domain)),
        Err(fault) => error!(%fault, "the outbox cannot be read: again at the next round"),
    }
}

async fn bounces(home: &Home) -> Result<Deliveries, comity_storage::Error> {
    let expired = home.storage.outbox_expired(home.now_ms(), BATCH).await?;
    let mut deliveries = Deliveries::none();
    if expired.is_empty() {
        return Ok(deliveries);
    }
    info!(
        stanzas = expired.len(),
        "stanzas have waited too long for their domain"
    );
    for row in &expired {
        if let Some(stanza) = message::read(&row.stanza) {
            deliveries.extend(bounce(home, row, &stanza));
        }
    }
    let ids = expired.iter().map(|row| row.id).collect();
    home.storage.write(RemoveOutgoing { ids }).await?;
    Ok(deliveries)
}

/// The operator gives up what waits for a domain: its senders are told, and it is forgotten. How
/// many stanzas there were.
pub(crate) async fn discard(home: &Home, domain: &str) -> Result<u64, comity_storage::Error> {
    let mut discarded = 0;
    // What comes meanwhile is not meant.
    let newest = home.storage.outbox_newest(domain).await?;
    loop {
        let mut rows = home.storage.outbox(domain, 0, BATCH).await?;
        rows.retain(|row| newest.is_some_and(|newest| row.id <= newest));
        if rows.is_empty() {
            return Ok(discarded);
        }
        let mut deliveries = Deliveries::none();
        for row in &rows {
            if let Some(stanza) = message::read(&row.stanza) {
                deliveries.extend(bounce(home, row, &stanza));
            }
        }
        let ids = rows.iter().map(|row| row.id).collect();
        discarded += home.storage.write(RemoveOutgoing { ids }).await?;
        deliver::deliver(home, deliveries).await;
    }
}

fn bounce(home: &Home, row: &OutboxRow, stanza: &Stanza) -> Deliveries {
    let ours = stanza
        .from
        .as_ref()
        .is_some_and(|from| home.hosts.serves(from.domain()));
    if !ours {
        return Deliveries::none();
    }
    // RFC 6120 §8.3.3.16.
    let error =
        StanzaError::new(ErrorType::Wait, StanzaCondition::RemoteServerTimeout).with_text(format!(
            "{} could not be reached in time: send it again",
            row.destination
        ));
    Deliveries::refuse(stanza, &error)
}
