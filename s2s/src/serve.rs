//! Takes peers' connections in and gives each its task.

use std::collections::VecDeque;
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
use comity_xmpp::stanza::Stanza;
use tokio::net::TcpStream;

use crate::EARLY_LIMITS;
use crate::certificate::{Proof, Shown};
use crate::incoming::{Command, Domains, Event, Incoming, Settings};
use crate::link::{Federation, Later, Server, Shared};

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
    match Box::pin(negotiate(socket, start, &federation.0, &mut stop)).await {
        Ok((pump, peer)) => {
            tracing::info!(%peer, %address, ?start, "a peer has come");
            federation.peers().seen(&peer);
            let why = carry(pump, &peer, federation, &mut stop).await;
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
    shared: &Shared,
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
            // Before the peer is trusted there are none.
            Event::Stanza(_) | Event::Answer(_) => {}
            Event::Closed(error) => {
                pump.shutdown(LAST_WORDS).await;
                return Err(error.map_or(Gone::Orderly, Gone::Stream));
            }
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
    let shown = Shown::new(transport.peer_chain(), shared.roots.clone());
    Ok((transport, Box::new(shown)))
}

/// Hands stanzas to the server one by one until the stream is over; what was received is
/// committed in any case.
async fn carry(mut pump: Stream, peer: &str, federation: &Federation, stop: &mut Stop) -> Gone {
    let server: &dyn Server = &*federation.0.server;
    let peers = federation.peers();
    let mut queue: VecDeque<Stanza> = VecDeque::new();
    let mut current: Option<Later<'_, ()>> = None;
    let mut stopping = false;
    let gone = loop {
        if current.is_none() {
            current = queue.pop_front().map(|stanza| server.stanza(peer, stanza));
        }
        tokio::select! {
            () = finished(&mut current) => {
                current = None;
                pump.command(Command::Committed);
            }
            step = pump.step() => match step {
                Ok(Step::Event(Event::Stanza(stanza))) => queue.push_back(stanza),
                Ok(Step::Event(Event::Answer(error))) => {
                    // An error that finds no place is not worth another.
                    let _ = peers.send(peer, error);
                }
                Ok(Step::Event(Event::Closed(None))) => break Gone::Orderly,
                Ok(Step::Event(Event::Closed(Some(error)))) => break Gone::Stream(error),
                Ok(Step::Written | Step::Event(_)) => {}
                Err(ended) => break Gone::Ended(ended),
            },
            () = stop.wait(), if !stopping => {
                stopping = true;
                if current.is_some() {
                    finished(&mut current).await;
                    current = None;
                    pump.command(Command::Committed);
                }
                for stanza in queue.drain(..) {
                    server.stanza(peer, stanza).await;
                    pump.command(Command::Committed);
                }
                pump.command(Command::Close(Some(shutdown())));
            }
        }
    };
    // A peer without acknowledgements believes that all this was taken, so it has to be.
    finished_if_any(current).await;
    for stanza in queue {
        server.stanza(peer, stanza).await;
    }
    pump.shutdown(LAST_WORDS).await;
    gone
}

async fn finished(current: &mut Option<Later<'_, ()>>) {
    match current {
        Some(current) => current.await,
        None => std::future::pending().await,
    }
}

async fn finished_if_any(current: Option<Later<'_, ()>>) {
    if let Some(current) = current {
        current.await;
    }
}

fn shutdown() -> StreamError {
    StreamError::new(
        StreamCondition::SystemShutdown,
        "the server is stopping: come back soon",
    )
}
