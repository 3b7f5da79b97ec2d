//! Devices and their domains, and everything that may befall them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use comity_mls_credential::anchors::TlsRoots;
use comity_mls_engine::{
    Answered, Engine, Error, Event, MemoryKeys, MemoryStore, Notice, Options, RequestId, RoomState,
    Row, Space, Store, StoreError, Transaction,
};
use comity_mls_wire::keys::Published;
use comity_mls_wire::room::Member;
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use super::domain::Proof;
use super::server::{AllIssuers, Server, Stanzas};

/// 2026-01-01.
const START: u64 = 1_767_225_600_000;

pub(super) fn jid(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}

/// Fails at one transaction, before or after writing it, as a crash would.
#[derive(Clone)]
pub(super) struct Crashing {
    rows: MemoryStore,
    commits: Arc<AtomicU64>,
    /// Twice the number of the transaction to fail at; odd: the rows are written first.
    fail_at: Arc<AtomicU64>,
}

impl Crashing {
    fn over(rows: MemoryStore) -> Self {
        Self {
            rows,
            commits: Arc::default(),
            fail_at: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }
}

impl Store for Crashing {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.rows.get(space, key)
    }

    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.rows.scan(space, prefix, after, limit)
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), StoreError> {
        let number = self.commits.fetch_add(1, Ordering::Relaxed);
        let fail_at = self.fail_at.load(Ordering::Relaxed);
        if fail_at == number * 2 {
            return Err(StoreError("before the write".to_owned()));
        }
        self.rows.commit(transaction)?;
        match fail_at == number * 2 + 1 {
            true => Err(StoreError("after the write".to_owned())),
            false => Ok(()),
        }
    }
}

pub(super) enum Input {
    Answer(RequestId, Answered),
    Notice(Box<Notice>),
}

pub(super) struct Client {
    pub(super) account: BareJid,
    store: Crashing,
    keys: MemoryKeys,
    pub(super) engine: Engine,
    pub(super) proof: Proof,
    pub(super) online: bool,
    /// Up to where each room was sent to this session; none: it does not sync.
    pub(super) sent: Option<BTreeMap<BareJid, u64>>,
    pub(super) handed: Vec<[u8; 16]>,
    pub(super) inbox: VecDeque<Input>,
    pub(super) events: Vec<Event>,
    backup: Option<Backup>,
    /// How often it was put back to an older state.
    pub(super) rolled_back: usize,
}

struct Backup {
    rows: MemoryStore,
    keys: MemoryKeys,
    departures: usize,
    /// What its directory offered.
    packages: Vec<Published>,
}

impl Client {
    /// How often it was out of a room.
    fn departures(&self) -> usize {
        let left = |event: &&Event| matches!(event, Event::RoomLeft { .. });
        self.events.iter().filter(left).count()
    }
}

pub(super) struct Fleet {
    pub(super) now: u64,
    pub(super) servers: BTreeMap<String, Server>,
    pub(super) stanzas: Stanzas,
    pub(super) clients: Vec<Client>,
    pub(super) faulty: bool,
    /// Entries or Welcomes may have come that were not sent on.
    pub(super) moved: bool,
    random: u64,
    directory: PathBuf,
    authenticators: HashMap<u64, Vec<u8>>,
    words: u64,
    pub(super) kills: u64,
}

impl Fleet {
    pub(super) async fn new(domains: &[&str], seed: u64) -> Self {
        let id = Uuid::from_u128(u128::from(seed) << 64 | u128::from(std::process::id()));
        let directory = std::env::temp_dir().join(format!("comity-history-{id}"));
        std::fs::create_dir_all(&directory).unwrap();
        let (issuers, stanzas) = (AllIssuers::default(), Stanzas::default());
        let mut servers = BTreeMap::new();
        for name in domains {
            let server = Server::new(name, START, &directory, &issuers, &stanzas).await;
            servers.insert((*name).to_owned(), server);
        }
        Self {
            now: START,
            servers,
            stanzas,
            clients: Vec::new(),
            faulty: false,
            moved: false,
            random: 0x9e37_79b9_7f4a_7c15 ^ (seed.wrapping_mul(0xd134_2543_de82_ef95) | 1),
            directory,
            authenticators: HashMap::new(),
            words: 0,
            kills: 0,
        }
    }

    pub(super) async fn close(self) {
        for server in self.servers.values() {
            server.storage.close().await;
        }
        std::fs::remove_dir_all(&self.directory).unwrap();
    }

    pub(super) fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    /// Of a hundred times so many, while there are faults.
    pub(super) fn fails(&mut self, percent: u64) -> bool {
        self.faulty && self.random(100) < percent
    }

    pub(super) fn pick(&mut self) -> usize {
        let count = self.clients.len() as u64;
        usize::try_from(self.random(count)).unwrap()
    }

    pub(super) fn pick_domain(&mut self) -> String {
        let place = usize::try_from(self.random(self.servers.len() as u64)).unwrap();
        self.servers.keys().nth(place).unwrap().clone()
    }

    fn options(&self) -> Options {
        let roots = self.servers.values().map(|s| &s.domain.tls_root[..]);
        Options {
            tls_roots: TlsRoots::new(roots),
            suites: vec![2],
            stock: 4,
        }
    }

    fn open(&self, account: &BareJid, store: &Crashing, keys: &MemoryKeys) -> Engine {
        let (store, keys) = (Box::new(store.clone()), Box::new(keys.clone()));
        Engine::open(account.clone(), store, keys, self.options()).unwrap()
    }

    pub(super) async fn enrolled(&mut self, account: &str) {
        let account = jid(account);
        let store = Crashing::over(MemoryStore::new());
        let keys = MemoryKeys::new();
        let engine = self.open(&account, &store, &keys);
        self.clients.push(Client {
            account,
            store,
            keys,
            engine,
            proof: Proof::default(),
            online: false,
            sent: None,
            handed: Vec::new(),
            inbox: VecDeque::new(),
            events: Vec::new(),
            backup: None,
            rolled_back: 0,
        });
        let client = self.clients.len() - 1;
        self.connect(client);
        let now = self.now;
        self.input(client, |e| e.enrol("test", now));
        self.run().await;
        let enrolled = |event: &Event| matches!(event, Event::Enrolled { .. });
        assert!(self.clients[client].events.iter().any(enrolled));
    }

    /// Runs an input; a crash of the store is one of the program. What the room is closed to fails.
    pub(super) fn input<T>(
        &mut self,
        client: usize,
        run: impl FnOnce(&mut Engine) -> Result<T, Error>,
    ) -> Option<T> {
        match run(&mut self.clients[client].engine) {
            Ok(value) => Some(value),
            Err(Error::Store(_)) => {
                self.restart(client);
                None
            }
            Err(Error::RoomClosed(..) | Error::UnknownRoom(_) | Error::TooMuch { .. }) => None,
            Err(error) => panic!("{}: {error}", self.clients[client].account),
        }
    }

    pub(super) fn crash_at(&mut self, client: usize, point: u64) {
        let store = &self.clients[client].store;
        let from = store.commits.load(Ordering::Relaxed) * 2;
        store.fail_at.store(from + point, Ordering::Relaxed);
    }

    /// The program dies and is started again.
    pub(super) fn restart(&mut self, client: usize) {
        self.disconnect(client);
        let state = &self.clients[client];
        state.store.fail_at.store(u64::MAX, Ordering::Relaxed);
        let engine = self.open(&state.account, &state.store, &state.keys);
        self.clients[client].engine = engine;
        self.connect(client);
    }

    /// A copy of the store and its keys as they are now, while nothing waits to be said.
    pub(super) fn remember(&mut self, client: usize) {
        let packages = self.packages(client);
        let state = &mut self.clients[client];
        let waits = state.store.scan(Space::Outbox, b"", None, 1).unwrap();
        let flies = state.store.scan(Space::InFlight, b"", None, 1).unwrap();
        if waits.is_empty() && flies.is_empty() {
            state.backup = Some(Backup {
                rows: state.store.rows.snapshot(),
                keys: state.keys.snapshot(),
                departures: state.departures(),
                packages,
            });
        }
    }

    /// The device is put back to the state it had then, unless it has left the room since, or
    /// has come to it by a KeyPackage that it then had: of those nobody could tell it any more.
    pub(super) fn roll_back(&mut self, client: usize) {
        let packages = self.packages(client);
        let state = &mut self.clients[client];
        if let Some(backup) = state.backup.take()
            && backup.departures == state.departures()
            && backup.packages == packages
        {
            state.store = Crashing::over(backup.rows);
            state.keys = backup.keys;
            state.rolled_back += 1;
            self.restart(client);
        }
    }

    fn packages(&self, client: usize) -> Vec<Published> {
        let device = self.member(client).map(|member| member.device);
        let domain = &self.servers[self.clients[client].account.domain()].domain;
        let known = device.and_then(|device| domain.devices.get(&device));
        known.map_or_else(Vec::new, |known| known.packages.clone())
    }

    pub(super) fn disconnect(&mut self, client: usize) {
        let state = &mut self.clients[client];
        state.online = false;
        state.sent = None;
        state.handed.clear();
        state.inbox.clear();
        state.proof = Proof::default();
        state.engine.session_ended();
    }

    pub(super) fn connect(&mut self, client: usize) {
        let now = self.now;
        self.clients[client].online = true;
        self.input(client, |e| e.session_started(None, now));
    }

    /// A server is killed: its sessions end, and those that had one come back.
    pub(super) async fn kill(&mut self, domain: &str) {
        self.kills += 1;
        self.servers.get_mut(domain).unwrap().kill().await;
        for client in 0..self.clients.len() {
            if self.clients[client].account.domain() == domain && self.clients[client].online {
                self.disconnect(client);
                self.connect(client);
            }
        }
    }

    pub(super) fn say(&mut self, client: usize, room: &BareJid) {
        self.words += 1;
        let (now, words) = (self.now, self.words.to_string());
        self.input(client, |e| e.send(room, "text", words.as_bytes(), now));
    }

    /// Did anybody ever say this?
    pub(super) fn was_said(&self, content: &[u8]) -> bool {
        let words = std::str::from_utf8(content).unwrap();
        (1..=self.words).contains(&words.parse().unwrap())
    }

    pub(super) fn state(&self, client: usize, room: &BareJid) -> Option<RoomState> {
        let rooms = self.clients[client].engine.rooms().unwrap();
        rooms.iter().find(|r| r.room == *room).map(|r| r.state)
    }

    pub(super) fn member(&self, client: usize) -> Option<Member> {
        let state = &self.clients[client];
        Some(Member {
            account: state.account.clone(),
            device: state.engine.device().unwrap()?,
        })
    }

    /// Whoever holds an epoch holds the same one.
    pub(super) fn compare_authenticators(&mut self, room: &BareJid) {
        for client in 0..self.clients.len() {
            if self.state(client, room) != Some(RoomState::Active) {
                continue;
            }
            let engine = &mut self.clients[client].engine;
            let rooms = engine.rooms().unwrap();
            let epoch = rooms.iter().find(|r| r.room == *room).unwrap().epoch;
            let own = engine.epoch_authenticator(room).unwrap();
            let known = self
                .authenticators
                .entry(epoch)
                .or_insert_with(|| own.clone());
            assert_eq!(*known, own, "epoch {epoch}");
        }
    }
}
