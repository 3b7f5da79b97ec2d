//! The service used on its owner's behalf: for what clients say in older words than XEP-0060's.

use comity_storage::Error;
use comity_storage::pubsub::{Item, NewNode, Publish, Published, Quota, Retract};
use comity_xmpp::element::Element;
use comity_xmpp::error::StanzaError;
use comity_xmpp::jid::BareJid;

use super::config::Config;
use super::{items, notify, refusal};
use crate::deliver::Deliveries;
use crate::home::Home;

/// A publication is decided anew when its node changes meanwhile.
const ATTEMPTS: usize = 8;

/// A node and the newest items that it holds, newest first.
pub(crate) struct Held {
    pub(crate) config: Config,
    pub(crate) items: Vec<Item>,
}

/// `None`: there is no such node.
pub(crate) async fn held(
    home: &Home,
    account: &BareJid,
    node: &str,
    limit: usize,
) -> Result<Option<Held>, Error> {
    let storage = &home.storage;
    let Some(found) = storage.pubsub_node(account.as_str(), node).await? else {
        return Ok(None);
    };
    Ok(Some(Held {
        config: Config::from_stored(&found.config),
        items: storage.pubsub_items(account.as_str(), node, limit).await?,
    }))
}

/// What an item carries.
pub(crate) fn payload(item: &Item) -> Option<Element> {
    items::payload(&item.payload)
}

/// Publishes an item; a node that is not there is made as `new` says. Gives who is told.
pub(crate) async fn put(
    home: &Home,
    account: &BareJid,
    node: &str,
    (id, payload): (&str, &Element),
    new: &Config,
) -> Result<Deliveries, StanzaError> {
    let failed = |fault: Error| refusal::storage(&fault);
    let item = Item {
        place: 0,
        id: id.to_owned(),
        publisher: account.to_string(),
        payload: payload.to_string().into_bytes(),
        published: home.now_ms(),
    };
    for _ in 0..ATTEMPTS {
        let found = home.storage.pubsub_node(account.as_str(), node).await;
        let expected = found.map_err(failed)?.map(|node| node.config);
        let config = match &expected {
            Some(config) => Config::from_stored(config),
            None => new.clone(),
        };
        let change = change(home, account, node, expected, &config, &item);
        match home.storage.write(change).await.map_err(failed)? {
            Published::Published { .. } => {
                return Ok(notify::published(home, account, node, &config, &item).await);
            }
            Published::Stale => {}
            Published::NoAccount => return Err(crate::route::unavailable()),
            Published::TooManyNodes | Published::OverQuota => {
                return Err(refusal::constraint(
                    "the account keeps as much as it may: remove something first".to_owned(),
                ));
            }
        }
    }
    Err(refusal::constraint(format!(
        "the node {node} changes faster than this could be kept: try again"
    )))
}

fn change(
    home: &Home,
    account: &BareJid,
    node: &str,
    expected: Option<String>,
    config: &Config,
    item: &Item,
) -> Publish {
    Publish {
        account: account.to_string(),
        node: node.to_owned(),
        expected,
        new: NewNode {
            config: config.stored(),
            max_items: config.max_items,
            created: item.published,
            nodes_limit: home.limits.now().pubsub_nodes,
        },
        persist: config.persist_items,
        item: item.id.clone(),
        publisher: item.publisher.clone(),
        payload: item.payload.clone(),
        published: item.published,
        quota: Quota {
            bytes: home.limits.now().pubsub_bytes,
        },
    }
}

/// Retracts an item, which may be gone already.
pub(crate) async fn take(
    home: &Home,
    account: &BareJid,
    node: &str,
    id: &str,
    config: &Config,
) -> Result<Deliveries, StanzaError> {
    let change = Retract {
        account: account.to_string(),
        node: node.to_owned(),
        item: id.to_owned(),
    };
    let retracted = home.storage.write(change).await;
    retracted.map_err(|fault| refusal::storage(&fault))?;
    Ok(notify::retracted(home, account, node, config, id).await)
}
