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
use tokio::task::JoinSet;

use crate::EARLY_LIMITS;
use crate::certificate::{Proof, Shown};
use crate::dialback::{Query, Verdict};
use crate::incoming::{Command, Domains, Event, Incoming, Settings};
use crate::link::{Federation, Shared};
use crate::reach;

mod carry;

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
                ..
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
            let bidi = pump.machine().is_bidi();
            tracing::info!(%peer, %address, ?start, bidi, "a peer has come");
            let peers = federation.peers();
            let _counted = peers.came(&peer, bidi);
            let why = carry::carry(pump, &peer, federation, verifying, &mut stop).await;
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

impl Gone {
    /// For whoever has something for the peer.
    fn failure(&self) -> Option<String> {
        match self {
            Self::Orderly => None,
            why => Some(why.to_string()),
        }
    }
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
            Event::Stanza(..)
            | Event::Opened(_)
            | Event::Answer(_)
            | Event::Ready
            | Event::Delivered(_) => {}
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

pub(crate) fn domains(shared: &Shared) -> Domains {
    let (serves, federates) = (Arc::clone(&shared.server), Arc::clone(&shared.server));
    let trust = shared.trust.clone();
    Domains {
        serves: Arc::new(move |domain| serves.serves(domain)),
        federates: Arc::new(move |ours, domain| federates.federates(ours, domain)),
        dials_back: Arc::new(move |ours, domain| trust.dials_back(ours, domain)),
    }
}

fn settings(shared: &Shared) -> Settings {
    Settings {
        domains: domains(shared),
        ids: [random::id(), random::id(), random::id()],
        dialback: shared.options.dialback.clone(),
        bidi: shared.options.bidi,
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

fn shutdown() -> StreamError {
    StreamError::new(
        StreamCondition::SystemShutdown,
        "the server is stopping: come back soon",
    )
}
