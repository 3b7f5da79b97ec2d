//! What a client's stream asks of its server, and what the server may send into it.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use comity_xmpp::error::{StanzaError, StreamError};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::sasl::ScramKeys;
use comity_xmpp::stanza::Stanza;
use tokio::sync::{Notify, mpsc};

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
    /// Somebody at this address wants to log in as that account. Returns once the attempt may be
    /// looked at; false: it may not, and the stream ends.
    fn attempt<'a>(&'a self, _from: IpAddr, _account: &'a BareJid) -> Later<'a, bool> {
        Box::pin(std::future::ready(true))
    }
    /// An attempt has failed; without an account, where it named none.
    fn failed(&self, _from: IpAddr, _account: Option<&BareJid>) {}
    /// An attempt has succeeded.
    fn entered(&self, _from: IpAddr, _account: &BareJid) {}
    /// Does a token prove that it is this account's (XEP-0484)? What has come of it is committed
    /// before this returns.
    fn fast<'a>(&'a self, attempt: FastAttempt) -> Later<'a, Option<FastAccepted>>;
    /// A new token for a client that has proved who it is; none, where there are no tokens.
    fn fast_token<'a>(&'a self, wanted: FastWanted) -> Later<'a, Option<FastToken>>;
    /// Makes the authenticated client a session. The answer is its full JID, perhaps with another
    /// resource than it asked for.
    fn bind<'a>(&'a self, bound: Bound) -> Later<'a, Result<Jid, StanzaError>>;
    /// Takes one stanza, `from` already stamped. Returns once its effects are committed and on
    /// their way; a stream's stanzas are handed in one after the other, in order.
    fn stanza<'a>(&'a self, session: &'a Jid, stanza: Stanza) -> Later<'a, ()>;
    /// A client has come back to its session over a new connection, whose tls-exporter this is.
    fn resumed<'a>(&'a self, session: &'a Jid, tls_exporter: Option<[u8; 32]>) -> Later<'a, ()>;
    /// The session is over; what it had been given and has not acknowledged (XEP-0198), or what
    /// was never written, comes back, oldest first.
    fn unbind<'a>(&'a self, session: &'a Jid, unacked: Vec<Stanza>) -> Later<'a, ()>;
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

/// The way into one session. Bounded: a reader too slow to keep up is dropped.
#[derive(Clone)]
pub struct Outbound {
    sender: mpsc::Sender<ToSession>,
    /// Told when the queue was full: the session has to end.
    overflow: Arc<Notify>,
    /// Told when the server wants the session to end, for one that nobody reads now.
    unwanted: Arc<Notify>,
}

/// The session's end of it.
pub struct Inbox {
    receiver: mpsc::Receiver<ToSession>,
    overflow: Arc<Notify>,
    unwanted: Arc<Notify>,
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
    /// A queue of at most `bound` stanzas, and the end that the session's stream reads.
    #[must_use]
    pub fn new(bound: usize) -> (Self, Inbox) {
        let (sender, receiver) = mpsc::channel(bound.max(1));
        let overflow = Arc::new(Notify::new());
        let unwanted = Arc::new(Notify::new());
        let inbox = Inbox {
            receiver,
            overflow: Arc::clone(&overflow),
            unwanted: Arc::clone(&unwanted),
        };
        let outbound = Self {
            sender,
            overflow,
            unwanted,
        };
        (outbound, inbox)
    }

    pub fn send(&self, stanza: Arc<Stanza>) -> Result<(), Undeliverable> {
        self.sender
            .try_reserve()
            .map(|place| place.send(ToSession::Stanza(Arc::clone(&stanza))))
            .map_err(|refused| {
                if matches!(refused, mpsc::error::TrySendError::Full(())) {
                    self.overflow.notify_one();
                }
                Undeliverable(stanza)
            })
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
        self.unwanted.notify_one();
        if self.sender.try_send(ToSession::Close(error)).is_err() {
            // The queue is full, so its reader is dead; or the stream is gone already.
            self.overflow.notify_one();
        }
    }
}

impl Inbox {
    /// What comes next, a stanza or the end; None once nobody can send any more. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<ToSession> {
        self.receiver.recv().await
    }

    /// What waits for the session, oldest first.
    pub fn try_next(&mut self) -> Option<Result<Arc<Stanza>, StreamError>> {
        match self.receiver.try_recv().ok()? {
            ToSession::Stanza(stanza) => Some(Ok(stanza)),
            ToSession::Close(error) => Some(Err(error)),
        }
    }

    /// Told whenever something did not fit.
    pub(crate) fn overflow(&self) -> Arc<Notify> {
        Arc::clone(&self.overflow)
    }

    /// Told once the server wants the session to end.
    pub(crate) fn unwanted(&self) -> Arc<Notify> {
        Arc::clone(&self.unwanted)
    }

    /// Lets nothing more in; returns what was still waiting.
    pub(crate) fn close(mut self) -> Vec<Arc<Stanza>> {
        self.receiver.close();
        let mut rest = Vec::new();
        while let Some(waiting) = self.try_next() {
            if let Ok(stanza) = waiting {
                rest.push(stanza);
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use comity_xmpp::stanza::{Kind, MessageType};

    use super::*;

    fn message() -> Arc<Stanza> {
        Arc::new(Stanza::new(Kind::Message(MessageType::Chat)))
    }

    #[tokio::test]
    async fn a_full_queue_gives_the_stanza_back_and_tells() {
        let (outbound, inbox) = Outbound::new(2);
        outbound.send(message()).unwrap();
        outbound.send(message()).unwrap();
        assert!(outbound.send(message()).is_err());
        inbox.overflow().notified().await;
        assert_eq!(inbox.close().len(), 2);
        assert!(outbound.send(message()).is_err());
    }
}
