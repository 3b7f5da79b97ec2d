//! Another domain's stream, both ways. Machines first ([`incoming`], [`outgoing`], [`peer`]), the
//! thin place that touches the runtime last ([`link`]).

pub mod certificate;
pub mod component;
pub mod dialback;
pub mod incoming;
mod intake;
mod line;
pub mod link;
pub mod outgoing;
pub mod peer;
pub mod probe;
mod reach;
mod receiving;
pub mod resolve;
mod sending;
pub mod serve;
pub mod trust;
mod turn;
mod words;

use std::collections::HashMap;
use std::time::Duration;

use comity_net::dns::order::Target;
use comity_net::listener::Permits;
use comity_xmpp::frame::Limits;

pub use dialback::Secret;
pub use link::{Federation, Peers};
pub use serve::serve;

/// Nothing anybody sends before it has proved who it is needs more than this.
pub(crate) const EARLY_LIMITS: Limits = Limits {
    element_bytes: 16 * 1024,
    depth: 16,
    attributes: 32,
    name_bytes: 256,
};

/// What the operator decides about federation. The defaults are those of the configuration.
#[derive(Clone)]
pub struct Options {
    /// Our domains; each speaks on streams of its own (RFC 6120 §10.3 knows a stream by both its
    /// domains). The first answers where none is named.
    pub domains: Vec<String>,
    pub permits: Permits,
    /// Bytes of a stanza from another domain.
    pub stanza_bytes: usize,
    /// For each address tried.
    pub connect: Duration,
    /// From connected to authenticated, in either direction.
    pub negotiation: Duration,
    /// A stream over which nothing went for this long is closed.
    pub idle: Duration,
    /// The first pause before an unreachable domain is tried again; it doubles up to the longest.
    pub retry_first: Duration,
    pub retry_most: Duration,
    /// Presence and IQs in memory for a domain that is being reached.
    pub queue: usize,
    /// Let one stream carry both directions (XEP-0288) with peers that know how.
    pub bidi: bool,
    /// Show our certificate to those we connect to, and prove ourselves by it (XEP-0178).
    pub client_certificate: bool,
    /// With which secret dialback is done, with the domains that `rules` allow it with. None: never.
    pub dialback: Option<Secret>,
    /// Where to find a domain without asking the DNS.
    pub targets: HashMap<String, Target>,
    /// Go where the DNS names private and loopback addresses; to `targets` in any case.
    pub private_addresses: bool,
    /// What each of our domains asks of others; one without asks for certificates.
    pub rules: HashMap<String, trust::Rules>,
}

impl Options {
    #[must_use]
    pub fn new(domains: Vec<String>) -> Self {
        Self {
            domains,
            permits: Permits {
                connections: 1_000,
                per_address: 50,
            },
            stanza_bytes: 256 * 1024,
            connect: Duration::from_secs(10),
            negotiation: Duration::from_secs(30),
            idle: Duration::from_secs(10 * 60),
            retry_first: Duration::from_secs(2),
            retry_most: Duration::from_secs(5 * 60),
            queue: 1024,
            bidi: true,
            client_certificate: true,
            dialback: None,
            targets: HashMap::new(),
            private_addresses: false,
            rules: HashMap::new(),
        }
    }

    /// Which of our domains a stanza goes out for.
    pub(crate) fn ours<'a>(&'a self, from: Option<&str>) -> &'a str {
        let named = self.domains.iter().find(|ours| Some(ours.as_str()) == from);
        named.or(self.domains.first()).map_or("", String::as_str)
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            element_bytes: self.stanza_bytes,
            depth: 64,
            attributes: 64,
            name_bytes: 1024,
        }
    }
}
