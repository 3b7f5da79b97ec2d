//! Events: who is told of what happens to a node (XEP-0060 §7.1.2, XEP-0163 §4.3). The account's
//! own clients and its contacts' are told if they say that they want to be (`+notify`), and whoever
//! has subscribed in any case.

use std::collections::HashSet;
use std::sync::Arc;

use comity_storage::Contact;
use comity_storage::pubsub::Item;
use comity_xmpp::element::Element;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{Kind, MessageType, Stanza};
use tracing::error;

use super::access::{self, Affiliation, Relation, Viewer};
use super::config::Config;
use super::items;
use crate::deliver::Deliveries;
use crate::home::Home;
use crate::module::{avatar, presence};

pub(super) async fn published(
    home: &Home,
    account: &BareJid,
    node: &str,
    config: &Config,
    item: &Item,
) -> Deliveries {
    let event = items_of(node, shown(config, item));
    to_all(home, account, node, config, &event).await
}

pub(super) async fn retracted(
    home: &Home,
    account: &BareJid,
    node: &str,
    config: &Config,
    id: &str,
) -> Deliveries {
    let retract = Element::new(ns::PUBSUB_EVENT, "retract").with_attr("id", id);
    to_all(home, account, node, config, &items_of(node, retract)).await
}

pub(super) async fn purged(
    home: &Home,
    account: &BareJid,
    node: &str,
    config: &Config,
) -> Deliveries {
    to_all(home, account, node, config, &about("purge", node)).await
}

pub(super) async fn deleted(
    home: &Home,
    account: &BareJid,
    node: &str,
    config: &Config,
) -> Deliveries {
    to_all(home, account, node, config, &about("delete", node)).await
}

/// XEP-0060 §8.2.5.4: that it has changed; what it is now is asked for.
pub(super) async fn configured(
    home: &Home,
    account: &BareJid,
    node: &str,
    config: &Config,
) -> Deliveries {
    to_all(home, account, node, config, &about("configuration", node)).await
}

/// The last item, for one address that may read the node (XEP-0060 §6.1.7).
pub(super) async fn last(
    home: &Home,
    account: &BareJid,
    node: &str,
    config: &Config,
    to: &Jid,
) -> Deliveries {
    let found = home.storage.pubsub_items(account.as_str(), node, 1).await;
    match found {
        Ok(items) => match items.first() {
            Some(item) => {
                let event = items_of(node, shown(config, item));
                Deliveries::none().with(message(account, to.clone(), &event))
            }
            None => Deliveries::none(),
        },
        Err(fault) => {
            error!(%fault, "the last item of a node cannot be read: it is not sent");
            Deliveries::none()
        }
    }
}

fn shown(config: &Config, item: &Item) -> Element {
    let mut shown = Element::new(ns::PUBSUB_EVENT, "item").with_attr("id", item.id.as_str());
    if config.deliver_payloads
        && let Some(payload) = items::payload(&item.payload)
    {
        shown.push(payload);
    }
    shown
}

fn items_of(node: &str, content: Element) -> Element {
    Element::new(ns::PUBSUB_EVENT, "items")
        .with_attr("node", node)
        .with_child(content)
}

fn about(what: &str, node: &str) -> Element {
    Element::new(ns::PUBSUB_EVENT, what).with_attr("node", node)
}

/// XEP-0163 §4.3.5: from the account, as a headline: of no use to somebody who comes later.
fn message(account: &BareJid, to: Jid, content: &Element) -> Stanza {
    let event = Element::new(ns::PUBSUB_EVENT, "event").with_child(content.clone());
    Stanza::new(Kind::Message(MessageType::Headline))
        .with_from(account.clone())
        .with_to(to)
        .with(&event)
}

async fn to_all(
    home: &Home,
    account: &BareJid,
    node: &str,
    config: &Config,
    content: &Element,
) -> Deliveries {
    let recipients = match recipients(home, account, node, config).await {
        Ok(recipients) => recipients,
        Err(fault) => {
            error!(%fault, "who is to be told of an item cannot be read: nobody is");
            return Deliveries::none();
        }
    };
    let mut deliveries = Deliveries::none();
    if node == avatar::METADATA {
        deliveries.extend(presence::refreshed(home, account).await);
    }
    let lists = &home.blocklists;
    let pattern = message(account, account.clone().into(), content);
    for to in recipients {
        let stanza = pattern.clone().with_to(to.clone());
        if lists.blocks(account, &to) || lists.blocks(&to.to_bare(), account.as_jid()) {
            continue;
        }
        if to.resource().is_some() && home.hosts.serves(to.domain()) {
            deliveries.push_local(to, Arc::new(stanza));
        } else {
            deliveries.push(stanza);
        }
    }
    deliveries
}

/// Everybody who is told of this node, each once.
async fn recipients(
    home: &Home,
    account: &BareJid,
    node: &str,
    config: &Config,
) -> Result<Vec<Jid>, comity_storage::Error> {
    let mut found = interested(home, account, node);
    let subscriptions = home
        .storage
        .pubsub_subscriptions(account.as_str(), node)
        .await?;
    let affiliations = home
        .storage
        .pubsub_affiliations(account.as_str(), node)
        .await?;
    let roster = home.storage.roster(account.as_str()).await?.contacts;
    let viewer = |bare: &BareJid, relation: Relation| Viewer {
        relation,
        affiliation: affiliations
            .iter()
            .find(|(jid, _)| jid == bare.as_str())
            .and_then(|(_, name)| Affiliation::from_name(name))
            .unwrap_or(Affiliation::None),
        subscribed: subscriptions
            .iter()
            .any(|one| !one.pending && Jid::parse(&one.jid).is_ok_and(|j| j.to_bare() == *bare)),
    };
    let abroad = home.services.caps.interested(account, node);
    for contact in roster.iter().filter(|contact| contact.subscription.from()) {
        let Ok(bare) = BareJid::parse(&contact.contact) else {
            continue;
        };
        if access::read(config, &viewer(&bare, relation(contact))).is_err() {
            continue;
        }
        if home.hosts.serves(bare.domain()) {
            found.extend(interested(home, &bare, node));
        } else {
            found.extend(abroad.iter().filter(|jid| jid.to_bare() == bare).cloned());
        }
    }
    let told: HashSet<BareJid> = found.iter().map(Jid::to_bare).collect();
    for one in subscriptions.iter().filter(|one| !one.pending) {
        let Ok(jid) = Jid::parse(&one.jid) else {
            continue;
        };
        let bare = jid.to_bare();
        let known = roster
            .iter()
            .find(|contact| contact.contact == bare.as_str());
        let stands = known
            .filter(|contact| contact.subscription.from())
            .map_or(Relation::Stranger, relation);
        // Who may not read any more is told nothing; who is told by interest is told once.
        if !told.contains(&bare) && access::read(config, &viewer(&bare, stands)).is_ok() {
            found.push(jid);
        }
    }
    Ok(found)
}

pub(super) fn relation(contact: &Contact) -> Relation {
    Relation::Contact {
        groups: contact.groups.clone(),
    }
}

/// An account's available sessions that want to hear of a node.
fn interested(home: &Home, account: &BareJid, node: &str) -> Vec<Jid> {
    home.sessions.of(account, |session| {
        let wants = session
            .interests
            .as_ref()
            .is_some_and(|(_, nodes)| nodes.contains(node));
        (session.presence.is_some() && wants).then(|| session.jid.clone())
    })
}
