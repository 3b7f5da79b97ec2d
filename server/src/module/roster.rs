//! Rosters (RFC 6121 §2): the list of contacts, its changes, and their pushes, with versions.

mod leave;
mod remove;

use std::sync::Arc;

use comity_storage::{Contact, ContactSet, SetContact};
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::BareJid;
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, Stanza};

pub(crate) use leave::leave;

use super::{Context, Entity, Handles, Later, Module, Request, Target, What};
use crate::deliver::{self, Deliveries};
use crate::home::Home;

/// Bytes of a contact's name, and of a group's (RFC 6121 §2.1.2.4 leaves it to the server).
const NAME_BYTES: usize = 1023;
/// Groups that one contact is in.
const GROUPS: usize = 64;

pub const MODULE: Module = Module {
    name: "roster",
    handles: &[
        own(IqType::Get, Target::OwnAccount),
        own(IqType::Set, Target::OwnAccount),
        own(IqType::Get, Target::OtherAccount),
        own(IqType::Set, Target::OtherAccount),
    ],
    features: &[(Entity::Domain, ns::ROSTER)],
    handle,
    ..Module::EMPTY
};

const fn own(kind: IqType, target: Target) -> Handles {
    Handles {
        what: What::Iq(kind),
        ns: ns::ROSTER,
        name: "query",
        target,
    }
}

fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        let account = request.to.to_bare();
        if request.target != Target::OwnAccount {
            // RFC 6121 §2.1.5, §2.1.6; nothing is said of whether there is such an account.
            return Deliveries::refuse(&request.stanza, &crate::route::unavailable());
        }
        match request.stanza.kind {
            Kind::Iq(IqType::Get) => get(&context, &account, &request).await,
            _ => match item_of(&request.payload, &account) {
                Ok(Wanted::Set(change)) => set(&context, &account, &request, change).await,
                Ok(Wanted::Remove(contact)) => {
                    remove::remove(&context, &account, &request, &contact).await
                }
                Err(error) => Deliveries::refuse(&request.stanza, &error),
            },
        }
    })
}

/// RFC 6121 §2.1.4, §2.6.2.
async fn get(context: &Context, account: &BareJid, request: &Request) -> Deliveries {
    let home = &context.home;
    // Before reading: a change that comes between is pushed, and at worst told twice.
    if let Some(session) = context.session() {
        home.sessions
            .with(session, |session| session.interested = true);
    }
    let roster = match home.storage.roster(account.as_str()).await {
        Ok(roster) => roster,
        Err(fault) => return deliver::failed(&request.stanza, &fault),
    };
    let version = roster.version.to_string();
    if request.payload.attr("ver") == Some(version.as_str()) {
        return Deliveries::answer(request.stanza.result(None));
    }
    let query = Element::new(ns::ROSTER, "query")
        .with_attr("ver", version)
        .with_children(roster.contacts.iter().map(item));
    Deliveries::answer(request.stanza.result(Some(&query)))
}

async fn set(
    context: &Context,
    account: &BareJid,
    request: &Request,
    wanted: Contact,
) -> Deliveries {
    let home = &context.home;
    let change = SetContact {
        account: account.as_str().to_owned(),
        contact: wanted.contact,
        name: wanted.name,
        groups: wanted.groups,
        limit: home.limits.now().roster_items,
    };
    match home.storage.write(change).await {
        Ok(ContactSet::Set { contact, version }) => {
            // RFC 6121 §2.1.6: all interested resources, the one that asked among them.
            push(home, account, &item(&contact), version).with(request.stanza.result(None))
        }
        Ok(ContactSet::Full) => Deliveries::refuse(&request.stanza, &full(home)),
        Ok(ContactSet::NoAccount) => {
            Deliveries::refuse(&request.stanza, &crate::route::unavailable())
        }
        Err(fault) => deliver::failed(&request.stanza, &fault),
    }
}

/// RFC 6121 §2.1.6: tells the resources that have asked for the roster of one change.
pub(crate) fn push(home: &Home, account: &BareJid, item: &Element, version: u64) -> Deliveries {
    let query = Element::new(ns::ROSTER, "query")
        .with_attr("ver", version.to_string())
        .with_child(item.clone());
    let push = Stanza::new(Kind::Iq(IqType::Set))
        .with_from(account.clone())
        .with_id(format!("roster-{version}"))
        .with(&query);
    let mut deliveries = Deliveries::none();
    for session in home.sessions.interested(account) {
        let stanza = push.clone().with_to(session.clone());
        deliveries.push_local(session, Arc::new(stanza));
    }
    deliveries
}

/// A contact as `<item/>`.
pub(crate) fn item(contact: &Contact) -> Element {
    Element::new(ns::ROSTER, "item")
        .with_attr("jid", contact.contact.as_str())
        .with_attr_opt("name", contact.name.as_deref())
        .with_attr("subscription", contact.subscription.as_str())
        .with_attr_opt("ask", contact.ask.then_some("subscribe"))
        .with_attr_opt("approved", contact.approved.then_some("true"))
        .with_children(
            contact
                .groups
                .iter()
                .map(|group| Element::new(ns::ROSTER, "group").with_text(group.as_str())),
        )
}

/// The roster can take no more.
pub(crate) fn full(home: &Home) -> StanzaError {
    StanzaError::new(ErrorType::Wait, StanzaCondition::ResourceConstraint).with_text(format!(
        "the roster holds {} contacts: remove one first",
        home.limits.now().roster_items
    ))
}

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Set(Contact),
    Remove(BareJid),
}

/// RFC 6121 §2.1.5, §2.3.3, §2.5.3.
fn item_of(query: &Element, account: &BareJid) -> Result<Wanted, StanzaError> {
    let wrong =
        |condition, text: &str| StanzaError::new(ErrorType::Modify, condition).with_text(text);
    let mut items = query.elements();
    let (Some(item), None) = (items.next(), items.next()) else {
        return Err(wrong(
            StanzaCondition::BadRequest,
            "a roster set has exactly one item",
        ));
    };
    let jid = item
        .is(ns::ROSTER, "item")
        .then(|| item.attr("jid"))
        .flatten();
    let Some(jid) = jid else {
        return Err(wrong(StanzaCondition::BadRequest, "the item needs a jid"));
    };
    let contact = BareJid::parse(jid)
        .map_err(|fault| wrong(StanzaCondition::JidMalformed, &fault.to_string()))?;
    if item.attr("subscription") == Some("remove") {
        return Ok(Wanted::Remove(contact));
    }
    if contact == *account {
        return Err(
            StanzaError::new(ErrorType::Cancel, StanzaCondition::NotAllowed)
                .with_text("an account is no contact of itself"),
        );
    }
    let name = item
        .attr("name")
        .filter(|name| !name.is_empty())
        .map(str::to_owned);
    let mut groups: Vec<String> = item
        .elements()
        .filter(|child| child.is(ns::ROSTER, "group"))
        .map(Element::text)
        .collect();
    let named = groups.len();
    groups.sort_unstable();
    groups.dedup();
    if groups.len() != named {
        return Err(wrong(StanzaCondition::BadRequest, "a group is named twice"));
    }
    if groups.iter().any(String::is_empty) {
        return Err(wrong(
            StanzaCondition::NotAcceptable,
            "a group needs a name",
        ));
    }
    let long = |text: &String| text.len() > NAME_BYTES;
    if name.as_ref().is_some_and(long) || groups.iter().any(long) || groups.len() > GROUPS {
        return Err(wrong(
            StanzaCondition::NotAcceptable,
            "a name has at most 1023 bytes, a contact at most 64 groups",
        ));
    }
    Ok(Wanted::Set(Contact {
        contact: contact.as_str().to_owned(),
        name,
        groups,
        ..Contact::default()
    }))
}

#[cfg(test)]
mod tests;
