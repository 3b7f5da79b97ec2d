//! What the streams of other domains ask of our server, and what the server may ask of them: one
//! task for each remote domain, started when it is needed and gone when it is not.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use comity_net::dns::Lookup;
use comity_net::stop::{Stop, WeakStop};
use comity_net::tls::{Acceptor, Certificates, Connector, Roots, Service, TlsError};
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::Jid;
use comity_xmpp::stanza::Stanza;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::Options;
use crate::line::Lines;
use crate::peer::{Failure, State};
use crate::trust::Trust;
use crate::turn::Turns;

mod task;

pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Remote domains with a task at the same time; beyond, their rows wait in the outbox.
const PEERS: usize = 10_000;
/// Remote domains that begin to be reached at the same time; the others wait for their turn.
pub(crate) const ATTEMPTS: usize = 256;
/// How long a turn lasts at most, from the first lookup on: a server that is there has let us in by
/// then, and one that says nothing, for as long as negotiation may take, keeps nobody else waiting.
pub(crate) const TURN: Duration = Duration::from_secs(1);
/// Words to a peer's task that it has not yet heard.
const MAILBOX: usize = 256;

/// One row of the outbox: a stanza as it is to be written, and its place in the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    pub id: i64,
    pub stanza: Bytes,
}

/// A stanza that a peer has sent, with its place in the peer's queue where it has one.
#[derive(Debug)]
pub struct Received {
    pub stanza: Stanza,
    pub place: Option<Place>,
}

/// A place in the queue that a peer sends us (`s2s/QUEUE.md`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which of our domains the queue is for.
    pub ours: Arc<str>,
    pub queue: Arc<str>,
    pub number: i64,
}

/// The server behind the federation streams.
pub trait Server: Send + Sync + 'static {
    /// Is this domain ours?
    fn serves(&self, domain: &str) -> bool;
    /// May there be streams between one of our domains and this?
    fn federates(&self, ours: &str, peer: &str) -> bool;
    /// Takes stanzas whose `from` the stream has proved and whose `to` is ours, in their order.
    /// Returns once their effects are committed, each together with its place, and never twice
    /// for one place; gives how many of them were taken. Fewer than all: the storage failed, and
    /// the peer will have to send the rest again.
    fn stanzas<'a>(&'a self, peer: &'a str, stanzas: Vec<Received>) -> Later<'a, usize>;
    /// Up to where we hold this queue of the peer's; None where that cannot be known now.
    fn held<'a>(&'a self, ours: &'a str, peer: &'a str, queue: &'a str) -> Later<'a, Option<i64>>;
    /// The name of our own queue, of which the rows' ids are the numbers; None where that cannot
    /// be known now, and rows are sent without.
    fn queue(&self) -> Later<'_, Option<String>>;
    /// The peer says that it holds our queue up to `held`. False where we have not come that far:
    /// then the queue is known under another name from now on.
    fn possible(&self, held: i64) -> Later<'_, bool>;
    /// The next rows for a domain with ids above `after`, oldest first, at most `limit`.
    fn queued<'a>(&'a self, peer: &'a str, after: i64, limit: usize) -> Later<'a, Vec<Queued>>;
    /// The peer has these rows: forget them.
    fn delivered<'a>(&'a self, peer: &'a str, rows: Vec<i64>) -> Later<'a, ()>;
    /// The peer cannot be reached: volatile stanzas come back one by one as `stanza`; rows of the
    /// outbox stay until they expire, which the server judges.
    fn undeliverable<'a>(
        &'a self,
        peer: &'a str,
        stanza: Stanza,
        why: StanzaError,
    ) -> Later<'a, ()>;
}

/// What the streams of all domains share. Cheap to clone.
#[derive(Clone)]
pub struct Federation(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) acceptor: Acceptor,
    /// For each of our domains.
    pub(crate) connectors: HashMap<String, Connector>,
    pub(crate) trust: Trust,
    pub(crate) lookup: Arc<dyn Lookup>,
    pub(crate) server: Arc<dyn Server>,
    pub(crate) turns: Turns,
    /// Streams of peers on which what we have for them may go.
    pub(crate) lines: Lines,
    /// [`ATTEMPTS`] permits.
    pub(crate) attempts: Semaphore,
    /// Counts changes of what [`Server::federates`] says, for the streams that are there.
    pub(crate) policy: watch::Sender<u64>,
    /// Streams that peers have opened to us.
    incoming: Mutex<HashMap<String, Incoming>>,
    stop: WeakStop,
    peers: Mutex<Desks>,
}

/// By our domain and theirs.
type Desks = HashMap<(String, String), Desk>;

/// Where a peer's task is reached.
struct Desk {
    mailbox: mpsc::Sender<ToPeer>,
    /// Set when a wake did not fit into the mailbox: no row may be forgotten.
    woken: Arc<AtomicBool>,
    status: Arc<Mutex<Status>>,
}

enum ToPeer {
    Wake,
    /// The domain has come to us; true: on a stream that takes along what we have for it.
    Seen(bool),
    /// The operator does not want to wait.
    Flush,
    /// There may be no streams with the domain any longer.
    Forbidden,
    Send(Stanza),
}

/// How things stand with one remote domain.
#[derive(Clone, Debug)]
pub struct Status {
    /// Which of our domains it is for.
    pub ours: String,
    pub domain: String,
    pub state: State,
    /// Stanzas in memory or on their way; the outbox may hold more.
    pub waiting: usize,
    pub last_failure: Option<Failure>,
    /// While there is a stream.
    pub way: Option<Way>,
}

/// What carries a domain's stanzas (XEP-0288).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A stream of ours, for ours alone.
    OneWay,
    /// A stream of ours, on which what the peer has for us comes too.
    BothWays,
    /// A stream that the peer has opened.
    Theirs,
}

impl Way {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OneWay => "one way",
            Self::BothWays => "both ways",
            Self::Theirs => "both ways, opened by the peer",
        }
    }
}

/// The streams that a domain has opened to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    pub streams: usize,
    /// Of them, those that may carry what we have for it.
    pub both_ways: usize,
}

/// The way to all remote domains. Cheap to clone.
#[derive(Clone)]
pub struct Peers(pub(crate) Arc<Shared>);

impl Federation {
    /// # Errors
    /// When TLS cannot be set up with these certificates.
    pub fn new(
        options: Options,
        certificates: &Arc<Certificates>,
        roots: Roots,
        lookup: Arc<dyn Lookup>,
        server: Arc<dyn Server>,
        stop: &Stop,
    ) -> Result<Self, TlsError> {
        let trust = Trust::new(roots, options.rules.clone());
        let mut connectors = HashMap::new();
        for ours in &options.domains {
            let connector = match options.client_certificate {
                true => Connector::for_server(Arc::clone(certificates), ours)?,
                false => Connector::without_certificate()?,
            };
            connectors.insert(ours.clone(), connector);
        }
        Ok(Self(Arc::new(Shared {
            acceptor: Acceptor::new(Service::Server, Arc::clone(certificates))?,
            connectors,
            options,
            trust,
            lookup,
            server,
            turns: Turns::default(),
            lines: Lines::default(),
            attempts: Semaphore::new(ATTEMPTS),
            policy: watch::Sender::default(),
            incoming: Mutex::default(),
            stop: stop.downgrade(),
            peers: Mutex::default(),
        })))
    }

    #[must_use]
    pub fn peers(&self) -> Peers {
        Peers(Arc::clone(&self.0))
    }
}

impl Peers {
    /// There are new rows for the domain in the outbox. Never lost, and cheap when repeated.
    pub fn wake(&self, domain: &str) {
        // The outbox does not say which of our domains a row is from: each looks for its own. Rows
        // for a domain that streams are no longer wanted with expire where they are.
        for ours in self.federating(domain) {
            self.tell(ours, domain, ToPeer::Wake, |desk| {
                desk.woken.store(true, Ordering::Release);
            });
        }
    }

    /// There are rows for the domain in the outbox: for one that found no room when it was woken.
    /// Whoever has a task knows already.
    pub fn remind(&self, domain: &str) {
        let known = {
            let peers = self.lock();
            let ours = self.federating(domain);
            let mut ours = ours.map(|ours| (ours.clone(), domain.to_owned()));
            ours.all(|names| peers.contains_key(&names))
        };
        if !known {
            self.wake(domain);
        }
    }

    /// The domain has proved itself on a stream to us, which is for one of our domains: it is
    /// there for all our domains, and where `lent`, what one of them has for it can go on that.
    pub(crate) fn seen(&self, to: &str, domain: &str, lent: bool) {
        let peers = self.lock();
        for ours in &self.0.options.domains {
            if let Some(desk) = peers.get(&(ours.clone(), domain.to_owned())) {
                // A full mailbox means that its task is busy: it knows.
                let word = ToPeer::Seen(lent && ours == to);
                let _ = desk.mailbox.try_send(word);
            }
        }
    }

    /// Sends what is not worth an outbox: presence and IQs. In the order of the calls, and behind
    /// the rows the peer was woken for before. What cannot be delivered goes back to the server as
    /// [`Server::undeliverable`].
    ///
    /// # Errors
    /// When the peer's mailbox is full, or there can be no streams with the domain: the stanza
    /// and why.
    pub fn send(&self, domain: &str, stanza: Stanza) -> Result<(), Box<(Stanza, StanzaError)>> {
        let from = stanza.from.as_ref().map(Jid::domain);
        let ours = self.0.options.ours(from);
        if !self.0.server.federates(ours, domain) {
            let error = StanzaError::new(ErrorType::Cancel, StanzaCondition::RemoteServerNotFound)
                .with_text(format!("{ours} has no streams with {domain}"));
            return Err(Box::new((stanza, error)));
        }
        match self.tell(ours, domain, ToPeer::Send(stanza), |_| {}) {
            Some(ToPeer::Send(stanza)) => {
                let error = StanzaError::new(ErrorType::Wait, StanzaCondition::ResourceConstraint)
                    .with_text("too much is waiting for that domain: try again later");
                Err(Box::new((stanza, error)))
            }
            _ => Ok(()),
        }
    }

    /// Tries the domain now, whatever the pause after the last failure; of each of our domains.
    pub fn flush(&self, domain: &str) {
        for ours in self.federating(domain) {
            self.tell(ours, domain, ToPeer::Flush, |_| {});
        }
    }

    /// Those of our domains that may have streams with another.
    fn federating<'a>(&'a self, domain: &'a str) -> impl Iterator<Item = &'a String> {
        let ours = self.0.options.domains.iter();
        ours.filter(move |ours| self.0.server.federates(ours, domain))
    }

    /// What [`Server::federates`] says has changed: streams that it forbids now end.
    pub fn reconsider(&self) {
        self.0.policy.send_modify(|changes| *changes += 1);
        for ((ours, domain), desk) in &*self.lock() {
            if !self.0.server.federates(ours, domain) {
                // A full mailbox: the peer hears it with what it sends next.
                let _ = desk.mailbox.try_send(ToPeer::Forbidden);
            }
        }
    }

    /// How many streams each peer has opened to us.
    #[must_use]
    pub fn incoming(&self) -> HashMap<String, Incoming> {
        let incoming = self.0.incoming.lock();
        incoming.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts an incoming stream until what is given back is dropped.
    pub(crate) fn came(&self, peer: &str, bidi: bool) -> Came {
        let mut incoming = (self.0.incoming.lock()).unwrap_or_else(PoisonError::into_inner);
        let counts = incoming.entry(peer.to_owned()).or_default();
        counts.streams += 1;
        counts.both_ways += usize::from(bidi);
        Came(self.clone(), peer.to_owned(), bidi)
    }

    /// All pairs of domains there is a task for.
    #[must_use]
    pub fn list(&self) -> Vec<Status> {
        let peers = self.lock();
        let status = |desk: &Desk| {
            let status = desk.status.lock();
            status.unwrap_or_else(PoisonError::into_inner).clone()
        };
        peers.values().map(status).collect()
    }

    /// Puts a word into the mailbox of a domain's task, which is started if there is none.
    /// Returns what did not fit.
    fn tell(
        &self,
        ours: &str,
        domain: &str,
        word: ToPeer,
        full: impl FnOnce(&Desk),
    ) -> Option<ToPeer> {
        let mut peers = self.lock();
        let count = peers.len();
        let desk = match peers.entry((ours.to_owned(), domain.to_owned())) {
            Entry::Occupied(desk) => desk.into_mut(),
            Entry::Vacant(_) if count >= PEERS => return Some(word),
            Entry::Vacant(place) => match self.0.stop.upgrade() {
                Some(stop) => place.insert(task::start(ours, domain, self, stop)),
                // All streams are closed; rows wait for the next run.
                None => return Some(word),
            },
        };
        // Under the lock, so that a task which finds its mailbox empty can leave for good.
        let refused = desk.mailbox.try_send(word).err()?.into_inner();
        full(desk);
        Some(refused)
    }

    fn lock(&self) -> MutexGuard<'_, Desks> {
        self.0.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A peer's stream to us, while it lasts.
pub(crate) struct Came(Peers, String, bool);

impl Drop for Came {
    fn drop(&mut self) {
        let incoming = self.0.0.incoming.lock();
        let mut incoming = incoming.unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = incoming.get_mut(&self.1) {
            counts.streams -= 1;
            counts.both_ways -= usize::from(self.2);
            if counts.streams == 0 {
                incoming.remove(&self.1);
            }
        }
    }
}
