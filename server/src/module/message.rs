//! Messages: delivered by the rules of RFC 6121 §8.5, or kept until the account is online
//! (XEP-0160).

mod offline;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use comity_storage::{StoreOffline, StoredOffline};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{Kind, MessageType, Stanza};
use tracing::debug;

pub(crate) use offline::{drain, read};

use super::{Context, Entity, Module, Target, carbons, pubsub};
use crate::deliver::{self, Deliveries};
use crate::dispatch;
use crate::home::Home;
use crate::receipt::{self, Receipt};
use crate::route::{self, Hop, Verdict, unavailable};
use crate::sessions::Available;

/// What a sender says of keeping a message (XEP-0334).
const HINTS: &str = "urn:xmpp:hints";
/// XEP-0085.
const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";

pub const MODULE: Module = Module {
    name: "message",
    // XEP-0160 §4.
    features: &[(Entity::Domain, "msgoffline")],
    ..Module::EMPTY
};

/// What becomes of a message.
pub(crate) async fn take(
    context: Context,
    from: Jid,
    stanza: Stanza,
    kind: MessageType,
    hop: Hop,
) -> Deliveries {
    let home = &context.home;
    let copies = match context.session() {
        Some(session) => carbons::sent(home, session, &stanza),
        None => Deliveries::none(),
    };
    let mut deliveries = by_hop(&context, from, stanza, kind, hop).await;
    deliveries.extend(copies);
    deliveries
}

async fn by_hop(
    context: &Context,
    from: Jid,
    stanza: Stanza,
    kind: MessageType,
    hop: Hop,
) -> Deliveries {
    let home = &context.home;
    match hop {
        Hop::Bounce(error) => Deliveries::refuse(&stanza, &error),
        Hop::Remote(_) => Deliveries::none().with(stanza),
        Hop::Domain(to) => for_module(context, &from, &to, stanza, kind, Target::Domain).await,
        Hop::Room(to) => for_module(context, &from, &to, stanza, kind, Target::Room).await,
        Hop::Account(account) => {
            if account == from.to_bare()
                && let Some(settled) = pubsub::answered(home, &account, &stanza).await
            {
                return settled;
            }
            let verdict = route::at_bare(kind, &ready(home, &account));
            carry_out(home, context.receipt.as_ref(), &account, stanza, verdict).await
        }
        Hop::Session(to) => {
            let bound = home.sessions.with(&to, |_| ()).is_some();
            let account = to.to_bare();
            let verdict = route::at_full(kind, &to, bound, &ready(home, &account));
            carry_out(home, context.receipt.as_ref(), &account, stanza, verdict).await
        }
    }
}

/// A message that a session's queue did not take goes back to its account: nothing is lost with a
/// connection.
pub(crate) async fn returned(home: &Home, session: &Jid, stanza: Stanza) -> Deliveries {
    let others: Vec<_> = home
        .sessions
        .available(&session.to_bare())
        .into_iter()
        .filter(|other| other.jid != *session)
        .collect();
    if is_to_bare(&stanza) && others.iter().any(|other| other.ready_since.is_some()) {
        // They have been given it at the same moment.
        return Deliveries::none();
    }
    again(home, &session.to_bare(), stanza, &others).await
}

/// A message that a session has been given, and its client has not acknowledged, goes back to its
/// account. `since` says when the session had become ready for messages.
pub(crate) async fn unacknowledged(
    home: &Home,
    account: &BareJid,
    since: Option<u64>,
    stanza: Stanza,
) -> Deliveries {
    let others = home.sessions.available(account);
    let had_it = |other: &Available| match (other.ready_since, since) {
        // Whoever was ready before has been given all that was for the bare address.
        (Some(theirs), Some(since)) => theirs < since,
        _ => false,
    };
    if is_to_bare(&stanza) && others.iter().any(had_it) {
        return Deliveries::none();
    }
    again(home, account, stanza, &others).await
}

fn is_to_bare(stanza: &Stanza) -> bool {
    stanza.to.as_ref().is_none_or(Jid::is_bare)
}

async fn again(home: &Home, account: &BareJid, stanza: Stanza, others: &[Available]) -> Deliveries {
    let Kind::Message(kind) = stanza.kind else {
        return Deliveries::none();
    };
    if !matches!(kind, MessageType::Normal | MessageType::Chat)
        || is_of_a_room(&stanza)
        || carbons::is_copy(&stanza)
    {
        return Deliveries::none();
    }
    let others: Vec<_> = others
        .iter()
        .map(|other| (other.jid.clone(), other.priority))
        .collect();
    let verdict = route::at_bare(kind, &others);
    carry_out(home, None, account, stanza, verdict).await
}

/// The log keeps what rooms send; a device asks for it when it is back.
fn is_of_a_room(stanza: &Stanza) -> bool {
    let from_service = stanza.from.as_ref().is_some_and(|from| {
        from.local()
            .is_none_or(|local| local.starts_with(route::ROOM_MARK))
    });
    from_service
        && stanza
            .children()
            .iter()
            .any(|child| child.ns.starts_with(ns::MLS))
}

async fn for_module(
    context: &Context,
    from: &Jid,
    to: &BareJid,
    stanza: Stanza,
    kind: MessageType,
    target: Target,
) -> Deliveries {
    if kind == MessageType::Error {
        return Deliveries::none();
    }
    match dispatch::tell(context, from, to, &stanza, target).await {
        Some(deliveries) => deliveries,
        None => Deliveries::refuse(&stanza, &unavailable()),
    }
}

fn ready(home: &Home, account: &BareJid) -> Vec<(Jid, i8)> {
    home.sessions
        .available(account)
        .into_iter()
        .map(|available| (available.jid, available.priority))
        .collect()
}

async fn carry_out(
    home: &Home,
    receipt: Option<&Receipt>,
    account: &BareJid,
    stanza: Stanza,
    verdict: Verdict,
) -> Deliveries {
    match verdict {
        Verdict::Deliver(sessions) => {
            let stanza = Arc::new(stanza);
            let mut deliveries = Deliveries::none();
            let copies = carbons::received(home, account, &sessions, &stanza);
            for session in sessions {
                deliveries.push_kept(session, Arc::clone(&stanza));
            }
            deliveries.extend(copies);
            deliveries
        }
        Verdict::Store if !worth_keeping(&stanza) => Deliveries::none(),
        Verdict::Store => store(home, receipt, account, stanza).await,
        Verdict::Ignore => Deliveries::none(),
        Verdict::Refuse => Deliveries::refuse(&stanza, &unavailable()),
    }
}

async fn store(
    home: &Home,
    receipt: Option<&Receipt>,
    account: &BareJid,
    stanza: Stanza,
) -> Deliveries {
    let change = StoreOffline {
        account: account.as_str().to_owned(),
        stanza: stanza.to_bytes(None).to_vec(),
        received: home.now_ms(),
        limit: home.limits.offline_messages,
    };
    match receipt::once(home, receipt, change).await {
        Ok(Some(StoredOffline::Stored)) => {
            debug!(%account, "a message is kept until the account is online");
            let mut deliveries = Deliveries::none();
            if let Some(session) = home.sessions.kept(account) {
                // It has come online since that was decided.
                deliveries.afterwards(drain(home.clone(), session));
            }
            deliveries
        }
        // XEP-0160 §3 for a full store; the same for an account that does not exist.
        Ok(Some(StoredOffline::Full | StoredOffline::NoAccount)) => {
            Deliveries::refuse(&stanza, &unavailable())
        }
        Ok(None) => Deliveries::none(),
        Err(fault) => deliver::failed(&stanza, &fault),
    }
}

/// XEP-0160 §3: somebody who stopped typing an hour ago is no news. XEP-0334 §4: the sender asks
/// not to keep it.
fn worth_keeping(stanza: &Stanza) -> bool {
    let children = stanza.children();
    let unwanted = children.iter().any(|child| {
        &*child.ns == HINTS && matches!(&*child.name, "no-store" | "no-permanent-store")
    });
    let mut content = children
        .iter()
        .filter(|child| &*child.name != "thread" && &*child.ns != HINTS)
        .peekable();
    let only_state = content.peek().is_some() && content.all(|child| &*child.ns == CHAT_STATES);
    !unwanted && !only_state
}

#[cfg(test)]
mod worth {
    use comity_xmpp::element::Element;

    use super::*;

    #[track_caller]
    fn check(children: &[(&str, &str)], expected: bool) {
        let mut stanza = Stanza::new(Kind::Message(MessageType::Chat));
        for (ns, name) in children {
            stanza.push(&Element::new(*ns, *name));
        }
        assert_eq!(worth_keeping(&stanza), expected, "{children:?}");
    }

    #[test]
    fn what_is_kept_for_later() {
        check(&[(ns::CLIENT, "body")], true);
        check(&[(ns::CLIENT, "body"), (CHAT_STATES, "active")], true);
        check(&[(CHAT_STATES, "composing")], false);
        check(&[(CHAT_STATES, "gone"), (ns::CLIENT, "thread")], false);
        check(&[(ns::CLIENT, "body"), (HINTS, "no-store")], false);
        check(&[(ns::CLIENT, "body"), (HINTS, "store")], true);
        check(&[("urn:example", "anything")], true);
        check(&[], true);
    }
}
