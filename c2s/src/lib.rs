//! A client's stream: TLS, SASL, binding, then stanzas in order. Machines first ([`negotiate`],
//! [`session`]), the thin places that touch the runtime last: [`serve`] takes connections in,
//! [`link`] is what the server and a session see of each other.
//!
//! Absent on purpose: what a stanza means, and who else is connected. The server knows both.

mod idle;
pub mod link;
pub mod negotiate;
mod queue;
pub mod resume;
pub mod serve;
pub mod session;
mod stream;
pub mod websocket;

use std::time::Duration;

use comity_net::listener::Permits;
use comity_xmpp::frame::Limits;
use comity_xmpp::sasl::Hash;

pub use serve::{Clients, serve};

/// What the operator decides about clients. The defaults are those of the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    pub permits: Permits,
    /// Offer PLAIN beside SCRAM, always inside TLS.
    pub plain: bool,
    /// SCRAM with these, the preferred first.
    pub scram: Vec<Hash>,
    /// Let people make accounts (XEP-0077 §3.1).
    pub register: bool,
    /// Bytes of an element before the client has logged in, and after.
    pub stanza_bytes_before_login: usize,
    pub stanza_bytes: usize,
    /// From connecting to a bound session.
    pub negotiation: Duration,
    /// A client silent for this long is asked for a sign of life.
    pub silence: Duration,
    /// How long it then has to give one.
    pub sign_of_life: Duration,
    /// How long a session waits for a client that has lost its connection; nothing: it does not.
    pub resumption: Duration,
    /// Give clients tokens to log in with again (XEP-0484).
    pub fast: bool,
    /// Stanzas waiting for a session; a client that lets it fill up is dropped.
    pub queue: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            permits: Permits {
                connections: 10_000,
                per_address: 100,
            },
            plain: true,
            scram: vec![Hash::Sha256, Hash::Sha1],
            register: false,
            stanza_bytes_before_login: 16 * 1024,
            stanza_bytes: 256 * 1024,
            negotiation: Duration::from_secs(60),
            silence: Duration::from_secs(5 * 60),
            sign_of_life: Duration::from_secs(30),
            resumption: Duration::from_secs(5 * 60),
            fast: true,
            queue: 1024,
        }
    }
}

impl Options {
    pub(crate) fn resumption(&self) -> Option<Duration> {
        (!self.resumption.is_zero()).then_some(self.resumption)
    }

    pub(crate) fn early_limits(&self) -> Limits {
        Limits {
            element_bytes: self.stanza_bytes_before_login,
            depth: 16,
            attributes: 32,
            name_bytes: 256,
        }
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
