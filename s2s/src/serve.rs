//! Takes peers' connections in and gives each its task.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use comity_net::dns::order::Start;
use comity_net::drive::{Ended, Pump, Step, now};
use comity_net::listener::{Accepted, Listener};
use comity_net::random;
use comity_net::stop::Stop;
use comity_net::tls::TlsError;
use comity_net::transport::Transport;
use comity_xmpp::error::{StreamCondition, StreamError};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::EARLY_LIMITS;
use crate::certificate::{Proof, Shown};
use crate::dialback::{Query, Verdict};
use crate::incoming::{Command, Domains, Event, Incoming, Settings};
use crate::link::{Federation, Later, Place, Received, Shared};
use crate::reach;
use crate::turn::Turn;

/// How long a peer may take to read our last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

type Stream = Pump<Transport, Incoming>;

/// Serves a listener until told to stop; then its streams end with `system-shutdown`, each as
/// soon as what it had sent is committed. TLS begins on it as `start` says.
pub async fn serve(listener: Listener, start: Start, federation: Federation, mut stop: Stop) {
    loop {
        let accepted = tokio::select! {
            () = stop.wait() => return,
            accepted = listener.accept() => accepted,
        };
        let federation = federation.clone();
        let stop = stop.clone();
        tokio::spawn(async move {
            let Accepted {
                stream,
                peer,
                permit,
            } = accepted;
            run(stream, peer, start, &federation, stop).await;
            drop(permit);
        });
    }
}

async fn run(
    socket: TcpStream,
    address: SocketAddr,
    start: Start,
    federation: &Federation,
    mut stop: Stop,
) {
    // Boxed: what negotiation needs is given back before the stream's long life begins.
    let mut verifying = Verifying::new();
    match Box::pin(negotiate(
        socket,
        start,
        &federation.0,
        &mut verifying,
        &mut stop,
    ))
    .await
    {
        Ok((pump, peer)) => {
            tracing::info!(%peer, %address, ?start, "a peer has come");
            let peers = federation.peers();
            let _counted = peers.came(&peer);
            peers.seen(&peer);
            let why = carry(pump, &peer, federation, verifying, &mut stop).await;
            tracing::info!(%peer, %address, %why, "a peer has gone");
        }
        Err(why) => tracing::info!(%address, %why, "no peer came of a connection"),
    }
}

/// Why a connection did not become, or no longer is, a peer's stream.
#[derive(Debug, thiserror::Error)]
enum Gone {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Ended(#[from] Ended),
    #[error("a stream error, {0}")]
    Stream(StreamError),
    #[error("it was closed in good order")]
    Orderly,
}

async fn negotiate(
    socket: TcpStream,
    start: Start,
    shared: &Arc<Shared>,
    verifying: &mut Verifying,
    stop: &mut Stop,
) -> Result<(Stream, String), Gone> {
    let mut pump = match start {
        Start::StartTls => {
            let machine = Incoming::new(settings(shared), None, now());
            Pump::new(Transport::Plain(socket), machine, EARLY_LIMITS)
        }
        Start::Direct => {
            let (transport, proof) = secure(shared, socket, start, stop).await?;
            let machine = Incoming::new(settings(shared), Some(proof), now());
            Pump::new(transport, machine, EARLY_LIMITS)
        }
    };
    loop {
        let step = tokio::select! {
            step = pump.step() => step?,
            (query, verdict) = verified(verifying) => {
                pump.command(Command::Verified(query, verdict));
                continue;
            }
            () = stop.wait() => {
                pump.command(Command::Close(Some(shutdown())));
                pump.shutdown(LAST_WORDS).await;
                return Err(Gone::Orderly);
            }
        };
        let Step::Event(event) = step else { continue };
        match event {
            Event::StartTls => {
                pump.flush().await?;
                let (transport, machine) = pump.into_parts();
                let Transport::Plain(socket) = transport else {
                    return Err(Gone::Orderly);
                };
                let (transport, proof) = secure(shared, socket, Start::StartTls, stop).await?;
                pump = Pump::new(transport, machine, EARLY_LIMITS);
                pump.command(Command::TlsStarted(proof));
            }
            Event::Restart => pump.restart(),
            Event::Trusted(peer) => {
                pump.set_limits(shared.options.limits());
                return Ok((pump, peer));
            }
            Event::Verify(query) => verify(shared, verifying, query),
            // Before the peer is trusted there are none.
            Event::Stanza(..) | Event::Opened(_) | Event::Answer(_) => {}
            Event::Closed(error) => {
                pump.shutdown(LAST_WORDS).await;
                return Err(error.map_or(Gone::Orderly, Gone::Stream));
            }
        }
    }
}

/// Keys whose domains are being asked; as many as the machine allows.
type Verifying = JoinSet<(Query, Verdict)>;

fn verify(shared: &Arc<Shared>, verifying: &mut Verifying, query: Query) {
    let shared = Arc::clone(shared);
    verifying.spawn(async move {
        let verdict = reach::verify(&shared, &query).await;
        (query, verdict)
    });
}

/// The next verdict. Cancel-safe.
async fn verified(verifying: &mut Verifying) -> (Query, Verdict) {
    loop {
        match verifying.join_next().await {
            Some(Ok(verified)) => return verified,
            // One that panicked has no verdict; the stream's time will run out.
            Some(Err(_)) => {}
            None => return std::future::pending().await,
        }
    }
}

fn settings(shared: &Shared) -> Settings {
    let (serves, federates) = (Arc::clone(&shared.server), Arc::clone(&shared.server));
    Settings {
        domains: Domains {
            serves: Arc::new(move |domain| serves.serves(domain)),
            federates: Arc::new(move |domain| federates.federates(domain)),
        },
        ids: [random::id(), random::id(), random::id()],
        dialback: shared.options.dialback.clone(),
        negotiation: shared.options.negotiation,
        idle: shared.options.idle,
    }
}

async fn secure(
    shared: &Shared,
    socket: TcpStream,
    start: Start,
    stop: &mut Stop,
) -> Result<(Transport, Box<dyn Proof>), Gone> {
    let patience = shared.options.negotiation;
    let transport = tokio::select! {
        accepted = shared.acceptor.accept(socket, start, patience) => accepted?,
        () = stop.wait() => return Err(Gone::Orderly),
    };
    let shown = Shown::new(transport.peer_chain(), shared.trust.clone());
    Ok((transport, Box::new(shown)))
}

/// Hands stanzas to the server, as many at a time as have come, until the stream is over. What was
/// received and not counted is then taken in only where the peer does not count either.
async fn carry(
    mut pump: Stream,
    peer: &str,
    federation: &Federation,
    mut verifying: Verifying,
    stop: &mut Stop,
) -> Gone {
    let desk = Desk {
        shared: &federation.0,
        ours: pump.machine().ours().into(),
        peer,
    };
    let peers = federation.peers();
    let mut queue: Option<Queue> = None;
    let mut waiting: Vec<Received> = Vec::new();
    let mut current: Option<Later<'_, Taken>> = None;
    let mut leaving = Leaving::No;
    let mut policy = federation.0.policy.subscribe();
    let gone = loop {
        if current.is_none() && !waiting.is_empty() && leaving != Leaving::Last {
            let turn = queue.as_ref().map(|queue| Arc::clone(&queue.turn));
            current = Some(Box::pin(desk.take(std::mem::take(&mut waiting), turn)));
        }
        if leaving == Leaving::Asked {
            // What has come by now is still taken in, what comes meanwhile is not.
            leaving = Leaving::Last;
        }
        if leaving == Leaving::Last && current.is_none() {
            leaving = Leaving::Said;
            pump.command(Command::Close(Some(shutdown())));
        }
        tokio::select! {
            taken = finished(&mut current) => {
                current = None;
                taken.tell(&mut pump);
            }
            (query, verdict) = verified(&mut verifying) => {
                pump.command(Command::Verified(query, verdict));
            }
            step = pump.step() => match step {
                Ok(Step::Event(Event::Verify(query))) => {
                    verify(&federation.0, &mut verifying, query);
                }
                Ok(Step::Event(Event::Stanza(stanza, number))) => {
                    let place = number.and_then(|number| desk.place(queue.as_ref()?, number));
                    waiting.push(Received { stanza, place });
                }
                Ok(Step::Event(Event::Opened(name))) => match desk.open(name).await {
                    Some((opened, held)) => {
                        queue = Some(opened);
                        pump.command(Command::Held(held));
                    }
                    None => pump.command(Command::Close(Some(failing()))),
                },
                Ok(Step::Event(Event::Answer(error))) => {
                    // An error that finds no place is not worth another.
                    let _ = peers.send(peer, error);
                }
                Ok(Step::Event(Event::Closed(error))) => {
                    break error.map_or(Gone::Orderly, Gone::Stream);
                }
                Ok(Step::Written | Step::Event(_)) => {}
                Err(ended) => break Gone::Ended(ended),
            },
            () = forbidden(&mut policy, &desk) => pump.command(Command::Close(Some(unwanted()))),
            () = stop.wait(), if leaving == Leaving::No => leaving = Leaving::Asked,
        }
    };
    if let Some(current) = current {
        current.await;
    }
    // A peer without acknowledgements believes that all this was taken, so it has to be.
    if !pump.machine().is_acking() {
        desk.take(waiting, None).await;
    }
    pump.shutdown(LAST_WORDS).await;
    gone
}

/// Waits until there may be no streams with the peer any longer. Cancel-safe.
async fn forbidden(policy: &mut watch::Receiver<u64>, desk: &Desk<'_>) {
    while policy.changed().await.is_ok() {
        if !desk.shared.server.federates(desk.peer) {
            return;
        }
    }
    std::future::pending().await
}

/// The server is stopping.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    Asked,
    Last,
    Said,
}

/// Where one stream's stanzas are taken in.
struct Desk<'a> {
    shared: &'a Shared,
    ours: Arc<str>,
    peer: &'a str,
}

/// The peer's queue, once it is opened.
struct Queue {
    name: Arc<str>,
    turn: Arc<Turn>,
}

/// How many stanzas were taken in, and why the stream has to end before the others are.
struct Taken {
    count: usize,
    error: Option<StreamError>,
}

impl Taken {
    fn tell(self, pump: &mut Stream) {
        for _ in 0..self.count {
            pump.command(Command::Committed);
        }
        if let Some(error) = self.error {
            pump.command(Command::Close(Some(error)));
        }
    }
}

impl Desk<'_> {
    async fn open(&self, name: String) -> Option<(Queue, i64)> {
        let turn = self.shared.turns.take(&self.ours, self.peer).await;
        let held = self
            .shared
            .server
            .held(&self.ours, self.peer, &name)
            .await?;
        let queue = Queue {
            name: name.into(),
            turn: Arc::new(turn),
        };
        Some((queue, held))
    }

    fn place(&self, queue: &Queue, number: i64) -> Option<Place> {
        Some(Place {
            ours: Arc::clone(&self.ours),
            queue: Arc::clone(&queue.name),
            number,
        })
    }

    async fn take(&self, stanzas: Vec<Received>, turn: Option<Arc<Turn>>) -> Taken {
        let all = stanzas.len();
        let held = match &turn {
            Some(turn) => match turn.hold().await {
                Some(held) => Some(held),
                None => {
                    return Taken {
                        count: 0,
                        error: Some(superseded()),
                    };
                }
            },
            None => None,
        };
        let count = self.shared.server.stanzas(self.peer, stanzas).await;
        drop(held);
        Taken {
            count,
            error: (count < all).then(failing),
        }
    }
}

async fn finished(current: &mut Option<Later<'_, Taken>>) -> Taken {
    match current {
        Some(current) => current.await,
        None => std::future::pending().await,
    }
}

/// RFC 6120 §4.9.3.3.
fn superseded() -> StreamError {
    StreamError::new(
        StreamCondition::Conflict,
        "your queue comes on a newer stream",
    )
}

fn failing() -> StreamError {
    StreamError::new(
        StreamCondition::InternalServerError,
        "what you send cannot be kept now: come back soon",
    )
}

/// RFC 6120 §4.9.3.14.
fn unwanted() -> StreamError {
    StreamError::new(
        StreamCondition::PolicyViolation,
        "this server has no streams with your domain",
    )
}

fn shutdown() -> StreamError {
    StreamError::new(
        StreamCondition::SystemShutdown,
        "the server is stopping: come back soon",
    )
}
