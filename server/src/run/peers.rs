//! Opens what other domains connect to, and the streams to them.

use std::sync::Arc;

use comity_conf::Conf;
use comity_net::stop::Stop;
use comity_net::tls::Certificates;
use comity_xmpp::stanza::Stanza;
use tracing::debug;

use super::RunError;
use crate::home::{Home, Remote};

/// The streams to other domains, once they are open.
#[derive(Default)]
pub(super) struct Streams {}

impl Remote for Streams {
    fn send(&self, domain: &str, stanza: Stanza) {
        debug!(domain, kind = ?stanza.kind, "no stream yet");
    }

    fn wake(&self, domain: &str) {
        debug!(domain, "no stream yet");
    }
}

pub(super) async fn start(
    _conf: &Conf,
    _domains: &[String],
    _home: &Home,
    _streams: &Arc<Streams>,
    _certificates: Arc<Certificates>,
    _stop: &Stop,
) -> Result<(), RunError> {
    Ok(())
}
