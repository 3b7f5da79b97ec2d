//! Opens what clients connect to.

use std::net::SocketAddr;
use std::sync::Arc;

use comity_c2s::Options;
use comity_c2s::serve::{Clients, serve};
use comity_conf::{C2s, Conf, Scram};
use comity_net::dns::order::Start;
use comity_net::listener::{Listener, Permits};
use comity_net::proxy::Proxies;
use comity_net::stop::Stop;
use comity_net::tls::{Acceptor, Certificates, Service};
use comity_xmpp::sasl::Hash;
use tracing::info;

use super::RunError;
use crate::home::Home;
use crate::managed;

/// Gives what all their streams share.
pub(super) async fn start(
    conf: &Conf,
    home: &Home,
    certificates: Arc<Certificates>,
    stop: &Stop,
) -> Result<Clients, RunError> {
    let register = conf.accounts.registration;
    let conf = &conf.c2s;
    let options = Options {
        register,
        ..options(conf)
    };
    let permits = options.permits;
    let acceptor = Acceptor::new(Service::Client, certificates)?;
    let queue = (!options.resumption.is_zero()).then_some(options.queue);
    let clients = Clients::new(options, acceptor, Arc::new(home.clone()));
    let restored = managed::restore(home, &clients, queue, stop).await;
    restored.map_err(RunError::Sessions)?;
    for (key, addresses, how) in [
        ("c2s.listen", &conf.listen, Start::StartTls),
        ("c2s.listen_tls", &conf.listen_tls, Start::Direct),
    ] {
        for address in addresses {
            let listener = listen(key, *address, permits).await?;
            let listener = listener.paced(conf.connections_per_minute);
            let listener = listener.behind(proxies(&conf.proxies));
            info!(%address, tls = ?how, "listening for clients");
            tokio::spawn(serve(listener, how, clients.clone(), stop.clone()));
        }
    }
    Ok(clients)
}

/// Where `key` of the configuration says.
pub(super) async fn listen(
    key: &'static str,
    address: SocketAddr,
    permits: Permits,
) -> Result<Listener, RunError> {
    Listener::bind(address, permits)
        .await
        .map_err(|source| RunError::Listen {
            key,
            address,
            source,
        })
}

/// What the configuration has let pass is an address or a network.
pub(super) fn proxies(list: &[String]) -> Proxies {
    Proxies(list.iter().filter_map(|proxy| proxy.parse().ok()).collect())
}

fn options(conf: &C2s) -> Options {
    Options {
        permits: Permits {
            connections: size(conf.connections),
            per_address: size(conf.connections_per_address),
        },
        plain: conf.plain,
        scram: conf.scram.iter().copied().map(hash).collect(),
        stanza_bytes_before_login: size(conf.stanza_bytes_before_login),
        stanza_bytes: size(conf.stanza_bytes),
        negotiation: conf.negotiation,
        silence: conf.silence,
        sign_of_life: conf.sign_of_life,
        resumption: conf.resumption,
        fast: !conf.fast.is_zero(),
        queue: size(conf.queue),
        ..Options::default()
    }
}

fn hash(scram: Scram) -> Hash {
    match scram {
        Scram::Sha1 => Hash::Sha1,
        Scram::Sha256 => Hash::Sha256,
    }
}

pub(super) fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
