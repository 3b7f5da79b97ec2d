//! What has waited too long for another domain goes back to its sender.

use std::sync::Arc;
use std::time::Duration;

use comity_storage::{ForgetQueues, OutboxRow, RemoveOutgoing, StoreOffline, StoredOffline};
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::BareJid;
use comity_xmpp::stanza::{Kind, Stanza};
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
        let told = async {
            let mut deliveries = bounces(&home).await?;
            deliveries.extend(for_nobody(&home).await?);
            Ok::<_, comity_storage::Error>(deliveries)
        };
        told.await.unwrap_or_else(|fault| {
            error!(%fault, "stanzas that go back could not be read: again at the next round");
            Deliveries::none()
        })
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
    deliveries.extend(give_back(home, &expired, too_late).await?);
    Ok(deliveries)
}

/// A domain that the DNS knows nothing of is a slip of the pen more often than a fault that passes:
/// what people sent there goes back within minutes. What rooms have for it waits.
async fn for_nobody(home: &Home) -> Result<Deliveries, comity_storage::Error> {
    let mut unknown: Vec<String> = (home.remote.outgoing().into_iter())
        .filter(|status| {
            status
                .last_failure
                .as_ref()
                .is_some_and(|why| why.not_found)
        })
        .map(|status| status.domain)
        .collect();
    unknown.sort_unstable();
    unknown.dedup();
    let mut deliveries = Deliveries::none();
    let before = home
        .now_ms()
        .saturating_sub(home.limits.now().unknown_expiry_ms);
    for domain in unknown {
        let mut rows = home.storage.outbox(&domain, 0, BATCH).await?;
        rows.retain(|row| {
            let plain =
                row.expires.saturating_sub(row.created) <= home.limits.now().outbox_expiry_ms;
            plain && row.created <= before
        });
        if !rows.is_empty() {
            info!(%domain, stanzas = rows.len(), "stanzas are for a domain that nobody knows");
            deliveries.extend(give_back(home, &rows, not_found).await?);
        }
    }
    Ok(deliveries)
}

/// Tells the senders, and forgets the rows.
async fn give_back(
    home: &Home,
    rows: &[OutboxRow],
    why: fn(&str) -> StanzaError,
) -> Result<Deliveries, comity_storage::Error> {
    let mut deliveries = Deliveries::none();
    for row in rows {
        if let Some(stanza) = message::read(&row.stanza) {
            deliveries.extend(bounce(home, &stanza, &why(&row.destination)).await?);
        }
    }
    let ids = rows.iter().map(|row| row.id).collect();
    home.storage.write(RemoveOutgoing { ids }).await?;
    Ok(deliveries)
}

/// RFC 6120 §8.3.3.17.
fn too_late(domain: &str) -> StanzaError {
    StanzaError::new(ErrorType::Wait, StanzaCondition::RemoteServerTimeout).with_text(format!(
        "{domain} could not be reached in time: send it again"
    ))
}

/// RFC 6120 §8.3.3.16.
fn not_found(domain: &str) -> StanzaError {
    StanzaError::new(ErrorType::Cancel, StanzaCondition::RemoteServerNotFound).with_text(format!(
        "there is no server of {domain}: is it spelt right?"
    ))
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
        let deliveries = give_back(home, &rows, too_late).await?;
        discarded += u64::try_from(rows.len()).unwrap_or(u64::MAX);
        deliver::deliver(home, deliveries).await;
    }
}

async fn bounce(
    home: &Home,
    stanza: &Stanza,
    error: &StanzaError,
) -> Result<Deliveries, comity_storage::Error> {
    let Some(from) = &stanza.from else {
        return Ok(Deliveries::none());
    };
    if !home.hosts.serves(from.domain()) {
        return Ok(Deliveries::none());
    }
    let is_there = from.is_bare() || home.sessions.with(from, |_| ()).is_some();
    match stanza.error_reply(error) {
        Some(back) if is_there || !matches!(stanza.kind, Kind::Message(_)) => {
            Ok(Deliveries::none().with(back))
        }
        Some(back) => for_account(home, &from.to_bare(), back).await,
        None => Ok(Deliveries::none()),
    }
}

/// After days the session that said it is gone. RFC 6121 §8.5.3.2.1 would have the error ignored;
/// it is for whichever of the account's sessions are there, and else kept as messages are, or
/// nobody would learn what did not arrive.
async fn for_account(
    home: &Home,
    account: &BareJid,
    mut back: Stanza,
) -> Result<Deliveries, comity_storage::Error> {
    back.to = Some(account.clone().into());
    let mut deliveries = Deliveries::none();
    let mut sessions = home.sessions.available(account);
    sessions.retain(|session| session.priority >= 0);
    if sessions.is_empty() {
        let kept = StoreOffline {
            account: account.as_str().to_owned(),
            stanza: back.to_bytes(None).to_vec(),
            received: home.now_ms(),
            limit: home.limits.now().offline_messages,
        };
        if home.storage.write(kept).await? != StoredOffline::Stored {
            info!(%account, "an account was not told what did not arrive: no room");
        }
        return Ok(deliveries);
    }
    let back = Arc::new(back);
    for session in sessions {
        deliveries.push_kept(session.jid, Arc::clone(&back));
    }
    Ok(deliveries)
}
