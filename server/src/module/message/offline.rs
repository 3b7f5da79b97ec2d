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
use tokio::time::Instant;
use tracing::{debug, error};

use super::returned;
use crate::deliver::Deliveries;
use crate::home::Home;
use crate::module::Later;
use crate::sessions::Next;
use crate::time;

/// Messages read, handed on and forgotten at a time.
const BATCH: usize = 64;
/// How long a client may take to make room in its queue.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to read everything; the rest waits for its next login.
const ALL_PATIENCE: Duration = Duration::from_secs(300);

/// Hands a session what was kept while the account was away. Messages that come meanwhile are held
/// back by the session's table until this is done (see `Sessions::appear`), so that they stay behind.
pub(crate) fn drain(home: Home, session: Jid) -> Later<Deliveries> {
    Box::pin(async move {
        let drain = Drain {
            home: &home,
            session: &session,
            until: Instant::now() + ALL_PATIENCE,
        };
        let mut deliveries = drain.run().await;
        let ended = home.sessions.with(&session, |session| session.is_ending());
        if ended.unwrap_or(true)
            && let Some(other) = home.sessions.kept(&session.to_bare())
        {
            // What it has not got is for another that is there.
            deliveries.afterwards(self::drain(home, other));
        }
        deliveries
    })
}

struct Drain<'a> {
    home: &'a Home,
    session: &'a Jid,
    until: Instant,
}

impl Drain<'_> {
    /// Gives back what the session did not take of what was held back from it.
    async fn run(&self) -> Deliveries {
        let mut deliveries = Deliveries::none();
        let mut next = Next::Kept;
        loop {
            match next {
                Next::Nothing => return deliveries,
                Next::Kept => {
                    if let Err(fault) = self.hand_over().await {
                        error!(session = %self.session, %fault, "kept messages cannot be read: they stay kept");
                    }
                }
                Next::Held(held) => {
                    for stanza in held {
                        if !self.give(Arc::clone(&stanza)).await {
                            let stanza = Arc::unwrap_or_clone(stanza);
                            deliveries.extend(returned(self.home, self.session, stanza).await);
                        }
                    }
                }
            }
            next = self.home.sessions.next(self.session);
        }
    }

    async fn hand_over(&self) -> Result<(), comity_storage::Error> {
        let account = self.session.to_bare();
        let storage = &self.home.storage;
        let mut after = 0;
        loop {
            let batch = storage.offline(account.as_str(), after, BATCH).await?;
            let Some(last) = batch.last() else {
                return Ok(());
            };
            after = last.id;
            let mut handed = Vec::with_capacity(batch.len());
            for message in &batch {
                if !self.hand(message).await {
                    break;
                }
                handed.push(message.id);
            }
            let all = handed.len() == batch.len();
            if !handed.is_empty() {
                // Only now: what was handed over and is not acknowledged comes back when the
                // session ends.
                let account = account.as_str().to_owned();
                let ids = handed;
                storage.write(DeleteOffline { account, ids }).await?;
            }
            if !all {
                debug!(session = %self.session, "the session ended before it had all kept messages");
                return Ok(());
            }
        }
    }

    async fn hand(&self, message: &OfflineMessage) -> bool {
        let Some(mut stanza) = read(&message.stanza) else {
            error!(
                id = message.id,
                "a kept message cannot be read: it is given up"
            );
            return true;
        };
        delay(&mut stanza, self.session.domain(), message.received);
        self.give(Arc::new(stanza)).await
    }

    /// Waits until the session's queue has room.
    async fn give(&self, stanza: Arc<Stanza>) -> bool {
        let sessions = &self.home.sessions;
        let outbound = sessions.with(self.session, |session| {
            (!session.is_ending()).then(|| session.outbound.clone())
        });
        let Some(outbound) = outbound.flatten() else {
            return false;
        };
        let until = self.until.min(Instant::now() + PATIENCE);
        match tokio::time::timeout_at(until, outbound.send_when_free(stanza)).await {
            Ok(sent) => sent.is_ok(),
            Err(_) => {
                sessions.drop_slow(self.session);
                false
            }
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
