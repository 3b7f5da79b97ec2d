//! Presence and subscriptions (RFC 6121 §3, §4). What a client sends is in [`sent`] and
//! [`broadcast`], what comes from others in [`received`]; [`subscription`] is the pure table both
//! ask.

mod broadcast;
mod received;
mod sent;
mod subscription;

use std::sync::Arc;

use comity_storage::{Contact, Subscription, SubscriptionState};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::stanza::{Kind, PresenceType, Stanza};
use tracing::error;

pub(crate) use broadcast::{gone, refreshed};
use subscription::{State, Verb};

use super::{Context, Entity, Module, Origin};
use crate::deliver::Deliveries;
use crate::home::Home;
use crate::route::Hop;

/// RFC 6121 §3.4: agreement before being asked.
const PRE_APPROVAL: &str = comity_xmpp::ns::PRE_APPROVAL;

/// Decisions on one subscription are taken anew when something else happens meanwhile; an account
/// has not that many clients.
const ATTEMPTS: usize = 16;

pub const MODULE: Module = Module {
    name: "presence",
    features: &[(Entity::Domain, PRE_APPROVAL)],
    ..Module::EMPTY
};

/// What becomes of a presence stanza.
pub(crate) async fn take(
    context: Context,
    from: Jid,
    stanza: Stanza,
    kind: PresenceType,
    hop: Hop,
) -> Deliveries {
    match &context.origin {
        Origin::Session(session) => {
            let session = session.clone();
            sent::take(&context, &session, stanza, kind, hop).await
        }
        Origin::Peer(_) | Origin::Server => {
            let receipt = context.receipt.as_ref();
            received::take(&context.home, receipt, &from, stanza, kind, hop).await
        }
    }
}

/// Does `viewer` see the presence of `account`, or is it the account itself?
pub(crate) async fn sees(home: &Home, viewer: &BareJid, account: &BareJid) -> bool {
    if viewer == account {
        return true;
    }
    match home
        .storage
        .contact(account.as_str(), viewer.as_str())
        .await
    {
        Ok(contact) => contact.is_some_and(|contact| contact.subscription.from()),
        Err(fault) => {
            error!(%fault, "a roster cannot be read: its owner is shown to nobody");
            false
        }
    }
}

/// The presence of each available resource of an account, for one other address; or, if there is
/// none, that there is none.
pub(crate) fn current(home: &Home, account: &BareJid, to: &Jid) -> Vec<Stanza> {
    home.sessions
        .available(account)
        .into_iter()
        .map(|available| addressed(&available.presence, to))
        .collect()
}

/// What tells one other address that these resources cannot be seen any more.
pub(crate) fn vanished(home: &Home, account: &BareJid, to: &Jid) -> Vec<Stanza> {
    home.sessions
        .available(account)
        .into_iter()
        .map(|available| unavailable(available.jid, to.clone()))
        .collect()
}

pub(crate) fn unavailable(from: impl Into<Jid>, to: impl Into<Jid>) -> Stanza {
    Stanza::new(Kind::Presence(PresenceType::Unavailable))
        .with_from(from)
        .with_to(to)
}

fn addressed(presence: &Arc<Stanza>, to: &Jid) -> Stanza {
    let mut stanza = Stanza::clone(presence);
    stanza.to = Some(to.clone());
    stanza
}

fn verb(kind: PresenceType) -> Option<Verb> {
    match kind {
        PresenceType::Subscribe => Some(Verb::Subscribe),
        PresenceType::Subscribed => Some(Verb::Subscribed),
        PresenceType::Unsubscribe => Some(Verb::Unsubscribe),
        PresenceType::Unsubscribed => Some(Verb::Unsubscribed),
        PresenceType::Available
        | PresenceType::Unavailable
        | PresenceType::Probe
        | PresenceType::Error => None,
    }
}

/// The words of the table for what storage keeps.
fn understood(kept: SubscriptionState) -> State {
    State {
        to: kept.subscription.to(),
        from: kept.subscription.from(),
        pending_out: kept.ask,
        pending_in: kept.pending_in,
        approved: kept.approved,
    }
}

fn kept(state: State, in_roster: bool) -> SubscriptionState {
    SubscriptionState {
        // RFC 6121 A.1, "None + Pending In": the contact's request alone makes no item.
        in_roster: in_roster || state.to || state.from || state.pending_out || state.approved,
        subscription: Subscription::of(state.to, state.from),
        ask: state.pending_out,
        approved: state.approved,
        pending_in: state.pending_in,
    }
}

/// Is what a client sees of the item another now? (It does not see the request.)
fn visible(before: SubscriptionState, after: SubscriptionState) -> bool {
    let seen = |state| SubscriptionState {
        pending_in: false,
        ..state
    };
    seen(before) != seen(after)
}

/// Those who see the account's presence.
fn subscribers(contacts: &[Contact]) -> impl Iterator<Item = Jid> {
    contacts
        .iter()
        .filter(|contact| contact.subscription.from())
        .filter_map(|contact| Jid::parse(&contact.contact).ok())
}

#[cfg(test)]
mod tests;
