//! The engine: inputs in, one transaction each, then outputs.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use comity_mls_credential::anchors::{Anchors, Pinned, TlsRoots};
use comity_mls_credential::leaf::IssuerId;
use comity_mls_credential::provider::Provider;
use comity_mls_wire::keys::Count;
use comity_mls_wire::policy;
use comity_mls_wire::room::{Entry, Welcome};
use comity_xmpp::jid::BareJid;

use crate::error::Error;
use crate::event::{Event, Refused, Warning};
use crate::history::Listed;
use crate::keys::{KeyHandle, SignatureKeys};
use crate::mls::{Group, Mls};
use crate::outgoing::{Answered, Destination, Notice, Outgoing, Request, RequestId};
use crate::progress::Catching;
use crate::requests::{Purpose, Requests};
use crate::restored::Stray;
use crate::revocations::Parts;
use crate::revoked::Flagged;
use crate::rows::Rows;
use crate::session::Session;
use crate::store::{Space, Store};
use crate::transparency::Logs;
use crate::verification::Shown;

/// Domains whose anchors are read from the store at start.
const MAX_DOMAINS: usize = 4_096;

/// What a client may choose.
#[derive(Clone)]
pub struct Options {
    /// Where the TLS chains of other domains' anchors may end: the system's roots and the
    /// operator's.
    pub tls_roots: TlsRoots,
    /// Cipher suites KeyPackages are published for and rooms made with, best first.
    pub suites: Vec<u16>,
    /// KeyPackages kept at the directory for each suite; renewed below half of it.
    pub stock: u32,
    /// How long lines of a room's history are kept, in milliseconds by the hub's clock; None: for good.
    pub keep_history_ms: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls_roots: TlsRoots::default(),
            suites: vec![policy::SUITES[0]],
            stock: 100,
            keep_history_ms: None,
        }
    }
}

/// Deadlines of the engine's own; one each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Timer {
    /// Pending proposals that nobody has committed yet.
    Proposals(BareJid),
    /// What has come and was not acknowledged yet.
    Acknowledge,
    /// Entries that are known to exist and have not come.
    Behind,
    /// A room's work that was put off.
    Retry(BareJid),
    /// Anchors to be asked for again.
    Anchors(String),
    Stock,
    /// Rooms that the server speaks of and this store does not know.
    Strays,
    Upkeep,
    /// Revocation lists to be renewed.
    RevocationLists,
    /// What is to prove that the hub may remove somebody.
    Evidence(BareJid),
    /// The hub's proposal to remove who is revoked.
    Revoked(BareJid),
    /// A commit that replaces what a barred device has made of that epoch.
    Fresh(BareJid, u64),
}

/// One device of one account.
///
/// Times given to it are milliseconds since 1970. Every method that takes `now` is an input: it
/// changes the store in one transaction, and what [`Self::poll_request`] and [`Self::poll_event`]
/// then give is already durable. After [`Error::Store`] drop the engine and open it anew.
pub struct Engine {
    pub(crate) account: BareJid,
    pub(crate) options: Options,
    pub(crate) rows: Rows,
    pub(crate) keys: Arc<dyn SignatureKeys>,
    pub(crate) anchors: Arc<Anchors>,
    pub(crate) mls: Mls,
    pub(crate) session: Session,
    /// The server has said how this device stands to its rooms.
    pub(crate) synced: bool,
    /// Rooms of which the hub has said, since this program was started, where their log ends.
    pub(crate) fresh: HashSet<BareJid>,
    /// Rooms that the server sees otherwise than this store.
    pub(crate) strays: HashMap<BareJid, Stray>,
    /// When all that was in stock was made anew, because the store is an older copy.
    pub(crate) distrusted: Option<u64>,
    pub(crate) requests: Requests,
    pub(crate) groups: HashMap<BareJid, Group>,
    /// Entries that came before their turn, by room.
    pub(crate) early: HashMap<BareJid, VecDeque<Entry>>,
    /// Rooms whose next entry waits for the anchors of that domain.
    pub(crate) blocked: HashMap<BareJid, String>,
    /// Welcomes that wait for anchors.
    pub(crate) welcomes: Vec<Welcome>,
    /// Entries that must exist because an answer spoke of them.
    pub(crate) known_seq: HashMap<BareJid, u64>,
    /// Rooms of which much is still to come.
    pub(crate) catching: HashMap<BareJid, Catching>,
    /// Rooms whose next entry does not come: the last one held, and how often more was asked for.
    pub(crate) withheld: HashMap<BareJid, (u64, u32)>,
    /// Rooms for which nothing new is made before that time.
    pub(crate) paused: HashMap<BareJid, u64>,
    /// Hubs of which rooms take nothing outside the log before that time.
    pub(crate) hushed: HashMap<BareJid, u64>,
    /// By room: the last entry that this session has said it holds.
    pub(crate) said: HashMap<BareJid, u64>,
    /// By room: entries that have come since.
    pub(crate) unsaid: HashMap<BareJid, u64>,
    /// Rooms of which the server sent an entry that does not fit.
    pub(crate) broken: HashSet<BareJid>,
    /// What the directory holds of this device; none until it was asked.
    pub(crate) stock: Option<Vec<Count>>,
    /// Transparency logs under comparison.
    pub(crate) logs: Logs,
    /// Signature keys that nothing refers to once this transaction is written.
    pub(crate) unused_keys: Vec<KeyHandle>,
    /// Codes shown to the person and not yet confirmed.
    pub(crate) shown: VecDeque<Shown>,
    /// Revocation lists of which parts have come.
    pub(crate) crl_parts: HashMap<IssuerId, Parts>,
    /// Counts what becomes known to be revoked.
    pub(crate) crl_generation: u64,
    /// Members that are revoked, by room.
    pub(crate) flags: HashMap<BareJid, Flagged>,
    /// The members of the room that was last asked for: each is read from a certificate.
    pub(crate) listed: Option<Listed>,
    /// Rooms to look after before this input ends.
    pub(crate) touched: HashSet<BareJid>,
    timers: HashMap<Timer, u64>,
    staged_events: Vec<Event>,
    staged_requests: Vec<Outgoing>,
    events: VecDeque<Event>,
    outgoing: VecDeque<Outgoing>,
}

impl Engine {
    /// Opens the engine of an account over its store and keys. A store that is empty belongs to
    /// the account from its enrolment on.
    pub fn open(
        account: BareJid,
        store: Box<dyn Store>,
        keys: Box<dyn SignatureKeys>,
        options: Options,
    ) -> Result<Self, Error> {
        if account.local().is_none() {
            return Err(Error::NoAccount(account));
        }
        let rows = Rows::new(store);
        let keys: Arc<dyn SignatureKeys> = Arc::from(keys);
        let anchors = Arc::new(Anchors::new(options.tls_roots.clone()));
        let mls = Mls::new(
            rows.clone(),
            Arc::clone(&keys),
            Provider::new(Arc::clone(&anchors) as _),
        );
        let engine = Self {
            account,
            options,
            rows,
            keys,
            anchors,
            mls,
            session: Session::Down,
            synced: false,
            fresh: HashSet::new(),
            strays: HashMap::new(),
            distrusted: None,
            requests: Requests::default(),
            groups: HashMap::new(),
            early: HashMap::new(),
            blocked: HashMap::new(),
            welcomes: Vec::new(),
            known_seq: HashMap::new(),
            catching: HashMap::new(),
            withheld: HashMap::new(),
            paused: HashMap::new(),
            hushed: HashMap::new(),
            said: HashMap::new(),
            unsaid: HashMap::new(),
            broken: HashSet::new(),
            stock: None,
            logs: Logs::default(),
            unused_keys: Vec::new(),
            shown: VecDeque::new(),
            crl_parts: HashMap::new(),
            crl_generation: 0,
            flags: HashMap::new(),
            listed: None,
            touched: HashSet::new(),
            timers: HashMap::new(),
            staged_events: Vec::new(),
            staged_requests: Vec::new(),
            events: VecDeque::new(),
            outgoing: VecDeque::new(),
        };
        engine.check_owner()?;
        engine.restore_anchors()?;
        engine.restore_crls()?;
        Ok(engine)
    }

    fn restore_anchors(&self) -> Result<(), Error> {
        for (_, record) in self.rows.scan(Space::Anchors, b"", None, MAX_DOMAINS)? {
            let pinned = Pinned::restore(&record).map_err(|_| Error::Corrupt {
                space: Space::Anchors.name(),
            })?;
            self.anchors.hold(Arc::new(pinned));
        }
        Ok(())
    }

    #[must_use]
    pub fn account(&self) -> &BareJid {
        &self.account
    }

    /// The next request to send; each is given once for each time it must be sent.
    pub fn poll_request(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::timeout`] wants to be called, in milliseconds since 1970.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let own = self.timers.values().copied().min();
        own.into_iter().chain(self.requests.next_due()).min()
    }

    /// The answer to a request, or its refusal. An answer to something no longer asked is dropped.
    pub fn answer(&mut self, id: RequestId, answer: Answered, now: u64) -> Result<(), Error> {
        let Some(pending) = self.requests.take(id) else {
            return Ok(());
        };
        self.input(now, |engine| engine.on_answer(pending, answer, now))
    }

    /// What a server sent unasked.
    pub fn notice(&mut self, notice: Notice, now: u64) -> Result<(), Error> {
        self.input(now, |engine| engine.on_notice(notice, now))
    }

    /// Time has come to what [`Self::poll_timeout`] said, or beyond.
    pub fn timeout(&mut self, now: u64) -> Result<(), Error> {
        self.input(now, |engine| engine.on_timeout(now))
    }

    /// Runs one input and writes what it changed. If it fails nothing has happened: memory that
    /// may have run ahead of the store is dropped.
    pub(crate) fn input<T>(
        &mut self,
        now: u64,
        run: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let result = run(self).and_then(|value| {
            self.look_after_touched(now)?;
            self.rows.commit()?;
            Ok(value)
        });
        match result {
            Ok(value) => {
                for key in std::mem::take(&mut self.unused_keys) {
                    // A key that stays behind is litter, not a fault.
                    let _ = self.keys.delete(&key);
                }
                self.events.extend(self.staged_events.drain(..));
                self.outgoing.extend(self.staged_requests.drain(..));
                Ok(value)
            }
            Err(error) => {
                self.rows.rollback();
                self.groups.clear();
                self.shown.clear();
                self.touched.clear();
                self.unused_keys.clear();
                self.staged_events.clear();
                for outgoing in std::mem::take(&mut self.staged_requests) {
                    self.requests.take(outgoing.id);
                }
                Err(error)
            }
        }
    }

    /// A room's next step may have become possible; each input ends by taking these steps.
    fn look_after_touched(&mut self, now: u64) -> Result<(), Error> {
        // A step may touch the room again; after so many something turns in a circle.
        for _ in 0..64 {
            let touched = std::mem::take(&mut self.touched);
            if touched.is_empty() {
                return Ok(());
            }
            for room in touched {
                self.look_after(&room, now)?;
            }
        }
        for room in std::mem::take(&mut self.touched) {
            self.set_timer(Timer::Retry(room), now + 1_000);
        }
        Ok(())
    }

    fn on_notice(&mut self, notice: Notice, now: u64) -> Result<(), Error> {
        use comity_mls_wire::{authority, keys, sync};
        match notice {
            Notice::Sync(sync::Notice::Entry(entry)) => self.on_entry(entry, now),
            Notice::Sync(sync::Notice::Welcome(welcome)) => self.on_welcome(welcome, now),
            Notice::Sync(sync::Notice::Ephemeral(ephemeral)) => self.on_ephemeral(&ephemeral),
            Notice::Keys(keys::Notice::LowStock(count)) => self.on_low_stock(count, now),
            Notice::Keys(keys::Notice::LastResortUsed { device, suite }) => {
                self.on_last_resort_used(device, suite, now)
            }
            Notice::Authority(authority::Notice::CrlIssued {
                domain,
                issuer,
                number,
            }) => {
                self.on_crl_issued(&domain, IssuerId(issuer), number, now);
                Ok(())
            }
            Notice::Authority(notice) => {
                self.on_device_notice(notice)?;
                // What the log says of it is looked at by itself.
                self.ask_entries(now)
            }
        }
    }

    fn on_timeout(&mut self, now: u64) -> Result<(), Error> {
        self.ask_again(now);
        let due: Vec<Timer> = self
            .timers
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(timer, _)| timer.clone())
            .collect();
        for timer in due {
            self.timers.remove(&timer);
            match timer {
                Timer::Proposals(room) => self.commit_proposals(&room, now)?,
                Timer::Acknowledge => self.acknowledge_all(now)?,
                Timer::Behind => self.sync_if_behind(now)?,
                Timer::Retry(room) => drop(self.touched.insert(room)),
                Timer::Anchors(domain) => self.ask_anchors(&domain, now),
                Timer::Stock => self.restock(now)?,
                Timer::Strays => self.look_for_strays(now)?,
                Timer::Upkeep => self.upkeep(now)?,
                Timer::RevocationLists => self.renew_crls(now)?,
                Timer::Evidence(room) => self.look_again(&room, true)?,
                Timer::Revoked(room) => self.remove_revoked(&room, now)?,
                Timer::Fresh(room, epoch) => self.commit_fresh(&room, epoch)?,
            }
        }
        Ok(())
    }

    /// What was not answered, in time or at all.
    fn ask_again(&mut self, now: u64) {
        for (outgoing, attempt) in self.requests.due(now) {
            if attempt == 3 {
                self.warn(
                    None,
                    Warning::Silent {
                        what: what_is_asked(&outgoing.request),
                    },
                );
            }
            let pending = self.requests.asked(outgoing.id);
            if matches!(pending, Some(Purpose::Register | Purpose::Prove)) {
                // A challenge is good for one answer, and that may have arrived.
                self.requests.take(outgoing.id);
                self.ask_challenge(now);
            } else {
                self.staged_requests.push(outgoing);
            }
        }
    }

    /// Keeps the earlier of two deadlines.
    pub(crate) fn set_timer(&mut self, timer: Timer, at: u64) {
        let entry = self.timers.entry(timer).or_insert(at);
        *entry = at.min(*entry);
    }

    pub(crate) fn clear_timer(&mut self, timer: &Timer) {
        self.timers.remove(timer);
    }

    pub(crate) fn has_timer(&self, timer: &Timer) -> bool {
        self.timers.contains_key(timer)
    }

    pub(crate) fn clear_timers(&mut self) {
        self.timers.clear();
    }

    /// Asks, if the session can carry the question; when a session comes up, everything that is
    /// still wanted is asked from what the store holds.
    pub(crate) fn ask(&mut self, purpose: Purpose, to: Destination, request: Request, now: u64) {
        if !self.session.carries(&purpose) {
            return;
        }
        if let Some(outgoing) = self.requests.ask(purpose, to, request, now) {
            self.staged_requests.push(outgoing);
        }
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.staged_events.push(event);
    }

    pub(crate) fn warn(&mut self, room: Option<&BareJid>, warning: Warning) {
        self.tell(Event::Warning {
            room: room.cloned(),
            warning,
        });
    }

    pub(crate) fn refused(&mut self, room: Option<&BareJid>, what: Refused, why: impl ToString) {
        self.tell(Event::Refused {
            room: room.cloned(),
            what,
            why: why.to_string(),
        });
    }

    /// Forgets what was to be sent on a session that is gone.
    pub(crate) fn drop_outgoing(&mut self) {
        self.outgoing.clear();
    }
}

fn what_is_asked(request: &Request) -> &'static str {
    match request {
        Request::Authority(_) => "a request to the certificate authority",
        Request::Keys(_) => "a request to the key package directory",
        Request::Room(_) => "a request to a room",
        Request::Sync(_) => "a request for what is new",
    }
}

/// Seconds, for certificates and key packages.
pub(crate) fn seconds(now: u64) -> u64 {
    now / 1_000
}
