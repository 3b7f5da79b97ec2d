//! Opens what components connect to (XEP-0114).

use std::collections::HashMap;
use std::sync::Arc;

use comity_conf::Conf;
use comity_net::listener::Permits;
use comity_net::stop::Stop;
use comity_s2s::component::serve::{Components, serve};
use comity_xmpp::jid::BareJid;
use tracing::info;

use super::RunError;
use super::clients::{listen, size};
use super::peers::Streams;
use crate::home::Home;
use crate::offers::secret;

/// Connections at a time: one a component, and those that give way.
const CONNECTIONS: usize = 64;

pub(super) async fn start(
    conf: &Conf,
    home: &Home,
    streams: &Arc<Streams>,
    stop: &Stop,
) -> Result<(), RunError> {
    if conf.components.secret_files.is_empty() {
        return Ok(());
    }
    let mut secrets: HashMap<String, Arc<str>> = HashMap::new();
    for (domain, file) in &conf.components.secret_files {
        secrets.insert(domain.clone(), secret(file)?.into());
    }
    let components = Components::new(secrets, size(conf.s2s.stanza_bytes));
    streams.attach(components.clone());
    let permits = Permits {
        connections: CONNECTIONS,
        per_address: CONNECTIONS,
    };
    for address in &conf.components.listen {
        let listener = listen("components.listen", *address, permits).await?;
        info!(%address, "listening for components");
        let server = Arc::new(home.clone());
        tokio::spawn(serve(listener, components.clone(), server, stop.clone()));
    }
    Ok(())
}

/// The domains of components, as addresses have them.
pub(super) fn domains(conf: &Conf) -> Result<Vec<String>, RunError> {
    let named = conf.components.secret_files.keys();
    named
        .map(|domain| match BareJid::parse(domain) {
            Ok(jid) if jid.local().is_none() && jid.as_str() == domain => Ok(domain.clone()),
            Ok(jid) => Err(format!("write it as {jid}, which is a domain alone")),
            Err(fault) => Err(fault.to_string()),
        })
        .zip(conf.components.secret_files.keys())
        .map(|(found, domain)| {
            found.map_err(|why| RunError::Domain {
                key: "components.secret_files",
                domain: domain.clone(),
                why,
            })
        })
        .collect()
}
