//! What the streams of clients and of other domains ask of the server.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use comity_c2s::link::{
    Back, Bound, Count, Credentials, FastAccepted, FastAttempt, FastToken, FastWanted, Manage,
    Registration, Suspended,
};
use comity_s2s::link::{Queued, Received};
use comity_storage::{RemoveOutgoing, RenewOutboxQueue};
use comity_xmpp::element::Element;
use comity_xmpp::error::StanzaError;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::stanza::{Kind, Stanza};
use tracing::{debug, error, info};

use crate::deliver::{self, Deliveries};
use crate::dispatch;
use crate::fast;
use crate::fault;
use crate::home::Home;
use crate::module::{account, archive, message, registration};
use crate::{managed, messages, receipt, route};

type ForClient<'a, T> = comity_c2s::link::Later<'a, T>;
type ForPeer<'a, T> = comity_s2s::link::Later<'a, T>;

impl comity_c2s::link::Server for Home {
    fn serves(&self, domain: &str) -> bool {
        self.hosts.serves(domain)
    }

    fn credentials<'a>(&'a self, account: &'a BareJid) -> ForClient<'a, Credentials> {
        Box::pin(account::credentials(self, account))
    }

    fn attempt<'a>(&'a self, from: IpAddr, account: &'a BareJid) -> ForClient<'a, bool> {
        Box::pin(async move {
            let wait = self.guard.attempt(from, account, self.now_ms());
            if let Some(wait @ 1..) = wait {
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
            wait.is_some()
        })
    }

    fn failed(&self, from: IpAddr, account: Option<&BareJid>) {
        self.counters.refused.add(1);
        self.guard.failed(from, account, self.now_ms());
    }

    fn entered(&self, from: IpAddr, account: &BareJid) {
        self.counters.entered.add(1);
        self.guard.entered(from, account, self.now_ms());
    }

    fn register<'a>(
        &'a self,
        from: IpAddr,
        registration: Registration,
    ) -> ForClient<'a, Result<(), StanzaError>> {
        Box::pin(registration::new::register(self, from, registration))
    }

    fn fast<'a>(&'a self, attempt: FastAttempt) -> ForClient<'a, Option<FastAccepted>> {
        Box::pin(async move { fast::check(self, &attempt).await })
    }

    fn fast_token<'a>(&'a self, wanted: FastWanted) -> ForClient<'a, Option<FastToken>> {
        Box::pin(async move { fast::issue(self, &wanted).await })
    }

    fn bind<'a>(&'a self, bound: Bound) -> ForClient<'a, Result<Jid, StanzaError>> {
        Box::pin(account::bind(self, bound))
    }

    fn welcome<'a>(&'a self, session: &'a Jid) -> ForClient<'a, Vec<Element>> {
        Box::pin(async move {
            // Without it the client asks (XEP-0313 §5).
            let metadata = archive::metadata(self, &session.to_bare()).await;
            metadata.into_iter().collect()
        })
    }

    fn stanza<'a>(
        &'a self,
        session: &'a Jid,
        stanza: Stanza,
        count: Option<Count>,
    ) -> ForClient<'a, Option<u32>> {
        self.counters.from_clients.add(1);
        Box::pin(async move {
            let wait = self.pace.take(&session.to_bare(), Instant::now());
            if !wait.is_zero() {
                // The stream reads no further meanwhile than its window.
                tokio::time::sleep(wait).await;
            }
            dispatch::take(self, session, stanza, count).await
        })
    }

    fn messages<'a>(
        &'a self,
        session: &'a Jid,
        messages: Vec<(Stanza, Option<Count>)>,
    ) -> ForClient<'a, Option<u32>> {
        self.counters.from_clients.add(messages.len());
        Box::pin(messages::take(self, session, messages))
    }

    fn manage<'a>(&'a self, session: &'a Jid, manage: Manage) -> ForClient<'a, bool> {
        Box::pin(managed::manage(self, session, manage))
    }

    fn keep<'a>(&'a self, session: &'a Jid, count: Count) -> ForClient<'a, bool> {
        Box::pin(managed::keep(self, session, count))
    }

    fn acknowledged(&self, session: &Jid, key: &Arc<str>, more: usize) {
        managed::acknowledged(self, session, key, more);
    }

    fn resumed<'a>(&'a self, session: &'a Jid, back: Back) -> ForClient<'a, bool> {
        info!(%session, "resumed");
        Box::pin(managed::resumed(self, session, back))
    }

    fn suspending(&self, session: &Jid, key: &Arc<str>) {
        managed::suspending(self, session, key);
    }

    fn suspend<'a>(&'a self, session: &'a Jid, suspended: Suspended) -> ForClient<'a, ()> {
        Box::pin(managed::suspend(self, session, suspended))
    }

    fn unbind<'a>(
        &'a self,
        session: &'a Jid,
        key: Option<Arc<str>>,
        unacked: Vec<Stanza>,
    ) -> ForClient<'a, ()> {
        Box::pin(async move {
            end(self, session, unacked).await;
            // Only now: what it had not got is kept otherwise.
            if let Some(key) = key {
                managed::forget(self, &key).await;
            }
        })
    }
}

/// The session is over: its contacts are told, and what its client has not got goes another way.
async fn end(home: &Home, jid: &Jid, unacked: Vec<Stanza>) {
    info!(session = %jid, unacked = unacked.len(), "the session is over");
    let account = jid.to_bare();
    let ended = home.sessions.unbind(jid);
    let since = ended.as_ref().and_then(|session| session.ready_since);
    let mut deliveries = Deliveries::none();
    for stanza in unacked {
        deliveries.extend(match stanza.kind {
            Kind::Message(_) => message::unacknowledged(home, &account, since, stanza).await,
            // RFC 6120 §8.2.3: whoever has asked gets an answer.
            kind if route::is_request(kind) => Deliveries::refuse(&stanza, &route::unavailable()),
            _ => Deliveries::none(),
        });
    }
    if let Some(session) = ended {
        deliveries.extend(account::farewell(home, session).await);
    }
    deliver::deliver(home, deliveries).await;
}

impl comity_s2s::link::Server for Home {
    fn serves(&self, domain: &str) -> bool {
        self.hosts.serves(domain)
    }

    fn federates(&self, ours: &str, peer: &str) -> bool {
        // A component proves itself by its secret alone.
        !self.federation.components.contains(peer) && self.federation.with(ours, peer)
    }

    fn stanzas<'a>(&'a self, peer: &'a str, stanzas: Vec<Received>) -> ForPeer<'a, usize> {
        self.counters.from_domains.add(stanzas.len());
        Box::pin(receipt::take(self, peer, stanzas))
    }

    fn held<'a>(
        &'a self,
        ours: &'a str,
        peer: &'a str,
        queue: &'a str,
    ) -> ForPeer<'a, Option<i64>> {
        Box::pin(async move {
            let held = self.storage.held(ours, peer, queue).await;
            held.inspect_err(|fault| error!(peer, %fault, "it cannot be read what we hold"))
                .ok()
        })
    }

    fn queue(&self) -> ForPeer<'_, Option<String>> {
        Box::pin(async move {
            let queue = self.storage.outbox_queue().await;
            let queue = queue.inspect_err(|fault| error!(%fault, "our queue has no name"));
            queue.ok().map(|queue| queue.queue)
        })
    }

    fn possible(&self, held: i64) -> ForPeer<'_, bool> {
        Box::pin(async move {
            match self.storage.outbox_queue().await {
                Ok(queue) if held <= queue.highest => true,
                Ok(_) => {
                    let renewed = self.storage.write(RenewOutboxQueue { held }).await;
                    if let Err(fault) = &renewed {
                        error!(%fault, "our queue keeps its name: again at the next stream");
                    }
                    false
                }
                Err(fault) => {
                    error!(%fault, "our queue cannot be read: again at the next stream");
                    false
                }
            }
        })
    }

    fn queued<'a>(&'a self, peer: &'a str, after: i64, limit: usize) -> ForPeer<'a, Vec<Queued>> {
        Box::pin(async move {
            match self.storage.outbox(peer, after, limit).await {
                Ok(rows) => rows
                    .into_iter()
                    .map(|row| Queued {
                        id: row.id,
                        stanza: row.stanza.into(),
                    })
                    .collect(),
                Err(fault) => {
                    error!(peer, %fault, "the outbox cannot be read: again at the next wake-up");
                    Vec::new()
                }
            }
        })
    }

    fn delivered<'a>(&'a self, peer: &'a str, rows: Vec<i64>) -> ForPeer<'a, ()> {
        Box::pin(async move {
            self.counters.to_domains.add(rows.len());
            let change = RemoveOutgoing { ids: rows };
            if let Err(fault) = self.storage.write(change).await {
                let what =
                    format!("the outbox of {peer} cannot be changed: its stanzas come twice");
                fault::log(&fault, &what);
            }
        })
    }

    fn undeliverable<'a>(
        &'a self,
        peer: &'a str,
        stanza: Stanza,
        why: StanzaError,
    ) -> ForPeer<'a, ()> {
        Box::pin(async move {
            debug!(peer, kind = ?stanza.kind, %why, "a stanza could not be sent");
            deliver::deliver(self, deliver::unsent(&stanza, &why)).await;
        })
    }
}
