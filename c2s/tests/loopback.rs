//! A client over real sockets and real TLS: log in, send, receive, be told to leave.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use comity_c2s::link::{
    Back, Bound, Count, Credentials, FastAccepted, FastAttempt, FastToken, FastWanted, Later,
    Manage, Outbound, Registration, Server, Suspended,
};
use comity_c2s::{Clients, Options, serve};
use comity_net::dns::order::Start;
use comity_net::listener::{Listener, Permits};
use comity_net::stop::{self, Stopper};
use comity_net::tls::{Acceptor, Certificates, Connector, Roots, Service, local};
use comity_net::transport::Transport;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::sasl::{Hash, ScramKeys, encode};
use comity_xmpp::stanza::Stanza;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const DOMAIN: &str = "a.localhost";
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends every stanza back to its sender, and remembers what came back unacknowledged.
#[derive(Default)]
struct Echo {
    outbound: Mutex<Option<Outbound>>,
    unbound: Mutex<Vec<Vec<Stanza>>>,
    suspended: Mutex<Vec<Suspended>>,
}

impl Server for Echo {
    fn serves(&self, domain: &str) -> bool {
        domain == DOMAIN
    }

    fn credentials<'a>(&'a self, account: &'a BareJid) -> Later<'a, Credentials> {
        Box::pin(async move {
            let keys = |hash| ScramKeys::derive(hash, "sesame", b"salt", 4096.try_into().unwrap());
            Credentials {
                sha1: keys(Hash::Sha1),
                sha256: keys(Hash::Sha256),
                plain: Hash::Sha256,
                usable: account.local() == Some("alice"),
            }
        })
    }

    fn register<'a>(&'a self, _: IpAddr, _: Registration) -> Later<'a, Result<(), StanzaError>> {
        let refusal = StanzaError::new(ErrorType::Cancel, StanzaCondition::NotAllowed);
        Box::pin(std::future::ready(Err(refusal)))
    }

    fn bind<'a>(&'a self, bound: Bound) -> Later<'a, Result<Jid, StanzaError>> {
        Box::pin(async move {
            assert!(bound.tls_exporter.is_some());
            *self.outbound.lock().unwrap() = Some(bound.outbound);
            let resource = bound.resource.unwrap_or_else(|| "made".to_owned());
            Ok(bound.account.with_resource(&resource).unwrap())
        })
    }

    fn stanza<'a>(
        &'a self,
        session: &'a Jid,
        stanza: Stanza,
        _: Option<Count>,
    ) -> Later<'a, Option<u32>> {
        Box::pin(async move {
            assert_eq!(stanza.from.as_ref(), Some(session));
            let outbound = self.outbound.lock().unwrap().clone().unwrap();
            let _ = outbound.send(Arc::new(stanza));
            None
        })
    }

    fn manage<'a>(&'a self, _: &'a Jid, manage: Manage) -> Later<'a, bool> {
        let outbound = self.outbound.lock().unwrap().clone().unwrap();
        assert_eq!(manage.queue, outbound.id());
        Box::pin(std::future::ready(true))
    }

    fn keep<'a>(&'a self, _: &'a Jid, _: Count) -> Later<'a, bool> {
        Box::pin(std::future::ready(true))
    }

    fn acknowledged(&self, _: &Jid, _: &Arc<str>, _: usize) {}

    fn suspending(&self, _: &Jid, _: &Arc<str>) {}

    fn suspend<'a>(&'a self, _: &'a Jid, suspended: Suspended) -> Later<'a, ()> {
        Box::pin(async move { self.suspended.lock().unwrap().push(suspended) })
    }

    fn fast<'a>(&'a self, _: FastAttempt) -> Later<'a, Option<FastAccepted>> {
        Box::pin(std::future::ready(None))
    }

    fn fast_token<'a>(&'a self, _: FastWanted) -> Later<'a, Option<FastToken>> {
        Box::pin(std::future::ready(None))
    }

    fn resumed<'a>(&'a self, _: &'a Jid, back: Back) -> Later<'a, bool> {
        assert!(back.tls_exporter.is_some());
        Box::pin(std::future::ready(true))
    }

    fn unbind<'a>(
        &'a self,
        _: &'a Jid,
        _: Option<Arc<str>>,
        unacked: Vec<Stanza>,
    ) -> Later<'a, ()> {
        Box::pin(async move { self.unbound.lock().unwrap().push(unacked) })
    }
}

struct Home {
    address: std::net::SocketAddr,
    start: Start,
    connector: Connector,
    server: Arc<Echo>,
    stopper: Option<Stopper>,
    directory: PathBuf,
}

impl Home {
    async fn start(start: Start, options: Options) -> Self {
        let name = format!("comity-c2s-{}", comity_net::random::id());
        let directory = std::env::temp_dir().join(name);
        let domains = [DOMAIN.to_owned()];
        let made = local::ensure(&directory, &domains, SystemTime::now()).unwrap();
        let certificates = Certificates::load(made.certificates).unwrap();
        let acceptor = Acceptor::new(Service::Client, certificates).unwrap();
        let roots = Roots::load(false, &[made.authority]).unwrap();
        let permits = Permits {
            connections: 10,
            per_address: 10,
        };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), permits);
        let listener = listener.await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stopper, stop) = stop::channel();
        let server = Arc::new(Echo::default());
        let clients = Clients::new(options, acceptor, Arc::clone(&server) as Arc<dyn Server>);
        tokio::spawn(serve(listener, start, clients, stop));
        Self {
            address,
            start,
            connector: Connector::for_client(roots).unwrap(),
            server,
            stopper: Some(stopper),
            directory,
        }
    }

    /// A client whose stream is protected, before it says who it is.
    async fn connect(&self) -> Client {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let mut client = Client {
            stream: Transport::Plain(socket),
            read: String::new(),
        };
        if self.start == Start::StartTls {
            client.open().await;
            client.until("</stream:features>").await;
            client
                .say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
                .await;
            client.until("<proceed").await;
            client.until(">").await;
        }
        let Transport::Plain(socket) = client.stream else {
            unreachable!()
        };
        let secured = self.connector.connect(socket, DOMAIN, self.start, PATIENCE);
        let mut client = Client {
            stream: secured.await.unwrap(),
            read: String::new(),
        };
        client.open().await;
        client.until("</stream:features>").await;
        client
    }

    /// A client that may bind, or come back.
    async fn authenticate(&self) -> Client {
        let mut client = self.connect().await;
        client.plain("alice", "sesame").await;
        client.until("<success").await;
        client.open().await;
        client.until("</stream:features>").await;
        client
    }

    async fn log_in(&self) -> Client {
        let mut client = self.authenticate().await;
        client
            .say(
                "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                 <resource>phone</resource></bind></iq>",
            )
            .await;
        let bound = client.until("</iq>").await;
        assert!(
            bound.contains("<jid>alice@a.localhost/phone</jid>"),
            "{bound}"
        );
        client
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

struct Client {
    stream: Transport,
    read: String,
}

impl Client {
    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn open(&mut self) {
        self.say(
            "<?xml version='1.0'?><stream:stream to='a.localhost' version='1.0' \
             xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
        )
        .await;
    }

    async fn plain(&mut self, user: &str, password: &str) {
        let message = encode(format!("\0{user}\0{password}").as_bytes());
        self.say(&format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{message}</auth>"
        ))
        .await;
    }

    /// Reads up to and including `end`.
    async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.read.find(end) {
                let rest = self.read.split_off(at + end.len());
                return std::mem::replace(&mut self.read, rest);
            }
            let mut bytes = [0; 4096];
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut bytes));
            let count = read.await.expect("an answer in time").unwrap();
            assert!(count > 0, "the stream ended before {end:?}: {}", self.read);
            self.read
                .push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
    }
}

#[tokio::test]
async fn a_client_logs_in_sends_and_receives() {
    for start in [Start::StartTls, Start::Direct] {
        let home = Home::start(start, Options::default()).await;
        let mut client = home.log_in().await;
        client
            .say("<message to='bob@a.localhost'><body>hi</body></message>")
            .await;
        let echo = client.until("</message>").await;
        assert!(echo.contains("from='alice@a.localhost/phone'"), "{echo}");
        assert!(echo.contains("<body>hi</body>"), "{echo}");
        client.say("</stream:stream>").await;
        client.until("</stream:stream>").await;
    }
}

/// The name by which a session that can be resumed is found.
async fn enable(client: &mut Client) -> String {
    client
        .say("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        .await;
    let enabled = client.until("/>").await;
    assert!(enabled.contains("resume='true' max='300'"), "{enabled}");
    let (_, id) = enabled.split_once("id='").unwrap();
    id.split_once('\'').unwrap().0.to_owned()
}

impl Client {
    /// Says it to itself, by the echo.
    async fn echo(&mut self, text: &str) {
        self.say(&format!("<message><body>{text}</body></message>"))
            .await;
    }

    async fn resume(&mut self, id: &str, h: u32) {
        let resume = format!("<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='{h}'/>");
        self.say(&resume).await;
    }
}

#[tokio::test]
async fn a_client_comes_back_to_its_session() {
    let home = Home::start(Start::Direct, Options::default()).await;
    let mut first = home.log_in().await;
    let id = enable(&mut first).await;
    first.echo("one").await;
    first.until("one</body></message>").await;
    first.echo("two").await;
    first.until("two</body></message>").await;
    drop(first);
    // What comes while nobody is there waits.
    let outbound = home.server.outbound.lock().unwrap().clone().unwrap();
    let three = "<message xmlns='jabber:client'><body>three</body></message>";
    let header = comity_xmpp::stream::Header::of("jabber:client");
    let three = Stanza::parse(&bytes::Bytes::from_static(three.as_bytes()), &header).unwrap();
    outbound.send(Arc::new(three)).unwrap();

    let mut second = home.authenticate().await;
    second.resume(&id, 1).await;
    let resumed = second.until("/>").await;
    assert!(
        resumed.contains("<resumed xmlns='urn:xmpp:sm:3'"),
        "{resumed}"
    );
    assert!(resumed.contains("h='2'"), "{resumed}");
    let again = second.until("three</body></message>").await;
    assert!(!again.contains("one</body>"), "{again}");
    assert!(again.contains("two</body>"), "{again}");
    second.echo("four").await;
    second.until("four</body></message>").await;

    // The old connection looks alive: the session leaves it.
    let mut third = home.authenticate().await;
    third.resume(&id, 4).await;
    let resumed = third.until("/>").await;
    assert!(resumed.contains("h='3'"), "{resumed}");
    third.echo("five").await;
    let five = third.until("five</body></message>").await;
    assert!(!five.contains("four"), "{five}");
    assert!(home.server.unbound.lock().unwrap().is_empty());

    third.say("</stream:stream>").await;
    third.until("</stream:stream>").await;
    let mut late = home.authenticate().await;
    late.resume(&id, 5).await;
    let failed = late.until("</failed>").await;
    assert!(failed.contains("h='4'><item-not-found"), "{failed}");
    // It may bind a new session instead.
    late.say("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        .await;
    late.until("<jid>").await;
}

#[tokio::test]
async fn a_session_waits_only_so_long() {
    let options = Options {
        resumption: Duration::from_millis(300),
        ..Options::default()
    };
    let home = Home::start(Start::Direct, options).await;
    let mut client = home.log_in().await;
    client
        .say("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        .await;
    client.until("/>").await;
    client.echo("one").await;
    client.until("one</body></message>").await;
    drop(client);
    let started = std::time::Instant::now();
    loop {
        let unbound = home.server.unbound.lock().unwrap().clone();
        if let [unacked] = &unbound[..] {
            assert_eq!(unacked.len(), 1);
            return;
        }
        assert!(started.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_count_too_high_ends_the_session() {
    let home = Home::start(Start::Direct, Options::default()).await;
    let mut client = home.log_in().await;
    let id = enable(&mut client).await;
    drop(client);
    let mut back = home.authenticate().await;
    back.resume(&id, 7).await;
    let error = back.until("</stream:error>").await;
    assert!(error.contains("<handled-count-too-high"), "{error}");
    assert_eq!(home.server.unbound.lock().unwrap().len(), 1);
}

/// RFC 6120 §5.4.3.3: whoever sits in between must not be able to put words before the client's.
#[tokio::test]
async fn bytes_in_clear_behind_starttls_are_never_read() {
    let home = Home::start(Start::StartTls, Options::default()).await;
    let socket = TcpStream::connect(home.address).await.unwrap();
    let mut client = Client {
        stream: Transport::Plain(socket),
        read: String::new(),
    };
    client.open().await;
    client.until("</stream:features>").await;
    // One write, so that the server reads both at once.
    client
        .say(
            "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><stream:stream to='a.localhost' \
             version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>\
             <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>\
             AG5vYm9keQB3cm9uZw==</auth>",
        )
        .await;
    client.until("<proceed").await;
    client.until(">").await;
    let Transport::Plain(socket) = client.stream else {
        unreachable!()
    };
    let secured = home
        .connector
        .connect(socket, DOMAIN, Start::StartTls, PATIENCE)
        .await;
    let mut client = Client {
        stream: secured.unwrap(),
        read: String::new(),
    };
    client.open().await;
    client.until("</stream:features>").await;
    client.plain("alice", "sesame").await;
    let answer = client.until("/>").await;
    assert!(answer.contains("<success"), "{answer}");
}

#[tokio::test]
async fn the_wrong_password_and_the_unknown_account_are_one() {
    let home = Home::start(Start::Direct, Options::default()).await;
    let mut client = home.connect().await;
    for (user, password) in [("alice", "wrong"), ("nobody", "sesame")] {
        client.plain(user, password).await;
        let answer = client.until("</failure>").await;
        assert!(answer.contains("<not-authorized/>"), "{answer}");
    }
}

#[tokio::test]
async fn a_stop_is_told_and_waited_for() {
    let mut home = Home::start(Start::StartTls, Options::default()).await;
    let mut client = home.log_in().await;
    let stopper = home.stopper.take().unwrap();
    let stopping = tokio::spawn(stopper.stop(PATIENCE));
    let last = client.until("</stream:stream>").await;
    assert!(last.contains("<system-shutdown"), "{last}");
    drop(client);
    assert!(stopping.await.unwrap());
    assert_eq!(home.server.unbound.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_lost_client_never_acknowledged_comes_back() {
    let home = Home::start(Start::Direct, Options::default()).await;
    let mut client = home.log_in().await;
    client.say("<enable xmlns='urn:xmpp:sm:3'/>").await;
    client.until("<enabled").await;
    client
        .say("<message id='1'/><message id='2'/><r xmlns='urn:xmpp:sm:3'/>")
        .await;
    client.until("<a xmlns='urn:xmpp:sm:3' h='2'/>").await;
    client.say("<a xmlns='urn:xmpp:sm:3' h='1'/>").await;
    client.say("<message id='3'/>").await;
    client.until("id='3'").await;
    drop(client);
    for _ in 0..200 {
        if !home.server.unbound.lock().unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let unbound = home.server.unbound.lock().unwrap();
    let ids: Vec<_> = unbound[0].iter().filter_map(|s| s.id.as_deref()).collect();
    assert_eq!(ids, ["2", "3"]);
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_dropped() {
    let options = Options {
        queue: 4,
        ..Options::default()
    };
    let home = Home::start(Start::Direct, options).await;
    let _client = home.log_in().await;
    let outbound = home.server.outbound.lock().unwrap().clone().unwrap();
    let body =
        comity_xmpp::element::Element::new("jabber:client", "body").with_text("x".repeat(100_000));
    let kind = comity_xmpp::stanza::Kind::Message(comity_xmpp::stanza::MessageType::Chat);
    let stanza = Arc::new(Stanza::new(kind).with(&body));
    let mut taken = 0;
    while outbound.send(Arc::clone(&stanza)).is_ok() || !outbound.is_closed() {
        taken += 1;
        assert!(taken < 2_000, "still taken after {taken} stanzas");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
