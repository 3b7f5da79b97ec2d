//! Devices and their domains, and everything that may befall them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use comity_mls_credential::anchors::TlsRoots;
use comity_mls_engine::{
    Answered, Engine, Error, Event, MemoryKeys, MemoryStore, Notice, Options, RequestId, RoomState,
    Row, Space, Store, StoreError, Transaction,
};
use comity_mls_wire::room::Member;
use comity_storage::CreateAccount;
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use super::directory::Book;
use super::domain::Proof;
use super::server::{AllIssuers, Server, Stanzas};
use super::tale::Tale;

/// Devices of which a kill of their server brings back so few that it seldom leads to the next one.
const FEW: u64 = 9;
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
    at: u64,
}

impl Client {
    /// Something is to be said, or under way, or wanted.
    pub(super) fn has_something_waiting(&self) -> bool {
        let spaces = [Space::Outbox, Space::InFlight, Space::Plan];
        let waits = |space: &Space| !self.store.scan(*space, b"", None, 1).unwrap().is_empty();
        spaces.iter().any(waits)
    }
}

/// A room, and the client whose device made it and stays.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) room: BareJid,
    pub(super) owner: usize,
}

pub(super) struct Fleet {
    pub(super) now: u64,
    pub(super) servers: BTreeMap<String, Server>,
    pub(super) stanzas: Stanzas,
    pub(super) clients: Vec<Client>,
    pub(super) places: Vec<Place>,
    pub(super) faulty: bool,
    /// Domains' copies of rooms that have entries which were not sent on.
    pub(super) grown: BTreeSet<(String, BareJid)>,
    /// Clients for whom all is looked up.
    pub(super) hungry: BTreeSet<usize>,
    /// Of each domain's copy: those who get it.
    pub(super) audience: HashMap<(String, BareJid), BTreeSet<usize>>,
    pub(super) book: Book,
    pub(super) tale: Tale,
    random: u64,
    directory: PathBuf,
    authenticators: HashMap<(BareJid, u64), Vec<u8>>,
    words: u64,
    pub(super) kills: u64,
    /// How often somebody had to be invited again.
    pub(super) lost: usize,
}

impl Fleet {
    pub(super) async fn new(domains: &[&str], seed: u64, tale: Tale) -> Self {
        let id = Uuid::from_u128(u128::from(seed) << 64 | u128::from(std::process::id()));
        // A kill of the server is none of the machine: nothing is lost where memory is the disk.
        let memory = Path::new("/dev/shm");
        let place = match memory.is_dir() {
            true => memory.to_owned(),
            false => std::env::temp_dir(),
        };
        let directory = place.join(format!("comity-history-{id}"));
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
            places: Vec::new(),
            faulty: false,
            grown: BTreeSet::new(),
            hungry: BTreeSet::new(),
            audience: HashMap::new(),
            book: Book::default(),
            tale,
            random: 0x9e37_79b9_7f4a_7c15 ^ (seed.wrapping_mul(0xd134_2543_de82_ef95) | 1),
            directory,
            authenticators: HashMap::new(),
            words: 0,
            kills: 0,
            lost: 0,
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

    /// Is a server killed in the middle of a request? Of a hundred so many times where devices are
    /// few. Where there are hundreds, all of a domain come back after a kill, each with dozens of
    /// requests: a server that were killed as often at each would never get through them.
    pub(super) fn dies(&mut self, percent: u64) -> bool {
        let devices = (self.clients.len() as u64).max(FEW);
        self.faulty && self.random(100 * devices) < percent * FEW
    }

    pub(super) fn pick(&mut self) -> usize {
        let count = self.clients.len() as u64;
        usize::try_from(self.random(count)).unwrap()
    }

    pub(super) fn pick_place(&mut self) -> Place {
        let count = self.places.len() as u64;
        let place = usize::try_from(self.random(count)).unwrap();
        self.places[place].clone()
    }

    /// Somebody; more often than not, somebody who is or was in the room.
    pub(super) fn pick_near(&mut self, place: &Place) -> usize {
        let known = |client: &usize| self.state(*client, &place.room).is_some();
        let near: Vec<usize> = (0..self.clients.len()).filter(known).collect();
        match self.random(4) {
            0 => self.pick(),
            _ => near[usize::try_from(self.random(near.len() as u64)).unwrap()],
        }
    }

    /// All accounts, those of each domain in turn.
    pub(super) fn accounts(&self) -> Vec<BareJid> {
        let named: BTreeSet<&BareJid> = self.clients.iter().map(|c| &c.account).collect();
        let mut by_domain: BTreeMap<&str, Vec<BareJid>> = BTreeMap::new();
        for account in named {
            let of_it = by_domain.entry(account.domain()).or_default();
            of_it.push(account.clone());
        }
        let longest = by_domain.values().map(Vec::len).max().unwrap_or(0);
        let nth = |place: usize| {
            by_domain
                .values()
                .filter_map(move |of| of.get(place).cloned())
        };
        (0..longest).flat_map(nth).collect()
    }

    pub(super) fn device_of(&self, account: &BareJid) -> usize {
        let mut clients = self.clients.iter();
        clients.position(|c| c.account == *account).unwrap()
    }

    pub(super) fn client_of(&self, member: &Member) -> Option<usize> {
        let is_it = |client: &usize| self.member(*client).as_ref() == Some(member);
        (0..self.clients.len()).find(is_it)
    }

    /// Enters into the tale what happens to a client.
    pub(super) fn tell(&self, client: usize, what: &str) {
        let after = self.now - START;
        let account = &self.clients[client].account;
        self.tale
            .add(format!("{after:>9} {client}:{account} {what}"));
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
            keep_history_ms: None,
        }
    }

    fn open(&self, account: &BareJid, store: &Crashing, keys: &MemoryKeys) -> Engine {
        let (store, keys) = (Box::new(store.clone()), Box::new(keys.clone()));
        Engine::open(account.clone(), store, keys, self.options()).unwrap()
    }

    pub(super) async fn enrolled(&mut self, account: &str) {
        let account = jid(account);
        let created = CreateAccount {
            account: account.as_str().to_owned(),
            domain: account.domain().to_owned(),
            created: self.now / 1_000,
            keys: Vec::new(),
        };
        let storage = self.servers[account.domain()].storage.clone();
        storage.write(created).await.unwrap();
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
                self.tell(client, "crashes");
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

    /// A copy of the store and its keys as they are now. Who owns a room is not copied while it is
    /// coming back to it: nobody else could invite it again.
    pub(super) fn remember(&mut self, client: usize) {
        let owned = self.places.iter().filter(|place| place.owner == client);
        let well = |place: &Place| self.state(client, &place.room) == Some(RoomState::Active);
        if !owned.clone().all(well) {
            return;
        }
        let at = self.now;
        let state = &mut self.clients[client];
        state.backup = Some(Backup {
            rows: state.store.rows.snapshot(),
            keys: state.keys.snapshot(),
            at,
        });
    }

    /// One of the devices of which there is a copy is put back.
    pub(super) fn roll_back_one(&mut self) {
        let copied = |client: &usize| self.clients[*client].backup.is_some();
        let copied: Vec<usize> = (0..self.clients.len()).filter(copied).collect();
        if !copied.is_empty() {
            let place = self.random(copied.len() as u64);
            self.roll_back(copied[usize::try_from(place).unwrap()]);
        }
    }

    /// The device is put back to the state it had then.
    fn roll_back(&mut self, client: usize) {
        let state = &mut self.clients[client];
        if let Some(backup) = state.backup.take() {
            state.store = Crashing::over(backup.rows);
            state.keys = backup.keys;
            state.rolled_back += 1;
            self.tell(client, &format!("is put back to {}", backup.at - START));
            self.restart(client);
        }
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
        self.tale
            .add(format!("{:>9} {domain} is killed", self.now - START));
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
    pub(super) fn compare_authenticators(&mut self) {
        for state in &mut self.clients {
            for info in state.engine.rooms().unwrap() {
                if info.state != RoomState::Active {
                    continue;
                }
                let own = state.engine.epoch_authenticator(&info.room).unwrap();
                let of = (info.room, info.epoch);
                let known = self.authenticators.entry(of);
                let known = known.or_insert_with(|| own.clone());
                assert_eq!(*known, own, "epoch {}", info.epoch);
            }
        }
    }
}
