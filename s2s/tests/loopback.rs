//! Two domains over real sockets and real TLS, each with an outbox in memory.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use comity_net::dns::order::{Start, Target};
use comity_net::dns::{DnsError, Lookup, Srv};
use comity_net::drive::{Pump, Step, now};
use comity_net::listener::Listener;
use comity_net::stop::{self, Stopper};
use comity_net::tls::verdict::Unproven;
use comity_net::tls::{Certificates, Connector, Roots, local};
use comity_s2s::certificate::Proof;
use comity_s2s::component::{self, serve::Components};
use comity_s2s::dialback::Verdict;
use comity_s2s::link::{Later, Queued, Received, Server, Way};
use comity_s2s::outgoing::{Command, Event, Outgoing, Over, Parcel, Settings};
use comity_s2s::peer::State;
use comity_s2s::trust::{Policy, Rules};
use comity_s2s::{Federation, Options, Peers, Secret, serve};
use comity_xmpp::element::Element;
use comity_xmpp::error::{StanzaCondition, StanzaError};
use comity_xmpp::jid::Jid;
use comity_xmpp::sasl::Hash;
use comity_xmpp::stanza::{Kind, MessageType, PresenceType, Stanza};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that remembers everything.
#[derive(Default)]
struct Memory {
    domains: Vec<String>,
    outbox: Mutex<BTreeMap<i64, Bytes>>,
    received: Mutex<Vec<String>>,
    /// By our domain and the queue's name. And the name of our own queue, if it has one.
    held: Mutex<HashMap<(String, String), i64>>,
    queue: Mutex<Option<String>>,
    bounced: Mutex<Vec<(String, StanzaCondition)>>,
    blocked: Mutex<Vec<String>>,
}

impl Server for Memory {
    fn serves(&self, domain: &str) -> bool {
        self.domains.iter().any(|ours| ours == domain)
    }

    fn federates(&self, _: &str, peer: &str) -> bool {
        peer != "evil.example" && !self.blocked.lock().unwrap().iter().any(|one| one == peer)
    }

    fn stanzas<'a>(&'a self, _: &'a str, stanzas: Vec<Received>) -> Later<'a, usize> {
        Box::pin(async move {
            let count = stanzas.len();
            for Received { stanza, place } in stanzas {
                tokio::task::yield_now().await;
                if let Some(place) = place {
                    let key = (place.ours.to_string(), place.queue.to_string());
                    let mut held = self.held.lock().unwrap();
                    let held = held.entry(key).or_default();
                    if place.number <= *held {
                        continue;
                    }
                    *held = place.number;
                }
                self.received.lock().unwrap().push(id(&stanza));
            }
            count
        })
    }

    fn held<'a>(&'a self, ours: &'a str, _: &'a str, queue: &'a str) -> Later<'a, Option<i64>> {
        Box::pin(async move {
            let key = (ours.to_owned(), queue.to_owned());
            Some(*self.held.lock().unwrap().get(&key).unwrap_or(&0))
        })
    }

    fn queue(&self) -> Later<'_, Option<String>> {
        let queue = self.queue.lock().unwrap().clone();
        Box::pin(async move { queue })
    }

    fn possible(&self, held: i64) -> Later<'_, bool> {
        Box::pin(async move {
            let possible = held < 10_000;
            if !possible {
                *self.queue.lock().unwrap() = Some("another".to_owned());
            }
            possible
        })
    }

    fn queued<'a>(&'a self, _: &'a str, after: i64, limit: usize) -> Later<'a, Vec<Queued>> {
        Box::pin(async move {
            let outbox = self.outbox.lock().unwrap();
            let rows = outbox.range(after + 1..).take(limit);
            rows.map(|(&id, stanza)| Queued {
                id,
                stanza: stanza.clone(),
            })
            .collect()
        })
    }

    fn delivered<'a>(&'a self, _: &'a str, rows: Vec<i64>) -> Later<'a, ()> {
        Box::pin(async move {
            self.outbox
                .lock()
                .unwrap()
                .retain(|id, _| !rows.contains(id));
        })
    }

    fn undeliverable<'a>(&'a self, _: &'a str, stanza: Stanza, why: StanzaError) -> Later<'a, ()> {
        Box::pin(async move {
            self.bounced
                .lock()
                .unwrap()
                .push((id(&stanza), why.condition));
        })
    }
}

fn id(stanza: &Stanza) -> String {
    stanza.id.as_deref().unwrap_or_default().to_owned()
}

/// No name is known here: whoever is not configured cannot be found.
struct NoDns;

impl Lookup for NoDns {
    fn srv<'a>(&'a self, _: &'a str) -> comity_net::dns::Later<'a, Result<Vec<Srv>, DnsError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn addresses<'a>(
        &'a self,
        _: &'a str,
    ) -> comity_net::dns::Later<'a, Result<Vec<std::net::IpAddr>, DnsError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

struct Domain {
    name: &'static str,
    directory: PathBuf,
    certificates: Arc<Certificates>,
    authority: PathBuf,
    port: u16,
    start: Start,
    memory: Arc<Memory>,
}

impl Domain {
    async fn new(name: &'static str, start: Start) -> Self {
        Self::with(name, &[], start).await
    }

    /// A server with further domains beside its first.
    async fn with(name: &'static str, further: &[&str], start: Start) -> Self {
        let mut domains = vec![name.to_owned()];
        domains.extend(further.iter().map(|&domain| domain.to_owned()));
        let unique = format!("comity-s2s-{}", comity_net::random::id());
        let directory = std::env::temp_dir().join(unique);
        let made = local::ensure(&directory, &domains, SystemTime::now()).unwrap();
        // A port that is free now, and most likely a moment later.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            name,
            directory,
            certificates: Certificates::load(made.certificates).unwrap(),
            authority: made.authority,
            port: free.local_addr().unwrap().port(),
            start,
            memory: Arc::new(Memory {
                domains,
                ..Memory::default()
            }),
        }
    }

    /// Begins to serve, and to believe `other`'s authority where `believe` says so.
    async fn start(&self, other: &Self, believe: bool) -> (Peers, Stopper) {
        self.start_with(other, believe, Policy::Allow).await
    }

    async fn start_with(&self, other: &Self, believe: bool, others: Policy) -> (Peers, Stopper) {
        let (stopper, stop) = stop::channel();
        let mut options = Options::new(self.memory.domains.clone());
        options.retry_first = Duration::from_millis(100);
        options.retry_most = Duration::from_millis(400);
        let rules = Rules {
            others,
            ..Rules::default()
        };
        let rules = self
            .memory
            .domains
            .iter()
            .map(|ours| (ours.clone(), rules.clone()));
        options.rules = rules.collect();
        options.dialback = Some(Secret::new(self.name.as_bytes()));
        options.targets = HashMap::from([(
            other.name.to_owned(),
            Target {
                host: "127.0.0.1".to_owned(),
                port: other.port,
                start: other.start,
            },
        )]);
        let permits = options.permits;
        let mut authorities = vec![self.authority.clone()];
        authorities.extend(believe.then(|| other.authority.clone()));
        let roots = Roots::load(false, &authorities).unwrap();
        let server = Arc::clone(&self.memory) as Arc<dyn Server>;
        let lookup = Arc::new(NoDns);
        let certificates = &self.certificates;
        let federation = Federation::new(options, certificates, roots, lookup, server, &stop);
        let federation = federation.unwrap();
        let address = format!("127.0.0.1:{}", self.port).parse().unwrap();
        let listener = Listener::bind(address, permits).await.unwrap();
        tokio::spawn(serve(listener, self.start, federation.clone(), stop));
        (federation.peers(), stopper)
    }

    /// Puts a message for `other` into the outbox.
    fn queue(&self, row: i64, other: &Self) {
        self.queue_from(self.name, row, other);
    }

    fn queue_from(&self, ours: &str, row: i64, other: &Self) {
        let stanza = message(ours, other.name, &row.to_string());
        let bytes = stanza.to_bytes(None);
        self.memory.outbox.lock().unwrap().insert(row, bytes);
    }

    async fn received(&self, count: usize) -> Vec<String> {
        until(|| self.memory.received.lock().unwrap().len() >= count).await;
        self.memory.received.lock().unwrap().clone()
    }

    async fn outbox_is_empty(&self) {
        until(|| self.memory.outbox.lock().unwrap().is_empty()).await;
    }

    async fn bounced(&self, count: usize) -> Vec<(String, StanzaCondition)> {
        until(|| self.memory.bounced.lock().unwrap().len() >= count).await;
        self.memory.bounced.lock().unwrap().clone()
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn message(from: &str, to: &str, id: &str) -> Stanza {
    Stanza::new(Kind::Message(MessageType::Chat))
        .with_from(Jid::parse(from).unwrap())
        .with_to(Jid::parse(to).unwrap())
        .with_id(id)
}

fn presence(from: &str, to: &str, id: &str) -> Stanza {
    Stanza::new(Kind::Presence(PresenceType::Available))
        .with_from(Jid::parse(from).unwrap())
        .with_to(Jid::parse(to).unwrap())
        .with_id(id)
}

async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("in time");
}

#[tokio::test]
async fn rows_and_stanzas_arrive_in_order_both_ways() {
    for start in [Start::StartTls, Start::Direct] {
        let a = Domain::new("a.example", start).await;
        let b = Domain::new("b.example", start).await;
        let (to_b, _stop_a) = a.start(&b, true).await;
        let (to_a, _stop_b) = b.start(&a, true).await;
        for row in 1..=200 {
            a.queue(row, &b);
        }
        to_b.wake(b.name);
        to_b.send(b.name, presence(a.name, b.name, "behind"))
            .unwrap();
        let mut expected: Vec<_> = (1..=200).map(|row| row.to_string()).collect();
        expected.push("behind".to_owned());
        assert_eq!(b.received(201).await, expected);
        a.outbox_is_empty().await;
        b.queue(7, &a);
        to_a.wake(a.name);
        assert_eq!(a.received(1).await, ["7"]);
        let status = to_a.list();
        assert_eq!((status.len(), status[0].state), (1, State::Up));
    }
}

#[tokio::test]
async fn what_waits_for_an_absent_domain_arrives_when_it_is_back() {
    let a = Domain::new("a.example", Start::StartTls).await;
    let b = Domain::new("b.example", Start::StartTls).await;
    let (to_b, _stop_a) = a.start(&b, true).await;
    a.queue(1, &b);
    to_b.wake(b.name);
    to_b.send(b.name, presence(a.name, b.name, "lost")).unwrap();
    let bounced = a.bounced(1).await;
    assert_eq!(
        bounced[0],
        ("lost".to_owned(), StanzaCondition::RemoteServerTimeout)
    );

    let (_, stop_b) = b.start(&a, true).await;
    assert_eq!(b.received(1).await, ["1"]);
    a.outbox_is_empty().await;

    // It goes, and comes back, and nothing is lost or doubled.
    assert!(stop_b.stop(PATIENCE).await);
    a.queue(2, &b);
    to_b.wake(b.name);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (_, _stop_b) = b.start(&a, true).await;
    assert_eq!(b.received(2).await, ["1", "2"]);
    a.outbox_is_empty().await;
}

/// A domain with two hosts: nobody listens at one, and the other has no address. There is no other.
struct Halves;

impl Lookup for Halves {
    fn srv<'a>(&'a self, name: &'a str) -> comity_net::dns::Later<'a, Result<Vec<Srv>, DnsError>> {
        let host = |priority, target: &str| Srv {
            priority,
            weight: 0,
            port: 1,
            target: target.to_owned(),
        };
        let found = match name {
            "_xmpp-server._tcp.half.example" => {
                vec![host(1, "down.half.example"), host(2, "gone.half.example")]
            }
            _ => Vec::new(),
        };
        Box::pin(async { Ok(found) })
    }

    fn addresses<'a>(
        &'a self,
        host: &'a str,
    ) -> comity_net::dns::Later<'a, Result<Vec<std::net::IpAddr>, DnsError>> {
        let found = match host {
            "down.half.example" => vec![std::net::Ipv4Addr::LOCALHOST.into()],
            _ => Vec::new(),
        };
        Box::pin(async { Ok(found) })
    }
}

#[tokio::test]
async fn a_domain_is_unknown_only_where_no_host_of_it_has_an_address() {
    let a = Domain::new("a.example", Start::StartTls).await;
    let (_stopper, stop) = stop::channel();
    let mut options = Options::new(a.memory.domains.clone());
    options.private_addresses = true;
    let roots = Roots::load(false, std::slice::from_ref(&a.authority)).unwrap();
    let server = Arc::clone(&a.memory) as Arc<dyn Server>;
    let lookup = Arc::new(Halves);
    let federation = Federation::new(options, &a.certificates, roots, lookup, server, &stop);
    let peers = federation.unwrap().peers();
    for (row, domain, unknown) in [(1, "half.example", false), (2, "none.example", true)] {
        let bytes = message(a.name, domain, "x").to_bytes(None);
        a.memory.outbox.lock().unwrap().insert(row, bytes);
        peers.wake(domain);
        let failure = || {
            let list = peers.list().into_iter();
            list.filter(|one| one.domain == domain)
                .find_map(|one| one.last_failure)
        };
        until(|| failure().is_some()).await;
        let failure = failure().unwrap();
        assert_eq!(failure.not_found, unknown, "{}", failure.text);
    }
}

#[tokio::test]
async fn a_domain_that_is_not_believed_gets_nothing_and_gives_nothing() {
    let a = Domain::new("a.example", Start::StartTls).await;
    let b = Domain::new("b.example", Start::StartTls).await;
    let (to_b, _stop_a) = a.start(&b, false).await;
    let (to_a, _stop_b) = b.start(&a, true).await;
    a.queue(1, &b);
    to_b.wake(b.name);
    until(|| {
        let status = to_b.list();
        status.iter().any(|s| {
            s.last_failure
                .as_ref()
                .is_some_and(|why| why.text.contains("believe"))
        })
    })
    .await;
    b.queue(2, &a);
    to_a.wake(a.name);
    until(|| {
        let status = to_a.list();
        status.iter().any(|s| {
            s.last_failure
                .as_ref()
                .is_some_and(|why| why.text.contains("not-authorized"))
        })
    })
    .await;
    assert!(a.memory.received.lock().unwrap().is_empty());
    assert!(b.memory.received.lock().unwrap().is_empty());
}

#[tokio::test]
async fn each_of_our_domains_speaks_on_a_stream_of_its_own() {
    let a = Domain::with("a.example", &["c.example"], Start::StartTls).await;
    let b = Domain::new("b.example", Start::StartTls).await;
    let (to_b, _stop_a) = a.start(&b, true).await;
    let (_, _stop_b) = b.start(&a, true).await;
    for row in 1..=150 {
        let ours = ["a.example", "c.example"][usize::try_from(row).unwrap() % 2];
        a.queue_from(ours, row, &b);
    }
    to_b.wake(b.name);
    to_b.send(b.name, presence("c.example", b.name, "c"))
        .unwrap();
    let received = b.received(151).await;
    a.outbox_is_empty().await;
    // Each domain's own in order, and none of them twice.
    for odd in [0, 1] {
        let mut rows = received.iter().filter_map(|id| id.parse::<u32>().ok());
        let rows: Vec<_> = rows.by_ref().filter(|row| row % 2 == odd).collect();
        assert_eq!(rows.len(), 75);
        assert!(rows.is_sorted(), "{rows:?}");
    }
    assert!(received.contains(&"c".to_owned()));
    assert_eq!(to_b.list().len(), 2);
}

#[tokio::test]
async fn unknown_and_unwanted_domains() {
    let a = Domain::new("a.example", Start::StartTls).await;
    let b = Domain::new("b.example", Start::StartTls).await;
    let (peers, _stop) = a.start(&b, true).await;
    let refused = peers.send("evil.example", presence(a.name, "evil.example", "1"));
    assert_eq!(
        refused.unwrap_err().1.condition,
        StanzaCondition::RemoteServerNotFound
    );
    peers
        .send("c.example", presence(a.name, "c.example", "2"))
        .unwrap();
    let bounced = a.bounced(1).await;
    assert_eq!(
        bounced[0],
        ("2".to_owned(), StanzaCondition::RemoteServerNotFound)
    );
}

#[tokio::test]
async fn a_stop_leaves_the_outbox_to_the_next_run() {
    let a = Domain::new("a.example", Start::StartTls).await;
    let b = Domain::new("b.example", Start::StartTls).await;
    let (to_b, stop_a) = a.start(&b, true).await;
    a.queue(1, &b);
    to_b.wake(b.name);
    assert!(stop_a.stop(PATIENCE).await);
    let (to_b, _stop_a) = a.start(&b, true).await;
    let (_, _stop_b) = b.start(&a, true).await;
    to_b.wake(b.name);
    assert_eq!(b.received(1).await, ["1"]);
}

#[tokio::test]
async fn what_the_peer_holds_already_is_not_sent_again() {
    let a = Domain::new("a.example", Start::StartTls).await;
    let b = Domain::new("b.example", Start::StartTls).await;
    *a.memory.queue.lock().unwrap() = Some("ours".to_owned());
    // Rows 1 to 150 were taken in; we ended before we heard of it.
    let key = ("b.example".to_owned(), "ours".to_owned());
    b.memory.held.lock().unwrap().insert(key.clone(), 150);
    let (to_b, _stop_a) = a.start(&b, true).await;
    let (_, _stop_b) = b.start(&a, true).await;
    for row in 1..=200 {
        a.queue(row, &b);
    }
    to_b.wake(b.name);
    let expected: Vec<_> = (151..=200).map(|row| row.to_string()).collect();
    assert_eq!(b.received(50).await, expected);
    a.outbox_is_empty().await;
    assert_eq!(b.memory.held.lock().unwrap()[&key], 200);
}

#[tokio::test]
async fn a_peer_that_knows_of_more_than_we_have_sent_meets_another_queue() {
    let a = Domain::new("a.example", Start::StartTls).await;
    let b = Domain::new("b.example", Start::StartTls).await;
    *a.memory.queue.lock().unwrap() = Some("ours".to_owned());
    let key = ("b.example".to_owned(), "ours".to_owned());
    b.memory.held.lock().unwrap().insert(key, 20_000);
    let (to_b, _stop_a) = a.start(&b, true).await;
    let (_, _stop_b) = b.start(&a, true).await;
    a.queue(1, &b);
    to_b.wake(b.name);
    assert_eq!(b.received(1).await, ["1"]);
    a.outbox_is_empty().await;
}

/// Comes to `to` as `b.example` without a certificate, shows a key made with this secret, and says
/// one message if it is believed. How it ended.
async fn come_without_a_certificate(to: &Domain, secret: &str) -> Option<Over> {
    let address = ("127.0.0.1", to.port);
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let roots = Roots::load(false, std::slice::from_ref(&to.authority)).unwrap();
    let connector = Connector::for_client(roots).unwrap();
    // As after STARTTLS, so that no ALPN says that a client comes.
    let transport = connector
        .connect(socket, to.name, Start::StartTls, PATIENCE)
        .await
        .unwrap();
    let settings = Settings {
        ours: "b.example".to_owned(),
        theirs: to.name.to_owned(),
        queue: None,
        dialback: Some(Secret::new(secret.as_bytes())),
        verify: None,
        bidi: None,
        negotiation: PATIENCE,
    };
    let limits = comity_xmpp::frame::Limits {
        element_bytes: 16 * 1024,
        depth: 16,
        attributes: 32,
        name_bytes: 256,
    };
    let machine = Outgoing::new(settings, Some(Box::new(Believed)), now());
    let mut pump = Pump::new(transport, machine, limits);
    loop {
        match pump.step().await.unwrap() {
            Step::Event(Event::Ready) => {
                let bytes = message("b.example", to.name, "dialled").to_bytes(None);
                pump.command(Command::Send(Parcel::Row(1), bytes));
                pump.flush().await.unwrap();
                return None;
            }
            Step::Event(Event::Closed(over)) => return Some(over),
            _ => {}
        }
    }
}

struct Believed;

impl Proof for Believed {
    fn speaks_for(&self, _: &str, _: &str, _: SystemTime) -> Result<(), Unproven> {
        Ok(())
    }
}

#[tokio::test]
async fn a_domain_that_shows_no_certificate_is_called_back() {
    let a = Domain::new("a.example", Start::Direct).await;
    let b = Domain::new("b.example", Start::Direct).await;
    let (_, _stop_a) = a.start(&b, true).await;
    // Nobody to be called back: the key proves nothing.
    let over = come_without_a_certificate(&a, "b.example").await.unwrap();
    let timeout = Verdict::Error(StanzaCondition::RemoteServerTimeout);
    assert!(matches!(over, Over::Dialback { why, .. } if why == timeout));
    let (_, _stop_b) = b.start(&a, true).await;
    // A key that the server of b.example has not made.
    let over = come_without_a_certificate(&a, "somebody").await.unwrap();
    assert!(matches!(
        over,
        Over::Dialback {
            why: Verdict::Invalid,
            ..
        }
    ));
    assert!(a.memory.received.lock().unwrap().is_empty());
    assert_eq!(come_without_a_certificate(&a, "b.example").await, None);
    assert_eq!(a.received(1).await, ["dialled"]);
}

#[tokio::test]
async fn a_server_that_is_called_back_has_to_prove_its_domain() {
    let a = Domain::new("a.example", Start::Direct).await;
    let b = Domain::new("b.example", Start::Direct).await;
    // Its authority is not believed: whoever answers there may be anybody.
    let (_, _stop_a) = a.start(&b, false).await;
    let (_, _stop_b) = b.start(&a, true).await;
    let over = come_without_a_certificate(&a, "b.example").await;
    assert!(matches!(over, Some(Over::Dialback { .. })), "{over:?}");
    assert!(a.memory.received.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_block_ends_the_streams_of_both_directions_until_it_is_lifted() {
    let a = Domain::new("a.example", Start::StartTls).await;
    let b = Domain::new("b.example", Start::StartTls).await;
    let (to_b, _stop_a) = a.start(&b, true).await;
    let (to_a, _stop_b) = b.start(&a, true).await;
    a.queue(1, &b);
    to_b.wake(b.name);
    b.queue(2, &a);
    to_a.wake(a.name);
    assert_eq!(a.received(1).await, ["2"]);
    assert_eq!(b.received(1).await, ["1"]);
    // One stream for both, or one each where both went at the same time.
    let streams = |peers: &Peers| {
        peers
            .incoming()
            .values()
            .map(|one| one.streams)
            .sum::<usize>()
    };
    let streams: usize = [&to_a, &to_b].map(streams).into_iter().sum();
    assert!((1..=2).contains(&streams), "{streams}");

    a.memory
        .blocked
        .lock()
        .unwrap()
        .push("b.example".to_owned());
    to_b.reconsider();
    until(|| to_b.incoming().is_empty() && to_a.incoming().is_empty()).await;
    a.queue(3, &b);
    to_b.flush(b.name);
    to_b.wake(b.name);
    b.queue(4, &a);
    to_a.wake(a.name);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(a.memory.received.lock().unwrap().len(), 1);
    assert_eq!(b.memory.received.lock().unwrap().len(), 1);

    a.memory.blocked.lock().unwrap().clear();
    to_b.reconsider();
    to_b.flush(b.name);
    to_a.flush(a.name);
    assert_eq!(b.received(2).await, ["1", "3"]);
    assert_eq!(a.received(2).await, ["2", "4"]);
}

/// XEP-0288: b answers on the stream that a has opened, and goes itself when that is over.
#[tokio::test]
async fn answers_go_on_the_stream_that_is_there_and_on_another_when_it_is_over() {
    let a = Domain::new("a.example", Start::StartTls).await;
    let b = Domain::new("b.example", Start::StartTls).await;
    *a.memory.queue.lock().unwrap() = Some("of a".to_owned());
    *b.memory.queue.lock().unwrap() = Some("of b".to_owned());
    let (to_b, stop_a) = a.start(&b, true).await;
    let (to_a, _stop_b) = b.start(&a, true).await;
    a.queue(1, &b);
    to_b.wake(b.name);
    assert_eq!(b.received(1).await, ["1"]);
    for row in 1..=200 {
        b.queue(row, &a);
    }
    to_a.wake(a.name);
    to_a.send(a.name, presence(b.name, a.name, "behind"))
        .unwrap();
    let mut expected: Vec<_> = (1..=200).map(|row| row.to_string()).collect();
    expected.push("behind".to_owned());
    assert_eq!(a.received(201).await, expected);
    b.outbox_is_empty().await;
    let ways = |peers: &Peers| peers.list().iter().map(|one| one.way).collect::<Vec<_>>();
    assert_eq!(ways(&to_b), [Some(Way::BothWays)]);
    assert_eq!(ways(&to_a), [Some(Way::Theirs)]);
    assert!(to_b.incoming().is_empty(), "b has opened no stream");
    let held = ("a.example".to_owned(), "of b".to_owned());
    assert_eq!(a.memory.held.lock().unwrap()[&held], 200);

    // a is away, and comes back without anything to say: b goes.
    assert!(stop_a.stop(PATIENCE).await);
    b.queue(201, &a);
    to_a.wake(a.name);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (to_b, _stop_a) = a.start(&b, true).await;
    assert_eq!(a.received(202).await[201], "201");
    assert_eq!(ways(&to_a), [Some(Way::BothWays)]);
    b.outbox_is_empty().await;
    // And a answers on that.
    a.queue(2, &b);
    to_b.wake(b.name);
    assert_eq!(b.received(2).await, ["1", "2"]);
    assert_eq!(ways(&to_b), [Some(Way::Theirs)]);
    a.outbox_is_empty().await;
}

/// Much of it at once in both directions: neither side waits for the other to read.
#[tokio::test]
async fn a_crowd_in_both_directions_does_not_stop_itself() {
    let a = Domain::new("a.example", Start::StartTls).await;
    let b = Domain::new("b.example", Start::StartTls).await;
    let (to_b, _stop_a) = a.start(&b, true).await;
    let (to_a, _stop_b) = b.start(&a, true).await;
    a.queue(1, &b);
    to_b.wake(b.name);
    b.received(1).await;
    let large = "x".repeat(60_000);
    for row in 2..=400 {
        for (one, other) in [(&a, &b), (&b, &a)] {
            let mut stanza = message(one.name, other.name, &row.to_string());
            stanza.push(&Element::new("jabber:server", "body").with_text(&large));
            let bytes = stanza.to_bytes(None);
            one.memory.outbox.lock().unwrap().insert(row, bytes);
        }
    }
    to_b.wake(b.name);
    to_a.wake(a.name);
    assert_eq!(b.received(400).await.len(), 400);
    assert_eq!(a.received(399).await.len(), 399);
    assert_eq!(to_a.list()[0].way, Some(Way::Theirs));
}

/// The other side does not believe our certificate and would take a key; but where a certificate is
/// required, there is no dialback in either direction.
#[tokio::test]
async fn no_key_is_shown_where_a_certificate_is_required() {
    for (policy, shown) in [(Policy::Allow, true), (Policy::Require, false)] {
        let a = Domain::new("a.example", Start::StartTls).await;
        let b = Domain::new("b.example", Start::StartTls).await;
        let (to_b, _stop_a) = a.start_with(&b, true, policy).await;
        let (_, _stop_b) = b.start(&a, false).await;
        a.queue(1, &b);
        to_b.wake(b.name);
        let why = || {
            to_b.list()
                .into_iter()
                .find_map(|one| one.last_failure.map(|why| why.text))
        };
        until(|| why().is_some()).await;
        let why = why().unwrap();
        // b has refused the key, or offered what it would have taken, which was passed over.
        assert_eq!(why.contains("does not offer EXTERNAL"), !shown, "{why}");
    }
}

/// A component that has shown its secret (XEP-0114).
async fn connect_component(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let header = "<stream:stream xmlns='jabber:component:accept' to='irc.a.example' \
         xmlns:stream='http://etherx.jabber.org/streams'>";
    stream.write_all(header.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "id='").await + &read_until(&mut stream, "'").await;
    let id = answer.rsplit("id='").next().unwrap().trim_end_matches('\'');
    let digest = Hash::Sha1.digest(format!("{id}s3cret").as_bytes());
    let proof: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let handshake = format!("<handshake>{proof}</handshake>");
    stream.write_all(handshake.as_bytes()).await.unwrap();
    read_until(&mut stream, "<handshake/>").await;
    stream
}

/// What is read up to these words.
async fn read_until(stream: &mut TcpStream, words: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(words.as_bytes()) {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await;
        let byte = byte.unwrap_or_else(|_| panic!("no {words}"));
        read.push(byte.unwrap_or_else(|_| panic!("it ended before {words}")));
    }
    String::from_utf8(read).unwrap()
}

/// XEP-0114: what waited comes first, what is sent arrives, and a newer connection takes over.
#[tokio::test]
async fn a_component_is_given_what_waited_and_speaks() {
    let memory = Arc::new(Memory::default());
    let row = |n: i64| {
        (
            n,
            Bytes::from(format!("<message to='x@irc.a.example' id='{n}'/>")),
        )
    };
    memory.outbox.lock().unwrap().extend((1..=100).map(row));
    let permits = comity_net::listener::Permits {
        connections: 9,
        per_address: 9,
    };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), permits)
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let secrets = HashMap::from([("irc.a.example".to_owned(), "s3cret".into())]);
    let components = Components::new(secrets, 65_536);
    let (stopper, stop) = stop::channel();
    let server: Arc<dyn Server> = Arc::<Memory>::clone(&memory);
    tokio::spawn(component::serve::serve(
        listener,
        components.clone(),
        server,
        stop,
    ));
    let ping = |id: &str| {
        Stanza::new(Kind::Message(MessageType::Chat))
            .with_from(Jid::parse("alice@a.example").unwrap())
            .with_to(Jid::parse("irc.a.example").unwrap())
            .with_id(id)
    };
    // While it is away, what is not kept comes back.
    assert!(components.send("irc.a.example", ping("away")).is_err());
    let mut one = connect_component(address).await;
    let waited = read_until(&mut one, "id='100'/>").await;
    assert_eq!(waited.matches("<message").count(), 100);
    components.send("irc.a.example", ping("there")).unwrap();
    read_until(&mut one, "id='there'/>").await;
    let said = "<message from='irc.a.example' to='alice@a.example' id='said'/>";
    one.write_all(said.as_bytes()).await.unwrap();
    let settled = async {
        while *memory.received.lock().unwrap() != ["said"]
            || !memory.outbox.lock().unwrap().is_empty()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.unwrap();
    let mut two = connect_component(address).await;
    read_until(&mut one, "<conflict").await;
    components.send("irc.a.example", ping("two")).unwrap();
    read_until(&mut two, "id='two'/>").await;
    drop(two);
    let gone = async {
        while components.send("irc.a.example", ping("gone")).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    drop(stopper);
}
