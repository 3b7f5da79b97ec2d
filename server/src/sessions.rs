//! Who is bound here: account → resources, with presence, priority and what each has proved.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use comity_c2s::link::{Bound, Outbound, Place};
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError, StreamCondition, StreamError};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::stanza::{Kind, Stanza};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::managed::Managed;
use crate::module::caps::{Interests, Shown};

/// Every session of this process.
#[derive(Default)]
pub struct Sessions {
    /// Counts sessions becoming ready.
    moments: AtomicU64,
    /// Told when a session has been given all that was kept.
    drained: Notify,
    accounts: Mutex<HashMap<BareJid, Account>>,
}

/// The sessions of one account, by resource.
#[derive(Default)]
struct Account {
    /// Boxed: a tree of one has room for eleven.
    sessions: BTreeMap<String, Box<Session>>,
    /// Sessions that gave way to a new one of the same address, and whose end is still to come.
    replaced: HashMap<String, u32>,
}

/// One bound resource.
pub struct Session {
    pub jid: Jid,
    /// When it was bound, or taken up again by this server.
    pub since: Instant,
    pub(crate) outbound: Outbound,
    /// The presence last broadcast, while available.
    pub presence: Option<Arc<Stanza>>,
    /// Of that presence (RFC 6121 §4.7.2.3); below zero means: no messages for the bare address.
    pub priority: i8,
    /// Has asked for the roster, and so gets its changes (RFC 6121 §2.2).
    pub interested: bool,
    /// Has asked for the block list, and so gets its changes (XEP-0191 §3.2).
    pub(crate) watches_blocks: bool,
    /// Who has been sent directed presence, and is told of its end (RFC 6121 §4.6.3).
    pub directed: HashSet<Jid>,
    /// The device that this session has proved to be.
    pub device: Option<Uuid>,
    /// tls-exporter (RFC 9266) of the stream, for proofs bound to it.
    pub tls_exporter: Option<[u8; 32]>,
    /// The nonce that a proof has to sign; used once.
    pub challenge: Option<Vec<u8>>,
    /// It outlives the server.
    pub(crate) managed: Option<Managed>,
    /// Gets copies of what the account's other clients send and are sent (XEP-0280).
    pub(crate) carbons: bool,
    /// Gets the entries of its rooms as they come.
    pub syncing: bool,
    /// When it became ready for messages to the bare address, in the order of all sessions; `None`
    /// while it is not.
    pub(crate) ready_since: Option<u64>,
    /// While the session is being given what was kept for its account: what goes on meanwhile.
    draining: Option<Draining>,
    /// It was too slow and is about to end.
    slow: bool,
    /// What its client shows of itself (XEP-0115), and the nodes it wants to hear of.
    pub(crate) interests: Option<(Shown, Interests)>,
}

/// What goes on while a session is given what was kept for its account.
struct Draining {
    /// When it was last seen that something was kept.
    since: Instant,
    /// Messages that came since.
    held: Vec<Arc<Stanza>>,
    /// Another has been kept since, by somebody who had not yet seen the session, or because too
    /// many are held.
    more: bool,
    /// Too many are held: what comes is kept, until these are with the client.
    spilled: bool,
}

impl Default for Draining {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            held: Vec::new(),
            more: false,
            spilled: false,
        }
    }
}

impl Draining {
    fn hold(&mut self, stanza: Arc<Stanza>) -> Result<(), Arc<Stanza>> {
        self.spilled |= self.held.len() >= HELD;
        if self.spilled {
            return Err(stanza);
        }
        self.held.push(stanza);
        Ok(())
    }
}

/// What a session is given next that is being given what was kept.
pub(crate) enum Next {
    /// What has been kept meanwhile.
    Kept,
    /// What was held back, in order.
    Held(Vec<Arc<Stanza>>),
    /// Nothing: what comes now goes to it at once.
    Nothing,
}

/// What it means that a session has said that it is available.
pub(crate) struct Appeared {
    /// It was not before.
    pub(crate) first: bool,
    /// It is to be given what was kept for the account, and then released.
    pub(crate) drain: bool,
}

/// How a message for a session can be kept for it.
pub(crate) enum Standing {
    /// With its place in the session's queue.
    Managed {
        key: Arc<str>,
        epoch: i64,
        place: Place,
    },
    /// The same, for the next server to give it.
    Suspended {
        key: Arc<str>,
        epoch: i64,
        place: i64,
    },
    Plain,
}

/// A session that the last life of the server has left.
pub(crate) struct Left {
    pub(crate) outbound: Outbound,
    pub(crate) presence: Option<Arc<Stanza>>,
    pub(crate) priority: i8,
    pub(crate) interested: bool,
    pub(crate) carbons: bool,
    pub(crate) managed: Managed,
}

/// How long a message waits for a session that is given older ones.
const BRIEFLY: Duration = Duration::from_millis(200);

/// Messages held back from a session while it is given older ones.
const HELD: usize = 1024;

/// What others see of an available session.
#[derive(Clone, Debug)]
pub struct Available {
    pub jid: Jid,
    pub priority: i8,
    pub presence: Arc<Stanza>,
    pub(crate) ready_since: Option<u64>,
}

impl Sessions {
    /// Makes a session. One that had the same address gives way: its client has most likely lost
    /// its connection and come back (RFC 6120 §7.7.2.2, the third way). It is given back.
    pub(crate) fn bind(
        &self,
        bound: Bound,
        jid: &Jid,
        most: usize,
    ) -> Result<Option<Session>, StanzaError> {
        let resource = jid.resource().unwrap_or_default().to_owned();
        let mut accounts = self.lock();
        let account = accounts.entry(bound.account).or_default();
        if account.sessions.len() >= most && !account.sessions.contains_key(&resource) {
            // RFC 6120 §7.7.2.1.
            return Err(
                StanzaError::new(ErrorType::Wait, StanzaCondition::ResourceConstraint).with_text(
                    format!("the account has {most} sessions: close one of them"),
                ),
            );
        }
        let session = Session {
            jid: jid.clone(),
            since: Instant::now(),
            outbound: bound.outbound,
            presence: None,
            priority: 0,
            interested: false,
            watches_blocks: false,
            directed: HashSet::new(),
            device: None,
            tls_exporter: bound.tls_exporter,
            challenge: None,
            carbons: bound.carbons,
            managed: None,
            syncing: false,
            ready_since: None,
            draining: None,
            slow: false,
            interests: None,
        };
        let old = account.sessions.insert(resource.clone(), session.into());
        if let Some(old) = &old {
            *account.replaced.entry(resource).or_default() += 1;
            old.outbound.close(StreamError::new(
                StreamCondition::Conflict,
                "another session has taken this resource",
            ));
        }
        Ok(old.map(|old| *old))
    }

    /// Takes up a session of the last life of the server.
    pub(crate) fn restore(&self, jid: &Jid, left: Left) {
        let bound = Bound {
            account: jid.to_bare(),
            resource: jid.resource().map(str::to_owned),
            tls_exporter: None,
            carbons: left.carbons,
            outbound: left.outbound,
        };
        // There were not more than could be.
        let _ = self.bind(bound, jid, usize::MAX);
        self.with(jid, |session| {
            session.interested = left.interested;
            session.priority = left.priority;
            session.ready_since = (left.presence.is_some() && left.priority >= 0)
                .then(|| self.moments.fetch_add(1, Ordering::Relaxed));
            session.presence = left.presence;
            session.managed = Some(left.managed);
        });
    }

    /// Waits a moment while these sessions, all of which outlive the server, are given what was kept:
    /// what follows then need not be kept likewise.
    pub(crate) async fn drained(&self, sessions: &[Jid]) {
        loop {
            let drained = self.drained.notified();
            let mut until = None;
            for jid in sessions {
                let since = self.with(jid, |session| {
                    session.managed.as_ref()?;
                    session.draining.as_ref().map(|draining| draining.since)
                });
                match since.flatten() {
                    Some(since) => until = until.max(Some(since + BRIEFLY)),
                    None => return,
                }
            }
            let Some(until) = until else { return };
            if tokio::time::timeout_at(until.into(), drained)
                .await
                .is_err()
            {
                return;
            }
        }
    }

    /// Takes the next place in a session's queue, where a message can be kept with it.
    pub(crate) fn place(&self, jid: &Jid) -> Standing {
        self.with(jid, |session| {
            if let Some(managed) = &mut session.managed
                && let Some(place) = managed.suspending
            {
                managed.suspending = Some(place + 1);
                return Standing::Suspended {
                    key: Arc::clone(&managed.key),
                    epoch: managed.epoch,
                    place,
                };
            }
            if session.is_draining() || session.is_ending() {
                return Standing::Plain;
            }
            let Some(managed) = &mut session.managed else {
                return Standing::Plain;
            };
            let Some(place) = session.outbound.reserve() else {
                return Standing::Plain;
            };
            managed.last = managed.last.max(place.place());
            Standing::Managed {
                key: Arc::clone(&managed.key),
                epoch: managed.epoch,
                place,
            }
        })
        .unwrap_or(Standing::Plain)
    }

    /// Forgets a session whose stream has ended; `None` if another has taken its place.
    pub(crate) fn unbind(&self, jid: &Jid) -> Option<Session> {
        let resource = jid.resource()?;
        let bare = jid.to_bare();
        let mut accounts = self.lock();
        let account = accounts.get_mut(&bare)?;
        let alive = account
            .sessions
            .get(resource)
            .is_some_and(|session| !session.outbound.is_closed());
        let session = match account.replaced.get_mut(resource) {
            Some(count) if alive => {
                *count -= 1;
                if *count == 0 {
                    account.replaced.remove(resource);
                }
                None
            }
            _ => account.sessions.remove(resource),
        };
        if session.is_none() && !alive {
            account.replaced.remove(resource);
        }
        if account.sessions.is_empty() && account.replaced.is_empty() {
            accounts.remove(&bare);
        }
        session.map(|session| *session)
    }

    /// Ends all sessions of an account, for this reason; how many there were.
    pub fn kick(&self, account: &BareJid, why: &str) -> usize {
        let outbound = self.of(account, |session| Some(session.outbound.clone()));
        for session in &outbound {
            session.close(StreamError::new(StreamCondition::NotAuthorized, why));
        }
        outbound.len()
    }

    /// Ends one session, for this reason; whether there was one.
    pub fn kick_one(&self, jid: &Jid, why: &str) -> bool {
        let outbound = self.with(jid, |session| session.outbound.clone());
        if let Some(session) = &outbound {
            session.close(StreamError::new(StreamCondition::NotAuthorized, why));
        }
        outbound.is_some()
    }

    /// Looks at all sessions and keeps what `pick` finds. Brief: all of them wait meanwhile.
    pub fn all<R>(&self, mut pick: impl FnMut(&Session) -> Option<R>) -> Vec<R> {
        let accounts = self.lock();
        let sessions = accounts
            .values()
            .flat_map(|account| account.sessions.values());
        sessions.filter_map(|session| pick(session)).collect()
    }

    /// How many sessions a domain of ours has.
    #[must_use]
    pub fn count(&self, domain: &str) -> usize {
        let accounts = self.lock();
        let ours = accounts
            .iter()
            .filter(|(account, _)| account.domain() == domain);
        ours.map(|(_, account)| account.sessions.len()).sum()
    }

    /// Looks at, or changes, one session. Brief: all sessions wait meanwhile.
    pub fn with<R>(&self, jid: &Jid, look: impl FnOnce(&mut Session) -> R) -> Option<R> {
        let resource = jid.resource()?;
        let mut accounts = self.lock();
        let account = accounts.get_mut(&jid.to_bare())?;
        let session = account.sessions.get_mut(resource)?;
        Some(look(session))
    }

    /// Looks at all sessions of an account and keeps what `pick` finds.
    pub fn of<R>(&self, account: &BareJid, mut pick: impl FnMut(&Session) -> Option<R>) -> Vec<R> {
        let accounts = self.lock();
        let Some(account) = accounts.get(account) else {
            return Vec::new();
        };
        let sessions = account.sessions.values();
        sessions.filter_map(|session| pick(session)).collect()
    }

    /// The available resources of an account (RFC 6121 §4.2).
    #[must_use]
    pub fn available(&self, account: &BareJid) -> Vec<Available> {
        self.of(account, |session| {
            session.presence.as_ref().map(|presence| Available {
                jid: session.jid.clone(),
                priority: session.priority,
                presence: Arc::clone(presence),
                ready_since: session.ready_since,
            })
        })
    }

    /// The sessions that have asked for the roster.
    #[must_use]
    pub fn interested(&self, account: &BareJid) -> Vec<Jid> {
        self.of(account, |session| {
            session.interested.then(|| session.jid.clone())
        })
    }

    /// The session's proven device.
    #[must_use]
    pub fn device(&self, jid: &Jid) -> Option<Uuid> {
        self.with(jid, |session| session.device).flatten()
    }

    /// The sessions that have proved to be this device.
    #[must_use]
    pub fn of_device(&self, account: &BareJid, device: Uuid) -> Vec<Jid> {
        self.of(account, |session| {
            (session.device == Some(device)).then(|| session.jid.clone())
        })
    }

    /// The sessions of accounts of that domain that have proved to be a device.
    #[must_use]
    pub fn devices_at(&self, domain: &str) -> Vec<Jid> {
        let accounts = self.lock();
        accounts
            .values()
            .flat_map(|account| account.sessions.values())
            .filter(|session| session.device.is_some() && session.jid.domain() == domain)
            .map(|session| session.jid.clone())
            .collect()
    }

    /// The session is available with this presence. If messages can be delivered to it from now
    /// on, they are held back until [`Self::release`], so that it gets older ones first. `None` if
    /// there is no such session.
    pub(crate) fn appear(
        &self,
        jid: &Jid,
        presence: Arc<Stanza>,
        priority: i8,
    ) -> Option<Appeared> {
        let resource = jid.resource()?;
        let mut accounts = self.lock();
        let account = accounts.get_mut(&jid.to_bare())?;
        // One session at a time is given what was kept.
        let draining = account
            .sessions
            .values()
            .any(|session| session.draining.is_some());
        let session = account.sessions.get_mut(resource)?;
        let before = session.presence.replace(presence).map(|_| session.priority);
        session.priority = priority;
        let ready = priority >= 0;
        let drain = !draining && ready && session.ready_since.is_none();
        session.ready_since = match session.ready_since {
            _ if !ready => None,
            None => Some(self.moments.fetch_add(1, Ordering::Relaxed)),
            since => since,
        };
        if drain {
            session.draining = Some(Draining::default());
        }
        Some(Appeared {
            first: before.is_none(),
            drain,
        })
    }

    /// The session is not available any more; gives whether it was, and who has had directed
    /// presence from it.
    pub(crate) fn disappear(&self, jid: &Jid) -> Option<(bool, HashSet<Jid>)> {
        self.with(jid, |session| {
            session.priority = 0;
            session.ready_since = None;
            (
                session.presence.take().is_some(),
                std::mem::take(&mut session.directed),
            )
        })
    }

    /// A message has been kept for the account. If a session has become ready for messages since
    /// that was decided, it is to be given it: by whoever drains already, or by the caller, who
    /// then gets the session's address.
    pub(crate) fn kept(&self, account: &BareJid) -> Option<Jid> {
        let mut accounts = self.lock();
        let sessions = &mut accounts.get_mut(account)?.sessions;
        let mut all = sessions.values_mut();
        if let Some(draining) = all.find_map(|session| session.draining.as_mut()) {
            draining.more = true;
            return None;
        }
        let ready = sessions
            .values_mut()
            .find(|session| session.ready_since.is_some() && !session.is_ending())?;
        ready.draining = Some(Draining::default());
        Some(ready.jid.clone())
    }

    /// What a session is to be given next, after all that was kept when it was last asked.
    pub(crate) fn next(&self, jid: &Jid) -> Next {
        self.with(jid, |session| {
            let ending = session.is_ending();
            let Some(draining) = &mut session.draining else {
                return Next::Nothing;
            };
            if ending {
                return Next::Held(session.held());
            }
            if draining.more && !draining.spilled {
                draining.more = false;
                draining.since = Instant::now();
                return Next::Kept;
            }
            draining.spilled = false;
            if draining.held.is_empty() {
                session.draining = None;
                self.drained.notify_waiters();
                return Next::Nothing;
            }
            Next::Held(std::mem::take(&mut draining.held))
        })
        .unwrap_or(Next::Nothing)
    }

    /// Puts a stanza into a session's queue; gives it back where there is no such session or its
    /// queue is full. A reader too slow to keep up is dropped then: what it has not acknowledged
    /// comes back with its end.
    pub(crate) fn send(&self, jid: &Jid, stanza: Arc<Stanza>) -> Result<(), Arc<Stanza>> {
        self.with(jid, |session| session.take(Arc::clone(&stanza)))
            .unwrap_or(Err(stanza))
    }

    /// Ends a session that does not read; what it has not got comes back with its end.
    pub(crate) fn drop_slow(&self, jid: &Jid) {
        self.with(jid, Session::drop_slow);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<BareJid, Account>> {
        // Nothing panics while it holds the lock; if something did, the table is still whole.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn take(&mut self, stanza: Arc<Stanza>) -> Result<(), Arc<Stanza>> {
        match &mut self.draining {
            Some(draining) if matches!(stanza.kind, Kind::Message(_)) => draining.hold(stanza),
            _ => self.outbound.send(stanza).map_err(|refused| {
                self.drop_slow();
                refused.0
            }),
        }
    }

    /// It is being given what was kept for its account.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Nothing that it is given now reaches its client.
    pub(crate) fn is_ending(&self) -> bool {
        self.slow || self.outbound.is_closed()
    }

    fn drop_slow(&mut self) {
        self.slow = true;
        self.outbound.close(StreamError::new(
            StreamCondition::ResourceConstraint,
            "the client reads too slowly: its queue is full",
        ));
    }

    /// What was held back from a session that has ended.
    pub(crate) fn held(&mut self) -> Vec<Arc<Stanza>> {
        self.draining.take().unwrap_or_default().held
    }
}
