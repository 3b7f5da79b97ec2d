//! The one door in: takes a stanza, asks [`route`] where it goes, calls the module that answers
//! there, and hands on what that decides.

use comity_c2s::link::Count;
use comity_mls_wire::room;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, Stanza};
use tracing::{Instrument, Span, debug, debug_span, warn};

use crate::deliver::{self, Deliveries};
use crate::home::Home;
use crate::managed;
use crate::module::message::{self, Decision};
use crate::module::{self, Context, Module, Origin, Request, Target, What, blocking, presence};
use crate::receipt::Receipt;
use crate::route::{Hop, is_request, route, unavailable};

/// Takes one stanza of a session in. Returns once its effects are committed and on their way; the
/// session's count, where it was committed with them.
pub(crate) async fn take(
    home: &Home,
    session: &Jid,
    stanza: Stanza,
    count: Option<Count>,
) -> Option<u32> {
    let span = span(&stanza);
    let origin = Origin::Session(session.clone());
    async {
        let mut decision = decide_at(home, origin.clone(), None, stanza).await;
        let counted = match (&mut decision, count) {
            (Decision::Accept(acceptance), Some(count)) => {
                let h = count.h;
                acceptance.change.handled = Some(managed::handled(home, session, count));
                Some(h)
            }
            _ => None,
        };
        let (deliveries, kept) = decision.keep(home).await;
        deliver::deliver_for(home, &origin, deliveries).await;
        counted.filter(|_| kept)
    }
    .instrument(span)
    .await
}

pub(crate) fn span(stanza: &Stanza) -> Span {
    debug_span!(
        "stanza",
        kind = ?stanza.kind,
        from = stanza.from.as_ref().map(tracing::field::display),
        to = stanza.to.as_ref().map(tracing::field::display),
        id = stanza.id.as_deref(),
    )
}

/// What follows from one stanza; nothing has been sent when this returns.
pub(crate) async fn decide(home: &Home, origin: Origin, stanza: Stanza) -> Deliveries {
    let decision = decide_at(home, origin, None, stanza).await;
    decision.carry_out(home).await
}

/// As [`decide`], for a stanza with a place in its domain's queue; what is to be kept of a message
/// is not yet.
pub(crate) async fn decide_at(
    home: &Home,
    origin: Origin,
    receipt: Option<Receipt>,
    stanza: Stanza,
) -> Decision {
    let Some(from) = stanza.from.clone() else {
        warn!(?origin, "a stanza without a sender is dropped");
        return Deliveries::none().into();
    };
    let hop = route(&from, &stanza, &home.hosts);
    if let Hop::Bounce(error) = &hop {
        return Deliveries::refuse(&stanza, error).into();
    }
    if matches!((&origin, &hop), (Origin::Peer(_), Hop::Remote(_))) {
        // Streams give only what is addressed to us; nobody relays through us.
        warn!(?origin, to = ?stanza.to, "a peer's stanza for another domain is dropped");
        return Deliveries::none().into();
    }
    if let Some(stopped) = blocking::stops(home, &origin, &from, &stanza, &hop) {
        return stopped.into();
    }
    let device = match &origin {
        Origin::Session(session) => home.sessions.device(session),
        Origin::Peer(_) | Origin::Server => None,
    };
    let context = Context {
        home: home.clone(),
        now: home.clock.wall(),
        origin,
        device,
        receipt,
    };
    // Boxed: what the others need is not made room for with every message.
    match stanza.kind {
        Kind::Iq(_) => Box::pin(iq(context, from, stanza, hop)).await.into(),
        Kind::Message(kind) => message::decide(context, from, stanza, kind, hop).await,
        Kind::Presence(kind) => Box::pin(presence::take(context, from, stanza, kind, hop))
            .await
            .into(),
    }
}

async fn iq(context: Context, from: Jid, mut stanza: Stanza, hop: Hop) -> Deliveries {
    let home = &context.home;
    let request = is_request(stanza.kind);
    if request && matches!(context.origin, Origin::Session(_)) {
        stamp(&context, &mut stanza);
    }
    if is_foreign_roster(&stanza, &hop) {
        return Deliveries::refuse(&stanza, &unavailable());
    }
    match hop {
        Hop::Bounce(error) => Deliveries::refuse(&stanza, &error),
        Hop::Remote(_) => Deliveries::answer(stanza),
        // RFC 6121 §8.5.3.1, §8.5.3.2.3.
        Hop::Session(session) => {
            let mut deliveries = Deliveries::none();
            deliveries.push_kept(session, stanza.into());
            deliveries
        }
        Hop::Domain(_) | Hop::Account(_) | Hop::Room(_) if !request => {
            if !home.requests.answered(&stanza) {
                debug!("an answer nobody waits for is dropped");
            }
            Deliveries::none()
        }
        Hop::Domain(to) => ask(context, from, to, stanza, Target::Domain).await,
        Hop::Room(to) => ask(context, from, to, stanza, Target::Room).await,
        Hop::Account(to) if from.to_bare() == to => {
            ask(context, from, to, stanza, Target::OwnAccount).await
        }
        Hop::Account(to) => ask(context, from, to, stanza, Target::OtherAccount).await,
    }
}

/// RFC 6121 §2.1.6: an account's server alone tells its clients of their roster. Who sends such a
/// push to another account means no good.
fn is_foreign_roster(stanza: &Stanza, hop: &Hop) -> bool {
    let elsewhere = matches!(hop, Hop::Remote(_) | Hop::Session(_));
    let is_roster = |child: &comity_xmpp::stanza::Child| &*child.ns == ns::ROSTER;
    elsewhere
        && stanza.kind == Kind::Iq(IqType::Set)
        && stanza.children().first().is_some_and(is_roster)
}

/// Says in a room request which device its session has proved to be, and takes out what the client
/// has written there: the hub believes a domain about its own devices.
fn stamp(context: &Context, stanza: &mut Stanza) {
    if stanza
        .children()
        .iter()
        .all(|child| &*child.ns != ns::MLS_ROOM)
    {
        return;
    }
    let Some(mut payload) = stanza.first_child() else {
        return;
    };
    room::stamp(&mut payload, context.device);
    stanza.remove(|_| true);
    stanza.push(&payload);
}

/// Calls the module that answers this IQ request.
async fn ask(
    context: Context,
    from: Jid,
    to: BareJid,
    stanza: Stanza,
    target: Target,
) -> Deliveries {
    let Kind::Iq(kind) = stanza.kind else {
        return Deliveries::none();
    };
    let found = stanza
        .children()
        .first()
        .and_then(|child| module::answering(What::Iq(kind), &child.ns, &child.name, target));
    match (found, stanza.first_child()) {
        (Some(module), Some(payload)) => {
            let request = Request {
                stanza,
                from,
                to: to.into(),
                payload,
                target,
            };
            call(module, context, request).await
        }
        // RFC 6120 §8.4, RFC 6121 §8.5.1: the same where there is no such account.
        _ => Deliveries::refuse(&stanza, &unavailable()),
    }
}

/// Calls the module that takes this message, if there is one.
pub(crate) async fn tell(
    context: &Context,
    from: &Jid,
    to: &BareJid,
    stanza: &Stanza,
    target: Target,
) -> Option<Deliveries> {
    let (module, child) = stanza.children().iter().find_map(|child| {
        module::answering(What::Message, &child.ns, &child.name, target).map(|m| (m, child))
    })?;
    let request = Request {
        stanza: stanza.clone(),
        from: from.clone(),
        to: to.clone().into(),
        payload: stanza.element(child),
        target,
    };
    Some(call(module, context.clone(), request).await)
}

async fn call(module: &'static Module, context: Context, request: Request) -> Deliveries {
    let span = debug_span!("module", name = module.name);
    (module.handle)(context, request).instrument(span).await
}

#[cfg(test)]
mod tests;
