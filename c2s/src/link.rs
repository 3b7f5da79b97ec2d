//! What a client's stream asks of its server, and what the server may send into it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use comity_xmpp::error::{StanzaError, StreamError};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::sasl::ScramKeys;
use comity_xmpp::stanza::Stanza;
use tokio::sync::mpsc;

pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What authentication may use of an account: its SCRAM keys. An unknown or disabled account gets
/// keys derived from the host's secret, so that nobody can tell it from a wrong password.
#[derive(Clone)]
pub struct Credentials {
    pub sha1: ScramKeys,
    pub sha256: ScramKeys,
    /// False: the exchange is carried to its end and then refused.
    pub usable: bool,
}

/// The server behind the client streams.
pub trait Server: Send + Sync + 'static {
    /// Is this domain ours?
    fn serves(&self, domain: &str) -> bool;
    fn credentials<'a>(&'a self, account: &'a BareJid) -> Later<'a, Credentials>;
    /// Makes the authenticated client a session. The answer is its full JID, perhaps with another
    /// resource than it asked for.
    fn bind<'a>(&'a self, bound: Bound) -> Later<'a, Result<Jid, StanzaError>>;
    /// Takes one stanza, `from` already stamped. Returns once its effects are committed and on
    /// their way; a stream's stanzas are handed in one after the other, in order.
    fn stanza<'a>(&'a self, session: &'a Jid, stanza: Stanza) -> Later<'a, ()>;
    /// The session is over; what it had been given and has not acknowledged (XEP-0198) comes back.
    fn unbind<'a>(&'a self, session: &'a Jid, unacked: Vec<Stanza>) -> Later<'a, ()>;
}

/// A client that has proved who it is and asks for a session.
pub struct Bound {
    pub account: BareJid,
    pub resource: Option<String>,
    /// tls-exporter (RFC 9266) of the connection, for proofs bound to it.
    pub tls_exporter: Option<[u8; 32]>,
    pub outbound: Outbound,
}

/// The way into one session. Bounded: a reader too slow to keep up is dropped.
#[derive(Clone)]
pub struct Outbound {
    pub(crate) sender: mpsc::Sender<ToSession>,
}

/// The reading end of an [`Outbound`].
pub struct Inbox {
    pub(crate) receiver: mpsc::Receiver<ToSession>,
}

impl Inbox {
    /// What waits for the session, oldest first: for tests of a server without streams.
    pub fn try_next(&mut self) -> Option<Result<Arc<Stanza>, StreamError>> {
        match self.receiver.try_recv().ok()? {
            ToSession::Stanza(stanza) => Some(Ok(stanza)),
            ToSession::Close(error) => Some(Err(error)),
        }
    }
}

#[derive(Debug)]
pub(crate) enum ToSession {
    Stanza(Arc<Stanza>),
    Close(StreamError),
}

/// The session's queue is full or its stream is gone; the stanza comes back for another way.
#[derive(Debug)]
pub struct Undeliverable(pub Arc<Stanza>);

impl Outbound {
    pub fn send(&self, stanza: Arc<Stanza>) -> Result<(), Undeliverable> {
        self.sender
            .try_send(ToSession::Stanza(stanza))
            .map_err(|refused| match refused.into_inner() {
                ToSession::Stanza(stanza) => Undeliverable(stanza),
                ToSession::Close(_) => unreachable!("a stanza was sent"),
            })
    }

    /// A queue of at most `bound` stanzas, and the end that the session's stream reads.
    #[must_use]
    pub fn new(bound: usize) -> (Self, Inbox) {
        let (sender, receiver) = mpsc::channel(bound);
        (Self { sender }, Inbox { receiver })
    }

    /// As [`Self::send`], but waits while the queue is full: for what need not come at once.
    pub async fn send_when_free(&self, stanza: Arc<Stanza>) -> Result<(), Undeliverable> {
        match self.sender.reserve().await {
            Ok(place) => {
                place.send(ToSession::Stanza(stanza));
                Ok(())
            }
            Err(_) => Err(Undeliverable(stanza)),
        }
    }

    /// The session's stream is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Ends the session's stream with an error.
    pub fn close(&self, error: StreamError) {
        // A full queue is a dead reader: the driver ends it by itself.
        let _ = self.sender.try_send(ToSession::Close(error));
    }
}
