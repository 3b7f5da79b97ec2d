//! Two or more engines, their domains and hubs, in one thread, under a clock the test moves and with
//! the faults it wants.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses a part of it, and a test may panic"
)]

pub(crate) mod domain;
pub mod fork;
pub mod garble;
pub mod hub;
pub(crate) mod log;
pub mod raw;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use comity_mls_credential::anchors::TlsRoots;
use comity_mls_credential::crl;
use comity_mls_credential::issue::Validity;
use comity_mls_credential::keys::{Algorithm, PublicKey};
use comity_mls_credential::leaf::{IssuerId, Issuers};
use comity_mls_credential::provider::Provider;
use comity_mls_engine::{
    Answer, Answered, Destination, Engine, Error, Event, Item, MemoryKeys, MemoryStore, Notice,
    Options, Outgoing, Request, RequestId, Row, Space, Store, StoreError, Transaction, What,
};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{self, Member};
use comity_mls_wire::{authority, keys, sync};
use comity_xmpp::jid::BareJid;
use mls_rs_core::crypto::CipherSuite;
use uuid::Uuid;

use domain::{Domain, Proof};
use hub::Room;

/// 2026-01-01.
pub const START: u64 = 1_767_225_600_000;

pub fn jid(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}

/// Fails at one commit, before or after writing it, as a crash would.
#[derive(Clone)]
pub struct FaultyStore {
    inner: MemoryStore,
    commits: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
    /// Twice the number of the commit to fail at; odd: the rows are written first.
    fail_at: Arc<AtomicU64>,
}

impl FaultyStore {
    fn new() -> Self {
        Self {
            inner: MemoryStore::new(),
            commits: Arc::default(),
            written: Arc::default(),
            fail_at: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    /// A copy of its rows, no longer shared.
    pub fn copy(&self) -> Self {
        Self {
            inner: self.inner.snapshot(),
            ..Self::new()
        }
    }

    /// A row of that kind is not what was written.
    pub fn damage(&mut self, space: Space) {
        let rows = self.inner.scan(space, b"", None, usize::MAX).unwrap();
        let changes = rows.into_iter().map(|(key, mut value)| {
            value.truncate(value.len() / 2);
            ((space, key), Some(value))
        });
        let changes = changes.collect();
        self.inner.commit(Transaction { changes }).unwrap();
    }

    /// Every row, for comparison.
    pub fn rows(&self) -> Vec<(&'static str, Row)> {
        let spaces = [
            Space::Identity,
            Space::KeyPackage,
            Space::Certificate,
            Space::Anchors,
            Space::RevocationList,
            Space::Room,
            Space::Group,
            Space::Tree,
            Space::InFlight,
            Space::Plan,
            Space::Proposal,
            Space::Outbox,
            Space::Resync,
            Space::Rejoin,
            Space::Psk,
            Space::Head,
            Space::Counter,
            Space::Said,
            Space::Ephemeral,
            Space::Complaint,
            Space::History,
            Space::Verified,
            Space::OwnDevice,
            Space::Seen,
            Space::DeviceList,
            Space::Transparency,
            Space::Batch,
        ];
        spaces
            .into_iter()
            .flat_map(|space| {
                let rows = self.inner.scan(space, b"", None, usize::MAX).unwrap();
                rows.into_iter().map(move |row| (space.name(), row))
            })
            .collect()
    }

    /// Octets of rows.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

impl Store for FaultyStore {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(space, key)
    }

    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.inner.scan(space, prefix, after, limit)
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), StoreError> {
        let number = self.commits.fetch_add(1, Ordering::Relaxed);
        let fail_at = self.fail_at.load(Ordering::Relaxed);
        if fail_at == number * 2 {
            return Err(StoreError("crash before the write".into()));
        }
        let rows = transaction.changes.values().flatten();
        let octets: usize = rows.map(Vec::len).sum();
        self.written.fetch_add(octets as u64, Ordering::Relaxed);
        self.inner.commit(transaction)?;
        if fail_at == number * 2 + 1 {
            return Err(StoreError("crash after the write".into()));
        }
        Ok(())
    }
}

pub struct Client {
    pub account: BareJid,
    pub store: FaultyStore,
    pub keys: MemoryKeys,
    pub engine: Engine,
    pub proof: Proof,
    pub online: bool,
    pub syncing: BTreeMap<BareJid, u64>,
    pub synced: bool,
    handed: HashSet<(BareJid, Uuid)>,
    inbox: VecDeque<Input>,
    pub events: Vec<Event>,
    pub crashes: u64,
    /// The last crash came after its transaction was written.
    pub crashed_after_write: bool,
}

enum Input {
    Answer(RequestId, Answered),
    Notice(Box<Notice>),
}

/// What happens to an answer on its way back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Arrives,
    /// The request took effect, the session is lost before its answer.
    Lost,
}

type Issued = HashMap<(String, IssuerId), Arc<[u8]>>;

#[derive(Clone, Default)]
struct AllIssuers(Arc<Mutex<Issued>>);

impl Issuers for AllIssuers {
    fn issuer(&self, domain: &str, id: &IssuerId) -> Option<Arc<[u8]>> {
        let issuers = self.0.lock().unwrap();
        issuers.get(&(domain.to_owned(), *id)).cloned()
    }
}

pub struct World {
    pub now: u64,
    pub domains: BTreeMap<String, Domain>,
    issuers: AllIssuers,
    provider: Provider,
    pub rooms: HashMap<BareJid, Room>,
    pub clients: Vec<Client>,
    pub stock: u32,
    /// Of devices that are set up, or started again, from now on.
    pub keep_history_ms: Option<u64>,
    suite: u16,
    /// What rooms answer to every commit and message.
    pub refusing: Option<Refusal>,
    random: u64,
    /// Of 100 answers, so many are lost with their session.
    pub lossy: u64,
    /// Of 100 entries pushed, so many are lost on the way.
    pub leaky: u64,
    /// Inputs are taken in a random order of clients.
    pub shuffle: bool,
    /// Whose anchors were asked for.
    pub anchors_asked: Vec<String>,
    /// What servers answer in place of the truth, by who asked for what.
    pub lie: Option<Lie>,
}

pub type Lie = Box<dyn FnMut(usize, &Request, Answered) -> Answered>;

impl World {
    pub fn new(domains: &[&str]) -> Self {
        Self::with_suite(domains, 2)
    }

    pub fn with_suite(domains: &[&str], suite: u16) -> Self {
        let algorithm = Algorithm::of_suite(CipherSuite::new(suite)).unwrap();
        let issuers = AllIssuers::default();
        let mut world = Self {
            now: START,
            domains: BTreeMap::new(),
            provider: Provider::new(Arc::new(issuers.clone())),
            issuers,
            rooms: HashMap::new(),
            clients: Vec::new(),
            stock: 4,
            keep_history_ms: None,
            suite,
            refusing: None,
            random: 0x9e37_79b9_7f4a_7c15,
            lossy: 0,
            leaky: 0,
            shuffle: false,
            anchors_asked: Vec::new(),
            lie: None,
        };
        for name in domains {
            let domain = Domain::new(name, algorithm, START / 1_000);
            let id = comity_mls_credential::certificate::issuer_id(
                &domain.issuing.key.public().unwrap(),
            )
            .unwrap();
            let certificate = domain.issuing.certificate.clone().into();
            world
                .issuers
                .0
                .lock()
                .unwrap()
                .insert(((*name).to_owned(), id), certificate);
            world.domains.insert((*name).to_owned(), domain);
        }
        world
    }

    /// A domain issues with this key too, and everybody hears of it.
    pub fn has_issuing(&mut self, domain: &str, key: &PublicKey, validity: Validity) {
        let found = self.domains.get_mut(domain).unwrap();
        let certificate = found.has_issuing(key, validity);
        let id = comity_mls_credential::certificate::issuer_id(key).unwrap();
        let mut issuers = self.issuers.0.lock().unwrap();
        issuers.insert((domain.to_owned(), id), certificate.into());
    }

    pub fn seed(&mut self, seed: u64) {
        self.random ^= seed.wrapping_mul(0xd134_2543_de82_ef95) | 1;
    }

    pub fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    /// From now on the servers' pushes do not reach this client; the test delivers by hand.
    pub fn cut(&mut self, client: usize) {
        self.clients[client].synced = false;
    }

    /// Another engine over a copy of a client's store.
    pub fn twin(&self, client: usize) -> (Engine, FaultyStore) {
        let state = &self.clients[client];
        let store = state.store.copy();
        let engine = Engine::open(
            state.account.clone(),
            Box::new(store.clone()),
            Box::new(state.keys.clone()),
            self.options(),
        )
        .unwrap();
        (engine, store)
    }

    fn options(&self) -> Options {
        let roots = self.domains.values().map(|d| &d.tls_root[..]);
        Options {
            tls_roots: TlsRoots::new(roots),
            suites: vec![self.suite],
            stock: self.stock,
            keep_history_ms: self.keep_history_ms,
        }
    }

    /// A new device, connected and not enrolled.
    pub fn device(&mut self, account: &str) -> usize {
        let store = FaultyStore::new();
        let keys = MemoryKeys::new();
        let engine = Engine::open(
            jid(account),
            Box::new(store.clone()),
            Box::new(keys.clone()),
            self.options(),
        )
        .unwrap();
        self.clients.push(Client {
            account: jid(account),
            store,
            keys,
            engine,
            proof: Proof::default(),
            online: false,
            syncing: BTreeMap::new(),
            synced: false,
            handed: HashSet::new(),
            inbox: VecDeque::new(),
            events: Vec::new(),
            crashes: 0,
            crashed_after_write: false,
        });
        let client = self.clients.len() - 1;
        self.connect(client);
        client
    }

    /// A device that is enrolled and can be invited.
    pub fn enrolled(&mut self, account: &str) -> usize {
        let client = self.device(account);
        let now = self.now;
        self.input(client, |engine| engine.enrol("test", now));
        self.run();
        assert!(
            self.clients[client]
                .events
                .iter()
                .any(|e| matches!(e, Event::Enrolled { .. })),
            "{:?}",
            self.clients[client].events
        );
        client
    }

    pub fn engine(&mut self, client: usize) -> &mut Engine {
        &mut self.clients[client].engine
    }

    /// Runs an input; a crash of the store is a crash of the program.
    pub fn input<T>(
        &mut self,
        client: usize,
        run: impl FnOnce(&mut Engine) -> Result<T, Error>,
    ) -> Option<T> {
        match run(&mut self.clients[client].engine) {
            Ok(value) => Some(value),
            Err(Error::Store(StoreError(why))) => {
                self.clients[client].crashed_after_write = why.contains("after");
                self.restart(client);
                None
            }
            Err(error) => panic!("{}: {error}", self.clients[client].account),
        }
    }

    pub fn crash_at(&mut self, client: usize, point: u64) {
        let store = &self.clients[client].store;
        let from = store.commits() * 2;
        store.fail_at.store(from + point, Ordering::Relaxed);
    }

    /// The program dies and is started again.
    pub fn restart(&mut self, client: usize) {
        self.disconnect(client);
        let options = self.options();
        let state = &mut self.clients[client];
        state.store.fail_at.store(u64::MAX, Ordering::Relaxed);
        state.crashes += 1;
        state.engine = Engine::open(
            state.account.clone(),
            Box::new(state.store.clone()),
            Box::new(state.keys.clone()),
            options,
        )
        .unwrap();
        self.connect(client);
    }

    /// The program is started from a copy of its store that was made before.
    pub fn restore(&mut self, client: usize, store: FaultyStore) {
        self.clients[client].store = store;
        self.restart(client);
    }

    pub fn disconnect(&mut self, client: usize) {
        let state = &mut self.clients[client];
        state.online = false;
        state.synced = false;
        state.syncing.clear();
        state.handed.clear();
        state.inbox.clear();
        state.proof = Proof::default();
        state.engine.session_ended();
    }

    pub fn connect(&mut self, client: usize) {
        let now = self.now;
        self.clients[client].online = true;
        self.input(client, |engine| engine.session_started(None, now));
    }

    pub fn deliver(&mut self, client: usize, notice: Notice) {
        self.clients[client]
            .inbox
            .push_back(Input::Notice(Box::new(notice)));
    }

    fn member(&self, client: usize) -> Option<Member> {
        let state = &self.clients[client];
        Some(Member {
            account: state.account.clone(),
            device: state.proof.device?,
        })
    }

    /// Carries everything until nothing moves.
    pub fn run(&mut self) {
        for _ in 0..100_000 {
            if !self.turn() {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Runs, and moves the clock to every deadline within the next `ms`.
    pub fn run_for(&mut self, ms: u64) {
        let end = self.now + ms;
        for _ in 0..100_000 {
            self.run();
            let next = (0..self.clients.len())
                .filter_map(|c| self.clients[c].engine.poll_timeout())
                .chain(self.rooms.values().filter_map(|room| room.nominates_at()))
                .min();
            match next {
                Some(at) if at <= end => self.now = at.max(self.now),
                _ => {
                    self.now = end;
                    return;
                }
            }
            let now = self.now;
            for client in 0..self.clients.len() {
                let due = self.clients[client].engine.poll_timeout();
                if due.is_some_and(|at| at <= now) {
                    self.input(client, |engine| engine.timeout(now));
                }
            }
            for room in self.rooms.values_mut() {
                room.nominate(now);
            }
            self.push();
        }
        panic!("it never comes to rest");
    }

    /// One thing each client does; false if there was nothing to do.
    fn turn(&mut self) -> bool {
        let mut moved = false;
        let count = self.clients.len();
        let first = if self.shuffle {
            usize::try_from(self.random(count as u64)).unwrap()
        } else {
            0
        };
        for place in 0..count {
            let client = (first + place) % count;
            while let Some(event) = self.clients[client].engine.poll_event() {
                self.clients[client].events.push(event);
            }
            if let Some(outgoing) = self.clients[client].engine.poll_request() {
                moved = true;
                if self.clients[client].online {
                    self.serve(client, outgoing);
                }
            } else if let Some(input) = self.clients[client].inbox.pop_front() {
                moved = true;
                let now = self.now;
                self.input(client, |engine| match input {
                    Input::Answer(id, answer) => engine.answer(id, answer, now),
                    Input::Notice(notice) => engine.notice(*notice, now),
                });
            }
        }
        moved
    }

    fn serve(&mut self, client: usize, outgoing: Outgoing) {
        let Outgoing { id, to, request } = outgoing;
        let asked = request.clone();
        let mut answer = match request {
            Request::Authority(authority::Request::LogInclusion { keys }) => {
                let Destination::Account(account) = to else {
                    panic!("evidence asked of {to:?}")
                };
                self.inclusion(&account, keys).map(Answer::Authority)
            }
            Request::Authority(request) => self.authority(client, request).map(Answer::Authority),
            Request::Keys(request) => self.keys(client, &to, request).map(Answer::Keys),
            Request::Room(request) => {
                let Destination::Room(room) = to else {
                    panic!("a room request to {to:?}")
                };
                self.room(client, &room, request).map(Answer::Room)
            }
            Request::Sync(request) => self.sync(client, request).map(Answer::Sync),
        };
        if let Some(lie) = &mut self.lie {
            answer = lie(client, &asked, answer);
        }
        self.now += 1;
        if self.lossy > 0 && self.random(100) < self.lossy {
            self.disconnect(client);
            self.connect(client);
        } else {
            self.clients[client]
                .inbox
                .push_back(Input::Answer(id, answer));
        }
        self.push();
    }

    fn authority(
        &mut self,
        client: usize,
        request: authority::Request,
    ) -> Result<authority::Answer, Refusal> {
        if let authority::Request::Anchors { domain } = &request {
            let now_s = self.now / 1_000;
            self.anchors_asked.push(domain.clone());
            let found = self.domains.get_mut(domain);
            let found = found.ok_or_else(|| Refusal::UnreachableDomain {
                domain: domain.clone(),
            })?;
            found.renew(now_s);
            return Ok(authority::Answer::Anchors {
                statement: found.statement.clone(),
            });
        }
        if let authority::Request::LogConsistency {
            domain,
            first,
            second,
        } = &request
        {
            return self.domains[domain].consistency(*first, *second);
        }
        let now_s = self.now / 1_000;
        if let authority::Request::Crl { domain, offset, .. } = &request {
            let found = self.domains.get_mut(domain).filter(|d| !d.away);
            let found = found.ok_or_else(|| Refusal::NotAllowed {
                rule: "no such list".to_owned(),
            })?;
            let crl = found.crl(now_s);
            // In small parts, to see them put together.
            let from = usize::try_from(*offset).unwrap();
            let until = crl.der().len().min(from + 200);
            return Ok(authority::Answer::Crl {
                number: crl.number(),
                size: u32::try_from(crl.der().len()).unwrap(),
                offset: *offset,
                part: crl.der()[from..until].to_vec().into(),
            });
        }
        let state = &mut self.clients[client];
        let domain = self.domains.get_mut(state.account.domain()).unwrap();
        domain.authority(&state.account, &mut state.proof, request, now_s)
    }

    fn inclusion(
        &self,
        account: &BareJid,
        keys: Vec<[u8; 32]>,
    ) -> Result<authority::Answer, Refusal> {
        let domain = self.domains.get(account.domain());
        let domain = domain.ok_or_else(|| Refusal::UnreachableDomain {
            domain: account.domain().to_owned(),
        })?;
        if !domain.shows_log {
            return Err(Refusal::NotAllowed {
                rule: "nobody sees the log".to_owned(),
            });
        }
        Ok(domain.log.inclusion(account, keys, domain.head()))
    }

    fn keys(
        &mut self,
        client: usize,
        to: &Destination,
        request: keys::Request,
    ) -> Result<keys::Answer, Refusal> {
        let Destination::Account(account) = to else {
            panic!("a directory request to {to:?}")
        };
        if let keys::Request::Claim(claim) = request {
            let domain = self.domains.get_mut(account.domain());
            let domain = domain.ok_or_else(|| Refusal::UnreachableDomain {
                domain: account.domain().to_owned(),
            })?;
            return domain.claim(account, &claim.devices);
        }
        let own = self.clients[client].account.clone();
        assert_eq!(*account, own);
        let domain = self.domains.get_mut(own.domain()).unwrap();
        domain.publish(&own, request)
    }

    fn room(
        &mut self,
        client: usize,
        address: &BareJid,
        request: room::Request,
    ) -> Result<room::Answer, Refusal> {
        let domain = &self.domains[address.domain()];
        if request == room::Request::Hub {
            return Ok(room::Answer::Hub(room::Hub {
                certificate: domain.hub_certificate.clone(),
                suites: vec![self.suite],
                exists: self.rooms.contains_key(address),
            }));
        }
        let member = self.member(client).ok_or(Refusal::NoDevice)?;
        if let room::Request::Create(create) = &request
            && !self.rooms.contains_key(address)
        {
            let (room, answer) = hub::create(
                address,
                (domain.hub_key.clone(), &domain.hub_certificate),
                self.provider.clone(),
                member,
                create,
                self.now,
            );
            self.rooms.insert(address.clone(), room);
            return Ok(answer);
        }
        if let Some(refusal) = &self.refusing {
            return Err(refusal.clone());
        }
        let now = self.now;
        let room = self.rooms.get_mut(address).ok_or(Refusal::NoRoom)?;
        room.answer(&member, request, now)
    }

    fn sync(&mut self, client: usize, request: sync::Request) -> Result<sync::Answer, Refusal> {
        let member = self.member(client).ok_or(Refusal::NoDevice)?;
        match request {
            sync::Request::Sync { cursors } => {
                let cursors: BTreeMap<_, _> = cursors.into_iter().collect();
                let mut rooms = Vec::new();
                let state = &mut self.clients[client];
                state.syncing.clear();
                state.synced = true;
                for (address, room) in &mut self.rooms {
                    for (whose, welcome) in &room.welcomes {
                        if *whose == member {
                            state.handed.insert((address.clone(), welcome.id));
                            let notice = sync::Notice::Welcome(welcome.clone());
                            state
                                .inbox
                                .push_back(Input::Notice(Box::new(Notice::Sync(notice))));
                        }
                    }
                    if let Some(standing) = room.standing(&member) {
                        let cursor = cursors.get(address).copied().unwrap_or(0);
                        state.syncing.insert(address.clone(), cursor);
                        rooms.push(standing);
                    }
                }
                Ok(sync::Answer::Syncing { rooms })
            }
            sync::Request::Acknowledge { room, seq } => {
                if let Some(room) = self.rooms.get_mut(&room) {
                    room.stored(&member, seq);
                    room.seen(&member);
                }
                Ok(sync::Answer::Acknowledged)
            }
            sync::Request::AcknowledgeWelcome { id } => {
                for room in self.rooms.values_mut() {
                    room.welcomes
                        .retain(|(whose, welcome)| *whose != member || welcome.id != id);
                }
                Ok(sync::Answer::Acknowledged)
            }
        }
    }

    /// Hands every syncing device what it has not been handed yet.
    pub fn push(&mut self) {
        for client in 0..self.clients.len() {
            let Some(member) = self.member(client) else {
                continue;
            };
            if !self.clients[client].synced {
                continue;
            }
            for (address, room) in &self.rooms {
                let state = &mut self.clients[client];
                if !room.reads(&member) {
                    continue;
                }
                // A Welcome comes before what follows it.
                for (whose, welcome) in &room.welcomes {
                    if *whose == member && state.handed.insert((address.clone(), welcome.id)) {
                        let notice = sync::Notice::Welcome(welcome.clone());
                        state
                            .inbox
                            .push_back(Input::Notice(Box::new(Notice::Sync(notice))));
                    }
                }
                let cursor = state.syncing.get(address).copied().unwrap_or(0);
                let mut newest = cursor;
                for entry in room.readable(&member, cursor) {
                    newest = entry.seq;
                    self.random ^= self.random << 13;
                    self.random ^= self.random >> 7;
                    self.random ^= self.random << 17;
                    if self.random % 100 < self.leaky {
                        continue;
                    }
                    let notice = Notice::Sync(sync::Notice::Entry(entry));
                    state.inbox.push_back(Input::Notice(Box::new(notice)));
                }
                state.syncing.insert(address.clone(), newest);
            }
        }
    }

    /// The hub of a room proposes a removal; everybody is told.
    pub fn hub_removes(&mut self, room: &BareJid, member: &Member, data: Vec<u8>) {
        let now = self.now;
        self.rooms.get_mut(room).unwrap().remove(member, data, now);
        self.push();
        self.run();
    }

    /// The domain of a member takes the certificate of its leaf in a room back, and tells everybody
    /// that there is a new list. Gives serial number and list.
    pub fn revoke(&mut self, room: &BareJid, member: &Member) -> (Vec<u8>, u64) {
        let serial = self.rooms[room].serial(member);
        let now_s = self.now / 1_000;
        let name = member.account.domain().to_owned();
        let domain = self.domains.get_mut(&name).unwrap();
        domain.revoked.push(crl::Entry {
            serial: serial.clone(),
            at: now_s,
        });
        let list = domain.crl(now_s);
        for client in 0..self.clients.len() {
            let notice = authority::Notice::CrlIssued {
                domain: name.clone(),
                issuer: list.issuer().0,
                number: list.number(),
            };
            self.deliver(client, Notice::Authority(notice));
        }
        (serial, list.number())
    }

    /// The words a device's history holds of a room, in order.
    pub fn words(&self, client: usize, room: &BareJid) -> Vec<String> {
        let items = self.history(client, room);
        items
            .into_iter()
            .filter_map(|item| match item.what {
                What::Message(message) => Some(String::from_utf8(message.content).unwrap()),
                What::Unreadable(why) => panic!("unreadable: {why:?}"),
                _ => None,
            })
            .collect()
    }

    pub fn history(&self, client: usize, room: &BareJid) -> Vec<Item> {
        self.clients[client].engine.history(room, 0, 1_000).unwrap()
    }

    /// All devices of a room hold the same epoch.
    pub fn assert_agreement(&mut self, room: &BareJid, clients: &[usize]) {
        let epoch = self.rooms[room].group.group_context().epoch;
        let mut authenticators = Vec::new();
        for client in clients {
            let rooms = self.clients[*client].engine.rooms().unwrap();
            let info = rooms.iter().find(|r| r.room == *room).unwrap();
            assert_eq!(info.epoch, epoch, "{}", self.clients[*client].account);
            let engine = &mut self.clients[*client].engine;
            authenticators.push(engine.epoch_authenticator(room).unwrap());
        }
        assert!(authenticators.windows(2).all(|pair| pair[0] == pair[1]));
    }

    /// No device was warned of anything.
    pub fn assert_unwarned(&self) {
        for client in &self.clients {
            for event in &client.events {
                let bad = matches!(
                    event,
                    Event::Warning { .. } | Event::RoomStopped { .. } | Event::Refused { .. }
                );
                let waits = matches!(
                    event,
                    Event::Warning {
                        warning: comity_mls_engine::Warning::UnknownIssuer { .. },
                        ..
                    }
                );
                assert!(!bad || waits, "{}: {event:?}", client.account);
            }
        }
    }

    pub fn device_id(&self, client: usize) -> Uuid {
        self.clients[client].engine.device().unwrap().unwrap()
    }
}
