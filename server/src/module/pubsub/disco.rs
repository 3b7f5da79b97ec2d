//! What service discovery tells of an account's nodes (XEP-0060 §5, XEP-0163 §4.2).

use comity_xmpp::element::Element;
use comity_xmpp::error::StanzaError;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;

use super::access::{self, Relation};
use super::config::Config;
use super::{refusal, relation, viewer};
use crate::home::Home;
use crate::module::Entity;

/// XEP-0060 §10, XEP-0163 §4.2: on the account itself, for its owner and those who see it.
pub(super) const FEATURES: &[(Entity, &str)] = &[
    (Entity::Account, ns::PUBSUB),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#access-authorize",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#access-open",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#access-presence",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#access-roster",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#access-whitelist",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#auto-create",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#auto-subscribe",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#config-node",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#config-node-max",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#create-and-configure",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#create-nodes",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#delete-items",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#delete-nodes",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#filtered-notifications",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#instant-nodes",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#item-ids",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#last-published",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#manage-subscriptions",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#member-affiliation",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#meta-data",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#modify-affiliations",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#multi-items",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#outcast-affiliation",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#persistent-items",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#presence-notifications",
    ),
    (Entity::Account, "http://jabber.org/protocol/pubsub#publish"),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#publish-options",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#publisher-affiliation",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#purge-nodes",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#retract-items",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#retrieve-affiliations",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#retrieve-default",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#retrieve-items",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#retrieve-subscriptions",
    ),
    (
        Entity::Account,
        "http://jabber.org/protocol/pubsub#subscribe",
    ),
];

/// XEP-0163 §4.2: what an account is besides.
pub(crate) fn identity() -> Element {
    Element::new(ns::DISCO_INFO, "identity")
        .with_attr("category", "pubsub")
        .with_attr("type", "pep")
}

/// XEP-0060 §5.2: the nodes that this viewer may read.
pub(crate) async fn nodes(
    home: &Home,
    account: &BareJid,
    from: &Jid,
) -> Result<Vec<Element>, StanzaError> {
    let stands = relation(home, account, &from.to_bare()).await?;
    let nodes = home
        .storage
        .pubsub_nodes(account.as_str())
        .await
        .map_err(|fault| refusal::storage(&fault))?;
    let mut shown = Vec::new();
    for node in nodes {
        let config = Config::from_stored(&node.config);
        let viewer = viewer(home, account, &node.node, from, stands.clone()).await?;
        if access::read(&config, &viewer).is_ok() {
            let title = Some(config.title.as_str()).filter(|title| !title.is_empty());
            shown.push(
                Element::new(ns::DISCO_ITEMS, "item")
                    .with_attr("jid", account.as_str())
                    .with_attr("node", node.node)
                    .with_attr_opt("name", title),
            );
        }
    }
    Ok(shown)
}

/// XEP-0060 §5.3, §5.4: one node.
pub(crate) async fn node(
    home: &Home,
    account: &BareJid,
    from: &Jid,
    node: &str,
) -> Result<Element, StanzaError> {
    let config = readable(home, account, from, node).await?;
    let identity = Element::new(ns::DISCO_INFO, "identity")
        .with_attr("category", "pubsub")
        .with_attr("type", "leaf");
    let feature = Element::new(ns::DISCO_INFO, "feature").with_attr("var", ns::PUBSUB);
    Ok(Element::new(ns::DISCO_INFO, "query")
        .with_attr("node", node)
        .with_child(identity)
        .with_child(feature)
        .with_child(config.meta_data().to_element()))
}

/// XEP-0060 §5.5: the items of one node, by their ids.
pub(crate) async fn items(
    home: &Home,
    account: &BareJid,
    from: &Jid,
    node: &str,
) -> Result<Element, StanzaError> {
    readable(home, account, from, node).await?;
    let items = home
        .storage
        .pubsub_items(account.as_str(), node, home.limits.now().pubsub_items)
        .await
        .map_err(|fault| refusal::storage(&fault))?;
    Ok(Element::new(ns::DISCO_ITEMS, "query")
        .with_attr("node", node)
        .with_children(items.iter().map(|item| {
            Element::new(ns::DISCO_ITEMS, "item")
                .with_attr("jid", account.as_str())
                .with_attr("name", item.id.as_str())
        })))
}

async fn readable(
    home: &Home,
    account: &BareJid,
    from: &Jid,
    node: &str,
) -> Result<Config, StanzaError> {
    let stands = relation(home, account, &from.to_bare()).await?;
    let stranger = stands == Relation::Stranger;
    let found = home
        .storage
        .pubsub_node(account.as_str(), node)
        .await
        .map_err(|fault| refusal::storage(&fault))?;
    let Some(found) = found else {
        return Err(if stranger {
            refusal::presence_required()
        } else {
            refusal::no_node()
        });
    };
    let config = Config::from_stored(&found.config);
    let viewer = viewer(home, account, node, from, stands).await?;
    access::read(&config, &viewer).map_err(|why| refusal::denied(why, &viewer.relation))?;
    Ok(config)
}
