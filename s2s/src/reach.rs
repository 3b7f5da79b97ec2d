//! Reaching a domain: its targets one after the other, until a stream to one of them is ready.

use comity_net::connect::{self, Unreachable};
use comity_net::dns::order::{Start, Target};
use comity_net::drive::{Ended, Pump, Step, now};
use comity_net::random;
use comity_net::tls::TlsError;
use comity_net::transport::Transport;
use tokio::net::TcpStream;

use crate::EARLY_LIMITS;
use crate::certificate::{Proof, Shown};
use crate::link::Shared;
use crate::outgoing::{Command, Event, Outgoing, Over, Settings};
use crate::peer::Failure;
use crate::resolve::{Nowhere, resolve};

type Stream = Pump<Transport, Outgoing>;

/// Why one target came to nothing.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Ended(#[from] Ended),
    #[error(transparent)]
    Over(Over),
}

pub(crate) async fn reach(shared: &Shared, ours: &str, domain: &str) -> Result<Stream, Failure> {
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
        match attempt(shared, ours, domain, &target).await {
            Ok(stream) => {
                tracing::info!(peer = %domain, %host, port, ?start, "a stream to the peer is ready");
                return Ok(stream);
            }
            Err(fault) => {
                tracing::debug!(peer = %domain, %host, port, ?start, %fault, "a target failed");
                let nobody = Unreachable::NoAddress { host: host.clone() };
                failure = Failure {
                    not_found: fault.to_string() == nobody.to_string(),
                    text: format!("{host}:{port}: {fault}"),
                };
            }
        }
    }
    Err(failure)
}

async fn attempt(
    shared: &Shared,
    ours: &str,
    domain: &str,
    target: &Target,
) -> Result<Stream, Fault> {
    let patience = shared.options.connect;
    let socket = connect::tcp(&*shared.lookup, &target.host, target.port, patience).await?;
    let settings = Settings {
        ours: ours.to_owned(),
        theirs: domain.to_owned(),
        negotiation: shared.options.negotiation,
    };
    let mut pump = match target.start {
        Start::StartTls => {
            let machine = Outgoing::new(settings, None, now());
            Pump::new(Transport::Plain(socket), machine, EARLY_LIMITS)
        }
        Start::Direct => {
            let (transport, proof) = secure(shared, socket, (ours, domain), Start::Direct).await?;
            let machine = Outgoing::new(settings, Some(proof), now());
            Pump::new(transport, machine, EARLY_LIMITS)
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
                    return Err(Fault::Over(Over::NoTls(domain.to_owned())));
                };
                let (transport, proof) =
                    secure(shared, socket, (ours, domain), Start::StartTls).await?;
                pump = Pump::new(transport, machine, EARLY_LIMITS);
                pump.command(Command::TlsStarted(proof));
            }
            Event::Restart => pump.restart(),
            Event::Ready => return Ok(pump),
            Event::Delivered(_) => {}
            Event::Closed(over) => {
                pump.shutdown(patience).await;
                return Err(Fault::Over(over));
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
    let shown = Shown::new(transport.peer_chain(), shared.roots.clone());
    Ok((transport, Box::new(shown)))
}
