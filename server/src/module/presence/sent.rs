//! What a client of ours sends: broadcast, directed (RFC 6121 §4.6), or about a subscription (§3).

use comity_storage::{ChangeSubscription, SubscriptionChanged, SubscriptionState, UpdateRequest};
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::stanza::{PresenceType, Stanza};
use tracing::warn;

use super::subscription::{self, State, Verb};
use super::{ATTEMPTS, broadcast, current, kept, received, understood, vanished, verb, visible};
use crate::deliver::{self, Deliveries};
use crate::home::Home;
use crate::module::{Context, avatar, pubsub, roster};
use crate::route::Hop;

pub(super) async fn take(
    context: &Context,
    session: &Jid,
    stanza: Stanza,
    kind: PresenceType,
    hop: Hop,
) -> Deliveries {
    let home = &context.home;
    let Some(to) = stanza.to.clone() else {
        return match kind {
            PresenceType::Available => broadcast::available(home, session, stanza).await,
            PresenceType::Unavailable => broadcast::unavailable(home, session, stanza).await,
            // A subscription to nobody, an error to nobody; probes are the server's.
            _ => Deliveries::none(),
        };
    };
    if let Some(verb) = verb(kind) {
        return subscribe(home, session, verb, &to.to_bare(), stanza).await;
    }
    match kind {
        // RFC 6121 §4.3: servers probe, clients do not.
        PresenceType::Probe => Deliveries::none(),
        PresenceType::Available | PresenceType::Unavailable => {
            match remember(home, session, &to, kind) {
                Ok(()) => {
                    let stanza = match kind {
                        PresenceType::Available => {
                            avatar::shown(home, &session.to_bare(), stanza).await
                        }
                        _ => stanza,
                    };
                    pass_on(home, session, stanza, kind, hop).await
                }
                Err(error) => Deliveries::refuse(&stanza, &error),
            }
        }
        _ => pass_on(home, session, stanza, kind, hop).await,
    }
}

async fn pass_on(
    home: &Home,
    session: &Jid,
    stanza: Stanza,
    kind: PresenceType,
    hop: Hop,
) -> Deliveries {
    match hop {
        Hop::Remote(_) => Deliveries::none().with(stanza),
        local => received::take(home, None, session, stanza, kind, local).await,
    }
}

/// RFC 6121 §4.6.3: whoever has been sent presence is told when it ends.
fn remember(home: &Home, session: &Jid, to: &Jid, kind: PresenceType) -> Result<(), StanzaError> {
    let most = home.limits.now().directed_presences;
    home.sessions
        .with(session, |session| {
            if kind == PresenceType::Unavailable {
                session.directed.remove(to);
            } else if session.directed.len() < most || session.directed.contains(to) {
                session.directed.insert(to.clone());
            } else {
                return Err(
                    StanzaError::new(ErrorType::Wait, StanzaCondition::ResourceConstraint)
                        .with_text(format!(
                            "presence has been sent to {most} addresses already"
                        )),
                );
            }
            Ok(())
        })
        .unwrap_or(Ok(()))
}

/// RFC 6121 §3.1.2, §3.2.2, §3.3.2, §3.4.2: the user's side of a subscription.
async fn subscribe(
    home: &Home,
    session: &Jid,
    verb: Verb,
    contact: &BareJid,
    mut stanza: Stanza,
) -> Deliveries {
    let account = session.to_bare();
    if *contact == account {
        // All resources of an account see each other anyway (RFC 6121 §4.2.2).
        return Deliveries::none();
    }
    // RFC 6121 §3.1.2: between bare addresses.
    stanza.from = Some(account.clone().into());
    stanza.to = Some(contact.clone().into());
    match settle(home, &account, contact, verb, &stanza).await {
        Ok(settled) => told(home, &account, contact, verb, stanza, settled),
        Err(Unsettled::Refused(error)) => {
            // The answer goes to the resource that sent it.
            stanza.from = Some(session.clone());
            Deliveries::refuse(&stanza, &error)
        }
        Err(Unsettled::Storage(fault)) => {
            stanza.from = Some(session.clone());
            deliver::failed(&stanza, &fault)
        }
    }
}

/// What has been committed.
struct Settled {
    before: State,
    route: bool,
    push: Deliveries,
}

enum Unsettled {
    Refused(StanzaError),
    Storage(comity_storage::Error),
}

async fn settle(
    home: &Home,
    account: &BareJid,
    contact: &BareJid,
    verb: Verb,
    stanza: &Stanza,
) -> Result<Settled, Unsettled> {
    let ours = home.hosts.serves(contact.domain());
    let mut state = home
        .storage
        .subscription_state(account.as_str(), contact.as_str())
        .await
        .map_err(Unsettled::Storage)?;
    for _ in 0..ATTEMPTS {
        let before = understood(state);
        let decided = subscription::sent(verb, before);
        let next = kept(decided.state, state.in_roster);
        let remote = decided.route && !ours;
        let change = ChangeSubscription {
            account: account.as_str().to_owned(),
            contact: contact.as_str().to_owned(),
            expected: state,
            next,
            request: answered(state, next),
            outbox: remote
                .then(|| deliver::outgoing(home, contact.domain(), stanza))
                .into_iter()
                .collect(),
            limit: home.limits.now().roster_items,
        };
        match home
            .storage
            .write(change)
            .await
            .map_err(Unsettled::Storage)?
        {
            SubscriptionChanged::Changed {
                contact: item,
                version,
            } => {
                let mut push = match item {
                    Some(item) if visible(state, next) => {
                        roster::push(home, account, &roster::item(&item), version)
                    }
                    _ => Deliveries::none(),
                };
                if remote {
                    push.wake(contact.domain());
                }
                return Ok(Settled {
                    before,
                    route: decided.route,
                    push,
                });
            }
            SubscriptionChanged::Stale(now) => state = now,
            SubscriptionChanged::NoAccount => {
                return Err(Unsettled::Refused(crate::route::unavailable()));
            }
            SubscriptionChanged::Full => return Err(Unsettled::Refused(roster::full(home))),
        }
    }
    warn!(%account, %contact, "a subscription changes faster than it can be followed");
    Err(Unsettled::Refused(StanzaError::new(
        ErrorType::Wait,
        StanzaCondition::ResourceConstraint,
    )))
}

/// A request that has been answered is not kept.
pub(super) fn answered(before: SubscriptionState, after: SubscriptionState) -> UpdateRequest {
    if before.pending_in && !after.pending_in {
        UpdateRequest::Drop
    } else {
        UpdateRequest::Keep
    }
}

fn told(
    home: &Home,
    account: &BareJid,
    contact: &BareJid,
    verb: Verb,
    stanza: Stanza,
    settled: Settled,
) -> Deliveries {
    let ours = home.hosts.serves(contact.domain());
    // First what it means for the account itself: the contact's server may answer at once.
    let mut deliveries = settled.push;
    if settled.route && ours {
        deliveries.push(stanza);
    }
    let to = Jid::from(contact.clone());
    let presence = match verb {
        // RFC 6121 §3.1.5: the contact sees the user from now on.
        Verb::Subscribed if settled.route => {
            let told = (home.clone(), account.clone(), contact.clone());
            deliveries.afterwards(pubsub::arrival::agreed(told.0, told.1, told.2));
            current(home, account, &to)
        }
        // RFC 6121 §3.2.2: and no longer.
        Verb::Unsubscribed if settled.before.from => vanished(home, account, &to),
        _ => Vec::new(),
    };
    for stanza in presence {
        deliveries.push(stanza);
    }
    deliveries
}
