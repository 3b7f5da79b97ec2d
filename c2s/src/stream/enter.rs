//! From a connection to a session: what the machine of negotiation asks is put to the server.

use std::net::SocketAddr;
use std::sync::Arc;

use comity_net::dns::order::Start;
use comity_net::drive::{Ended, Pump, Step, now};
use comity_net::http::{Upgrade, Upgraded};
use comity_net::random;
use comity_net::stop::Stop;
use comity_net::transport::Transport;
use comity_xmpp::error::{StanzaError, StreamCondition, StreamError};
use comity_xmpp::frame::{Framing, TcpFraming};
use comity_xmpp::jid::{BareJid, Jid};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::LAST_WORDS;
use super::without::end;
use crate::link::{Back, Bound, Count, Inbox, Manage, Outbound};
use crate::negotiate::{self, Negotiate, Secured};
use crate::resume::{self, Acknowledged, Seat, Waiting};
use crate::serve::Shared;
use crate::session::{self, Managed, Session};
use crate::websocket::WebSocketFraming;

type Bare = Pump<Transport, Negotiate>;

/// A session on its stream.
pub(super) struct Begun<S, F> {
    /// Boxed: it is large, and each future that it is handed to has a place for it.
    pub(super) pump: Box<Pump<S, Session, F>>,
    pub(super) inbox: Inbox,
    /// Where its client asks for it, if it can come back.
    pub(super) seat: Option<Seat>,
}

/// Why a connection did not become a session.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoSession {
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

pub(super) async fn over_tcp(
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

pub(super) async fn over_websocket(
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
pub(super) async fn manage(
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
    Ok(Begun {
        pump: pump.into(),
        inbox,
        seat,
    })
}

pub(super) fn shutdown() -> StreamError {
    StreamError::new(
        StreamCondition::SystemShutdown,
        "the server is stopping: come back soon",
    )
}
