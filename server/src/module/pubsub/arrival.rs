//! Somebody appears: a client of ours is told the last items of its own account and of its
//! contacts here, and a contact's client elsewhere those of the account it belongs with (XEP-0163
//! §4.3.3, §4.3.4). What a client wants to hear of may have to be asked, so all of this comes after
//! the presence itself.

use std::sync::Arc;

use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::stanza::Stanza;
use tracing::error;

use super::access::{self, Relation};
use super::config::{Config, SendLast};
use super::{notify, viewer};
use crate::deliver::Deliveries;
use crate::home::Home;
use crate::module::Later;
use crate::module::caps::{self, Interests, Shown};

/// A session of ours is available with this presence.
pub(crate) fn ours(home: Home, session: Jid, presence: Arc<Stanza>) -> Later<Deliveries> {
    // Boxed with its type named: what it asks goes through the very door it came from.
    Box::pin(async move { appeared(&home, &session, &presence).await })
}

async fn appeared(home: &Home, session: &Jid, presence: &Stanza) -> Deliveries {
    let Some(shown) = caps::shown(presence) else {
        return Deliveries::none();
    };
    let showed = |known: &Option<(Shown, Interests)>| {
        known.as_ref().is_some_and(|(known, _)| *known == shown)
    };
    let known = home
        .sessions
        .with(session, |session| showed(&session.interests));
    if known != Some(false) {
        // It has been told already, or is gone.
        return Deliveries::none();
    }
    let account = session.to_bare();
    let interests = caps::interests(home, &account, session, &shown).await;
    let before = home.sessions.with(session, |session| {
        session.interests.replace((shown, Arc::clone(&interests)))
    });
    let Some(before) = before else {
        return Deliveries::none();
    };
    let new = unheard(&interests, before.map(|(_, interests)| interests));
    if new.is_empty() {
        return Deliveries::none();
    }
    let mut deliveries = last_items(home, &account, session, &new).await;
    for contact in seen(home, &account).await {
        deliveries.extend(last_items(home, &contact, session, &new).await);
    }
    deliveries
}

/// The contacts here whose presence the account sees.
async fn seen(home: &Home, account: &BareJid) -> Vec<BareJid> {
    let contacts = match home.storage.roster(account.as_str()).await {
        Ok(roster) => roster.contacts,
        Err(fault) => {
            error!(%fault, "a roster cannot be read: last items of contacts are not sent");
            return Vec::new();
        }
    };
    contacts
        .iter()
        .filter(|contact| contact.subscription.to())
        .filter_map(|contact| BareJid::parse(&contact.contact).ok())
        .filter(|contact| home.hosts.serves(contact.domain()))
        .collect()
}

/// A resource of another domain shows something new of itself to an account of ours.
pub(crate) fn theirs(
    home: Home,
    account: BareJid,
    resource: Jid,
    shown: Shown,
) -> Later<Deliveries> {
    Box::pin(async move { shown_by(&home, &account, &resource, shown).await })
}

async fn shown_by(home: &Home, account: &BareJid, resource: &Jid, shown: Shown) -> Deliveries {
    let caps = &home.services.caps;
    // Only who sees the account's presence is told of anything by itself (XEP-0163 §4.3.1).
    let stands = super::relation(home, account, &resource.to_bare()).await;
    if !matches!(stands, Ok(Relation::Contact { .. })) {
        // Whom the account sees may see it soon, and will not say again who it is: ejabberd sends a
        // contact's presence once, with the agreement.
        if !sees(home, account, &resource.to_bare()).await {
            caps.went(account, resource);
        }
        return Deliveries::none();
    }
    let interests = caps::interests(home, account, resource, &shown).await;
    let Some(before) = caps.learned(account, resource, &shown, Arc::clone(&interests)) else {
        return Deliveries::none();
    };
    let new = unheard(&interests, Some(before));
    last_items(home, account, resource, &new).await
}

async fn sees(home: &Home, account: &BareJid, contact: &BareJid) -> bool {
    let found = home.storage.contact(account.as_str(), contact.as_str());
    matches!(found.await, Ok(Some(contact)) if contact.subscription.to())
}

/// A contact sees the account from now on.
pub(crate) async fn agreed(home: Home, account: BareJid, contact: BareJid) -> Deliveries {
    if !home.hosts.serves(contact.domain()) {
        return agreed_abroad(home, account, &contact).await;
    }
    let sessions = home.sessions.of(&contact, |session| {
        let (_, interests) = session.interests.as_ref()?;
        let there = session.presence.is_some();
        there.then(|| (session.jid.clone(), Arc::clone(interests)))
    });
    let mut deliveries = Deliveries::none();
    for (session, interests) in sessions {
        deliveries.extend(last_items(&home, &account, &session, &interests).await);
    }
    deliveries
}

/// What its resources show they have shown already; all that they want is news to them.
async fn agreed_abroad(home: Home, account: BareJid, contact: &BareJid) -> Deliveries {
    let mut deliveries = Deliveries::none();
    for (resource, shown) in home.services.caps.of_contact(&account, contact) {
        let nothing = Interests::default();
        let caps = &home.services.caps;
        caps.learned(&account, &resource, &shown, nothing);
        deliveries.extend(theirs(home.clone(), account.clone(), resource, shown).await);
    }
    deliveries
}

fn unheard(now: &Interests, before: Option<Interests>) -> Interests {
    match before {
        None => Arc::clone(now),
        Some(before) => Arc::new(now.difference(&before).cloned().collect()),
    }
}

/// The last items of the nodes of an account that a resource is interested in and may read.
async fn last_items(
    home: &Home,
    account: &BareJid,
    resource: &Jid,
    interests: &Interests,
) -> Deliveries {
    let mut deliveries = Deliveries::none();
    if interests.is_empty() {
        return deliveries;
    }
    let nodes = match home.storage.pubsub_nodes(account.as_str()).await {
        Ok(nodes) => nodes,
        Err(fault) => {
            error!(%fault, "nodes cannot be read: their last items are not sent");
            return deliveries;
        }
    };
    let Ok(stands) = super::relation(home, account, &resource.to_bare()).await else {
        return deliveries;
    };
    for node in nodes.iter().filter(|node| interests.contains(&node.node)) {
        let config = Config::from_stored(&node.config);
        if config.send_last != SendLast::OnSubAndPresence {
            continue;
        }
        let viewer = viewer(home, account, &node.node, resource, stands.clone()).await;
        if viewer.is_ok_and(|viewer| access::read(&config, &viewer).is_ok()) {
            deliveries.extend(notify::last(home, account, &node.node, &config, resource).await);
        }
    }
    deliveries
}
