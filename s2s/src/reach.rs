//! Reaching a domain: its targets one after the other, until a stream to one of them is ready.

use std::sync::Arc;

use comity_net::connect::{self, Dial, Unreachable};
use comity_net::dns::order::{Start, Target};
use comity_net::drive::{Ended, Pump, Step, now};
use comity_net::random;
use comity_net::tls::TlsError;
use comity_net::transport::Transport;
use comity_xmpp::error::StanzaCondition;
use tokio::net::TcpStream;

use crate::EARLY_LIMITS;
use crate::certificate::{Proof, Shown};
use crate::dialback::{Query, Secret, Verdict};
use crate::line::{Line, News, Order};
use crate::link::{Shared, TURN};
use crate::outgoing::{Command, Event, Outgoing, Over, Settings, Way, Ways};
use crate::peer::Failure;
use crate::resolve::{Nowhere, resolve};
use crate::serve::domains;

/// How long a peer may take to read our last words.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(2);

pub(crate) type Stream = Pump<Transport, Outgoing>;

/// Why one target came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Ended(#[from] Ended),
    #[error("{0}")]
    Over(Over, Ways),
}

/// What a target was reached for.
pub(crate) enum Reached {
    Stream(Box<Stream>),
    Verdict(Verdict),
}

impl Reached {
    /// What we have proved ourselves by, or need not.
    fn by(&self) -> Option<&'static str> {
        match self {
            Self::Stream(stream) => stream.machine().ways().taken.map(Way::name),
            Self::Verdict(_) => None,
        }
    }
}

/// What takes along what we have for a domain.
pub(crate) enum Carrier {
    Own(Box<Stream>),
    /// A stream that the domain has opened, and up to where it holds our queue.
    Lent(Arc<Line>, Option<i64>),
}

/// A stream to a domain, ready for stanzas: one of the domain's own where there is one that
/// carries both directions, so that no second connection is made.
pub(crate) async fn reach(
    shared: &Arc<Shared>,
    ours: &str,
    domain: &str,
) -> Result<Carrier, Failure> {
    if let Some(line) = shared.lines.find(ours, domain) {
        line.order(Order::Begin(shared.server.queue().await));
        loop {
            match line.news().await {
                News::Ready(held) if possible(shared, domain, held).await => {
                    return Ok(Carrier::Lent(line, held));
                }
                News::Ready(_) => {
                    line.order(Order::Close);
                    return Err(ahead(domain));
                }
                // It is over before it began: we go ourselves.
                News::Ended(..) => break,
                News::Delivered(_) | News::Congested(_) => {}
            }
        }
    }
    connect(shared, ours, domain).await
}

/// To prove ourselves where our certificate is not wanted; not where theirs is required.
pub(crate) fn secret(shared: &Shared, ours: &str, domain: &str) -> Option<Secret> {
    let secret = shared.options.dialback.as_ref();
    secret
        .filter(|_| shared.trust.dials_back(ours, domain))
        .cloned()
}

fn ahead(domain: &str) -> Failure {
    Failure {
        not_found: false,
        text: format!("{domain} holds more of our queue than we have sent"),
    }
}

async fn connect(shared: &Arc<Shared>, ours: &str, domain: &str) -> Result<Carrier, Failure> {
    let settings = Settings {
        ours: ours.to_owned(),
        theirs: domain.to_owned(),
        queue: shared.server.queue().await,
        dialback: secret(shared, ours, domain),
        verify: None,
        bidi: shared.options.bidi.then(|| domains(shared)),
        negotiation: shared.options.negotiation,
    };
    // Never closed. Who waits to be verified has come by itself, and waits for nobody's turn.
    let turn = shared.attempts.acquire().await;
    let mut reaching = std::pin::pin!(any_target(shared, &settings));
    let reached = match tokio::time::timeout(TURN, reaching.as_mut()).await {
        Ok(reached) => reached,
        Err(_) => {
            drop(turn);
            reaching.await
        }
    };
    let Reached::Stream(stream) = reached? else {
        return Err(Failure {
            not_found: false,
            text: format!("{domain} answers what was not asked"),
        });
    };
    if !possible(shared, domain, stream.machine().held()).await {
        stream.shutdown(LAST_WORDS).await;
        return Err(ahead(domain));
    }
    Ok(Carrier::Own(stream))
}

/// Asks the server of a domain whether a key is its own (XEP-0220 §2.3).
pub(crate) async fn verify(shared: &Shared, query: &Query) -> Verdict {
    let settings = Settings {
        ours: query.ours.clone(),
        theirs: query.theirs.clone(),
        queue: None,
        dialback: None,
        verify: Some(query.clone()),
        bidi: None,
        negotiation: shared.options.negotiation,
    };
    match any_target(shared, &settings).await {
        Ok(Reached::Verdict(verdict)) => verdict,
        Ok(Reached::Stream(_)) => Verdict::Error(StanzaCondition::UndefinedCondition),
        Err(failure) => {
            tracing::info!(peer = %query.theirs, why = %failure.text, "a key could not be verified");
            Verdict::Error(if failure.not_found {
                StanzaCondition::RemoteServerNotFound
            } else {
                StanzaCondition::RemoteServerTimeout
            })
        }
    }
}

async fn any_target(shared: &Shared, settings: &Settings) -> Result<Reached, Failure> {
    let (ours, domain) = (&settings.ours, &settings.theirs);
    if !shared.server.federates(ours, domain) {
        return Err(Failure {
            not_found: true,
            text: format!("{ours} has no streams with {domain}"),
        });
    }
    let lookup = &*shared.lookup;
    let targets = &shared.options.targets;
    let targets = resolve(lookup, targets, domain, &mut random::up_to).await;
    let targets = targets.map_err(|nowhere| Failure {
        not_found: matches!(nowhere, Nowhere::NotOffered(_)),
        text: nowhere.to_string(),
    })?;
    let mut failure = Failure {
        not_found: true,
        text: format!("{domain} has no server"),
    };
    for target in targets {
        let Target { host, port, start } = &target;
        match attempt(shared, settings.clone(), &target).await {
            Ok(reached) => {
                let by = reached.by();
                tracing::info!(peer = %domain, %host, port, ?start, by, "the peer is reached");
                return Ok(reached);
            }
            Err(fault) => {
                tracing::debug!(peer = %domain, %host, port, ?start, %fault, "a target failed");
                let nobody = matches!(
                    fault,
                    Fault::Unreachable(Unreachable::NoAddress { .. } | Unreachable::Private { .. })
                );
                failure = Failure {
                    // One of several that has no address says nothing of a domain whose others have.
                    not_found: failure.not_found && nobody,
                    text: format!("{host}:{port}: {fault}"),
                };
            }
        }
    }
    Err(failure)
}

/// Is what the peer holds of our queue something that we have sent?
async fn possible(shared: &Shared, domain: &str, held: Option<i64>) -> bool {
    let Some(held) = held else {
        return true;
    };
    let possible = shared.server.possible(held).await;
    if !possible {
        tracing::warn!(
            peer = %domain, held,
            "the peer has stanzas of ours that we do not know: was an older database put back? \
             Our queue goes on under another name"
        );
    }
    possible
}

pub(crate) async fn attempt(
    shared: &Shared,
    settings: Settings,
    target: &Target,
) -> Result<Reached, Fault> {
    let (ours, domain) = (&settings.ours.clone(), &settings.theirs.clone());
    let options = &shared.options;
    // Whoever goes on behind TLS has proved its domain, and may send us stanzas.
    let secured = match settings.bidi {
        Some(_) => options.limits(),
        None => EARLY_LIMITS,
    };
    let dial = Dial {
        patience: options.connect,
        private: options.private_addresses || options.targets.contains_key(domain),
    };
    let socket = connect::tcp(&*shared.lookup, &target.host, target.port, dial).await?;
    let mut pump = match target.start {
        Start::StartTls => {
            let machine = Outgoing::new(settings, None, now());
            Pump::new(Transport::Plain(socket), machine, EARLY_LIMITS)
        }
        Start::Direct => {
            let (transport, proof) = secure(shared, socket, (ours, domain), Start::Direct).await?;
            let machine = Outgoing::new(settings, Some(proof), now());
            Pump::new(transport, machine, secured)
        }
    };
    loop {
        let Step::Event(event) = pump.step().await? else {
            continue;
        };
        match event {
            Event::StartTls => {
                let (transport, machine) = pump.into_parts();
                let Transport::Plain(socket) = transport else {
                    return Err(Fault::Over(Over::NoTls(domain.clone()), Ways::default()));
                };
                let (transport, proof) =
                    secure(shared, socket, (ours, domain), Start::StartTls).await?;
                pump = Pump::new(transport, machine, secured);
                pump.command(Command::TlsStarted(proof));
            }
            Event::Restart => pump.restart(),
            Event::Ready => return Ok(Reached::Stream(Box::new(pump))),
            Event::Verdict(verdict) => {
                pump.command(Command::Close(None));
                pump.shutdown(LAST_WORDS).await;
                return Ok(Reached::Verdict(verdict));
            }
            // What the peer says before we are ready, it says to those who come after us.
            Event::Delivered(_) | Event::Stanza(..) | Event::Opened(_) | Event::Answer(_) => {}
            Event::Closed(over) => {
                let machine = pump.shutdown(dial.patience).await;
                return Err(Fault::Over(over, machine.ways()));
            }
        }
    }
}

async fn secure(
    shared: &Shared,
    socket: TcpStream,
    (ours, domain): (&str, &str),
    start: Start,
) -> Result<(Transport, Box<dyn Proof>), TlsError> {
    let patience = shared.options.negotiation;
    let Some(connector) = shared.connectors.get(ours) else {
        return Err(TlsError::NoCertificate);
    };
    let transport = connector.connect(socket, domain, start, patience).await?;
    let shown = Shown::new(transport.peer_chain(), shared.trust.clone());
    Ok((transport, Box::new(shown)))
}
