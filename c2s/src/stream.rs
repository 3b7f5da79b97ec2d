//! The task of one client's stream: negotiate, then carry stanzas both ways, one at a time and in
//! order, until one side has had enough.

mod enter;
mod without;

pub(crate) use without::wait;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use comity_net::dns::order::Start;
use comity_net::drive::{Pump, Step};
use comity_net::http::Upgrade;
use comity_net::stop::Stop;
use comity_xmpp::error::{StreamCondition, StreamError};
use comity_xmpp::frame::Framing;
use comity_xmpp::jid::Jid;
use comity_xmpp::stanza::{Kind, Stanza};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::link::{Count, Inbox, Later, Server};
use crate::queue::ToSession;
use crate::resume::{Seat, Waiting};
use crate::serve::Shared;
use crate::session::{self, Session};
use enter::{Begun, NoSession, manage, over_tcp, over_websocket, shutdown};
use without::{give_back, set_aside};

/// How long a client may take to read our last words.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The same, where the connection is most likely dead, or left for another.
const SHORT_WORDS: Duration = Duration::from_millis(200);
/// Stanzas handed to a session in one go, so that they leave in one write; fewer, once they make
/// so many bytes.
const BURST: usize = 32;
const BURST_BYTES: usize = 64 * 1024;

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
                Box::pin(wait(waiting, shared, stop)).await;
            }
        }
        Err(why) => tracing::debug!(%peer, %why, "no session came of a connection"),
    }
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
            committed = work.next() => pump.command(committed),
            step = pump.step() => match step {
                Ok(Step::Event(session::Event::Stanza(stanza))) => work.queue.push_back(stanza),
                Ok(Step::Event(session::Event::Closed(_))) if stopping => break Parted::Stopped,
                Ok(Step::Event(session::Event::Closed(error))) => break parted(error.as_ref()),
                Ok(Step::Event(event)) => {
                    Box::pin(told(event, &mut pump, &mut inbox, &mut seat, shared)).await;
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
            Box::pin(over(*pump, inbox, shared)).await;
            None
        }
        (parted, Some(seat)) => Box::pin(set_aside(*pump, inbox, seat, parted, shared)).await,
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

fn deliver<S, F>(pump: &mut Pump<S, Session, F>, inbox: &mut Inbox, first: Option<ToSession>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Framing,
{
    // Nobody can send to this session any more: the server has let go of it.
    let gone = || {
        let error = StreamError::new(StreamCondition::Reset, "the session is gone");
        ToSession::Close(error.into())
    };
    let mut given = first.unwrap_or_else(gone);
    for turn in 1.. {
        pump.command(match given {
            ToSession::Stanza(stanza) => session::Command::Deliver(stanza),
            ToSession::Close(error) => session::Command::Close(Some(*error)),
            ToSession::Void | ToSession::Coming(_) => session::Command::Void,
        });
        if turn == BURST || pump.machine().waiting_bytes() >= BURST_BYTES {
            return;
        }
        let Some(next) = inbox.next_now() else { return };
        given = next;
    }
}

/// What the client has sent, handed to the server in order.
struct Work<'a> {
    server: &'a dyn Server,
    jid: &'a Jid,
    current: Option<InHand<'a>>,
    /// Bounded by the machine, which reads no more than [`session::WINDOW`] ahead.
    queue: VecDeque<Stanza>,
}

/// What the server is at: one stanza, or messages that followed one another.
struct InHand<'a> {
    stanzas: usize,
    /// Gives the count that was kept.
    kept: Later<'a, Option<u32>>,
}

impl Work<'_> {
    /// Takes up the oldest stanza, if nothing is in hand; with a message, those that follow it.
    fn begin(&mut self, session: &Session) {
        if self.current.is_some() {
            return;
        }
        let is_message = |stanza: &Stanza| matches!(stanza.kind, Kind::Message(_));
        let run = self.queue.iter().take_while(|stanza| is_message(stanza));
        let (server, jid) = (self.server, self.jid);
        let (stanzas, kept) = match run.count() {
            run @ 2.. => {
                let counts = (1..=run).map(|oldest| session.count_after(oldest));
                let messages = self.queue.drain(..run).zip(counts).collect();
                (run, server.messages(jid, messages))
            }
            _ => {
                let Some(stanza) = self.queue.pop_front() else {
                    return;
                };
                (1, server.stanza(jid, stanza, session.count_after(1)))
            }
        };
        self.current = Some(InHand { stanzas, kept });
    }

    /// Returns once what is in hand is committed, with what the session is told of it; never,
    /// while there is nothing. Cancel-safe.
    async fn next(&mut self) -> session::Command {
        let Some(InHand { stanzas, kept }) = &mut self.current else {
            return std::future::pending().await;
        };
        let (stanzas, kept) = (*stanzas, kept.await);
        self.current = None;
        session::Command::Committed { stanzas, kept }
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
            let committed = self.next().await;
            pump.command(committed);
        }
    }
}
