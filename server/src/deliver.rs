//! The one door out: to a session, to the outbox, or to the stream of another domain.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use comity_xmpp::error::StanzaError;
use comity_xmpp::jid::Jid;
use comity_xmpp::stanza::Stanza;

use crate::home::Home;
use crate::module::Later;

/// What a module wants to leave, once its changes are committed. A value: nothing is sent by
/// making one.
#[derive(Default)]
pub struct Deliveries {
    /// For sessions of ours, by full address.
    pub(crate) local: Vec<(Jid, Arc<Stanza>)>,
    /// For wherever `to` says: answers, errors, and whatever else takes the ordinary way.
    pub(crate) routed: Vec<Stanza>,
    /// Domains with new rows in the outbox.
    pub(crate) wake: BTreeSet<String>,
    /// What is done after all of this has left, while the sender's next stanza is taken in.
    pub(crate) afterwards: Vec<Later<Deliveries>>,
}

impl Deliveries {
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The answer to an IQ request, or an error: goes where its `to` says.
    #[must_use]
    pub fn answer(stanza: Stanza) -> Self {
        Self::none().with(stanza)
    }

    /// The error answer to a request; nothing where an error must not be answered.
    #[must_use]
    pub fn refuse(request: &Stanza, error: &StanzaError) -> Self {
        Self {
            routed: request.error_reply(error).into_iter().collect(),
            ..Self::default()
        }
    }

    /// Adds a stanza of ours for wherever its `to` says: a session, an account (by the rules of
    /// RFC 6121 §8.5), a room of ours, or another domain. Messages and subscription presence for
    /// another domain are committed to the outbox first; IQ and other presence are not kept.
    /// Rows that the module's own transaction has put into the outbox are not added here but told
    /// with [`Self::wake`].
    #[must_use]
    pub fn with(mut self, stanza: Stanza) -> Self {
        self.push(stanza);
        self
    }

    pub fn push(&mut self, stanza: Stanza) {
        self.routed.push(stanza);
    }

    /// Adds a stanza for one session, whatever its `to` says; shared, never copied per session.
    /// If the session is gone by now, it is dropped, save a message without a payload of ours,
    /// which goes back to its account.
    pub fn push_local(&mut self, session: Jid, stanza: Arc<Stanza>) {
        self.local.push((session, stanza));
    }

    /// Says that a committed change has put rows for this domain into the outbox.
    pub fn wake(&mut self, domain: impl Into<String>) {
        self.wake.insert(domain.into());
    }

    /// Adds something to be done when this has left: the only place to wait for other domains.
    pub fn afterwards(&mut self, later: impl Future<Output = Self> + Send + 'static) {
        self.afterwards.push(Box::pin(later));
    }

    /// Joins two; what is in `self` leaves first.
    pub fn extend(&mut self, other: Self) {
        self.local.extend(other.local);
        self.routed.extend(other.routed);
        self.wake.extend(other.wake);
        self.afterwards.extend(other.afterwards);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.local.is_empty()
            && self.routed.is_empty()
            && self.wake.is_empty()
            && self.afterwards.is_empty()
    }
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries")
            .field("local", &self.local)
            .field("routed", &self.routed)
            .field("wake", &self.wake)
            .field("afterwards", &self.afterwards.len())
            .finish()
    }
}

/// Lets everything out, in the order in which it was decided.
pub(crate) async fn deliver(home: &Home, deliveries: Deliveries) {
    let _ = (home, deliveries);
}
