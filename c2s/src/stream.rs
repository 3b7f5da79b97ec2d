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
use comity_xmpp::error::{StanzaError, StreamCondition, StreamError};
use comity_xmpp::frame::{Framing, TcpFraming};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::stanza::Stanza;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::link::{Back, Bound, Count, Inbox, Later, Manage, Outbound, Server, Suspended};
use crate::negotiate::{self, Negotiate, Secured};
use crate::queue::ToSession;
use crate::resume::{self, Acknowledged, Kept, Seat, Waiting};
use crate::serve::Shared;
use crate::session::{self, Managed, Session};
use crate::websocket::WebSocketFraming;

/// How long a client may take to read our last words.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The same, where the connection is most likely dead, or left for another.
const SHORT_WORDS: Duration = Duration::from_millis(200);
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
    let negotiated = Box::pin(over_tcp(socket, peer, start, &shared, &mut stop)).await;
    go_on(negotiated, peer, &shared, &mut stop).await;
}

/// A client over a WebSocket (RFC 7395), which has TLS already.
pub(crate) async fn run_websocket(
    upgrade: Upgrade,
    peer: SocketAddr,
    shared: Arc<Shared>,
    mut stop: Stop,
) {
    let negotiated = Box::pin(over_websocket(upgrade, peer, &shared, &mut stop)).await;
    go_on(negotiated, peer, &shared, &mut stop).await;
}

async fn go_on<S, F>(
    negotiated: Result<Begun<S, F>, NoSession>,
    peer: SocketAddr,
    shared: &Arc<Shared>,
    stop: &mut Stop,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Framing,
{
    match negotiated {
        Ok(begun) => {
            let jid = begun.pump.machine().jid().clone();
            tracing::debug!(session = %jid, %peer, "a stream carries a session");
            if let Some(waiting) = carry(begun, &jid, shared, stop).await {
                tracing::debug!(session = %jid, "a session waits for its client");
                wait(waiting, shared, stop).await;
            }
        }
        Err(why) => tracing::debug!(%peer, %why, "no session came of a connection"),
    }
}

/// A session on its stream.
struct Begun<S, F> {
    pump: Pump<S, Session, F>,
    inbox: Inbox,
    /// Where its client asks for it, if it can come back.
    seat: Option<Seat>,
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
    StartTls(Box<Pump<S, Negotiate, F>>),
    Session(Box<Begun<S, F>>),
}

async fn over_tcp(
    socket: TcpStream,
    peer: SocketAddr,
    start: Start,
    shared: &Arc<Shared>,
    stop: &mut Stop,
) -> Result<Begun<Transport, TcpFraming>, NoSession> {
    let mut transport = Transport::Plain(socket);
    if start == Start::Direct {
        transport = secure(transport, start, shared, stop).await?;
    }
    let mut secured = transport.is_tls().then(|| Secured {
        exporter: transport.exporter(),
        end_point: transport.end_point(),
    });
    let machine = Negotiate::new(settings(shared), secured, now());
    let mut pump = Pump::new(transport, machine, shared.options.early_limits());
    loop {
        match negotiate(pump, (secured, peer), shared, stop).await? {
            Stands::StartTls(bare) => {
                pump = start_tls(*bare, shared, stop).await?;
                secured = Some(Secured {
                    exporter: pump.stream().exporter(),
                    end_point: pump.stream().end_point(),
                });
            }
            Stands::Session(begun) => return Ok(*begun),
        }
    }
}

async fn over_websocket(
    upgrade: Upgrade,
    peer: SocketAddr,
    shared: &Arc<Shared>,
    stop: &mut Stop,
) -> Result<Begun<Upgraded, WebSocketFraming>, NoSession> {
    let waiting = tokio::time::timeout(shared.options.negotiation, upgrade.wait());
    let upgraded = waiting.await.map_err(|_| NoSession::Left)?;
    let upgraded = upgraded.map_err(Ended::Broken)?;
    let secured = Some(Secured {
        exporter: upgraded.transport().exporter(),
        end_point: upgraded.transport().end_point(),
    });
    let machine = Negotiate::new(settings(shared), secured, now());
    let framing = WebSocketFraming::new(shared.options.early_limits());
    let pump = Pump::framed(upgraded, machine, framing);
    match negotiate(pump, (secured, peer), shared, stop).await? {
        Stands::Session(begun) => Ok(*begun),
        // There is TLS already, so that the machine does not offer it.
        Stands::StartTls(_) => Err(NoSession::Left),
    }
}

async fn negotiate<S, F>(
    mut pump: Pump<S, Negotiate, F>,
    client: (Option<Secured>, SocketAddr),
    shared: &Arc<Shared>,
    stop: &mut Stop,
) -> Result<Stands<S, F>, NoSession>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Framing,
{
    let mut way = None;
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
            negotiate::Event::StartTls => return Ok(Stands::StartTls(pump.into())),
            negotiate::Event::Restart => pump.restart(),
            negotiate::Event::Done => {
                let way = way.ok_or(NoSession::Left)?;
                return begin(pump, way, shared).map(|begun| Stands::Session(begun.into()));
            }
            negotiate::Event::Closed(error) => {
                pump.shutdown(LAST_WORDS).await;
                return Err(error.map_or(NoSession::Left, NoSession::Stream));
            }
            question => {
                let manner = pump.machine().manner();
                if let Some(answer) = answer(question, manner, client, &mut way, shared).await {
                    pump.command(answer);
                }
            }
        }
    }
}

/// What the machine asks of the server; None, where it asks nothing.
async fn answer(
    question: negotiate::Event,
    manner: negotiate::Manner,
    (secured, peer): (Option<Secured>, SocketAddr),
    way: &mut Option<Way>,
    shared: &Arc<Shared>,
) -> Option<negotiate::Command> {
    let negotiate::Manner { mechanism, inline } = manner;
    Some(match question {
        negotiate::Event::Credentials(account) => {
            if !shared.server.attempt(peer.ip(), &account).await {
                return Some(negotiate::Command::Close(too_often()));
            }
            let credentials = shared.server.credentials(&account).await;
            negotiate::Command::Credentials(credentials)
        }
        negotiate::Event::Check(check) => {
            let right = shared.check(check).await;
            negotiate::Command::Checked(right)
        }
        negotiate::Event::Fast(attempt) => {
            let account = &attempt.token.account;
            if !shared.server.attempt(peer.ip(), account).await {
                return Some(negotiate::Command::Close(too_often()));
            }
            let accepted = shared.server.fast(attempt).await;
            negotiate::Command::Fast(accepted)
        }
        negotiate::Event::Token(wanted) => {
            let token = shared.server.fast_token(wanted).await;
            negotiate::Command::Token(token)
        }
        negotiate::Event::Register(registration) => {
            let made = shared.server.register(peer.ip(), registration).await;
            negotiate::Command::Registered(made)
        }
        negotiate::Event::Bind {
            account,
            resource,
            options,
        } => {
            tracing::info!(%account, mechanism, inline, %peer, "authenticated");
            shared.server.entered(peer.ip(), &account);
            let (outbound, receiver) = Outbound::new(shared.options.queue);
            let bound = Bound {
                account,
                resource,
                tls_exporter: secured.and_then(|secured| secured.exporter),
                carbons: options.carbons,
                outbound,
            };
            let answer = shared.server.bind(bound).await;
            let wants = (options, inline);
            let answer = new_session(answer, wants, receiver, way, shared).await;
            negotiate::Command::Bound(answer)
        }
        negotiate::Event::Resume { account, id, h } => {
            tracing::info!(%account, mechanism, inline, %peer, "authenticated");
            shared.server.entered(peer.ip(), &account);
            let found = come_back(&account, &id, h, secured, shared).await;
            let (found, answer) = found.map_or_else(|answer| (None, answer), come_back_answer);
            *way = found.map(Way::Back);
            answer
        }
        negotiate::Event::Failed(account) => {
            not_authenticated(account.as_ref(), peer, mechanism, shared);
            return None;
        }
        negotiate::Event::StartTls
        | negotiate::Event::Restart
        | negotiate::Event::Done
        | negotiate::Event::Closed(_) => return None,
    })
}

fn not_authenticated(
    account: Option<&BareJid>,
    peer: SocketAddr,
    mechanism: &'static str,
    shared: &Shared,
) {
    let who = account.map(tracing::field::display);
    tracing::info!(account = who, %peer, mechanism, "not authenticated");
    shared.server.failed(peer.ip(), account);
}

fn too_often() -> StreamError {
    StreamError::new(
        StreamCondition::PolicyViolation,
        "too many logins have failed here: wait a minute",
    )
}

fn settings(shared: &Arc<Shared>) -> negotiate::Settings {
    let server = Arc::clone(&shared.server);
    negotiate::Settings {
        serves: Arc::new(move |domain| server.serves(domain)),
        random: Box::new(random::id),
        plain: shared.options.plain,
        scram: shared.options.scram.clone(),
        register: shared.options.register,
        negotiation: shared.options.negotiation,
        resumption: shared.options.resumption(),
        fast: shared.options.fast,
        early_bytes: shared.options.stanza_bytes_before_login,
        bytes: shared.options.stanza_bytes,
        idle: shared.options.silence + shared.options.sign_of_life,
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
        secured @ Transport::Tls(..) => Ok(secured),
    }
}

async fn start_tls(mut pump: Bare, shared: &Shared, stop: &mut Stop) -> Result<Bare, NoSession> {
    pump.flush().await?;
    let (transport, machine) = pump.into_parts();
    let transport = secure(transport, Start::StartTls, shared, stop).await?;
    let secured = Secured {
        exporter: transport.exporter(),
        end_point: transport.end_point(),
    };
    let mut pump = Pump::new(transport, machine, shared.options.early_limits());
    pump.command(negotiate::Command::TlsStarted(secured));
    Ok(pump)
}

/// A session that the server has made of a client.
async fn new_session(
    bound: Result<Jid, StanzaError>,
    (options, inline): (negotiate::BindOptions, bool),
    inbox: Inbox,
    way: &mut Option<Way>,
    shared: &Shared,
) -> Result<negotiate::NewSession, StanzaError> {
    let session = bound?;
    let begun = match options.acking {
        true => manage(&session, options.resumable, &inbox, shared).await,
        false => None,
    };
    let (managed, seat) = begun.unzip();
    let id = managed.as_ref().and_then(|managed| managed.id.clone());
    *way = Some(Way::New(inbox, managed, seat.flatten()));
    let welcome = match inline {
        true => shared.server.welcome(&session).await,
        false => Vec::new(),
    };
    Ok(negotiate::NewSession {
        session,
        id,
        welcome,
    })
}

/// Gives a session a name to be kept by, and where its client may come back, a seat to ask at;
/// `None`: it cannot be kept.
async fn manage(
    session: &Jid,
    resumable: bool,
    inbox: &Inbox,
    shared: &Shared,
) -> Option<(Managed, Option<Seat>)> {
    let id: Box<str> = random::id().into();
    let key = resume::key(&id);
    let manage = Manage {
        key: Arc::clone(&key),
        resumable,
        first: inbox.place(),
        queue: inbox.id(),
    };
    if !shared.server.manage(session, manage).await {
        return None;
    }
    let seat = resumable.then(|| shared.resumables.open(&key, session.to_bare()));
    let id = resumable.then_some(id);
    Some((Managed { key, id }, seat))
}

/// How a client has got its session.
enum Way {
    New(Inbox, Option<Managed>, Option<Seat>),
    Back(Box<Waiting>),
}

/// Finds the session that a client wants back (XEP-0198 §5); else what it is answered.
async fn come_back(
    account: &BareJid,
    id: &str,
    h: u32,
    secured: Option<Secured>,
    shared: &Arc<Shared>,
) -> Result<Box<Waiting>, negotiate::Command> {
    let found = shared.resumables.take(id, account).await;
    let mut waiting =
        found.map_err(|h| negotiate::Command::Resumed(Err(negotiate::NotResumed { h })))?;
    let kept = &mut waiting.kept;
    let restored = match kept.acknowledged(h) {
        Ok(Acknowledged::UpTo(h)) => Some(h),
        Ok(Acknowledged::More(more)) => {
            shared.server.acknowledged(&kept.jid, &kept.key, more);
            None
        }
        Err(error) => {
            end(waiting, shared).await;
            return Err(negotiate::Command::Close(error));
        }
    };
    let back = Back {
        key: Arc::clone(&kept.key),
        tls_exporter: secured.and_then(|secured| secured.exporter),
        restored,
    };
    let h = kept.inbound.count();
    let count = Count {
        key: Arc::clone(&kept.key),
        h,
    };
    // What it is told to be handled is kept before.
    let could = shared.server.resumed(&kept.jid, back).await
        && (kept.kept == h || shared.server.keep(&kept.jid, count).await);
    if !could {
        end(waiting, shared).await;
        return Err(negotiate::Command::Resumed(Err(negotiate::NotResumed {
            h: None,
        })));
    }
    kept.kept = h;
    tracing::debug!(session = %waiting.kept.jid, "a client has come back to its session");
    Ok(Box::new(waiting))
}

fn come_back_answer(waiting: Box<Waiting>) -> (Option<Box<Waiting>>, negotiate::Command) {
    let resumed = negotiate::Resumed {
        session: waiting.kept.jid.clone(),
        h: waiting.kept.inbound.count(),
    };
    (Some(waiting), negotiate::Command::Resumed(Ok(resumed)))
}

fn begin<S, F>(
    pump: Pump<S, Negotiate, F>,
    way: Way,
    shared: &Shared,
) -> Result<Begun<S, F>, NoSession>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Framing,
{
    let settings = session::Settings {
        silence: shared.options.silence,
        sign_of_life: shared.options.sign_of_life,
        unacked: shared.options.queue,
        resumption: shared.options.resumption(),
    };
    let (pump, inbox, seat) = match way {
        Way::New(inbox, managed, seat) => {
            let begin = |machine| Session::begin(machine, managed, settings, now());
            (pump.try_with_machine(begin), inbox, seat)
        }
        Way::Back(waiting) => {
            let Waiting { kept, inbox, seat } = *waiting;
            let begin = |machine| Session::resume(machine, kept, settings, now());
            (pump.try_with_machine(begin), inbox, Some(seat))
        }
    };
    let mut pump = pump.ok_or(NoSession::Left)?;
    pump.set_limits(shared.options.limits());
    Ok(Begun { pump, inbox, seat })
}

/// Why a stream carries its session no further.
enum Parted {
    /// One side has ended the session with it.
    Over,
    /// The connection is gone or dead.
    Lost,
    /// The client has come back on another connection, which takes the session over.
    Taken(oneshot::Sender<Waiting>),
    /// The server stops.
    Stopped,
}

/// Carries stanzas until the stream is over; what was received is committed in any case. A session
/// whose client may come back is given back; of any other, what could not be delivered is.
async fn carry<S, F>(
    begun: Begun<S, F>,
    jid: &Jid,
    shared: &Arc<Shared>,
    stop: &mut Stop,
) -> Option<Waiting>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Framing,
{
    let Begun {
        mut pump,
        mut inbox,
        mut seat,
    } = begun;
    let mut work = Work {
        server: &*shared.server,
        jid,
        current: None,
        queue: VecDeque::new(),
    };
    let overflow = inbox.overflow();
    let mut stopping = false;
    let parted = loop {
        if pump.drained() {
            pump.command(session::Command::Flushed);
        }
        work.begin(pump.machine());
        tokio::select! {
            kept = work.next() => pump.command(session::Command::Committed(kept)),
            step = pump.step() => match step {
                Ok(Step::Event(session::Event::Stanza(stanza))) => work.queue.push_back(stanza),
                Ok(Step::Event(session::Event::Closed(_))) if stopping => break Parted::Stopped,
                Ok(Step::Event(session::Event::Closed(error))) => break parted(error.as_ref()),
                Ok(Step::Event(event)) => {
                    told(event, &mut pump, &mut inbox, &mut seat, shared).await;
                }
                Err(_) => break Parted::Lost,
                Ok(Step::Written) => {}
            },
            given = inbox.next(), if pump.writable() => deliver(&mut pump, &mut inbox, given),
            Some(taker) = ask(seat.as_mut()) => break Parted::Taken(taker),
            () = overflow.notified() => {
                let text = "you read too slowly for what you are sent";
                let error = StreamError::new(StreamCondition::ResourceConstraint, text);
                pump.command(session::Command::Close(Some(error)));
            }
            () = stop.wait(), if !stopping => {
                stopping = true;
                work.finish(&mut pump).await;
                pump.command(session::Command::Close(Some(shutdown())));
            }
        }
    };
    work.finish(&mut pump).await;
    match (parted, seat) {
        (Parted::Over, _) | (_, None) => {
            over(pump, inbox, shared).await;
            None
        }
        (parted, Some(seat)) => set_aside(pump, inbox, seat, parted, shared).await,
    }
}

/// What the machine tells of itself.
async fn told<S, F>(
    event: session::Event,
    pump: &mut Pump<S, Session, F>,
    inbox: &mut Inbox,
    seat: &mut Option<Seat>,
    shared: &Arc<Shared>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Framing,
{
    let jid = pump.machine().jid().clone();
    let key = pump.machine().key().cloned();
    match (event, key) {
        (session::Event::Manage { resume }, _) => {
            let begun = manage(&jid, resume, inbox, shared).await;
            let (managed, opened) = begun.unzip();
            *seat = opened.flatten();
            pump.command(session::Command::Managed(managed));
        }
        (session::Event::Keep(h), Some(key)) => {
            let kept = shared.server.keep(&jid, Count { key, h }).await;
            pump.command(session::Command::Kept(kept.then_some(h)));
        }
        (session::Event::Acknowledged(more), Some(key)) => {
            shared.server.acknowledged(&jid, &key, more);
        }
        (session::Event::Idle(idle), _) => inbox.set_idle(idle),
        (session::Event::Answer(stanza), _) => inbox.say(&stanza),
        // Told only of sessions that are kept, or looked after by the caller.
        _ => {}
    }
}

/// The next who wants this session; never, where nobody can.
async fn ask(seat: Option<&mut Seat>) -> Option<oneshot::Sender<Waiting>> {
    match seat {
        Some(seat) => seat.recv().await,
        None => std::future::pending().await,
    }
}

/// A client that gives no sign of life may have lost its connection without our knowing.
fn parted(error: Option<&StreamError>) -> Parted {
    match error {
        Some(error) if error.condition == StreamCondition::ConnectionTimeout => Parted::Lost,
        _ => Parted::Over,
    }
}

/// The session ends with its stream.
async fn over<S, F>(mut pump: Pump<S, Session, F>, inbox: Inbox, shared: &Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Framing,
{
    if pump.drained() {
        pump.command(session::Command::Flushed);
    }
    let queued = inbox.close();
    let session = pump.shutdown(LAST_WORDS).await;
    let key = session.key().cloned();
    if let Some(key) = &key {
        shared.resumables.close(key, session.handled());
    }
    let jid = session.jid().clone();
    let unacked = session.into_unacked().into_iter().chain(queued);
    give_back(&jid, key, unacked, shared).await;
}

/// The session goes on without this stream.
async fn set_aside<S, F>(
    mut pump: Pump<S, Session, F>,
    inbox: Inbox,
    seat: Seat,
    parted: Parted,
    shared: &Arc<Shared>,
) -> Option<Waiting>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Framing,
{
    let session = if matches!(parted, Parted::Stopped) {
        pump.shutdown(LAST_WORDS).await
    } else {
        // Whoever is still there learns why; on a dead connection it is not worth a wait.
        let _ = tokio::time::timeout(SHORT_WORDS, pump.flush()).await;
        pump.into_parts().1
    };
    inbox.set_idle(false);
    let kept = match session.keep() {
        Ok(kept) => kept,
        // It has a seat and so a name; were that not so, it would be over.
        Err(session) => {
            let (jid, key) = (session.jid().clone(), session.key().cloned());
            let unacked = session.into_unacked().into_iter().chain(inbox.close());
            give_back(&jid, key, unacked, shared).await;
            return None;
        }
    };
    let waiting = Waiting { kept, inbox, seat };
    match parted {
        Parted::Taken(taker) => taker.send(waiting).err(),
        Parted::Over | Parted::Lost => Some(waiting),
        Parted::Stopped => {
            suspend(waiting, shared).await;
            None
        }
    }
}

/// A session without a stream: until its client asks for it, or too much time has gone by, or too
/// much waits for it, or the server wants it no longer.
pub(crate) async fn wait(mut waiting: Waiting, shared: &Arc<Shared>, stop: &mut Stop) {
    let until = tokio::time::Instant::now() + shared.options.resumption;
    let (overflow, unwanted) = (waiting.inbox.overflow(), waiting.inbox.unwanted());
    loop {
        let taker = tokio::select! {
            taker = waiting.seat.recv() => taker,
            () = tokio::time::sleep_until(until) => None,
            () = overflow.notified() => None,
            () = unwanted.notified() => None,
            () = stop.wait() => {
                suspend(waiting, shared).await;
                return;
            }
        };
        let Some(taker) = taker else { break };
        match taker.send(waiting) {
            Ok(()) => return,
            // Who asked has gone in this very moment.
            Err(back) => waiting = back,
        }
    }
    end(waiting, shared).await;
}

/// The server stops, and the session's client may come back to the next: all that it has not got
/// is kept.
async fn suspend(waiting: Waiting, shared: &Arc<Shared>) {
    let Waiting { kept, inbox, .. } = waiting;
    let Kept {
        key,
        jid,
        inbound,
        outbound,
        unwritten,
        restored,
        ..
    } = kept;
    shared.server.suspending(&jid, &key);
    let waits = inbox.finish().await;
    if restored.is_some() {
        // Its client has not been here since the server began: what there was is there still, and
        // messages that have come since were kept as they came.
        return;
    }
    let suspended = Suspended {
        count: Count {
            key,
            h: inbound.count(),
        },
        acknowledged: outbound.count(),
        said: outbound.into_unacked().into(),
        unsaid: unwritten.into_iter().chain(waits).collect(),
    };
    shared.server.suspend(&jid, suspended).await;
    tracing::debug!(session = %jid, "a session is left to the next server");
}

/// The session is over; its client has not come back.
async fn end(waiting: Waiting, shared: &Arc<Shared>) {
    let Waiting { kept, inbox, .. } = waiting;
    shared.resumables.close(&kept.key, kept.inbound.count());
    let restored = kept.restored.unwrap_or_default().into_iter();
    let unacked = restored.map(|(_, stanza)| stanza);
    let unacked = unacked.chain(kept.outbound.into_unacked());
    let unacked = unacked.chain(kept.unwritten).chain(inbox.close());
    give_back(&kept.jid, Some(kept.key), unacked, shared).await;
}

async fn give_back(
    jid: &Jid,
    key: Option<Arc<str>>,
    unacked: impl Iterator<Item = Arc<Stanza>>,
    shared: &Arc<Shared>,
) {
    let unacked = unacked.map(Arc::unwrap_or_clone).collect();
    shared.server.unbind(jid, key, unacked).await;
    tracing::debug!(session = %jid, "a session is over");
}

fn deliver<S, F>(pump: &mut Pump<S, Session, F>, inbox: &mut Inbox, first: Option<ToSession>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Framing,
{
    // Nobody can send to this session any more: the server has let go of it.
    let gone = || {
        ToSession::Close(StreamError::new(
            StreamCondition::Reset,
            "the session is gone",
        ))
    };
    let mut given = first.unwrap_or_else(gone);
    for turn in 1.. {
        pump.command(match given {
            ToSession::Stanza(stanza) => session::Command::Deliver(stanza),
            ToSession::Close(error) => session::Command::Close(Some(error)),
            ToSession::Void | ToSession::Coming(_) => session::Command::Void,
        });
        if turn == BURST || pump.machine().waiting_bytes() >= BURST_BYTES {
            return;
        }
        let Some(next) = inbox.next_now() else { return };
        given = next;
    }
}

/// What the client has sent, handed to the server one by one.
struct Work<'a> {
    server: &'a dyn Server,
    jid: &'a Jid,
    /// With the count it is to be kept with.
    current: Option<(Option<u32>, Later<'a, bool>)>,
    /// Bounded by the machine, which reads no more than [`session::WINDOW`] ahead.
    queue: VecDeque<Stanza>,
}

impl Work<'_> {
    /// Takes up the oldest stanza, if none is in hand.
    fn begin(&mut self, session: &Session) {
        if self.current.is_none()
            && let Some(stanza) = self.queue.pop_front()
        {
            let count = session.next_count();
            let h = count.as_ref().map(|count| count.h);
            self.current = Some((h, self.server.stanza(self.jid, stanza, count)));
        }
    }

    /// Returns once the stanza in hand is committed, with the count that was kept with it; never,
    /// while there is none. Cancel-safe.
    async fn next(&mut self) -> Option<u32> {
        let Some((h, current)) = &mut self.current else {
            return std::future::pending().await;
        };
        let kept = current.await;
        let h = h.filter(|_| kept);
        self.current = None;
        h
    }

    /// Returns once all is committed, and has told the session so.
    async fn finish<S, F>(&mut self, pump: &mut Pump<S, Session, F>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
        F: Framing,
    {
        loop {
            self.begin(pump.machine());
            if self.current.is_none() {
                return;
            }
            let kept = self.next().await;
            pump.command(session::Command::Committed(kept));
        }
    }
}

fn shutdown() -> StreamError {
    StreamError::new(
        StreamCondition::SystemShutdown,
        "the server is stopping: come back soon",
    )
}
