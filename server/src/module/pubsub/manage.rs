//! Creating, configuring, purging and deleting nodes (XEP-0060 §8.1 to §8.5).

use comity_net::random;
use comity_storage::pubsub::{
    ConfigureNode, Configured, CreateNode, DeleteNode, NodeCreated, PurgeNode,
};
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::form::{Form, FormKind};
use comity_xmpp::ns;

use super::access::Relation;
use super::config::{Config, NODE_CONFIG};
use super::{Answer, Asked, NAME_BYTES, notify, publish, pubsub, refusal};
use crate::deliver::Deliveries;

/// §8.3: how nodes are made where nothing else is said.
pub(super) fn default(asked: &Asked<'_>, owner: bool) -> Deliveries {
    let namespace = if owner { ns::PUBSUB_OWNER } else { ns::PUBSUB };
    let form = Config::default().form(FormKind::Form).to_element();
    asked.result(Some(&pubsub(
        Element::new(namespace, "default").with_child(form),
    )))
}

/// §8.1: with a configuration, or as nodes usually are; named by the service where no name is
/// given.
pub(super) async fn create(asked: &Asked<'_>, request: &Element, verb: &Element) -> Answer {
    if asked.relation != Relation::Owner {
        return Err(refusal::forbidden(
            "only the owner of the account may do this",
        ));
    }
    let (name, instant) = match verb.attr("node") {
        None | Some("") => (random::id(), true),
        Some(name) if name.len() > NAME_BYTES => {
            return Err(refusal::constraint(format!(
                "the name of a node has at most {NAME_BYTES} bytes"
            )));
        }
        Some(name) => (name.to_owned(), false),
    };
    let config = match request.child(ns::PUBSUB, "configure") {
        None => Config::default(),
        Some(configure) => match form(configure)? {
            Some(form) => {
                Config::default().with(&form, asked.home.limits.now().pubsub_items, false)?
            }
            None => Config::default(),
        },
    };
    let change = CreateNode {
        account: asked.account.to_string(),
        node: name.clone(),
        new: publish::new_node(asked, &config),
    };
    let outcome = asked.home.storage.write(change).await;
    match outcome.map_err(|fault| refusal::storage(&fault))? {
        NodeCreated::Created if instant => {
            let created = Element::new(ns::PUBSUB, "create").with_attr("node", name);
            Ok(asked.result(Some(&pubsub(created))))
        }
        NodeCreated::Created => Ok(asked.result(None)),
        NodeCreated::Exists => Err(
            StanzaError::new(ErrorType::Cancel, StanzaCondition::Conflict)
                .with_text("there is a node of that name: configure it"),
        ),
        NodeCreated::NoAccount => Err(crate::route::unavailable()),
        NodeCreated::Full => Err(refusal::constraint(format!(
            "the account has {} nodes: delete one first",
            asked.home.limits.now().pubsub_nodes
        ))),
    }
}

/// §8.2.1.
pub(super) async fn configuration(asked: &Asked<'_>, verb: &Element) -> Answer {
    let name = asked.node_name(verb)?;
    let (_, config) = asked.node(name).await?;
    let configure = Element::new(ns::PUBSUB_OWNER, "configure")
        .with_attr("node", name)
        .with_child(config.form(FormKind::Form).to_element());
    Ok(asked.result(Some(&pubsub(configure))))
}

/// §8.2.4.
pub(super) async fn configure(asked: &Asked<'_>, verb: &Element) -> Answer {
    let name = asked.node_name(verb)?;
    let (node, before) = asked.node(name).await?;
    let Some(form) = form(verb)? else {
        // §8.2.3: thought better of it.
        return Ok(asked.result(None));
    };
    let config = before.with(&form, asked.home.limits.now().pubsub_items, false)?;
    let change = ConfigureNode {
        account: asked.account.to_string(),
        node: name.to_owned(),
        expected: node.config,
        config: config.stored(),
        max_items: config.max_items,
    };
    let outcome = asked.home.storage.write(change).await;
    match outcome.map_err(|fault| refusal::storage(&fault))? {
        Configured::NoNode => Err(refusal::no_node()),
        Configured::Stale => Err(StanzaError::new(ErrorType::Wait, StanzaCondition::Conflict)
            .with_text("another client has configured the node meanwhile: look, then try again")),
        Configured::Configured => {
            let mut deliveries = asked.result(None);
            if config.notify_config {
                let told = notify::configured(asked.home, &asked.account, name, &config);
                deliveries.extend(told.await);
            }
            Ok(deliveries)
        }
    }
}

/// The submitted form; `None` where it was cancelled.
fn form(configure: &Element) -> Result<Option<Form>, StanzaError> {
    let Some(element) = configure.child(ns::DATA, "x") else {
        return Ok(None);
    };
    let wrong = |text: &str| {
        StanzaError::new(ErrorType::Modify, StanzaCondition::BadRequest).with_text(text)
    };
    let form = Form::read(element).map_err(|why| wrong(&why.to_string()))?;
    match (form.kind, form.form_type()) {
        (FormKind::Cancel, _) => Ok(None),
        (FormKind::Submit, Some(NODE_CONFIG) | None) => Ok(Some(form)),
        _ => Err(wrong(
            "a node is configured by a submitted form of node_config",
        )),
    }
}

/// §8.4.
pub(super) async fn delete(asked: &Asked<'_>, verb: &Element) -> Answer {
    let name = asked.node_name(verb)?;
    let (_, config) = asked.node(name).await?;
    // Whoever is to be told is known to the node alone.
    let told = match config.notify_delete {
        true => notify::deleted(asked.home, &asked.account, name, &config).await,
        false => Deliveries::none(),
    };
    let change = DeleteNode {
        account: asked.account.to_string(),
        node: name.to_owned(),
    };
    let outcome = asked.home.storage.write(change).await;
    if !outcome.map_err(|fault| refusal::storage(&fault))? {
        return Err(refusal::no_node());
    }
    let mut deliveries = asked.result(None);
    deliveries.extend(told);
    Ok(deliveries)
}

/// §8.5.
pub(super) async fn purge(asked: &Asked<'_>, verb: &Element) -> Answer {
    let name = asked.node_name(verb)?;
    let (_, config) = asked.node(name).await?;
    let change = PurgeNode {
        account: asked.account.to_string(),
        node: name.to_owned(),
    };
    let outcome = asked.home.storage.write(change).await;
    if !outcome.map_err(|fault| refusal::storage(&fault))? {
        return Err(refusal::no_node());
    }
    let mut deliveries = asked.result(None);
    if config.notify_retract {
        deliveries.extend(notify::purged(asked.home, &asked.account, name, &config).await);
    }
    Ok(deliveries)
}
