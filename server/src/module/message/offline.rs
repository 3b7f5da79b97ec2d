//! Giving an account what was kept for it (XEP-0160), in order, before anything newer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use comity_c2s::link::{Outbound, Place};
use comity_storage::{Content, DeleteOffline, Form, MoveOffline, OfflineMessage, Queued};
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
            until: Some(Instant::now() + ALL_PATIENCE),
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

/// Puts into a session's queue what was kept for its account, as far as there is room, where its
/// client is not there: so that nothing newer comes before.
pub(crate) async fn take_over(home: &Home, session: &Jid) -> Result<(), comity_storage::Error> {
    let drain = Drain {
        home,
        session,
        until: None,
    };
    // Nobody else gives the session anything yet, and it has room: nothing comes back.
    let mut back = Deliveries::none();
    drain.hand_over(&mut back).await
}

struct Drain<'a> {
    home: &'a Home,
    session: &'a Jid,
    /// How long its client may take in all; none, where it is not there.
    until: Option<Instant>,
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
                    if let Err(fault) = self.hand_over(&mut deliveries).await {
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

    async fn hand_over(&self, back: &mut Deliveries) -> Result<(), comity_storage::Error> {
        let account = self.session.to_bare();
        let storage = &self.home.storage;
        let mut after = 0;
        loop {
            let batch = storage.offline(account.as_str(), after, BATCH).await?;
            let Some(last) = batch.last() else {
                return Ok(());
            };
            after = last.id;
            let key = self.home.sessions.with(self.session, |session| {
                let managed = session.managed.as_ref()?;
                Some((managed.key.to_string(), managed.epoch))
            });
            let all = match key.flatten() {
                Some((key, epoch)) => self.move_over(&key, epoch, batch, back).await?,
                None => self.hand_on(&batch).await?,
            };
            if !all {
                debug!(session = %self.session, "the session ended before it had all kept messages");
                return Ok(());
            }
        }
    }

    /// To a session that outlives the server: a message waits for the account or lies in the
    /// session's queue, never both.
    async fn move_over(
        &self,
        key: &str,
        epoch: i64,
        batch: Vec<OfflineMessage>,
        back: &mut Deliveries,
    ) -> Result<bool, comity_storage::Error> {
        let account = self.session.to_bare().as_str().to_owned();
        let mut batch = batch.into_iter().peekable();
        while batch.peek().is_some() {
            let Some(outbound) = self.outbound() else {
                return Ok(false);
            };
            let Some(first) = self.first_place(&outbound).await else {
                return Ok(false);
            };
            let (mut moved, mut messages) = (Vec::new(), Vec::new());
            let mut next = Some(first);
            while let Some(place) = next.take() {
                let Some((id, stanza)) = batch.find_map(|message| self.kept(&message)) else {
                    break;
                };
                let queued = Queued {
                    key: key.to_owned(),
                    epoch,
                    place: place.place(),
                    form: Form::Plain,
                    content: Content::Stanza(stanza.to_bytes(None).to_vec()),
                };
                messages.push((id, queued));
                moved.push((place, stanza));
                if batch.peek().is_some() {
                    next = outbound.reserve_at_leisure();
                }
            }
            let account = account.clone();
            let change = MoveOffline { account, messages };
            self.home.storage.write(change).await?;
            for (place, stanza) in moved {
                self.note(place.place());
                match place.fill(Arc::new(stanza)) {
                    Ok(()) => self.home.counters.to_clients.add(1),
                    Err(refused) => {
                        let stanza = Arc::unwrap_or_clone(refused.0);
                        back.extend(returned(self.home, self.session, stanza).await);
                    }
                }
            }
        }
        Ok(true)
    }

    async fn first_place(&self, outbound: &Outbound) -> Option<Place> {
        let Some(until) = self.until else {
            return outbound.reserve_at_leisure();
        };
        let until = until.min(Instant::now() + PATIENCE);
        let first = tokio::time::timeout_at(until, outbound.reserve_when_free()).await;
        if first.is_err() {
            self.home.sessions.drop_slow(self.session);
        }
        first.ok().flatten()
    }

    /// Something is kept in this place.
    fn note(&self, place: i64) {
        self.home.sessions.with(self.session, |session| {
            if let Some(managed) = &mut session.managed {
                managed.last = managed.last.max(place);
            }
        });
    }

    async fn hand_on(&self, batch: &[OfflineMessage]) -> Result<bool, comity_storage::Error> {
        let mut handed = Vec::with_capacity(batch.len());
        for message in batch {
            if !self.hand(message).await {
                break;
            }
            handed.push(message.id);
        }
        let all = handed.len() == batch.len();
        if !handed.is_empty() {
            // Only now: what was handed over and is not acknowledged comes back when the session
            // ends.
            let account = self.session.to_bare().as_str().to_owned();
            let ids = handed;
            let change = DeleteOffline { account, ids };
            self.home.storage.write(change).await?;
        }
        Ok(all)
    }

    fn kept(&self, message: &OfflineMessage) -> Option<(i64, Stanza)> {
        let Some(mut stanza) = read(&message.stanza) else {
            error!(
                id = message.id,
                "a kept message cannot be read: it is given up"
            );
            return None;
        };
        delay(&mut stanza, self.session.domain(), message.received);
        Some((message.id, stanza))
    }

    async fn hand(&self, message: &OfflineMessage) -> bool {
        match self.kept(message) {
            Some((_, stanza)) => self.give(Arc::new(stanza)).await,
            None => true,
        }
    }

    fn outbound(&self) -> Option<Outbound> {
        let sessions = &self.home.sessions;
        let outbound = sessions.with(self.session, |session| {
            (!session.is_ending()).then(|| session.outbound.clone())
        });
        outbound.flatten()
    }

    /// Waits until the session's queue has room.
    async fn give(&self, stanza: Arc<Stanza>) -> bool {
        let sessions = &self.home.sessions;
        let Some(outbound) = self.outbound() else {
            return false;
        };
        let until = Instant::now() + PATIENCE;
        let until = self.until.map_or(until, |last| last.min(until));
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

/// A kept message as its client would be given it; `None`: it cannot be read.
pub(crate) fn delayed(message: &OfflineMessage, domain: &str) -> Option<Stanza> {
    let mut stanza = read(&message.stanza)?;
    delay(&mut stanza, domain, message.received);
    Some(stanza)
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
