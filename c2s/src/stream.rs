//! The task of one client's stream: negotiate, then carry stanzas both ways, one at a time and in
//! order, until one side has had enough.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use comity_net::dns::order::Start;
use comity_net::drive::{Ended, Pump, Step, now};
use comity_net::http::{Upgrade, Upgraded};
use comity_net::random;
use comity_net::stop::Stop;
use comity_net::transport::Transport;
use comity_xmpp::error::{StreamCondition, StreamError};
use comity_xmpp::frame::Framing;
use comity_xmpp::jid::Jid;
use comity_xmpp::stanza::Stanza;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::link::{Bound, Inbox, Later, Outbound, Server, ToSession};
use crate::negotiate::{self, Negotiate, Secured};
use crate::serve::Shared;
use crate::session::{self, Session};
use crate::websocket::WebSocketFraming;

/// How long a client may take to read our last words.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Stanzas handed to a session in one go, so that they leave in one write; fewer, once they make
/// so many bytes.
const BURST: usize = 32;
const BURST_BYTES: usize = 64 * 1024;

type Bare = Pump<Transport, Negotiate>;

/// A client over TCP.
pub(crate) async fn run(
    socket: TcpStream,
    peer: SocketAddr,
    start: Start,
    shared: Arc<Shared>,
    mut stop: Stop,
) {
    // Boxed: what negotiation needs is given back before the session's long life begins.
    let negotiated = Box::pin(over_tcp(socket, start, &shared, &mut stop)).await;
    go_on(negotiated, peer, &shared, &mut stop).await;
}

/// A client over a WebSocket (RFC 7395), which has TLS already.
pub(crate) async fn run_websocket(
    upgrade: Upgrade,
    peer: SocketAddr,
    shared: Arc<Shared>,
    mut stop: Stop,
) {
    let negotiated = Box::pin(over_websocket(upgrade, &shared, &mut stop)).await;
    go_on(negotiated, peer, &shared, &mut stop).await;
}

async fn go_on<S, F>(
    negotiated: Result<(Pump<S, Session, F>, Inbox), NoSession>,
    peer: SocketAddr,
    shared: &Arc<Shared>,
    stop: &mut Stop,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Framing,
{
    match negotiated {
        Ok((pump, inbox)) => {
            let jid = pump.machine().jid().clone();
            tracing::debug!(session = %jid, %peer, "a session begins");
            carry(pump, inbox, &jid, &*shared.server, stop).await;
            tracing::debug!(session = %jid, "a session is over");
        }
        Err(why) => tracing::debug!(%peer, %why, "no session came of a connection"),
    }
}

/// Why a connection did not become a session.
#[derive(Debug, thiserror::Error)]
enum NoSession {
    #[error(transparent)]
    Tls(#[from] comity_net::tls::TlsError),
    #[error(transparent)]
    Ended(#[from] Ended),
    #[error("the stream was ended: {0}")]
    Stream(StreamError),
    #[error("the client left")]
    Left,
}

/// Where negotiation stands when it leaves the stream to us.
enum Stands<S, F> {
    /// TLS is to be started.
    StartTls(Pump<S, Negotiate, F>),
    Session(Pump<S, Session, F>, Inbox),
}

async fn over_tcp(
    socket: TcpStream,
    start: Start,
    shared: &Arc<Shared>,
    stop: &mut Stop,
) -> Result<(Pump<Transport, Session>, Inbox), NoSession> {
    let mut transport = Transport::Plain(socket);
    if start == Start::Direct {
        transport = secure(transport, start, shared, stop).await?;
    }
    let mut secured = transport.is_tls().then(|| Secured {
        exporter: transport.exporter(),
    });
    let machine = Negotiate::new(settings(shared), secured, now());
    let mut pump = Pump::new(transport, machine, shared.options.early_limits());
    loop {
        match negotiate(pump, secured, shared, stop).await? {
            Stands::StartTls(bare) => {
                pump = start_tls(bare, shared, stop).await?;
                secured = Some(Secured {
                    exporter: pump.stream().exporter(),
                });
            }
            Stands::Session(pump, inbox) => return Ok((pump, inbox)),
        }
    }
}

async fn over_websocket(
    upgrade: Upgrade,
    shared: &Arc<Shared>,
    stop: &mut Stop,
) -> Result<(Pump<Upgraded, Session, WebSocketFraming>, Inbox), NoSession> {
    let waiting = tokio::time::timeout(shared.options.negotiation, upgrade.wait());
    let upgraded = waiting.await.map_err(|_| NoSession::Left)?;
    let upgraded = upgraded.map_err(Ended::Broken)?;
    let secured = Some(Secured {
        exporter: upgraded.transport().exporter(),
    });
    let machine = Negotiate::new(settings(shared), secured, now());
    let framing = WebSocketFraming::new(shared.options.early_limits());
    let pump = Pump::framed(upgraded, machine, framing);
    match negotiate(pump, secured, shared, stop).await? {
        Stands::Session(pump, inbox) => Ok((pump, inbox)),
        // There is TLS already, so that the machine does not offer it.
        Stands::StartTls(_) => Err(NoSession::Left),
    }
}

async fn negotiate<S, F>(
    mut pump: Pump<S, Negotiate, F>,
    secured: Option<Secured>,
    shared: &Arc<Shared>,
    stop: &mut Stop,
) -> Result<Stands<S, F>, NoSession>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Framing,
{
    let mut inbox = None;
    loop {
        let step = tokio::select! {
            // The pump first: a session that stands has to be carried to its end, not dropped.
            biased;
            step = pump.step() => step?,
            () = stop.wait() => {
                pump.command(negotiate::Command::Close(shutdown()));
                pump.shutdown(LAST_WORDS).await;
                return Err(NoSession::Left);
            }
        };
        let Step::Event(event) = step else { continue };
        match event {
            negotiate::Event::StartTls => return Ok(Stands::StartTls(pump)),
            negotiate::Event::Restart => pump.restart(),
            negotiate::Event::Credentials(account) => {
                let credentials = shared.server.credentials(&account).await;
                pump.command(negotiate::Command::Credentials(credentials));
            }
            negotiate::Event::Check(check) => {
                let right = shared.check(check).await;
                pump.command(negotiate::Command::Checked(right));
            }
            negotiate::Event::Bind { account, resource } => {
                let (outbound, receiver) = Outbound::new(shared.options.queue);
                let bound = Bound {
                    account,
                    resource,
                    tls_exporter: secured.and_then(|secured| secured.exporter),
                    outbound,
                };
                let answer = shared.server.bind(bound).await;
                inbox = answer.is_ok().then_some(receiver);
                pump.command(negotiate::Command::Bound(answer));
            }
            negotiate::Event::Done => {
                let inbox = inbox.ok_or(NoSession::Left)?;
                return begin(pump, shared).map(|pump| Stands::Session(pump, inbox));
            }
            negotiate::Event::Closed(error) => {
                pump.shutdown(LAST_WORDS).await;
                return Err(error.map_or(NoSession::Left, NoSession::Stream));
            }
        }
    }
}

fn settings(shared: &Arc<Shared>) -> negotiate::Settings {
    let server = Arc::clone(&shared.server);
    negotiate::Settings {
        serves: Arc::new(move |domain| server.serves(domain)),
        random: Box::new(random::id),
        plain: shared.options.plain,
        negotiation: shared.options.negotiation,
    }
}

async fn secure(
    transport: Transport,
    start: Start,
    shared: &Shared,
    stop: &mut Stop,
) -> Result<Transport, NoSession> {
    match transport {
        Transport::Plain(socket) => {
            let patience = shared.options.negotiation;
            tokio::select! {
                accepted = shared.acceptor.accept(socket, start, patience) => Ok(accepted?),
                () = stop.wait() => Err(NoSession::Left),
            }
        }
        secured @ Transport::Tls(_) => Ok(secured),
    }
}

async fn start_tls(mut pump: Bare, shared: &Shared, stop: &mut Stop) -> Result<Bare, NoSession> {
    pump.flush().await?;
    let (transport, machine) = pump.into_parts();
    let transport = secure(transport, Start::StartTls, shared, stop).await?;
    let secured = Secured {
        exporter: transport.exporter(),
    };
    let mut pump = Pump::new(transport, machine, shared.options.early_limits());
    pump.command(negotiate::Command::TlsStarted(secured));
    Ok(pump)
}

fn begin<S, F>(
    pump: Pump<S, Negotiate, F>,
    shared: &Shared,
) -> Result<Pump<S, Session, F>, NoSession>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Framing,
{
    let settings = session::Settings {
        silence: shared.options.silence,
        sign_of_life: shared.options.sign_of_life,
        unacked: shared.options.queue,
    };
    let mut pump = pump
        .try_with_machine(|machine| Session::begin(machine, settings, now()))
        .ok_or(NoSession::Left)?;
    pump.set_limits(shared.options.limits());
    Ok(pump)
}

/// Carries stanzas until the stream is over; what was received is committed in any case, and what
/// could not be delivered is given back.
async fn carry<S, F>(
    mut pump: Pump<S, Session, F>,
    mut inbox: Inbox,
    jid: &Jid,
    server: &dyn Server,
    stop: &mut Stop,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Framing,
{
    let mut work = Work {
        server,
        jid,
        current: None,
        queue: VecDeque::new(),
    };
    let overflow = inbox.overflow();
    let mut stopping = false;
    loop {
        if pump.drained() {
            pump.command(session::Command::Flushed);
        }
        tokio::select! {
            () = work.next() => pump.command(session::Command::Committed),
            step = pump.step() => match step {
                Ok(Step::Event(session::Event::Stanza(stanza))) => work.queue.push_back(stanza),
                Ok(Step::Event(session::Event::Closed(_))) | Err(_) => break,
                Ok(Step::Written) => {}
            },
            given = inbox.next(), if pump.writable() => deliver(&mut pump, &mut inbox, given),
            () = overflow.notified() => {
                let text = "you read too slowly for what you are sent";
                let error = StreamError::new(StreamCondition::ResourceConstraint, text);
                pump.command(session::Command::Close(Some(error)));
            }
            () = stop.wait(), if !stopping => {
                stopping = true;
                work.finish().await;
                pump.command(session::Command::Close(Some(shutdown())));
            }
        }
    }
    work.finish().await;
    if pump.drained() {
        pump.command(session::Command::Flushed);
    }
    let queued = inbox.close();
    let session = pump.shutdown(LAST_WORDS).await;
    let unacked = session.into_unacked().into_iter().chain(queued);
    let unacked = unacked.map(|stanza| Arc::try_unwrap(stanza).unwrap_or_else(|s| (*s).clone()));
    server.unbind(jid, unacked.collect()).await;
}

fn deliver<S, F>(pump: &mut Pump<S, Session, F>, inbox: &mut Inbox, first: Option<ToSession>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Framing,
{
    let mut given = match first {
        Some(ToSession::Stanza(stanza)) => Ok(stanza),
        Some(ToSession::Close(error)) => Err(error),
        // Nobody can send to this session any more: the server has let go of it.
        None => Err(StreamError::new(
            StreamCondition::Reset,
            "the session is gone",
        )),
    };
    for turn in 1.. {
        pump.command(match given {
            Ok(stanza) => session::Command::Deliver(stanza),
            Err(error) => session::Command::Close(Some(error)),
        });
        if turn == BURST || pump.machine().waiting_bytes() >= BURST_BYTES {
            return;
        }
        let Some(next) = inbox.try_next() else { return };
        given = next;
    }
}

/// What the client has sent, handed to the server one by one.
struct Work<'a> {
    server: &'a dyn Server,
    jid: &'a Jid,
    current: Option<Later<'a, ()>>,
    /// Bounded by the machine, which reads no more than [`session::WINDOW`] ahead.
    queue: VecDeque<Stanza>,
}

impl Work<'_> {
    /// Returns once the oldest stanza is committed; never, while there is none. Cancel-safe.
    async fn next(&mut self) {
        if self.current.is_none() {
            let Some(stanza) = self.queue.pop_front() else {
                return std::future::pending().await;
            };
            self.current = Some(self.server.stanza(self.jid, stanza));
        }
        if let Some(current) = &mut self.current {
            current.await;
        }
        self.current = None;
    }

    async fn finish(&mut self) {
        while self.current.is_some() || !self.queue.is_empty() {
            self.next().await;
        }
    }
}

fn shutdown() -> StreamError {
    StreamError::new(
        StreamCondition::SystemShutdown,
        "the server is stopping: come back soon",
    )
}
