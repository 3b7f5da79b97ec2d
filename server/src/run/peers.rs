//! Opens what other domains connect to, and the streams to them.

use std::sync::{Arc, OnceLock};

use comity_conf::{Conf, S2s, Target as Written, TargetTls};
use comity_net::dns::SystemDns;
use comity_net::dns::order::{Start, Target};
use comity_net::listener::Permits;
use comity_net::stop::Stop;
use comity_net::tls::{Certificates, Roots};
use comity_s2s::link::Server as _;
use comity_s2s::{Federation, Options, Peers, serve};
use comity_xmpp::stanza::Stanza;
use tracing::{error, info};

use super::RunError;
use super::clients::{listen, size};
use crate::home::{Home, Remote};

/// The streams to other domains, once they are open.
#[derive(Default)]
pub(super) struct Streams(OnceLock<(Peers, Home)>);

impl Remote for Streams {
    fn send(&self, domain: &str, stanza: Stanza) {
        // Nobody has a session before the streams are open, so nothing is lost here.
        let Some((peers, home)) = self.0.get() else {
            return;
        };
        if let Err(refused) = peers.send(domain, stanza) {
            let (home, domain) = (home.clone(), domain.to_owned());
            tokio::spawn(async move {
                let (stanza, why) = *refused;
                home.undeliverable(&domain, stanza, why).await;
            });
        }
    }

    fn wake(&self, domain: &str) {
        // Rows written before the streams are open are found when they open.
        if let Some((peers, _)) = self.0.get() {
            peers.wake(domain);
        }
    }
}

pub(super) async fn start(
    conf: &Conf,
    domains: &[String],
    home: &Home,
    streams: &Arc<Streams>,
    certificates: Arc<Certificates>,
    stop: &Stop,
) -> Result<(), RunError> {
    let roots = Roots::load(conf.tls.system_roots, &conf.tls.extra_roots)?;
    let federation = Federation::new(
        options(&conf.s2s, domains),
        &certificates,
        roots,
        Arc::new(SystemDns::new()),
        Arc::new(home.clone()),
        stop.clone(),
    )?;
    let peers = federation.peers();
    for (addresses, how) in [
        (&conf.s2s.listen, Start::StartTls),
        (&conf.s2s.listen_tls, Start::Direct),
    ] {
        for address in addresses {
            let listener = listen(*address, permits(&conf.s2s)).await?;
            info!(%address, tls = ?how, "listening for other domains");
            tokio::spawn(serve(listener, how, federation.clone(), stop.clone()));
        }
    }
    let _ = streams.0.set((peers.clone(), home.clone()));
    // What an earlier run has left in the outbox.
    match home.storage.outbox_destinations().await {
        Ok(destinations) => destinations.iter().for_each(|domain| peers.wake(domain)),
        Err(fault) => error!(%fault, "the outbox cannot be read: it waits for new stanzas"),
    }
    Ok(())
}

fn options(conf: &S2s, domains: &[String]) -> Options {
    let targets = conf.targets.iter();
    Options {
        permits: permits(conf),
        stanza_bytes: size(conf.stanza_bytes),
        connect: conf.connect,
        negotiation: conf.negotiation,
        idle: conf.idle,
        retry_first: conf.retry_first,
        retry_most: conf.retry_most,
        queue: size(conf.queue),
        targets: targets
            .map(|(domain, written)| (domain.clone(), target(written)))
            .collect(),
        ..Options::new(domains.first().cloned().unwrap_or_default())
    }
}

fn permits(conf: &S2s) -> Permits {
    Permits {
        connections: size(conf.connections),
        per_address: size(conf.connections_per_address),
    }
}

fn target(written: &Written) -> Target {
    Target {
        host: written.address.ip().to_string(),
        port: written.address.port(),
        start: match written.tls {
            TargetTls::Starttls => Start::StartTls,
            TargetTls::Direct => Start::Direct,
        },
    }
}
