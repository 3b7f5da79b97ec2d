//! Sessions that outlive the server (XEP-0198 §5): what is kept of each, and what is made of them at
//! the next start. A message that such a session is given is kept with its place in the session's
//! queue, in the transaction that accepts the message; so after a kill the client's own count says
//! what it has. Presence and IQs are kept only where the server stops in good order.

mod restore;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use comity_c2s::link::{Back, Count, Manage, Suspended};
use comity_storage::{
    AFTER_THE_END, ForgetAcknowledged, ForgetSession, Handled, KeepHandled, ManageSession,
    ResumeSession, SessionState, SuspendSession, Write,
};
use comity_xmpp::jid::Jid;
use comity_xmpp::stanza::Stanza;

use crate::deliver::{self, Deliveries};
use crate::fault;
use crate::home::Home;
use crate::module::{message, pubsub};
use crate::sessions::Session;

pub(crate) use restore::restore;

/// What is kept of a session.
pub(crate) struct Managed {
    pub(crate) key: Arc<str>,
    /// Of its queue.
    pub(crate) epoch: i64,
    /// Its client has all up to this place.
    through: i64,
    /// The last place that was kept, and up to where what was kept is forgotten.
    pub(crate) last: i64,
    forgotten: i64,
    /// The server stops: the next place of what is kept for the next one.
    pub(crate) suspending: Option<i64>,
    /// What was kept of it.
    seen: Option<Seen>,
}

/// What of a session its client does not say again.
#[derive(Clone)]
struct Seen {
    presence: Option<Arc<Stanza>>,
    interested: bool,
    carbons: bool,
    device: bool,
}

impl Managed {
    pub(crate) fn new(key: Arc<str>, epoch: i64, first: i64) -> Self {
        Self {
            key,
            epoch,
            through: first - 1,
            last: i64::MIN,
            forgotten: i64::MIN,
            suspending: None,
            seen: None,
        }
    }
}

impl Seen {
    fn of(session: &Session) -> Self {
        Self {
            presence: session.presence.clone(),
            interested: session.interested,
            carbons: session.carbons,
            device: session.device.is_some(),
        }
    }

    fn is(&self, other: &Self) -> bool {
        let presence = match (&self.presence, &other.presence) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        presence
            && self.interested == other.interested
            && self.carbons == other.carbons
            && self.device == other.device
    }

    fn state(&self, priority: i8) -> SessionState {
        let presence = self.presence.as_ref();
        SessionState {
            presence: presence.map(|presence| presence.to_bytes(None).to_vec()),
            priority,
            interested: self.interested,
            carbons: self.carbons,
            device: self.device,
        }
    }
}

/// What clients have acknowledged and storage has not yet forgotten: by key, epoch and place.
#[derive(Default)]
pub struct Acknowledgements(Mutex<HashMap<Arc<str>, (i64, i64)>>);

/// Looks at a session, if it is the one that is kept by this key.
fn with<R>(
    home: &Home,
    jid: &Jid,
    key: &str,
    look: impl FnOnce(&mut Session, &mut Managed) -> R,
) -> Option<R> {
    let found = home.sessions.with(jid, |session| {
        let mut managed = session.managed.take()?;
        let found = (&*managed.key == key).then(|| look(session, &mut managed));
        session.managed = Some(managed);
        found
    });
    found.flatten()
}

/// A count, and what has changed by what it counts.
pub(crate) fn handled(home: &Home, jid: &Jid, count: Count) -> Handled {
    let state = with(home, jid, &count.key, |session, managed| {
        let now = Seen::of(session);
        if managed.seen.as_ref().is_some_and(|seen| seen.is(&now)) {
            return None;
        }
        let state = now.state(session.priority);
        managed.seen = Some(now);
        Some(state)
    });
    Handled {
        key: count.key.to_string(),
        h: count.h,
        state: state.flatten(),
    }
}

pub(crate) async fn manage(home: &Home, jid: &Jid, manage: Manage) -> bool {
    let Manage {
        key,
        resumable,
        first,
        queue,
    } = manage;
    let seen = home.sessions.with(jid, |session| {
        (session.outbound.id() == queue).then(|| (Seen::of(session), session.priority))
    });
    let Some((seen, priority)) = seen.flatten() else {
        // Another has taken its resource meanwhile.
        return false;
    };
    let change = ManageSession {
        key: key.to_string(),
        account: jid.to_bare().as_str().to_owned(),
        resource: jid.resource().unwrap_or_default().to_owned(),
        resumable,
        first,
        state: seen.state(priority),
    };
    if kept(home, change).await != Some(true) {
        return false;
    }
    let begun = home.sessions.with(jid, |session| {
        let same = session.outbound.id() == queue;
        if same {
            session.managed = Some(Managed {
                seen: Some(seen),
                ..Managed::new(Arc::clone(&key), 0, first)
            });
        }
        same
    });
    if begun != Some(true) {
        forget(home, &key).await;
        return false;
    }
    true
}

pub(crate) async fn keep(home: &Home, jid: &Jid, count: Count) -> bool {
    let change = KeepHandled(handled(home, jid, count));
    kept(home, change).await.is_some()
}

pub(crate) fn acknowledged(home: &Home, jid: &Jid, key: &Arc<str>, more: usize) {
    let through = with(home, jid, key, |_, managed| {
        managed.through += i64::try_from(more).unwrap_or(i64::MAX);
        // Nothing was kept that is not forgotten: nothing is to be done.
        if managed.last <= managed.forgotten {
            return None;
        }
        managed.forgotten = managed.through;
        Some((managed.epoch, managed.through))
    });
    if let Some(through) = through.flatten() {
        let all = home.acknowledgements.0.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        all.insert(Arc::clone(key), through);
    }
}

/// Forgets what clients have. Not at each acknowledgement: after a kill, the count of a client that
/// comes back says the same.
pub(crate) async fn forget_acknowledged(home: &Home) {
    let all = {
        let mut all = home
            .acknowledgements
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *all)
    };
    if all.is_empty() {
        return;
    }
    let all = all
        .into_iter()
        .map(|(key, (epoch, through))| (key.to_string(), epoch, through))
        .collect();
    kept(home, ForgetAcknowledged(all)).await;
}

pub(crate) async fn resumed(home: &Home, jid: &Jid, back: Back) -> bool {
    let Back {
        key,
        tls_exporter,
        restored,
    } = back;
    home.sessions.with(jid, |session| {
        // What was to be proved was bound to the old connection.
        session.tls_exporter = tls_exporter;
        session.challenge = None;
    });
    let Some(h) = restored else { return true };
    let change = ResumeSession {
        key: key.to_string(),
        h,
    };
    let Some(Some(left)) = kept(home, change).await else {
        return false;
    };
    let left = i64::try_from(left).unwrap_or(i64::MAX);
    with(home, jid, &key, |_, managed| {
        managed.through = -left - 1;
        managed.last = managed.last.max(-1);
    });
    let mut deliveries = Deliveries::none();
    if let Some(session) = home.sessions.kept(&jid.to_bare()) {
        // What was kept while the server was away.
        deliveries.afterwards(message::drain(home.clone(), session));
    }
    let presence = home.sessions.with(jid, |session| session.presence.clone());
    if let Some(presence) = presence.flatten() {
        // What its client wants to hear of is not kept.
        let arrived = pubsub::arrival::ours(home.clone(), jid.clone(), presence);
        deliveries.afterwards(arrived);
    }
    deliver::deliver(home, deliveries).await;
    true
}

pub(crate) fn suspending(home: &Home, jid: &Jid, key: &Arc<str>) {
    with(home, jid, key, |_, managed| {
        managed.suspending = Some(AFTER_THE_END);
    });
}

pub(crate) async fn suspend(home: &Home, jid: &Jid, suspended: Suspended) {
    let Suspended {
        count,
        acknowledged,
        said,
        unsaid,
    } = suspended;
    let bytes = |stanzas: Vec<Arc<Stanza>>| {
        let bytes = stanzas.iter().map(|stanza| stanza.to_bytes(None).to_vec());
        bytes.collect::<Vec<_>>()
    };
    let change = SuspendSession {
        handled: handled(home, jid, count),
        acknowledged,
        said: bytes(said),
        unsaid: bytes(unsaid),
    };
    kept(home, change).await;
}

pub(crate) async fn forget(home: &Home, key: &Arc<str>) {
    let key = key.to_string();
    kept(home, ForgetSession { key }).await;
}

async fn kept<W: Write>(home: &Home, change: W) -> Option<W::Outcome> {
    let outcome = home.storage.write(change).await;
    outcome
        .inspect_err(|fault| fault::log(fault, "a session cannot be kept for a restart"))
        .ok()
}
