//! Giving an account what was kept for it (XEP-0160), in order, before anything newer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use comity_storage::{DeleteOffline, OfflineMessage};
use comity_xmpp::element::Element;
use comity_xmpp::jid::Jid;
use comity_xmpp::ns;
use comity_xmpp::stanza::Stanza;
use comity_xmpp::stream::Header;
use tracing::{debug, error};

use super::returned;
use crate::deliver::Deliveries;
use crate::home::Home;
use crate::time;

/// Messages read, handed on and forgotten at a time.
const BATCH: usize = 64;
/// How long a client may take to make room in its queue.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to read everything; the rest waits for its next login.
const ALL_PATIENCE: Duration = Duration::from_secs(300);

/// Hands a session what was kept while the account was away. Messages that come meanwhile are held
/// back by the session's table until this is done (see `Sessions::appear`), so that they stay behind.
pub(crate) async fn drain(home: Home, session: Jid) -> Deliveries {
    match tokio::time::timeout(ALL_PATIENCE, hand_over(&home, &session)).await {
        Ok(Ok(())) => {}
        Ok(Err(fault)) => error!(%session, %fault, "kept messages cannot be read: they stay kept"),
        Err(_) => {
            home.sessions.drop_slow(&session);
        }
    }
    let mut deliveries = Deliveries::none();
    for stanza in home.sessions.release(&session) {
        deliveries.extend(returned(&home, &session, Arc::unwrap_or_clone(stanza)).await);
    }
    deliveries
}

async fn hand_over(home: &Home, session: &Jid) -> Result<(), comity_storage::Error> {
    let account = session.to_bare();
    let mut after = 0;
    loop {
        let batch = home.storage.offline(account.as_str(), after, BATCH).await?;
        let Some(last) = batch.last() else {
            return Ok(());
        };
        after = last.id;
        let mut handed = Vec::with_capacity(batch.len());
        for message in &batch {
            if !hand(home, session, message).await {
                break;
            }
            handed.push(message.id);
        }
        let all = handed.len() == batch.len();
        if handed.is_empty() {
            return Ok(());
        }
        // Only now: what was handed over and is not acknowledged comes back when the session ends.
        home.storage
            .write(DeleteOffline {
                account: account.as_str().to_owned(),
                ids: handed,
            })
            .await?;
        if !all {
            debug!(%session, "the session ended before it had all kept messages");
            return Ok(());
        }
    }
}

async fn hand(home: &Home, session: &Jid, message: &OfflineMessage) -> bool {
    let Some(mut stanza) = read(&message.stanza) else {
        error!(
            id = message.id,
            "a kept message cannot be read: it is given up"
        );
        return true;
    };
    delay(&mut stanza, session.domain(), message.received);
    let Some(outbound) = home
        .sessions
        .with(session, |session| session.outbound.clone())
    else {
        return false;
    };
    let sent = outbound.send_when_free(Arc::new(stanza));
    match tokio::time::timeout(PATIENCE, sent).await {
        Ok(sent) => sent.is_ok(),
        Err(_) => {
            home.sessions.drop_slow(session);
            false
        }
    }
}

/// A stanza as storage keeps it.
pub(crate) fn read(bytes: &[u8]) -> Option<Stanza> {
    let header = Header {
        content_ns: ns::CLIENT.to_owned(),
        ..Header::default()
    };
    Stanza::parse(&Bytes::copy_from_slice(bytes), &header).ok()
}

/// XEP-0203: says since when the message has waited here; once.
fn delay(stanza: &mut Stanza, domain: &str, received_ms: u64) {
    let said = stanza
        .child(ns::DELAY, "delay")
        .is_some_and(|delay| delay.attr("from") == Some(domain));
    if !said {
        stanza.push(
            &Element::new(ns::DELAY, "delay")
                .with_attr("from", domain)
                .with_attr("stamp", time::stamp(received_ms)),
        );
    }
}
