//! XEP-0191: Blocking Command. The lists' changes are here; [`stops`] is asked of everything that
//! comes in, [`withholds`] of everything that the server lets out on an account's behalf.

mod presence;

use std::sync::Arc;

use comity_storage::{BlockContacts, ContactsBlocked, UnblockContacts};
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, PresenceType, Stanza};

use super::{Context, Entity, Handles, Later, Module, Origin, Request, Target, What};
use crate::deliver::{self, Deliveries};
use crate::home::Home;
use crate::route::{self, Hop, ROOM_MARK, unavailable};

pub const MODULE: Module = Module {
    name: "blocking",
    handles: &[
        own(IqType::Get, "blocklist"),
        own(IqType::Set, "block"),
        own(IqType::Set, "unblock"),
    ],
    features: &[(Entity::Domain, ns::BLOCKING)],
    handle,
    ..Module::EMPTY
};

const fn own(kind: IqType, name: &'static str) -> Handles {
    Handles {
        what: What::Iq(kind),
        ns: ns::BLOCKING,
        name,
        target: Target::OwnAccount,
    }
}

/// What becomes of a stanza between an account and somebody whom it blocks; `None` where it may
/// pass.
pub(crate) fn stops(
    home: &Home,
    origin: &Origin,
    from: &Jid,
    stanza: &Stanza,
    hop: &Hop,
) -> Option<Deliveries> {
    if let (Origin::Session(session), Some(to)) = (origin, &stanza.to)
        && home.blocklists.blocks(&session.to_bare(), to)
    {
        return Some(sent(session, stanza));
    }
    let account = match hop {
        Hop::Account(account) => account.clone(),
        Hop::Session(session) => session.to_bare(),
        Hop::Domain(_) | Hop::Room(_) | Hop::Remote(_) | Hop::Bounce(_) => return None,
    };
    let blocked = home.blocklists.blocks(&account, from);
    (blocked && !ends_a_subscription(stanza.kind)).then(|| received(stanza))
}

/// XEP-0191 §3.4: the account's own client has to unblock first.
fn sent(session: &Jid, stanza: &Stanza) -> Deliveries {
    let error = StanzaError::new(ErrorType::Cancel, StanzaCondition::NotAcceptable)
        .with_text("you have blocked this address: unblock it first")
        .with_application(Element::new(ns::BLOCKING_ERRORS, "blocked"));
    let mut deliveries = Deliveries::none();
    if let Some(reply) = stanza.error_reply(&error) {
        deliveries.push_local(session.clone(), Arc::new(reply));
    }
    deliveries
}

/// XEP-0191 §3.4: presence is dropped, all else looks as if nobody were there.
fn received(stanza: &Stanza) -> Deliveries {
    let mut deliveries = Deliveries::none();
    if !matches!(stanza.kind, Kind::Presence(_))
        && let Some(reply) = stanza.error_reply(&unavailable())
    {
        deliveries.push_last_word(reply);
    }
    deliveries
}

/// Nobody is kept from giving up what he has: two rosters that disagree never mend.
fn ends_a_subscription(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Presence(PresenceType::Unsubscribe | PresenceType::Unsubscribed)
    )
}

/// May the server not send this on behalf of the account it comes from? Presence and events of
/// nodes go to whoever has once been let see them.
pub(crate) fn withholds(home: &Home, stanza: &Stanza) -> bool {
    let (Some(from), Some(to)) = (&stanza.from, &stanza.to) else {
        return false;
    };
    let ours = home.hosts.serves(from.domain())
        && from
            .local()
            .is_some_and(|local| !local.starts_with(ROOM_MARK));
    ours && !matches!(stanza.kind, Kind::Presence(kind) if route::subscribes(kind))
        && home.blocklists.blocks(&from.to_bare(), to)
}

fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        let account = request.to.to_bare();
        let done = match &*request.payload.name {
            "blocklist" => list(&context, &account, &request).await,
            "block" => block(&context, &account, &request).await,
            _ => unblock(&context, &account, &request).await,
        };
        done.unwrap_or_else(|fault| deliver::failed(&request.stanza, &fault))
    })
}

type Done = Result<Deliveries, comity_storage::Error>;

/// XEP-0191 §3.2.
async fn list(context: &Context, account: &BareJid, request: &Request) -> Done {
    let home = &context.home;
    // Before reading: a change that comes between is pushed, and at worst told twice.
    if let Some(session) = context.session() {
        home.sessions
            .with(session, |session| session.watches_blocks = true);
    }
    let jids = home.storage.blocklist(account.as_str()).await?;
    let answer = named("blocklist", &jids);
    Ok(Deliveries::answer(request.stanza.result(Some(&answer))))
}

/// XEP-0191 §3.3.
async fn block(context: &Context, account: &BareJid, request: &Request) -> Done {
    let home = &context.home;
    let jids = match items(&request.payload, account) {
        Ok(jids) if jids.is_empty() => {
            let error = StanzaError::new(ErrorType::Modify, StanzaCondition::BadRequest)
                .with_text("name whom to block");
            return Ok(Deliveries::refuse(&request.stanza, &error));
        }
        Ok(jids) => jids,
        Err(error) => return Ok(Deliveries::refuse(&request.stanza, &error)),
    };
    let lists = home.blocklists.change().await;
    let change = BlockContacts {
        account: account.as_str().to_owned(),
        jids: jids.clone(),
        limit: home.limits.now().blocked,
    };
    let new = match home.storage.write(change).await? {
        ContactsBlocked::Blocked(new) => new,
        ContactsBlocked::Full => return Ok(Deliveries::refuse(&request.stanza, &full(home))),
        ContactsBlocked::NoAccount => {
            return Ok(Deliveries::refuse(&request.stanza, &unavailable()));
        }
    };
    lists.block(account, &new);
    drop(lists);
    let mut deliveries = Deliveries::answer(request.stanza.result(None));
    deliveries.extend(push(home, account, &named("block", &jids), request));
    deliveries.extend(presence::hidden(home, account, &new).await?);
    Ok(deliveries)
}

/// XEP-0191 §3.5, §3.6: without items, everybody.
async fn unblock(context: &Context, account: &BareJid, request: &Request) -> Done {
    let home = &context.home;
    let jids = match items(&request.payload, account) {
        Ok(jids) => (!jids.is_empty()).then_some(jids),
        Err(error) => return Ok(Deliveries::refuse(&request.stanza, &error)),
    };
    let lists = home.blocklists.change().await;
    let change = UnblockContacts {
        account: account.as_str().to_owned(),
        jids: jids.clone(),
    };
    let gone = home.storage.write(change).await?;
    lists.unblock(account, &gone);
    drop(lists);
    let told = named("unblock", &jids.unwrap_or_default());
    let mut deliveries = Deliveries::answer(request.stanza.result(None));
    deliveries.extend(push(home, account, &told, request));
    deliveries.extend(presence::shown(home, account, &gone).await?);
    Ok(deliveries)
}

/// To all resources that have asked for the list, the one that changes it among them.
fn push(home: &Home, account: &BareJid, change: &Element, request: &Request) -> Deliveries {
    let id = request.stanza.id.as_deref().unwrap_or_default();
    let push = Stanza::new(Kind::Iq(IqType::Set))
        .with_from(account.clone())
        .with_id(format!("blocking-{id}"))
        .with(change);
    let watching = home.sessions.of(account, |session| {
        session.watches_blocks.then(|| session.jid.clone())
    });
    let mut deliveries = Deliveries::none();
    for session in watching {
        let stanza = push.clone().with_to(session.clone());
        deliveries.push_local(session, Arc::new(stanza));
    }
    deliveries
}

fn named(name: &str, jids: &[String]) -> Element {
    let item = |jid: &String| Element::new(ns::BLOCKING, "item").with_attr("jid", jid.as_str());
    Element::new(ns::BLOCKING, name).with_children(jids.iter().map(item))
}

fn full(home: &Home) -> StanzaError {
    let text = format!(
        "{} addresses can be blocked: unblock one first, or block a whole domain",
        home.limits.now().blocked
    );
    StanzaError::new(ErrorType::Wait, StanzaCondition::ResourceConstraint).with_text(text)
}

/// The addresses named, each once.
fn items(payload: &Element, account: &BareJid) -> Result<Vec<String>, StanzaError> {
    let wrong =
        |condition, text: &str| StanzaError::new(ErrorType::Modify, condition).with_text(text);
    let mut jids = Vec::new();
    for item in payload.elements() {
        let jid = item.is(ns::BLOCKING, "item").then(|| item.attr("jid"));
        let Some(jid) = jid.flatten() else {
            return Err(wrong(StanzaCondition::BadRequest, "an item names a jid"));
        };
        let jid = Jid::parse(jid)
            .map_err(|fault| wrong(StanzaCondition::JidMalformed, &fault.to_string()))?;
        if jid.to_bare() == *account {
            let error = StanzaError::new(ErrorType::Cancel, StanzaCondition::NotAllowed);
            return Err(error.with_text("an account cannot do without itself"));
        }
        jids.push(jid.as_str().to_owned());
    }
    jids.sort_unstable();
    jids.dedup();
    Ok(jids)
}

#[cfg(test)]
mod tests;
