//! Reading what a node holds (XEP-0060 §6.5).

use comity_storage::pubsub::Item;
use comity_xmpp::element::Element;
use comity_xmpp::ns;
use comity_xmpp::stream::Header;
use comity_xmpp::xml;

use super::{Answer, Asked, NAME_BYTES, pubsub, refusal};

/// Items of one answer that names none.
const PAGE: usize = 100;
/// Bytes of one answer: what a stanza can carry, less its envelope.
const ANSWER_BYTES: usize = 224 * 1024;

/// XEP-0060 §6.5: all items as far as they fit, the newest few, or those named.
pub(super) async fn items(asked: &Asked<'_>, verb: &Element) -> Answer {
    let name = asked.node_name(verb)?;
    let (_, config) = asked.node(name).await?;
    asked.readable(name, &config).await?;
    let account = asked.account.as_str();
    let storage = &asked.home.storage;
    let ids: Vec<String> = verb
        .children_named(ns::PUBSUB, "item")
        .filter_map(|item| item.attr("id"))
        .filter(|id| id.len() <= NAME_BYTES)
        .take(PAGE)
        .map(str::to_owned)
        .collect();
    let found = if ids.is_empty() {
        let limit = match verb.attr("max_items") {
            None => PAGE,
            Some(number) => number
                .parse()
                .map_err(|_| refusal::bad_request("invalid-payload"))?,
        };
        let newest = storage
            .pubsub_items(account, name, limit.min(PAGE))
            .await
            .map_err(|fault| refusal::storage(&fault))?;
        // §6.5.4: in order of their publication.
        within(newest).into_iter().rev().collect()
    } else {
        let named = storage
            .pubsub_items_named(account, name, &ids)
            .await
            .map_err(|fault| refusal::storage(&fault))?;
        within(named)
    };
    if found.is_empty() && !ids.is_empty() {
        return Err(refusal::no_item());
    }
    let items = Element::new(ns::PUBSUB, "items")
        .with_attr("node", name)
        .with_children(found.iter().map(|item| element(ns::PUBSUB, item)));
    Ok(asked.result(Some(&pubsub(items))))
}

/// As many as one answer carries, and one in any case.
fn within(items: Vec<Item>) -> Vec<Item> {
    let mut bytes = 0;
    items
        .into_iter()
        .enumerate()
        .take_while(|(place, item)| {
            bytes += item.payload.len() + item.id.len() + 64;
            *place == 0 || bytes <= ANSWER_BYTES
        })
        .map(|(_, item)| item)
        .collect()
}

/// An item as it is shown, in the namespace of an answer or of an event.
pub(super) fn element(namespace: &str, item: &Item) -> Element {
    let shown = Element::new(namespace, "item").with_attr("id", item.id.as_str());
    match payload(&item.payload) {
        Some(payload) => shown.with_child(payload),
        None => shown,
    }
}

/// A stored payload; it was written by us, so it reads.
pub(super) fn payload(stored: &[u8]) -> Option<Element> {
    if stored.is_empty() {
        return None;
    }
    xml::parse(stored, &Header::of(ns::CLIENT)).ok()
}
