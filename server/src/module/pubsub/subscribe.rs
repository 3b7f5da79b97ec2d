//! Subscribing to a node and ending it (XEP-0060 §6.1, §6.2), and what one is subscribed to (§5.6).

use comity_storage::pubsub::{Subscribe, Unsubscribe};
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::form::{Field, Form, FormKind};
use comity_xmpp::jid::Jid;
use comity_xmpp::ns;
use comity_xmpp::stanza::{Kind, MessageType, Stanza};

use super::access::{self, Denied, Relation};
use super::config::SendLast;
use super::{Answer, Asked, RELATIONS, notify, pubsub, refusal};

pub(super) const SUBSCRIBE_AUTHORIZATION: &str =
    "http://jabber.org/protocol/pubsub#subscribe_authorization";

pub(super) async fn subscribe(asked: &Asked<'_>, verb: &Element) -> Answer {
    let name = asked.node_name(verb)?;
    let jid = own_address(asked, verb)?;
    let (_, config) = asked.node(name).await?;
    let viewer = asked.viewer(name).await?;
    let pending = match access::read(&config, &viewer) {
        Ok(()) => false,
        // §6.1.3.5: the owner is asked.
        Err(Denied::NotAuthorized) => true,
        Err(why) => return Err(refusal::denied(why, &viewer.relation)),
    };
    let change = Subscribe {
        account: asked.account.to_string(),
        node: name.to_owned(),
        jid: jid.to_string(),
        pending,
        limit: RELATIONS,
    };
    let outcome = asked.home.storage.write(change).await;
    if !outcome.map_err(|fault| refusal::storage(&fault))? {
        return Err(refusal::constraint(format!(
            "the node has {RELATIONS} subscriptions"
        )));
    }
    let state = if pending { "pending" } else { "subscribed" };
    let answer = subscription(ns::PUBSUB, Some(name), &jid, state);
    let mut deliveries = asked.result(Some(&pubsub(answer)));
    if pending {
        deliveries.push(request(asked, name, &jid));
    } else if config.send_last != SendLast::Never {
        // §6.1.7.
        deliveries.extend(notify::last(asked.home, &asked.account, name, &config, &jid).await);
    }
    Ok(deliveries)
}

/// §6.1.3.1: for oneself alone.
fn own_address(asked: &Asked<'_>, verb: &Element) -> Result<Jid, StanzaError> {
    let jid = verb.attr("jid").and_then(|jid| Jid::parse(jid).ok());
    match jid {
        Some(jid) if jid == *asked.from || jid == Jid::from(asked.from.to_bare()) => Ok(jid),
        Some(_) => Err(refusal::bad_request("invalid-jid")),
        None => Err(refusal::bad_request("jid-required")),
    }
}

pub(super) fn subscription(namespace: &str, node: Option<&str>, jid: &Jid, state: &str) -> Element {
    Element::new(namespace, "subscription")
        .with_attr_opt("node", node)
        .with_attr("jid", jid.as_str())
        .with_attr("subscription", state)
}

/// §8.6.1: asks the owner.
fn request(asked: &Asked<'_>, node: &str, jid: &Jid) -> Stanza {
    let mut form = Form::new(FormKind::Form, SUBSCRIBE_AUTHORIZATION)
        .with(Field::single("pubsub#node", "text-single", "Node", node))
        .with(Field::single(
            "pubsub#subscriber_jid",
            "jid-single",
            "Subscriber",
            jid.as_str(),
        ))
        .with(Field::single(
            "pubsub#allow",
            "boolean",
            "Allow this address to subscribe?",
            "0",
        ));
    form.title = Some("A request to subscribe".to_owned());
    Stanza::new(Kind::Message(MessageType::Normal))
        .with_from(asked.account.clone())
        .with_to(asked.account.clone())
        .with(&form.to_element())
}

/// §6.2.
pub(super) async fn unsubscribe(asked: &Asked<'_>, verb: &Element) -> Answer {
    let name = asked.node_name(verb)?;
    let jid = own_address(asked, verb)?;
    let change = Unsubscribe {
        account: asked.account.to_string(),
        node: name.to_owned(),
        jid: jid.to_string(),
    };
    let outcome = asked.home.storage.write(change).await;
    if outcome.map_err(|fault| refusal::storage(&fault))? {
        return Ok(asked.result(None));
    }
    Err(match asked.relation {
        Relation::Stranger => refusal::presence_required(),
        _ => refusal::with(
            ErrorType::Cancel,
            StanzaCondition::UnexpectedRequest,
            "not-subscribed",
        ),
    })
}

/// §5.6: the requester's subscriptions, of one node or of all.
pub(super) async fn of_requester(asked: &Asked<'_>, verb: &Element) -> Answer {
    let mut found = Element::new(ns::PUBSUB, "subscriptions");
    let bare = asked.from.to_bare();
    for node in nodes(asked, verb).await? {
        let held = asked
            .home
            .storage
            .pubsub_subscriptions(asked.account.as_str(), &node)
            .await
            .map_err(|fault| refusal::storage(&fault))?;
        for one in held {
            let Ok(jid) = Jid::parse(&one.jid) else {
                continue;
            };
            if jid.to_bare() == bare {
                let state = if one.pending { "pending" } else { "subscribed" };
                found.push(subscription(ns::PUBSUB, Some(&node), &jid, state));
            }
        }
    }
    Ok(asked.result(Some(&pubsub(found))))
}

/// The node that a request names, or all.
pub(super) async fn nodes(asked: &Asked<'_>, verb: &Element) -> Result<Vec<String>, StanzaError> {
    if let Some(node) = verb.attr("node") {
        asked.node(node).await?;
        return Ok(vec![node.to_owned()]);
    }
    let all = asked
        .home
        .storage
        .pubsub_nodes(asked.account.as_str())
        .await
        .map_err(|fault| refusal::storage(&fault))?;
    Ok(all.into_iter().map(|node| node.node).collect())
}

/// What the owner has answered to [`request`], if a message is such an answer: node, subscriber,
/// and whether it is allowed (§8.6.2).
pub(super) fn answered(message: &Stanza) -> Option<(String, Jid, bool)> {
    let form = Form::read(&message.child(ns::DATA, "x")?).ok()?;
    if form.form_type() != Some(SUBSCRIBE_AUTHORIZATION) || form.kind != FormKind::Submit {
        return None;
    }
    let allow = comity_xmpp::form::boolean(form.value("pubsub#allow")?)?;
    let jid = Jid::parse(form.value("pubsub#subscriber_jid")?).ok()?;
    Some((form.value("pubsub#node")?.to_owned(), jid, allow))
}
