//! A session with one's server: finds it, speaks TLS, logs in, then carries stanzas both ways.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use comity_net::connect::{self, Dial};
use comity_net::dns::order::{Start, Target, targets};
use comity_net::dns::{Dns, Lookup};
use comity_net::drive::{Ended, Pump, Step};
use comity_net::random;
use comity_net::tls::connect::Connector;
use comity_net::tls::roots::Roots;
use comity_net::transport::Transport;
use comity_xmpp::frame::Limits;
use comity_xmpp::jid::Jid;
use comity_xmpp::machine::Now;
use comity_xmpp::stanza::Stanza;
use tokio::sync::mpsc;

use crate::proxy::Proxy;
use crate::stream::{ClientStream, Command, Event, Fault, Login};

/// For each address tried, and for each handshake.
const PATIENCE: Duration = Duration::from_secs(15);
/// It is the person who names the domain, so their own machine and network are as good as any.
const DIAL: Dial = Dial {
    patience: PATIENCE,
    private: true,
};
/// Stanzas waiting to be written, and stanzas waiting to be taken.
const QUEUE: usize = 64;
/// A server may send no more in one element; its own limit on a stanza is 256 KiB.
const LIMITS: Limits = Limits {
    element_bytes: 512 * 1024,
    depth: 64,
    attributes: 64,
    name_bytes: 1024,
};

/// Where the server is, if the DNS shall not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
    pub start: Start,
}

#[derive(Clone)]
pub struct Options {
    pub login: Login,
    pub endpoint: Option<Endpoint>,
    /// CA certificates (PEM files) believed beside the machine's own.
    pub extra_roots: Vec<PathBuf>,
    /// Everything goes through it, or nothing goes.
    pub proxy: Option<Proxy>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    #[error("the domain says that it has no service for clients")]
    NoService,
    #[error("{}", .0.join("; "))]
    Unreachable(Vec<String>),
    #[error("TLS cannot be used: {0}")]
    Tls(#[from] comity_net::tls::TlsError),
    #[error(transparent)]
    Stream(#[from] Fault),
    #[error("the connection ended: {0}")]
    Ended(#[from] Ended),
}

impl ConnectError {
    /// Whether trying again without a change by the person cannot help.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Stream(fault) if fault.is_final())
    }
}

/// A bound session. Dropping it closes the stream.
pub struct Connection {
    pub jid: Jid,
    /// tls-exporter (RFC 9266) of the connection, for proofs bound to it.
    pub exporter: Option<[u8; 32]>,
    outbound: mpsc::Sender<Stanza>,
    inbound: mpsc::Receiver<Inbound>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
pub enum Inbound {
    Stanza(Box<Stanza>),
    /// The last word.
    Closed(String),
}

impl Connection {
    /// Logs in.
    pub async fn open(options: &Options) -> Result<Self, ConnectError> {
        let connector = Connector::for_client(Roots::load(true, &options.extra_roots)?)?;
        let domain = options.login.account.domain();
        let (stream, start) = match &options.proxy {
            Some(proxy) => detour(proxy, domain, options.endpoint.as_ref()).await?,
            None => reach(domain, options.endpoint.as_ref()).await?,
        };
        let direct = start == Start::Direct;
        let transport = if direct {
            connector.connect(stream, domain, start, PATIENCE).await?
        } else {
            Transport::Plain(stream)
        };
        let machine = ClientStream::new(options.login.clone(), random::id(), direct, now());
        let mut pump = Pump::new(transport, machine, LIMITS);
        loop {
            match pump.step().await? {
                Step::Event(Event::StartTls) => {
                    pump = secure(pump, &connector, domain).await?;
                }
                Step::Event(Event::Restart) => pump.restart(),
                Step::Event(Event::Bound(jid)) => return Ok(Self::bound(pump, jid)),
                Step::Event(Event::Closed(fault)) => {
                    return Err(fault.unwrap_or(Fault::Silent).into());
                }
                Step::Event(Event::Stanza(_)) | Step::Written => {}
            }
        }
    }

    fn bound(pump: Pump<Transport, ClientStream>, jid: Jid) -> Self {
        let exporter = pump.stream().exporter();
        let (outbound, from_us) = mpsc::channel(QUEUE);
        let (to_us, inbound) = mpsc::channel(QUEUE);
        let task = tokio::spawn(carry(pump, from_us, to_us));
        Self {
            jid,
            exporter,
            outbound,
            inbound,
            task,
        }
    }

    /// Queues a stanza; false when the stream is over.
    pub async fn send(&self, stanza: Stanza) -> bool {
        self.outbound.send(stanza).await.is_ok()
    }

    /// Says everything that is queued, closes the stream and waits for its end.
    pub async fn close(self) {
        let Self {
            outbound,
            inbound,
            task,
            ..
        } = self;
        drop((outbound, inbound));
        // It has its own limit; a task that panicked has ended as well.
        let _ = task.await;
    }

    /// What the server sent. Cancel-safe.
    pub async fn receive(&mut self) -> Inbound {
        let gone = || Inbound::Closed("the stream's task ended".to_owned());
        self.inbound.recv().await.unwrap_or_else(gone)
    }
}

/// A TCP connection to the domain's server: to the endpoint named, or where SRV records lead.
async fn reach(
    domain: &str,
    endpoint: Option<&Endpoint>,
) -> Result<(tokio::net::TcpStream, Start), ConnectError> {
    let dns: Arc<dyn Lookup> = match endpoint {
        Some(endpoint) if endpoint.host.parse::<std::net::IpAddr>().is_ok() => Arc::new(NoDns),
        _ => Arc::new(Dns::system()),
    };
    let candidates = match endpoint {
        Some(Endpoint { host, port, start }) => {
            vec![Target {
                host: host.clone(),
                port: *port,
                start: *start,
            }]
        }
        None => discover(&*dns, domain).await?,
    };
    let mut faults = Vec::new();
    for Target { host, port, start } in candidates {
        match connect::tcp(&*dns, &host, port, DIAL).await {
            Ok(stream) => return Ok((stream, start)),
            Err(fault) => faults.push(fault.to_string()),
        }
    }
    Err(ConnectError::Unreachable(faults))
}

/// The same through a proxy: to the endpoint named, or to the domain itself, for SRV records would
/// have to be asked for past the proxy.
async fn detour(
    proxy: &Proxy,
    domain: &str,
    endpoint: Option<&Endpoint>,
) -> Result<(tokio::net::TcpStream, Start), ConnectError> {
    let (host, port, start) = match endpoint {
        Some(endpoint) => (endpoint.host.as_str(), endpoint.port, endpoint.start),
        None => (domain, 5222, Start::StartTls),
    };
    match proxy.connect(host, port, DIAL).await {
        Ok(stream) => Ok((stream, start)),
        Err(why) => Err(ConnectError::Unreachable(vec![why])),
    }
}

/// RFC 6120 §3.2 and XEP-0368: SRV records of both kinds, else the domain itself.
async fn discover(dns: &dyn Lookup, domain: &str) -> Result<Vec<Target>, ConnectError> {
    let plain = format!("_xmpp-client._tcp.{domain}");
    let direct = format!("_xmpps-client._tcp.{domain}");
    let (plain, direct) = tokio::join!(dns.srv(&plain), dns.srv(&direct));
    let fallback = Target {
        host: domain.to_owned(),
        port: 5222,
        start: Start::StartTls,
    };
    let plain = plain.map_err(|e| ConnectError::Unreachable(vec![e.to_string()]))?;
    // A resolver that knows no answer for the second kind does not spoil the first.
    let direct = direct.unwrap_or_default();
    targets(plain, direct, fallback, &mut random::up_to).ok_or(ConnectError::NoService)
}

/// For endpoints that are addresses already.
struct NoDns;

impl Lookup for NoDns {
    fn srv<'a>(
        &'a self,
        _: &'a str,
    ) -> comity_net::dns::Later<'a, Result<Vec<comity_net::dns::Srv>, comity_net::dns::DnsError>>
    {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn addresses<'a>(
        &'a self,
        host: &'a str,
    ) -> comity_net::dns::Later<'a, Result<Vec<std::net::IpAddr>, comity_net::dns::DnsError>> {
        Box::pin(std::future::ready(Ok(host.parse().into_iter().collect())))
    }
}

async fn secure(
    mut pump: Pump<Transport, ClientStream>,
    connector: &Connector,
    domain: &str,
) -> Result<Pump<Transport, ClientStream>, ConnectError> {
    pump.flush().await?;
    let (transport, machine) = pump.into_parts();
    let Transport::Plain(stream) = transport else {
        return Err(Fault::Protocol("TLS inside TLS".to_owned()).into());
    };
    let transport = connector
        .connect(stream, domain, Start::StartTls, PATIENCE)
        .await?;
    let mut pump = Pump::new(transport, machine, LIMITS);
    pump.command(Command::Secured);
    Ok(pump)
}

/// The session's task: stanzas in both directions until one side has had enough.
async fn carry(
    mut pump: Pump<Transport, ClientStream>,
    mut from_us: mpsc::Receiver<Stanza>,
    to_us: mpsc::Sender<Inbound>,
) {
    // A program too slow to take this in slows its own stream, and nobody else's: nothing more is
    // read. What it says itself goes out all the same, for it may be busy saying it.
    let mut held = None;
    // All of that is on the wire.
    let mut dry = false;
    let last = loop {
        let reading = held.is_none();
        let step = tokio::select! {
            stanza = from_us.recv(), if dry || pump.writable() => match stanza {
                Some(stanza) => {
                    pump.command(Command::Send(stanza));
                    dry = false;
                    continue;
                }
                None => break farewell(&mut pump).await,
            },
            room = to_us.reserve(), if held.is_some() => match room {
                Ok(room) => {
                    if let Some(stanza) = held.take() {
                        room.send(Inbound::Stanza(stanza));
                    }
                    continue;
                }
                Err(_) => break farewell(&mut pump).await,
            },
            step = go_on(&mut pump, reading, dry) => step,
        };
        match step {
            Ok(Step::Event(Event::Stanza(stanza))) => {
                held = Some(stanza);
                dry = false;
            }
            Ok(Step::Event(Event::Closed(fault))) => {
                break fault.map_or_else(|| "closed".to_owned(), |f| f.to_string());
            }
            Ok(_) => dry = !reading,
            Err(ended) => break ended.to_string(),
        }
    };
    // Nobody may be left to hear it.
    let _ = to_us.send(Inbound::Closed(last)).await;
    pump.shutdown(Duration::from_secs(2)).await;
}

/// Reads and writes, or only writes.
async fn go_on(
    pump: &mut Pump<Transport, ClientStream>,
    reading: bool,
    dry: bool,
) -> Result<Step<Event>, Ended> {
    match (reading, dry) {
        (true, _) => pump.step().await,
        (false, false) => pump.flush().await.map(|()| Step::Written),
        // Until there is something else to write, or room for what was read.
        (false, true) => std::future::pending().await,
    }
}

/// Closes the stream and waits a moment for the server to close its own (RFC 6120 §4.4).
async fn farewell(pump: &mut Pump<Transport, ClientStream>) -> String {
    pump.command(Command::Close);
    let deadline = Instant::now() + Duration::from_secs(2);
    while let Ok(Ok(step)) = tokio::time::timeout_at(deadline.into(), pump.step()).await {
        if matches!(step, Step::Event(Event::Closed(_))) {
            break;
        }
    }
    "closed".to_owned()
}

pub(crate) fn now() -> Now {
    Now {
        instant: Instant::now(),
        wall: SystemTime::now(),
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
            start: Start::StartTls,
        }
    }
}
