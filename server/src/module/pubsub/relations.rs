//! What the owner decides about others: affiliations (XEP-0060 §8.9) and subscriptions (§8.6,
//! §8.8).

use comity_storage::pubsub::{Affiliate, Subscribe, Unsubscribe};
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{Kind, MessageType, Stanza};

use super::access::Affiliation;
use super::{Answer, Asked, RELATIONS, pubsub, refusal, subscribe};
use crate::deliver::Deliveries;
use crate::home::Home;

/// §5.7: the requester's own, of one node or of all.
pub(super) async fn of_requester(asked: &Asked<'_>, verb: &Element) -> Answer {
    let mut found = Element::new(ns::PUBSUB, "affiliations");
    for node in subscribe::nodes(asked, verb).await? {
        let viewer = asked.viewer(&node).await?;
        if viewer.affiliation != Affiliation::None {
            found.push(
                Element::new(ns::PUBSUB, "affiliation")
                    .with_attr("node", node)
                    .with_attr("affiliation", viewer.affiliation.as_str()),
            );
        }
    }
    Ok(asked.result(Some(&pubsub(found))))
}

/// §8.9.1.
pub(super) async fn affiliations(asked: &Asked<'_>, verb: &Element) -> Answer {
    let name = asked.node_name(verb)?;
    asked.node(name).await?;
    let held = asked
        .home
        .storage
        .pubsub_affiliations(asked.account.as_str(), name)
        .await
        .map_err(|fault| refusal::storage(&fault))?;
    let one = |jid: &str, affiliation: &str| {
        Element::new(ns::PUBSUB_OWNER, "affiliation")
            .with_attr("jid", jid)
            .with_attr("affiliation", affiliation)
    };
    let list = Element::new(ns::PUBSUB_OWNER, "affiliations")
        .with_attr("node", name)
        .with_child(one(asked.account.as_str(), Affiliation::Owner.as_str()))
        .with_children(held.iter().map(|(jid, affiliation)| one(jid, affiliation)));
    Ok(asked.result(Some(&pubsub(list))))
}

/// §8.9.2: all of them, or none.
pub(super) async fn affiliate(asked: &Asked<'_>, verb: &Element) -> Answer {
    let name = asked.node_name(verb)?;
    asked.node(name).await?;
    let mut changes = Vec::new();
    for one in verb.children_named(ns::PUBSUB_OWNER, "affiliation") {
        let jid = bare(one.attr("jid"))?;
        let affiliation = one
            .attr("affiliation")
            .and_then(Affiliation::from_name)
            .ok_or_else(|| refusal::bad_request("invalid-payload"))?;
        if jid == asked.account || affiliation == Affiliation::Owner {
            return Err(
                StanzaError::new(ErrorType::Cancel, StanzaCondition::NotAcceptable)
                    .with_text("the account is the one owner of its nodes"),
            );
        }
        let kept = (affiliation != Affiliation::None).then(|| affiliation.as_str().to_owned());
        changes.push((jid.to_string(), kept));
    }
    let change = Affiliate {
        account: asked.account.to_string(),
        node: name.to_owned(),
        affiliations: changes,
        limit: RELATIONS,
    };
    let outcome = asked.home.storage.write(change).await;
    if outcome.map_err(|fault| refusal::storage(&fault))? {
        return Ok(asked.result(None));
    }
    Err(refusal::constraint(format!(
        "a node has at most {RELATIONS} affiliations"
    )))
}

fn bare(jid: Option<&str>) -> Result<BareJid, StanzaError> {
    jid.and_then(|jid| BareJid::parse(jid).ok())
        .ok_or_else(|| refusal::bad_request("invalid-jid"))
}

/// §8.8.1.
pub(super) async fn subscriptions(asked: &Asked<'_>, verb: &Element) -> Answer {
    let name = asked.node_name(verb)?;
    asked.node(name).await?;
    let held = asked
        .home
        .storage
        .pubsub_subscriptions(asked.account.as_str(), name)
        .await
        .map_err(|fault| refusal::storage(&fault))?;
    let list = Element::new(ns::PUBSUB_OWNER, "subscriptions")
        .with_attr("node", name)
        .with_children(held.iter().filter_map(|one| {
            let jid = Jid::parse(&one.jid).ok()?;
            let state = if one.pending { "pending" } else { "subscribed" };
            Some(subscribe::subscription(ns::PUBSUB_OWNER, None, &jid, state))
        }));
    Ok(asked.result(Some(&pubsub(list))))
}

/// §8.8.2: the owner lets somebody in, or ends a subscription.
pub(super) async fn settle(asked: &Asked<'_>, verb: &Element) -> Answer {
    let name = asked.node_name(verb)?;
    asked.node(name).await?;
    let mut deliveries = asked.result(None);
    for one in verb.children_named(ns::PUBSUB_OWNER, "subscription") {
        let jid = one.attr("jid").and_then(|jid| Jid::parse(jid).ok());
        let jid = jid.ok_or_else(|| refusal::bad_request("invalid-jid"))?;
        let allow = match one.attr("subscription") {
            Some("subscribed") => true,
            Some("none") => false,
            _ => return Err(refusal::bad_request("invalid-payload")),
        };
        deliveries.extend(decide(asked.home, &asked.account, name, &jid, allow).await?);
    }
    Ok(deliveries)
}

/// The owner's answer to a request to subscribe, if a message is one (§8.6.2).
pub(crate) async fn answered(
    home: &Home,
    account: &BareJid,
    message: &Stanza,
) -> Option<Deliveries> {
    let (node, jid, allow) = subscribe::answered(message)?;
    Some(
        decide(home, account, &node, &jid, allow)
            .await
            .unwrap_or_else(|error| Deliveries::refuse(message, &error)),
    )
}

/// Lets a subscriber in or out, and tells it (§8.6.3).
async fn decide(home: &Home, account: &BareJid, node: &str, jid: &Jid, allow: bool) -> Answer {
    let (account_name, node_name) = (account.to_string(), node.to_owned());
    let failed = |fault| refusal::storage(&fault);
    let changed = if allow {
        let change = Subscribe {
            account: account_name,
            node: node_name,
            jid: jid.to_string(),
            pending: false,
            limit: RELATIONS,
        };
        home.storage.write(change).await.map_err(failed)?
    } else {
        let change = Unsubscribe {
            account: account_name,
            node: node_name,
            jid: jid.to_string(),
        };
        home.storage.write(change).await.map_err(failed)?
    };
    if !changed {
        return Ok(Deliveries::none());
    }
    let state = if allow { "subscribed" } else { "none" };
    let event = Element::new(ns::PUBSUB_EVENT, "event").with_child(subscribe::subscription(
        ns::PUBSUB_EVENT,
        Some(node),
        jid,
        state,
    ));
    let told = Stanza::new(Kind::Message(MessageType::Headline))
        .with_from(account.clone())
        .with_to(jid.clone())
        .with(&event);
    Ok(Deliveries::none().with(told))
}
