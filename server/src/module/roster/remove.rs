//! Taking a contact out of the roster ends both subscriptions (RFC 6121 §2.5.2).

use comity_storage::{RemoveContact, RemovedContact, SubscriptionState};
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::BareJid;
use comity_xmpp::ns;
use comity_xmpp::stanza::{Kind, PresenceType, Stanza};

use super::push;
use crate::deliver::{self, Deliveries};
use crate::home::Home;
use crate::module::{Context, Request, presence};

/// Decisions are taken anew when something else happens meanwhile.
const ATTEMPTS: usize = 16;

pub(super) async fn remove(
    context: &Context,
    account: &BareJid,
    request: &Request,
    contact: &BareJid,
) -> Deliveries {
    let home = &context.home;
    match settle(home, account, contact).await {
        Ok(Some((before, version))) => {
            told(home, account, contact, before, version).with(request.stanza.result(None))
        }
        // RFC 6121 §2.5.3.
        Ok(None) => Deliveries::refuse(
            &request.stanza,
            &StanzaError::new(ErrorType::Modify, StanzaCondition::ItemNotFound)
                .with_text(format!("{contact} is not in the roster")),
        ),
        Err(fault) => deliver::failed(&request.stanza, &fault),
    }
}

/// The state before, and the roster's new version; `None` where there was no such contact.
pub(super) async fn settle(
    home: &Home,
    account: &BareJid,
    contact: &BareJid,
) -> Result<Option<(SubscriptionState, u64)>, comity_storage::Error> {
    let mut state = home
        .storage
        .subscription_state(account.as_str(), contact.as_str())
        .await?;
    for _ in 0..ATTEMPTS {
        if !state.in_roster {
            return Ok(None);
        }
        let farewells = if home.hosts.serves(contact.domain()) {
            Vec::new()
        } else {
            farewells(account, contact, state)
        };
        let change = RemoveContact {
            account: account.as_str().to_owned(),
            contact: contact.as_str().to_owned(),
            expected: state,
            outbox: farewells
                .iter()
                .map(|stanza| deliver::outgoing(home, contact.domain(), stanza))
                .collect(),
        };
        match home.storage.write(change).await? {
            RemovedContact::Removed { version } => return Ok(Some((state, version))),
            RemovedContact::Stale(now) => state = now,
        }
    }
    Ok(None)
}

/// What follows once it is settled.
pub(super) fn told(
    home: &Home,
    account: &BareJid,
    contact: &BareJid,
    before: SubscriptionState,
    version: u64,
) -> Deliveries {
    let item = Element::new(ns::ROSTER, "item")
        .with_attr("jid", contact.as_str())
        .with_attr("subscription", "remove");
    let mut deliveries = push(home, account, &item, version);
    if home.hosts.serves(contact.domain()) {
        for stanza in farewells(account, contact, before) {
            deliveries.push(stanza);
        }
    } else {
        deliveries.wake(contact.domain());
    }
    if before.subscription.from() {
        // RFC 6121 §3.2.2: who may not see the account any more is told that it is gone.
        for stanza in presence::vanished(home, account, contact.as_jid()) {
            deliveries.push(stanza);
        }
    }
    deliveries
}

fn farewells(account: &BareJid, contact: &BareJid, state: SubscriptionState) -> Vec<Stanza> {
    let stanza = |kind| {
        Stanza::new(Kind::Presence(kind))
            .with_from(account.clone())
            .with_to(contact.clone())
    };
    let mut stanzas = Vec::new();
    if state.subscription.to() || state.ask {
        stanzas.push(stanza(PresenceType::Unsubscribe));
    }
    if state.subscription.from() || state.pending_in {
        stanzas.push(stanza(PresenceType::Unsubscribed));
    }
    stanzas
}
