//! What others send to an account of ours: presence (RFC 6121 §4), probes (§4.3.2), and
//! subscriptions (§3).

use std::sync::Arc;

use comity_storage::{ChangeSubscription, SubscriptionChanged, UpdateRequest};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::stanza::{Kind, PresenceType, Stanza};
use tracing::warn;

use super::sent::answered;
use super::subscription::{self, Received, State, Verb};
use super::{ATTEMPTS, current, kept, sees, unavailable, understood, vanished, verb, visible};
use crate::deliver::{self, Deliveries};
use crate::home::Home;
use crate::module::{caps, pubsub, roster};
use crate::receipt::{self, Receipt};
use crate::route::Hop;

pub(super) async fn take(
    home: &Home,
    receipt: Option<&Receipt>,
    from: &Jid,
    stanza: Stanza,
    kind: PresenceType,
    hop: Hop,
) -> Deliveries {
    let (account, resource) = match hop {
        Hop::Account(account) => (account, None),
        Hop::Session(jid) => (jid.to_bare(), Some(jid)),
        // Neither domains nor rooms have presence.
        Hop::Domain(_) | Hop::Room(_) | Hop::Bounce(_) => return Deliveries::none(),
        Hop::Remote(_) => return Deliveries::none().with(stanza),
    };
    if let Some(verb) = verb(kind) {
        return subscription(home, receipt, verb, (&from.to_bare(), &account), stanza).await;
    }
    match kind {
        PresenceType::Probe => probe(home, from, &account, resource).await,
        _ => {
            let seen = watch(home, from, &account, &stanza, kind);
            let mut deliveries = to_clients(home, &account, resource, stanza);
            deliveries.extend(seen);
            deliveries
        }
    }
}

/// A contact's client elsewhere comes or goes: it may want to hear of the account's nodes. One of
/// ours says so at its own session.
fn watch(
    home: &Home,
    from: &Jid,
    account: &BareJid,
    stanza: &Stanza,
    kind: PresenceType,
) -> Deliveries {
    let mut deliveries = Deliveries::none();
    if from.is_bare() || home.hosts.serves(from.domain()) {
        return deliveries;
    }
    match (kind, caps::shown(stanza)) {
        (PresenceType::Available, Some(shown))
            if home.services.caps.came(account, from, &shown) =>
        {
            let (home, account) = (home.clone(), account.clone());
            deliveries.afterwards(pubsub::arrival::theirs(home, account, from.clone(), shown));
        }
        (PresenceType::Unavailable, _) => home.services.caps.went(account, from),
        _ => {}
    }
    deliveries
}

/// RFC 6121 §8.5.2.1.2, §8.5.3.1: to all available resources, or to the one named.
fn to_clients(home: &Home, account: &BareJid, resource: Option<Jid>, stanza: Stanza) -> Deliveries {
    let sessions = match resource {
        Some(resource) => vec![resource],
        None => available(home, account),
    };
    to_each(sessions, stanza)
}

fn available(home: &Home, account: &BareJid) -> Vec<Jid> {
    home.sessions.of(account, |session| {
        session.presence.is_some().then(|| session.jid.clone())
    })
}

fn to_each(sessions: Vec<Jid>, stanza: Stanza) -> Deliveries {
    let stanza = Arc::new(stanza);
    let mut deliveries = Deliveries::none();
    for session in sessions {
        deliveries.push_local(session, Arc::clone(&stanza));
    }
    deliveries
}

/// RFC 6121 §4.3.2: what may this prober know?
async fn probe(home: &Home, prober: &Jid, account: &BareJid, resource: Option<Jid>) -> Deliveries {
    let mut deliveries = Deliveries::none();
    if !sees(home, &prober.to_bare(), account).await {
        // The same for an account that does not exist.
        deliveries.push(
            Stanza::new(Kind::Presence(PresenceType::Unsubscribed))
                .with_from(account.clone())
                .with_to(prober.to_bare()),
        );
        return deliveries;
    }
    let mut present = current(home, account, prober);
    if let Some(resource) = &resource {
        present.retain(|presence| presence.from.as_ref() == Some(resource));
    }
    // A resource that asks about its own account need not hear of itself.
    present.retain(|presence| presence.from.as_ref() != Some(prober));
    if present.is_empty() {
        let who = resource.unwrap_or_else(|| account.clone().into());
        if who != *prober && prober.to_bare() != *account {
            present.push(unavailable(who, prober.clone()));
        }
    }
    for presence in present {
        deliveries.push(presence);
    }
    deliveries
}

/// RFC 6121 §3.1.3, §3.1.6, §3.2.3, §3.3.3: the contact's side of a subscription.
async fn subscription(
    home: &Home,
    receipt: Option<&Receipt>,
    verb: Verb,
    (contact, account): (&BareJid, &BareJid),
    mut stanza: Stanza,
) -> Deliveries {
    if contact == account {
        return Deliveries::none();
    }
    // RFC 6121 §3.1.2: between bare addresses, whatever a peer writes.
    stanza.from = Some(contact.clone().into());
    stanza.to = Some(account.clone().into());
    match settle(home, receipt, verb, (contact, account), &stanza).await {
        Ok(Some(settled)) => told(home, verb, contact, account, stanza, settled),
        // RFC 6121 §8.5.1: an account that does not exist is silent.
        Ok(None) => Deliveries::none(),
        Err(fault) => deliver::failed(&stanza, &fault),
    }
}

/// What has been committed.
struct Settled {
    before: State,
    decided: Received,
    push: Deliveries,
}

async fn settle(
    home: &Home,
    receipt: Option<&Receipt>,
    verb: Verb,
    (contact, account): (&BareJid, &BareJid),
    stanza: &Stanza,
) -> Result<Option<Settled>, comity_storage::Error> {
    let ours = home.hosts.serves(contact.domain());
    let mut state = home
        .storage
        .subscription_state(account.as_str(), contact.as_str())
        .await?;
    for _ in 0..ATTEMPTS {
        let before = understood(state);
        let decided = subscription::received(verb, before);
        let next = kept(decided.state, state.in_roster);
        let asked = next.pending_in && !state.pending_in;
        let agree = decided.agree && !ours;
        let change = ChangeSubscription {
            account: account.as_str().to_owned(),
            contact: contact.as_str().to_owned(),
            expected: state,
            next,
            request: if asked {
                UpdateRequest::Store {
                    stanza: stanza.to_bytes(None).to_vec(),
                    received: home.now_ms(),
                }
            } else {
                answered(state, next)
            },
            outbox: agree
                .then(|| deliver::outgoing(home, contact.domain(), &agreement(account, contact)))
                .into_iter()
                .collect(),
            limit: home.limits.now().roster_items,
        };
        let Some(changed) = receipt::once(home, receipt, change).await? else {
            return Ok(None);
        };
        match changed {
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
                if agree {
                    push.wake(contact.domain());
                }
                return Ok(Some(Settled {
                    before,
                    decided,
                    push,
                }));
            }
            SubscriptionChanged::Stale(now) => state = now,
            SubscriptionChanged::NoAccount => return Ok(None),
            SubscriptionChanged::Full => {
                warn!(%account, "too many requests await an answer: one is dropped");
                return Ok(None);
            }
        }
    }
    warn!(%account, %contact, "a subscription changes faster than it can be followed");
    Ok(None)
}

fn agreement(account: &BareJid, contact: &BareJid) -> Stanza {
    Stanza::new(Kind::Presence(PresenceType::Subscribed))
        .with_from(account.clone())
        .with_to(contact.clone())
}

fn told(
    home: &Home,
    verb: Verb,
    contact: &BareJid,
    account: &BareJid,
    stanza: Stanza,
    settled: Settled,
) -> Deliveries {
    let mut deliveries = Deliveries::none();
    if settled.decided.deliver {
        // RFC 6121 §3.1.3: a request to all available resources, and again at each login until it
        // is answered. §3.1.6: the others to those that have asked for the roster.
        let sessions = match verb {
            Verb::Subscribe => available(home, account),
            _ => home.sessions.interested(account),
        };
        deliveries.extend(to_each(sessions, stanza));
    }
    deliveries.extend(settled.push);
    let to = Jid::from(contact.clone());
    let presence = match verb {
        Verb::Subscribe if settled.decided.agree => {
            if home.hosts.serves(contact.domain()) {
                deliveries.push(agreement(account, contact));
            }
            deliveries.afterwards(pubsub::arrival::agreed(
                home.clone(),
                account.clone(),
                contact.clone(),
            ));
            current(home, account, &to)
        }
        // RFC 6121 §3.3.3: whoever unsubscribes is told that nothing is to be seen any more.
        Verb::Unsubscribe if settled.before.from => vanished(home, account, &to),
        _ => Vec::new(),
    };
    for stanza in presence {
        deliveries.push(stanza);
    }
    deliveries
}
