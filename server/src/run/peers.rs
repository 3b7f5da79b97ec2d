//! Opens what other domains connect to, and the streams to them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use comity_conf::{Conf, Dialback, Peer, S2s, TargetTls};
use comity_net::dns::Dns;
use comity_net::dns::order::{Start, Target};
use comity_net::listener::Permits;
use comity_net::random;
use comity_net::stop::Stop;
use comity_net::tls::{Certificates, Roots};
use comity_s2s::component::serve::Components;
use comity_s2s::link::{Incoming, Status};
use comity_s2s::trust::{PeerTrust, Policy, Rules};
use comity_s2s::{Federation, Options, Peers, Secret, serve};
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::stanza::Stanza;
use tracing::{error, info};

use super::RunError;
use super::clients::{listen, size};
use crate::home::{Home, Remote};

/// The streams to other domains, while they are open: the server and its streams know each other.
#[derive(Default)]
pub(super) struct Streams {
    peers: RwLock<Option<Peers>>,
    components: RwLock<Option<Components>>,
}

impl Streams {
    fn open(&self, peers: Peers) {
        *self.peers.write().unwrap_or_else(PoisonError::into_inner) = Some(peers);
    }

    /// Forgets them, so that the server can be forgotten too.
    pub(super) fn close(&self) {
        *self.peers.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Components are reached through these from now on.
    pub(super) fn attach(&self, components: Components) {
        let mut attached = self
            .components
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *attached = Some(components);
    }

    /// Where this domain is one of a component.
    fn component(&self, domain: &str) -> Option<Components> {
        let components = self
            .components
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        components
            .clone()
            .filter(|components| components.has(domain))
    }

    pub(super) fn peers(&self) -> Option<Peers> {
        self.peers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Remote for Streams {
    fn send(&self, domain: &str, stanza: Stanza) -> Result<(), Box<(Stanza, StanzaError)>> {
        if let Some(components) = self.component(domain) {
            return components.send(domain, stanza);
        }
        match self.peers() {
            Some(peers) => peers.send(domain, stanza),
            None => {
                let why = StanzaError::new(ErrorType::Wait, StanzaCondition::RemoteServerTimeout)
                    .with_text("this server is starting or stopping: try again soon");
                Err(Box::new((stanza, why)))
            }
        }
    }

    fn outgoing(&self) -> Vec<Status> {
        self.peers().map_or_else(Vec::new, |peers| peers.list())
    }

    fn incoming(&self) -> HashMap<String, Incoming> {
        let peers = self.peers();
        peers.map_or_else(HashMap::new, |peers| peers.incoming())
    }

    fn wake(&self, domain: &str) {
        if let Some(components) = self.component(domain) {
            return components.wake(domain);
        }
        // Rows that nobody was told of are found at the next start.
        if let Some(peers) = self.peers() {
            peers.wake(domain);
        }
    }

    fn remind(&self, domain: &str) {
        if let Some(components) = self.component(domain) {
            return components.wake(domain);
        }
        if let Some(peers) = self.peers() {
            peers.remind(domain);
        }
    }
}

pub(super) async fn start(
    conf: &Conf,
    home: &Home,
    streams: &Arc<Streams>,
    certificates: &Arc<Certificates>,
    stop: &Stop,
) -> Result<(), RunError> {
    let options = options(&conf.s2s, home);
    let permits = options.permits;
    let roots = Roots::load(conf.tls.system_roots, &conf.tls.extra_roots)?;
    let federation = Federation::new(
        options,
        certificates,
        roots,
        Arc::new(Dns::asking(&conf.server.nameservers)),
        Arc::new(home.clone()),
        stop,
    )?;
    streams.open(federation.peers());
    for (key, addresses, how) in [
        ("s2s.listen", &conf.s2s.listen, Start::StartTls),
        ("s2s.listen_tls", &conf.s2s.listen_tls, Start::Direct),
    ] {
        for address in addresses {
            let listener = listen(key, *address, permits).await?;
            info!(%address, tls = ?how, "listening for other domains");
            tokio::spawn(serve(listener, how, federation.clone(), stop.clone()));
        }
    }
    heal(home).await;
    Ok(())
}

/// What was committed before the last end, and perhaps not sent.
async fn heal(home: &Home) {
    match home.storage.outbox_destinations().await {
        Ok(domains) => {
            for domain in domains {
                home.remote.wake(&domain);
            }
        }
        Err(fault) => error!(%fault, "the outbox cannot be read: its domains wait for a wake-up"),
    }
}

fn options(conf: &S2s, home: &Home) -> Options {
    let domains = home.hosts.domains().to_vec();
    Options {
        permits: Permits {
            connections: size(conf.connections),
            per_address: size(conf.connections_per_address),
        },
        stanza_bytes: size(conf.stanza_bytes),
        connect: conf.connect,
        negotiation: conf.negotiation,
        idle: conf.idle,
        retry_first: conf.retry_first,
        retry_most: conf.retry_most,
        queue: size(conf.queue),
        bidi: conf.bidi,
        client_certificate: conf.client_certificate,
        dialback: Some(Secret::new(&random::bytes::<32>())),
        rules: (domains.iter())
            .map(|ours| (ours.clone(), rules(&conf.rules(ours))))
            .collect(),
        private_addresses: conf.private_addresses,
        targets: conf
            .targets
            .iter()
            .map(|(domain, target)| (domain.clone(), at(target)))
            .collect(),
        ..Options::new(domains)
    }
}

/// What one of our domains asks of others.
fn rules(conf: &comity_conf::Rules) -> Rules {
    Rules {
        others: match conf.dialback {
            Dialback::Never => Policy::Require,
            Dialback::Fallback => Policy::Allow,
        },
        peers: (conf.peers.iter())
            .map(|(domain, peer)| (domain.clone(), trust(peer)))
            .collect(),
    }
}

fn trust(peer: &Peer) -> PeerTrust {
    PeerTrust {
        policy: peer.policy.map(|policy| match policy {
            comity_conf::Policy::Allow => Policy::Allow,
            comity_conf::Policy::Require => Policy::Require,
            comity_conf::Policy::Deny => Policy::Deny,
        }),
        pins: peer.pins.iter().map(|pin| pin.0).collect(),
    }
}

fn at(target: &comity_conf::Target) -> Target {
    Target {
        host: target.address.ip().to_string(),
        port: target.address.port(),
        start: match target.tls {
            TargetTls::Starttls => Start::StartTls,
            TargetTls::Direct => Start::Direct,
        },
    }
}
