//! Opens what browsers connect to.

use std::sync::Arc;

use comity_c2s::Clients;
use comity_conf::Conf;
use comity_net::http::{Limits, Site, serve};
use comity_net::listener::Permits;
use comity_net::stop::Stop;
use comity_net::tls::{Acceptor, Certificates};
use tracing::info;

use super::RunError;
use super::clients::{listen, proxies, size};
use crate::home::Home;
use crate::web::{Pages, Status, Streams};

pub(super) async fn start(
    conf: &Conf,
    home: &Home,
    certificates: Arc<Certificates>,
    clients: Clients,
    stop: &Stop,
) -> Result<(), RunError> {
    let status = Status::new(conf.clone());
    let conf = &conf.web;
    let permits = Permits {
        connections: size(conf.connections),
        per_address: size(conf.connections_per_address),
    };
    let acceptor = Acceptor::web(certificates)?;
    let pages: Arc<dyn Site> = Arc::new(Pages {
        home: home.clone(),
        streams: Streams {
            clients: Some((clients, stop.clone())),
            origins: conf.origins.clone().into(),
            status: Some(status),
        },
    });
    for address in &conf.listen {
        let listener = listen("web.listen", *address, permits).await?;
        let listener = listener.paced(conf.connections_per_minute);
        let listener = listener.behind(proxies(&conf.proxies));
        info!(%address, "listening for browsers");
        let (acceptor, pages, stop) = (acceptor.clone(), Arc::clone(&pages), stop.clone());
        tokio::spawn(serve(listener, acceptor, Limits::default(), pages, stop));
    }
    Ok(())
}
