//! Messages: delivered by the rules of RFC 6121 §8.5, or kept until the account is online
//! (XEP-0160).

mod accept;
mod give;
pub(crate) mod id;
pub(crate) mod offline;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use comity_storage::{AcceptMessage, StoreOffline};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{Kind, MessageType, Stanza};
use tracing::debug;

pub(crate) use accept::{Acceptance, Decision, Then};
pub(crate) use offline::{drain, read, take_over};

use accept::{Sides, envelope, name_in};

use super::archive::rules;
use super::{Context, Entity, Module, Target, Tick, carbons, pubsub};
use crate::deliver::{self, Deliveries};
use crate::dispatch;
use crate::home::Home;
use crate::managed;
use crate::route::{self, Hop, Verdict, unavailable};
use crate::sessions::Available;

pub const MODULE: Module = Module {
    name: "message",
    // XEP-0160 §4.
    features: &[(Entity::Domain, "msgoffline")],
    tick: Some(Tick {
        every: Duration::from_secs(1),
        run: |home| {
            Box::pin(async move {
                managed::forget_acknowledged(&home).await;
                Deliveries::none()
            })
        },
    }),
    ..Module::EMPTY
};

/// What becomes of a message.
pub(crate) async fn decide(
    context: Context,
    from: Jid,
    mut stanza: Stanza,
    kind: MessageType,
    hop: Hop,
) -> Decision {
    let home = &context.home;
    let sender = context.session();
    if let Some(session) = sender {
        id::take_away(&mut stanza, &session.to_bare());
    }
    let (account, verdict) = match hop {
        Hop::Account(account) => {
            if account == from.to_bare()
                && let Some(settled) = Box::pin(pubsub::answered(home, &account, &stanza)).await
            {
                return settled.into();
            }
            let verdict = route::at_bare(kind, &ready(home, &account));
            (account, verdict)
        }
        Hop::Session(to) => {
            let bound = home.sessions.with(&to, |_| ()).is_some();
            let account = to.to_bare();
            // The others are of interest only where that one is not there.
            let others = if bound {
                Vec::new()
            } else {
                ready(home, &account)
            };
            let verdict = route::at_full(kind, &to, bound, &others);
            (account, verdict)
        }
        Hop::Remote(domain) if sender.is_some() => {
            return to_other_domain(home, sender, stanza, &domain).await;
        }
        other => {
            let copies = sent(home, sender, &stanza);
            // Boxed: larger than what most messages need.
            let elsewhere = Box::pin(elsewhere(&context, &from, stanza, kind, other));
            let mut deliveries = elsewhere.await;
            deliveries.extend(copies);
            return deliveries.into();
        }
    };
    at_account(home, sender, &account, stanza, verdict).await
}

/// Copies for the sender's other clients (XEP-0280), of a message that is not kept.
fn sent(home: &Home, sender: Option<&Jid>, stanza: &Stanza) -> Deliveries {
    give::sent(home, sender, stanza, &mut AcceptMessage::default())
}

/// A message that no account of ours is sent.
async fn elsewhere(
    context: &Context,
    from: &Jid,
    stanza: Stanza,
    kind: MessageType,
    hop: Hop,
) -> Deliveries {
    match hop {
        Hop::Bounce(error) => Deliveries::refuse(&stanza, &error),
        Hop::Remote(_) => Deliveries::none().with(stanza),
        Hop::Domain(to) => for_module(context, from, &to, stanza, kind, Target::Domain).await,
        Hop::Room(to) => for_module(context, from, &to, stanza, kind, Target::Room).await,
        Hop::Account(_) | Hop::Session(_) => Deliveries::none(),
    }
}

/// From a session of ours to another domain: kept for both ways in one.
async fn to_other_domain(
    home: &Home,
    sender: Option<&Jid>,
    stanza: Stanza,
    domain: &str,
) -> Decision {
    if let Err(refused) = deliver::may_leave(home, &stanza, domain) {
        let mut deliveries = refused;
        deliveries.extend(sent(home, sender, &stanza));
        return deliveries.into();
    }
    let outgoing = deliver::outgoing(home, domain, &stanza);
    let envelope = envelope(&stanza);
    let sides = Sides {
        sender: sender.map(Jid::to_bare),
        recipient: None,
    };
    let archive = match sides.archive(home, &stanza).await {
        Ok(archive) => archive,
        Err(fault) => return deliver::failed(&envelope, &fault).into(),
    };
    let mut accepted = Deliveries::none();
    accepted.wake(domain);
    let mut change = AcceptMessage {
        archive,
        outgoing: Some(outgoing),
        ..AcceptMessage::default()
    };
    let copies = give::sent(home, sender, &stanza, &mut change);
    Decision::Accept(Box::new(Acceptance {
        change,
        then: Then {
            envelope,
            accepted,
            waits_for: None,
            copies,
        },
    }))
}

/// At an account of ours, which may not exist.
async fn at_account(
    home: &Home,
    sender: Option<&Jid>,
    account: &BareJid,
    mut stanza: Stanza,
    verdict: Verdict,
) -> Decision {
    id::take_away(&mut stanza, account);
    let envelope = envelope(&stanza);
    if matches!(verdict, Verdict::Ignore | Verdict::Refuse) {
        let mut deliveries = match verdict {
            Verdict::Refuse => Deliveries::refuse(&envelope, &unavailable()),
            _ => Deliveries::none(),
        };
        deliveries.extend(sent(home, sender, &stanza));
        return deliveries.into();
    }
    if let Verdict::Deliver(sessions) = &verdict {
        Box::pin(home.sessions.drained(sessions)).await;
    }
    let sides = Sides {
        sender: sender.map(Jid::to_bare),
        recipient: Some(account),
    };
    let archive = match sides.archive(home, &stanza).await {
        Ok(archive) => archive,
        Err(fault) => return deliver::failed(&envelope, &fault).into(),
    };
    let mut change = AcceptMessage {
        archive,
        ..AcceptMessage::default()
    };
    let copies = give::sent(home, sender, &stanza, &mut change);
    if let Some(name) = name_in(change.archive.as_ref(), account) {
        id::give(&mut stanza, account, name);
    }
    let accepted = accept(home, account, stanza, change, verdict);
    accepted.with_copies(envelope, copies)
}

/// What is left to be said of a message that is delivered or kept.
struct Accepted {
    account: BareJid,
    change: AcceptMessage,
    deliveries: Deliveries,
}

fn accept(
    home: &Home,
    account: &BareJid,
    stanza: Stanza,
    mut change: AcceptMessage,
    verdict: Verdict,
) -> Accepted {
    let mut deliveries = Deliveries::none();
    let stanza = Arc::new(stanza);
    let waits = match verdict {
        Verdict::Deliver(sessions) => !give::to_sessions(
            home,
            account,
            sessions,
            &stanza,
            &mut change,
            &mut deliveries,
        ),
        Verdict::Store => worth_keeping(&stanza),
        Verdict::Ignore | Verdict::Refuse => false,
    };
    if waits {
        debug!(%account, "a message is kept until the account is online");
        change.offline = Some(StoreOffline {
            account: account.as_str().to_owned(),
            stanza: stanza.to_bytes(None).to_vec(),
            received: home.now_ms(),
            limit: home.limits.now().offline_messages,
        });
    }
    Accepted {
        account: account.clone(),
        change,
        deliveries,
    }
}

impl Accepted {
    fn with_copies(self, envelope: Stanza, copies: Deliveries) -> Decision {
        let AcceptMessage {
            archive,
            offline,
            queued,
            ..
        } = &self.change;
        if archive.is_none() && offline.is_none() && queued.is_empty() {
            let mut deliveries = self.deliveries;
            deliveries.extend(copies);
            return deliveries.into();
        }
        let waits_for = offline.is_some().then_some(self.account);
        Decision::Accept(Box::new(Acceptance {
            change: self.change,
            then: Then {
                envelope,
                accepted: self.deliveries,
                waits_for,
                copies,
            },
        }))
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
        || stanza.has(ns::MAM, "result")
    {
        return Deliveries::none();
    }
    let others: Vec<_> = others
        .iter()
        .map(|other| (other.jid.clone(), other.priority))
        .collect();
    let verdict = route::at_bare(kind, &others);
    let envelope = envelope(&stanza);
    // It has been archived long ago.
    let accepted = accept(home, account, stanza, AcceptMessage::default(), verdict);
    let decision = accepted.with_copies(envelope, Deliveries::none());
    decision.carry_out(home).await
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

/// XEP-0160 §3: somebody who stopped typing an hour ago is no news. XEP-0334 §4: the sender asks
/// not to keep it, or to keep it; what is not to be kept for ever may wait here.
fn worth_keeping(stanza: &Stanza) -> bool {
    if rules::hint(stanza, "no-store") {
        return false;
    }
    let mut content = stanza
        .children()
        .iter()
        .filter(|child| &*child.name != "thread" && &*child.ns != ns::HINTS)
        .peekable();
    let only_state = content.peek().is_some() && content.all(|child| &*child.ns == ns::CHAT_STATES);
    !only_state || rules::hint(stanza, "store")
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
        check(&[(ns::CLIENT, "body"), (ns::CHAT_STATES, "active")], true);
        check(&[(ns::CHAT_STATES, "composing")], false);
        check(&[(ns::CHAT_STATES, "gone"), (ns::CLIENT, "thread")], false);
        check(&[(ns::CLIENT, "body"), (ns::HINTS, "no-store")], false);
        check(&[(ns::CLIENT, "body"), (ns::HINTS, "store")], true);
        check(&[("urn:example", "anything")], true);
        check(&[], true);
    }
}
