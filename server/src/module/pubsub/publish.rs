//! Publishing and retracting (XEP-0060 §7.1, §7.2), with a publisher's options (§7.1.5).

use comity_net::random;
use comity_storage::pubsub::{Item, NewNode, Publish, Published, Quota, Retract, Retracted};
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::form::Form;
use comity_xmpp::ns;

use super::access::{self, Affiliation, Relation, Viewer};
use super::config::{Config, PUBLISH_OPTIONS};
use super::{Answer, Asked, NAME_BYTES, notify, pubsub, refusal};

/// Bytes of a payload: it has to fit into a stanza with what is around it.
const PAYLOAD_BYTES: usize = 192 * 1024;
/// A publication is decided anew when its node changes meanwhile.
const ATTEMPTS: usize = 8;

pub(super) async fn publish(asked: &Asked<'_>, request: &Element, verb: &Element) -> Answer {
    let name = asked.node_name(verb)?;
    let options = options(request)?;
    let mut items = verb.children_named(ns::PUBSUB, "item");
    let (item, None) = (items.next(), items.next()) else {
        return Err(refusal::with(
            ErrorType::Cancel,
            StanzaCondition::NotAllowed,
            "max-items-exceeded",
        )
        .with_text("publish one item at a time"));
    };
    let (id, payload) = read(item)?;
    for _ in 0..ATTEMPTS {
        let found = asked.find(name).await?;
        let (expected, config) = match found {
            Some((node, config)) => {
                permitted(asked, name, &config).await?;
                precondition(asked, &config, options.as_ref())?;
                (Some(node.config), config)
            }
            None => (None, missing(asked, options.as_ref())?),
        };
        fits(&config, item, payload.as_ref())?;
        let publication = Item {
            place: 0,
            id: id.clone(),
            publisher: asked.from.to_bare().to_string(),
            payload: payload
                .as_ref()
                .map(Element::to_string)
                .unwrap_or_default()
                .into_bytes(),
            published: asked.now_ms,
        };
        let change = change(asked, name, expected, &config, &publication);
        let outcome = asked.home.storage.write(change).await;
        match outcome.map_err(|fault| refusal::storage(&fault))? {
            Published::Published { .. } => {
                let told =
                    notify::published(asked.home, &asked.account, name, &config, &publication);
                let answer = Element::new(ns::PUBSUB, "publish")
                    .with_attr("node", name)
                    .with_child(Element::new(ns::PUBSUB, "item").with_attr("id", id));
                let mut deliveries = asked.result(Some(&pubsub(answer)));
                deliveries.extend(told.await);
                return Ok(deliveries);
            }
            Published::Stale => {}
            Published::NoAccount => return Err(crate::route::unavailable()),
            Published::TooManyNodes => {
                let most = asked.home.limits.now().pubsub_nodes;
                return Err(refusal::constraint(format!(
                    "the account has {most} nodes: delete one first"
                )));
            }
            Published::OverQuota => {
                let most = asked.home.limits.now().pubsub_bytes;
                return Err(refusal::constraint(format!(
                    "the account keeps {most} bytes in its nodes: retract something first"
                )));
            }
        }
    }
    Err(refusal::constraint(
        "the node changes faster than this could be published: try again".to_owned(),
    ))
}

/// The item's id, drawn where none is named (§7.1.2), and its payload.
fn read(item: Option<&Element>) -> Result<(String, Option<Element>), StanzaError> {
    let id = match item.and_then(|item| item.attr("id")) {
        None | Some("") => random::id(),
        Some(id) if id.len() > NAME_BYTES => {
            return Err(refusal::constraint(format!(
                "the id of an item has at most {NAME_BYTES} bytes"
            )));
        }
        Some(id) => id.to_owned(),
    };
    let mut payloads = item.into_iter().flat_map(Element::elements);
    let (payload, None) = (payloads.next(), payloads.next()) else {
        return Err(refusal::bad_request("invalid-payload"));
    };
    let too_big = payload.is_some_and(|payload| payload.to_string().len() > PAYLOAD_BYTES);
    if too_big {
        return Err(refusal::with(
            ErrorType::Modify,
            StanzaCondition::NotAcceptable,
            "payload-too-big",
        )
        .with_text(format!("a payload has at most {PAYLOAD_BYTES} bytes")));
    }
    Ok((id, payload.cloned()))
}

/// §7.1.3.5, §7.1.3.6.
fn fits(
    config: &Config,
    item: Option<&Element>,
    payload: Option<&Element>,
) -> Result<(), StanzaError> {
    let needed = config.persist_items || config.deliver_payloads;
    if needed && item.is_none() {
        return Err(refusal::bad_request("item-required"));
    }
    if needed && payload.is_none() {
        return Err(refusal::bad_request("payload-required"));
    }
    Ok(())
}

async fn permitted(asked: &Asked<'_>, name: &str, config: &Config) -> Result<(), StanzaError> {
    let viewer = asked.viewer(name).await?;
    if access::publish(config, &viewer) {
        return Ok(());
    }
    access::read(config, &viewer).map_err(|why| refusal::denied(why, &viewer.relation))?;
    Err(refusal::forbidden(
        "only publishers may publish to this node",
    ))
}

/// With what a missing node is made: only for its owner (XEP-0163 §3).
fn missing(asked: &Asked<'_>, options: Option<&Form>) -> Result<Config, StanzaError> {
    match (&asked.relation, options) {
        (Relation::Owner, None) => Ok(Config::default()),
        (Relation::Owner, Some(form)) => {
            Config::default().with(form, asked.home.limits.now().pubsub_items, true)
        }
        (Relation::Contact { .. }, _) => Err(refusal::no_node()),
        (Relation::Stranger, _) => Err(refusal::presence_required()),
    }
}

fn options(request: &Element) -> Result<Option<Form>, StanzaError> {
    let Some(options) = request.child(ns::PUBSUB, "publish-options") else {
        return Ok(None);
    };
    let form = options
        .child(ns::DATA, "x")
        .ok_or_else(|| refusal::bad_request("invalid-options"))
        .and_then(|form| Form::read(form).map_err(|_| refusal::bad_request("invalid-options")))?;
    match form.form_type() {
        Some(PUBLISH_OPTIONS) => Ok(Some(form)),
        _ => Err(refusal::bad_request("invalid-options")),
    }
}

/// §7.1.5: the node has to be as the publisher wants it.
fn precondition(
    asked: &Asked<'_>,
    config: &Config,
    options: Option<&Form>,
) -> Result<(), StanzaError> {
    let Some(form) = options else { return Ok(()) };
    let wanted = config.with(form, asked.home.limits.now().pubsub_items, true);
    if wanted.as_ref() == Ok(config) {
        return Ok(());
    }
    Err(refusal::with(
        ErrorType::Cancel,
        StanzaCondition::Conflict,
        "precondition-not-met",
    ))
}

fn change(
    asked: &Asked<'_>,
    name: &str,
    expected: Option<String>,
    config: &Config,
    item: &Item,
) -> Publish {
    let limits = &asked.home.limits.now();
    Publish {
        account: asked.account.to_string(),
        node: name.to_owned(),
        expected,
        new: new_node(asked, config),
        persist: config.persist_items,
        item: item.id.clone(),
        publisher: item.publisher.clone(),
        payload: item.payload.clone(),
        published: item.published,
        quota: Quota {
            bytes: limits.pubsub_bytes,
        },
    }
}

pub(super) fn new_node(asked: &Asked<'_>, config: &Config) -> NewNode {
    NewNode {
        config: config.stored(),
        max_items: config.max_items,
        created: asked.now_ms,
        nodes_limit: asked.home.limits.now().pubsub_nodes,
    }
}

/// §7.2: by the owner, or by who published the item.
pub(super) async fn retract(asked: &Asked<'_>, verb: &Element) -> Answer {
    let name = asked.node_name(verb)?;
    let mut items = verb.children_named(ns::PUBSUB, "item");
    let (Some(item), None) = (items.next(), items.next()) else {
        return Err(refusal::bad_request("item-required"));
    };
    let Some(id) = item.attr("id").filter(|id| !id.is_empty()) else {
        return Err(refusal::bad_request("item-required"));
    };
    let (_, config) = asked.node(name).await?;
    let viewer = asked.viewer(name).await?;
    owns(asked, name, &config, &viewer, id).await?;
    let change = Retract {
        account: asked.account.to_string(),
        node: name.to_owned(),
        item: id.to_owned(),
    };
    let outcome = asked.home.storage.write(change).await;
    match outcome.map_err(|fault| refusal::storage(&fault))? {
        Retracted::NoNode => Err(refusal::no_node()),
        Retracted::NoItem => Err(refusal::no_item()),
        Retracted::Retracted => {
            let mut deliveries = asked.result(None);
            // §7.2.2.1: where the node says so, or the publisher asks.
            let asks = verb.attr("notify").and_then(comity_xmpp::form::boolean);
            if config.notify_retract || asks == Some(true) {
                let told = notify::retracted(asked.home, &asked.account, name, &config, id);
                deliveries.extend(told.await);
            }
            Ok(deliveries)
        }
    }
}

async fn owns(
    asked: &Asked<'_>,
    name: &str,
    config: &Config,
    viewer: &Viewer,
    id: &str,
) -> Result<(), StanzaError> {
    if viewer.affiliation == Affiliation::Owner {
        return Ok(());
    }
    access::read(config, viewer).map_err(|why| refusal::denied(why, &viewer.relation))?;
    let ids = [id.to_owned()];
    let held = asked
        .home
        .storage
        .pubsub_items_named(asked.account.as_str(), name, &ids)
        .await
        .map_err(|fault| refusal::storage(&fault))?;
    match held.first() {
        None => Err(refusal::no_item()),
        Some(item)
            if access::publish(config, viewer)
                && item.publisher == asked.from.to_bare().as_str() =>
        {
            Ok(())
        }
        Some(_) => Err(refusal::forbidden("another has published this item")),
    }
}
