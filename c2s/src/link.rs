//! What a client's stream asks of its server, and what the server may send into it.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use comity_xmpp::element::Element;
use comity_xmpp::error::StanzaError;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::sasl::{Hash, ScramKeys};
use comity_xmpp::stanza::Stanza;

pub use crate::queue::{Inbox, Outbound, Place, Undeliverable};

pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What authentication may use of an account: its SCRAM keys. An unknown or disabled account gets
/// keys derived from the host's secret, so that nobody can tell it from a wrong password.
#[derive(Clone)]
pub struct Credentials {
    pub sha1: ScramKeys,
    pub sha256: ScramKeys,
    /// Which of them a password that comes in the clear is held against.
    pub plain: Hash,
    /// False: the exchange is carried to its end and then refused.
    pub usable: bool,
}

/// The server behind the client streams.
pub trait Server: Send + Sync + 'static {
    /// Is this domain ours?
    fn serves(&self, domain: &str) -> bool;
    fn credentials<'a>(&'a self, account: &'a BareJid) -> Later<'a, Credentials>;
    /// Somebody at this address wants to log in as that account. Returns once the attempt may be
    /// looked at; false: it may not, and the stream ends.
    fn attempt<'a>(&'a self, _from: IpAddr, _account: &'a BareJid) -> Later<'a, bool> {
        Box::pin(std::future::ready(true))
    }
    /// An attempt has failed; without an account, where it named none.
    fn failed(&self, _from: IpAddr, _account: Option<&BareJid>) {}
    /// An attempt has succeeded.
    fn entered(&self, _from: IpAddr, _account: &BareJid) {}
    /// Makes an account for somebody at this address (XEP-0077 §3.1). It is committed before this
    /// returns.
    fn register<'a>(
        &'a self,
        from: IpAddr,
        registration: Registration,
    ) -> Later<'a, Result<(), StanzaError>>;
    /// Does a token prove that it is this account's (XEP-0484)? What has come of it is committed
    /// before this returns.
    fn fast<'a>(&'a self, attempt: FastAttempt) -> Later<'a, Option<FastAccepted>>;
    /// A new token for a client that has proved who it is; none, where there are no tokens.
    fn fast_token<'a>(&'a self, wanted: FastWanted) -> Later<'a, Option<FastToken>>;
    /// Makes the authenticated client a session. The answer is its full JID, perhaps with another
    /// resource than it asked for.
    fn bind<'a>(&'a self, bound: Bound) -> Later<'a, Result<Jid, StanzaError>>;
    /// What a client that asks for everything at once is told with its session (XEP-0386).
    fn welcome<'a>(&'a self, _session: &'a Jid) -> Later<'a, Vec<Element>> {
        Box::pin(std::future::ready(Vec::new()))
    }
    /// Takes one stanza, `from` already stamped. Returns once its effects are committed and on
    /// their way; a stream's stanzas are handed in one after the other, in order. The number of
    /// `count`, where it was kept with them.
    fn stanza<'a>(
        &'a self,
        session: &'a Jid,
        stanza: Stanza,
        count: Option<Count>,
    ) -> Later<'a, Option<u32>>;
    /// Takes messages that followed one another, each as [`Self::stanza`] does, but so that they
    /// can be committed together. The last of their counts that was kept.
    fn messages<'a>(
        &'a self,
        session: &'a Jid,
        messages: Vec<(Stanza, Option<Count>)>,
    ) -> Later<'a, Option<u32>> {
        Box::pin(async move {
            let mut kept = None;
            for (message, count) in messages {
                kept = self.stanza(session, message, count).await.or(kept);
            }
            kept
        })
    }
    /// The stanzas of a session are counted from now on (XEP-0198): what it is given and has not
    /// acknowledged outlives the server. False: it cannot be kept.
    fn manage<'a>(&'a self, session: &'a Jid, manage: Manage) -> Later<'a, bool>;
    /// Keeps a count by itself. False: it could not be kept.
    fn keep<'a>(&'a self, session: &'a Jid, count: Count) -> Later<'a, bool>;
    /// The client has acknowledged so many more of what it was given.
    fn acknowledged(&self, session: &Jid, key: &Arc<str>, more: usize);
    /// A client has come back to its session. False: it could not be kept that it has.
    fn resumed<'a>(&'a self, session: &'a Jid, back: Back) -> Later<'a, bool>;
    /// The server stops, and the session takes nothing more in: what is for it is kept for the next.
    fn suspending(&self, session: &Jid, key: &Arc<str>);
    /// What is left of the session then; its client may come back to the next server.
    fn suspend<'a>(&'a self, session: &'a Jid, suspended: Suspended) -> Later<'a, ()>;
    /// The session is over; what it had been given and has not acknowledged (XEP-0198), or what
    /// was never written, comes back, oldest first. `key`: what it was kept by.
    fn unbind<'a>(
        &'a self,
        session: &'a Jid,
        key: Option<Arc<str>>,
        unacked: Vec<Stanza>,
    ) -> Later<'a, ()>;
}

/// How many of its client's stanzas a session has handled, with the one in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    pub key: Arc<str>,
    pub h: u32,
}

/// A session that is to be kept.
#[derive(Clone, Debug)]
pub struct Manage {
    /// A hash of the name by which its client asks for it.
    pub key: Arc<str>,
    /// The client knows that name.
    pub resumable: bool,
    /// The place in its queue of the first stanza that the client counts.
    pub first: i64,
    /// Which queue that is.
    pub queue: u64,
}

/// A client that is back.
#[derive(Clone, Debug)]
pub struct Back {
    pub key: Arc<str>,
    /// Of the new connection (RFC 9266).
    pub tls_exporter: Option<[u8; 32]>,
    /// The session is one of an earlier life of the server: the last stanza that the client has.
    pub restored: Option<u32>,
}

/// What is left of a session when the server stops.
#[derive(Debug)]
pub struct Suspended {
    pub count: Count,
    /// How many stanzas the client has acknowledged, as it counts them.
    pub acknowledged: u32,
    /// What it was sent since, and what it was not sent, in order.
    pub said: Vec<Arc<Stanza>>,
    pub unsaid: Vec<Arc<Stanza>>,
}

/// A session that an earlier life of the server has left.
pub struct Restored {
    pub key: Arc<str>,
    pub jid: Jid,
    /// How many of its client's stanzas are handled.
    pub h: u32,
    /// What its client may not have, each with what the client counts it as, if it was ever said.
    pub stanzas: Vec<(Option<u32>, Arc<Stanza>)>,
    pub inbox: Inbox,
}

/// An account that somebody wants to have.
pub struct Registration {
    pub account: BareJid,
    pub password: String,
}

/// For logs, without the password.
impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// A client that shows a token instead of a password.
#[derive(Clone, Debug)]
pub struct FastAttempt {
    pub token: FastWanted,
    /// HMAC(token, "Initiator" ‖ binding).
    pub proof: Vec<u8>,
    pub binding: Vec<u8>,
    /// Higher each time, where the client counts.
    pub count: Option<u32>,
    /// The client will not use it again.
    pub invalidate: bool,
}

/// Which token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FastWanted {
    pub account: BareJid,
    /// The client's `<user-agent/>`: a token is no one else's.
    pub agent: String,
    pub mechanism: &'static str,
}

#[derive(Clone, Debug)]
pub struct FastAccepted {
    /// HMAC(token, "Responder" ‖ binding).
    pub proof: Vec<u8>,
    /// Where the old one is getting on in years.
    pub token: Option<FastToken>,
}

#[derive(Clone, Debug)]
pub struct FastToken {
    pub token: String,
    /// As XEP-0082 writes it.
    pub expiry: String,
}

/// A client that has proved who it is and asks for a session.
pub struct Bound {
    pub account: BareJid,
    pub resource: Option<String>,
    /// tls-exporter (RFC 9266) of the connection, for proofs bound to it.
    pub tls_exporter: Option<[u8; 32]>,
    /// The client wants copies of what its account's other clients say and hear (XEP-0280).
    pub carbons: bool,
    pub outbound: Outbound,
}
