//! The one door out: to a session, to the outbox, or to the stream of another domain.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use comity_c2s::link::{Place, Undeliverable};
use comity_storage::{Enqueue, Enqueued, Outgoing};
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::Jid;
use comity_xmpp::stanza::{Kind, PresenceType, Stanza};
use tracing::{debug, error, warn};

use crate::dispatch;
use crate::fault;
use crate::home::Home;
use crate::module::{Later, Origin, blocking, message};
use crate::route;

/// Stanzas that one stanza may set off: a roster of contacts with their resources, and no loop.
const STEPS: usize = 65_536;

/// What a module wants to leave, once its changes are committed. A value: nothing is sent by
/// making one.
#[derive(Default)]
pub struct Deliveries {
    /// In the order in which they leave.
    pub(crate) leaving: Vec<Leaving>,
    /// Domains with new rows in the outbox.
    pub(crate) wake: BTreeSet<String>,
    /// What is done after all of this has left, while the sender's next stanza is taken in.
    pub(crate) afterwards: Vec<Later<Self>>,
}

/// One stanza on its way out.
#[derive(Debug)]
pub(crate) enum Leaving {
    /// To this session, whatever `to` says.
    Session {
        session: Jid,
        stanza: Arc<Stanza>,
        otherwise: Otherwise,
    },
    /// To the place it has in this session's queue.
    Placed {
        session: Jid,
        place: Place,
        stanza: Arc<Stanza>,
    },
    /// To wherever `to` says.
    Routed(Stanza),
    /// The same, though the account that it comes from has blocked the address.
    LastWord(Stanza),
}

/// What becomes of a stanza whose session is gone by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Otherwise {
    Drop,
    /// A message goes back to its account, the sender of an IQ request is told.
    Return,
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
            leaving: request
                .error_reply(error)
                .map(Leaving::Routed)
                .into_iter()
                .collect(),
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

    /// As [`Self::with`].
    pub fn push(&mut self, stanza: Stanza) {
        self.leaving.push(Leaving::Routed(stanza));
    }

    /// As [`Self::push`], also to an address that the sender's account has blocked: what tells that
    /// address that nothing more comes.
    pub(crate) fn push_last_word(&mut self, stanza: Stanza) {
        self.leaving.push(Leaving::LastWord(stanza));
    }

    /// Adds a stanza for one session, whatever its `to` says; shared, never copied per session.
    /// Dropped if the session is gone by now: for what a client asks for again when it is back.
    pub fn push_local(&mut self, session: Jid, stanza: Arc<Stanza>) {
        self.leaving.push(Leaving::Session {
            session,
            stanza,
            otherwise: Otherwise::Drop,
        });
    }

    /// As [`Self::push_local`], for what must not be lost: it comes back if the session is gone.
    pub(crate) fn push_kept(&mut self, session: Jid, stanza: Arc<Stanza>) {
        self.leaving.push(Leaving::Session {
            session,
            stanza,
            otherwise: Otherwise::Return,
        });
    }

    /// As [`Self::push_kept`], where its place in the session's queue has been kept with it.
    pub(crate) fn push_placed(&mut self, session: Jid, place: Place, stanza: Arc<Stanza>) {
        self.leaving.push(Leaving::Placed {
            session,
            place,
            stanza,
        });
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
        self.leaving.extend(other.leaving);
        self.wake.extend(other.wake);
        self.afterwards.extend(other.afterwards);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leaving.is_empty() && self.wake.is_empty() && self.afterwards.is_empty()
    }
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries")
            .field("leaving", &self.leaving)
            .field("wake", &self.wake)
            .field("afterwards", &self.afterwards.len())
            .finish()
    }
}

/// Lets everything out, in the order in which it was decided: what one stanza sets off leaves
/// before the next. For what the server does by itself.
pub(crate) async fn deliver(home: &Home, deliveries: Deliveries) {
    deliver_for(home, &Origin::Server, deliveries).await;
}

/// As [`deliver`], for what this origin has caused.
pub(crate) async fn deliver_for(home: &Home, origin: &Origin, deliveries: Deliveries) {
    let mut wake = deliveries.wake;
    let mut afterwards = deliveries.afterwards;
    let mut queue = VecDeque::from(deliveries.leaving);
    let mut steps = 0;
    while let Some(leaving) = queue.pop_front() {
        steps += 1;
        if steps > STEPS {
            error!(
                dropped = queue.len() + 1,
                "one stanza has set off too many: the rest is dropped"
            );
            break;
        }
        let more = match leaving {
            Leaving::Session {
                session,
                stanza,
                otherwise,
            } => to_session(home, &session, stanza, otherwise).await,
            Leaving::Placed {
                session,
                place,
                stanza,
            } => match place.fill(stanza) {
                Ok(()) => {
                    home.counters.to_clients.add(1);
                    Deliveries::none()
                }
                Err(Undeliverable(stanza)) => {
                    Box::pin(gone(home, &session, stanza, Otherwise::Return)).await
                }
            },
            Leaving::Routed(stanza) if blocking::withholds(home, &stanza) => {
                debug!("a stanza to a blocked address is dropped");
                Deliveries::none()
            }
            Leaving::Routed(stanza) | Leaving::LastWord(stanza) => {
                // Boxed, like all that few stanzas need: each has room made for all of this.
                Box::pin(by_address(home, stanza, &mut wake)).await
            }
        };
        for leaving in more.leaving.into_iter().rev() {
            queue.push_front(leaving);
        }
        wake.extend(more.wake);
        afterwards.extend(more.afterwards);
    }
    for domain in wake {
        home.remote.wake(&domain);
    }
    for later in afterwards {
        Box::pin(start(home, origin, later)).await;
    }
}

async fn to_session(
    home: &Home,
    session: &Jid,
    stanza: Arc<Stanza>,
    otherwise: Otherwise,
) -> Deliveries {
    let Err(stanza) = home.sessions.send(session, stanza) else {
        home.counters.to_clients.add(1);
        return Deliveries::none();
    };
    Box::pin(gone(home, session, stanza, otherwise)).await
}

async fn gone(home: &Home, session: &Jid, stanza: Arc<Stanza>, otherwise: Otherwise) -> Deliveries {
    match (otherwise, stanza.kind) {
        (Otherwise::Drop, _) => {
            debug!(%session, "the session is gone: a stanza is dropped");
            Deliveries::none()
        }
        (Otherwise::Return, Kind::Message(_)) => {
            message::returned(home, session, Arc::unwrap_or_clone(stanza)).await
        }
        (Otherwise::Return, _) => Deliveries::refuse(&stanza, &route::unavailable()),
    }
}

async fn by_address(home: &Home, stanza: Stanza, wake: &mut BTreeSet<String>) -> Deliveries {
    let Some(to) = stanza.to.clone() else {
        // Only a session's own request has no address to answer to, and c2s stamps its `from`.
        warn!(kind = ?stanza.kind, "a stanza without an address is dropped");
        return Deliveries::none();
    };
    if stanza.from.is_none() {
        // RFC 6120 §8.1.2.1: the server on behalf of the client's own account.
        return to_session(home, &to, Arc::new(stanza), Otherwise::Drop).await;
    }
    if home.hosts.serves(to.domain()) {
        return dispatch::decide(home, Origin::Server, stanza).await;
    }
    if let Err(refused) = may_leave(home, &stanza, to.domain()) {
        return refused;
    }
    if route::keeps(stanza.kind) {
        return enqueue(home, to.domain(), stanza).await;
    }
    if wake.remove(to.domain()) {
        // What was queued before leaves before: the agreement, then the presence it allows.
        home.remote.wake(to.domain());
    }
    match home.remote.send(to.domain(), stanza) {
        Ok(()) => {
            home.counters.to_domains.add(1);
            Deliveries::none()
        }
        Err(refused) => {
            let (stanza, why) = *refused;
            unsent(&stanza, &why)
        }
    }
}

/// May this be sent to that domain? If not, this is what its sender is told.
pub(crate) fn may_leave(home: &Home, stanza: &Stanza, domain: &str) -> Result<(), Deliveries> {
    if let Some(error) = unreachable(home, stanza, domain) {
        return Err(Deliveries::refuse(stanza, &error));
    }
    if let Some(from) = &stanza.from
        && from
            .local()
            .is_some_and(|local| !local.starts_with(route::ROOM_MARK))
        && let Err(error) = home
            .outreach
            .address(&from.to_bare(), domain, home.now_ms())
    {
        return Err(unsent(stanza, &error));
    }
    Ok(())
}

/// Why no stream can carry this.
fn unreachable(home: &Home, stanza: &Stanza, domain: &str) -> Option<StanzaError> {
    let from = stanza.from.as_ref().map(Jid::domain);
    // RFC 6120 §8.1.2.2: a stream carries what its own domain says.
    let why = match from.filter(|from| home.hosts.serves(from)) {
        None => "only domains of this server have streams to others".to_owned(),
        Some(_) if home.federation.components.contains(domain) => return None,
        Some(from) if !home.federation.with(from, domain) => {
            format!("{from} has no streams with {domain}")
        }
        Some(_) => return None,
    };
    let error = StanzaError::new(ErrorType::Cancel, StanzaCondition::RemoteServerNotFound);
    Some(error.with_text(why))
}

async fn enqueue(home: &Home, domain: &str, stanza: Stanza) -> Deliveries {
    match home
        .storage
        .write(Enqueue(outgoing(home, domain, &stanza)))
        .await
    {
        Ok(Enqueued::Queued) => {
            let mut deliveries = Deliveries::none();
            deliveries.wake(domain);
            deliveries
        }
        Ok(Enqueued::Full) => Deliveries::refuse(&stanza, &too_much(domain)),
        Err(fault) => failed(&stanza, &fault),
    }
}

/// A domain's queue is full.
pub(crate) fn too_much(domain: &str) -> StanzaError {
    StanzaError::new(ErrorType::Wait, StanzaCondition::ResourceConstraint)
        .with_text(format!("too much waits for {domain} already"))
}

/// The sender of what could not be sent is told; but who says goodbye, or has the server look
/// after contacts, is not waiting for an answer.
pub(crate) fn unsent(stanza: &Stanza, why: &StanzaError) -> Deliveries {
    match stanza.kind {
        Kind::Presence(PresenceType::Unavailable | PresenceType::Probe) => Deliveries::none(),
        _ => Deliveries::refuse(stanza, why),
    }
}

/// A row of the outbox: for a module's own transaction.
pub(crate) fn outgoing(home: &Home, domain: &str, stanza: &Stanza) -> Outgoing {
    let now = home.now_ms();
    Outgoing {
        destination: domain.to_owned(),
        stanza: stanza.to_bytes(None).to_vec(),
        created: now,
        expires: now.saturating_add(home.limits.now().outbox_expiry_ms),
    }
}

/// The sender is told that nothing was done.
pub(crate) fn failed(stanza: &Stanza, fault: &comity_storage::Error) -> Deliveries {
    fault::log(fault, "the storage failed: a stanza is refused");
    let text = "the server could not keep this: send it again";
    Deliveries::refuse(stanza, &fault::refused(fault, text))
}

/// Starts what is done afterwards; waits while its cause has too much under way.
async fn start(home: &Home, origin: &Origin, later: Later<Deliveries>) {
    let room = home.afterwards.room(origin).await;
    let home = home.clone();
    tokio::spawn(async move {
        let deliveries = later.await;
        drop(room);
        finish(home, deliveries).await;
    });
}

/// [`deliver`] for a task of its own, which may set off further ones.
fn finish(home: Home, deliveries: Deliveries) -> Later<()> {
    Box::pin(async move { deliver(&home, deliveries).await })
}
