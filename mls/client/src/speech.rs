//! The engine's requests as IQs, and what comes back as its answers and notices.

use comity_mls_engine::{Answer, Answered, Destination, Notice, Request};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::{authority, keys, room, sync};
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, Stanza};

/// The IQ that carries a request of `account`.
pub fn iq(account: &BareJid, to: &Destination, request: &Request, id: &str) -> Option<Stanza> {
    let to = match to {
        Destination::Own => Jid::parse(account.domain()).ok()?,
        Destination::Account(jid) | Destination::Room(jid) => jid.clone().into(),
    };
    let (kind, payload) = match request {
        Request::Authority(request) => (request.iq_type(), request.to_element()),
        Request::Keys(request) => (request.iq_type(), request.to_element()),
        Request::Room(request) => (request.iq_type(), request.to_element()),
        Request::Sync(request) => (request.iq_type(), request.to_element()),
    };
    Some(
        Stanza::new(Kind::Iq(kind))
            .with_to(to)
            .with_id(id)
            .with(&payload),
    )
}

/// Reads the IQ that answers `request`. An answer that cannot be read counts as a failure of the
/// server, so that the request is tried again rather than taken for refused.
pub fn answer(to: &Destination, request: &Request, stanza: &Stanza) -> Answered {
    if stanza.kind == Kind::Iq(IqType::Error) {
        return Err(refusal(to, stanza.error().as_ref()));
    }
    let payload = stanza
        .first_child()
        .unwrap_or_else(|| Element::new(ns::CLIENT, "nothing"));
    let read = match request {
        Request::Authority(_) => authority::Answer::from_element(&payload).map(Answer::Authority),
        Request::Keys(_) => keys::Answer::from_element(&payload).map(Answer::Keys),
        Request::Room(_) => room::Answer::from_element(&payload).map(Answer::Room),
        Request::Sync(_) => sync::Answer::from_element(&payload).map(Answer::Sync),
    };
    read.map_err(|malformed| {
        tracing::warn!(%malformed, "an answer of the server cannot be read");
        Refusal::Internal
    })
}

/// What a stanza error means for the engine, where it is none of the extension's own.
fn refusal(to: &Destination, error: Option<&StanzaError>) -> Refusal {
    let Some(error) = error else {
        return Refusal::Internal;
    };
    if let Some(refusal) = Refusal::from_stanza_error(error) {
        return refusal;
    }
    match (error.condition, to) {
        (
            StanzaCondition::RemoteServerNotFound | StanzaCondition::RemoteServerTimeout,
            Destination::Account(jid) | Destination::Room(jid),
        ) => Refusal::UnreachableDomain {
            domain: jid.domain().to_owned(),
        },
        // RFC 6120 §8.3.2: "retry after waiting".
        _ if error.kind == ErrorType::Wait => Refusal::Internal,
        (StanzaCondition::InternalServerError, _) => Refusal::Internal,
        // What servers without the extension answer, and those that say nothing to strangers.
        (_, Destination::Account(account)) => Refusal::NoKeyPackages {
            account: account.clone(),
        },
        (_, Destination::Room(_)) => Refusal::NoRoom,
        (_, Destination::Own) => Refusal::NotAllowed {
            rule: error.to_string(),
        },
    }
}

/// Reads a message as a notice, if it is one, and comes from where such a notice may come from:
/// one's own server, or for entries and Welcomes the room they name.
pub fn notice(account: &BareJid, stanza: &Stanza) -> Option<Notice> {
    let from_own_server = stanza.from.as_ref().is_none_or(|from| {
        from.to_bare() == *account || (from.is_bare() && from.as_str() == account.domain())
    });
    let child = stanza
        .children()
        .iter()
        .find(|child| [ns::MLS_AS, ns::MLS_KEYS, ns::MLS_ROOM].contains(&&*child.ns))?;
    let payload = stanza.element(child);
    let read = match &*child.ns {
        ns::MLS_AS if from_own_server => {
            authority::Notice::from_element(&payload).map(Notice::Authority)
        }
        ns::MLS_KEYS if from_own_server => keys::Notice::from_element(&payload).map(Notice::Keys),
        ns::MLS_ROOM => sync::Notice::from_element(&payload).map(Notice::Sync),
        _ => return None,
    };
    match read {
        Ok(Notice::Sync(notice)) => {
            let room = match &notice {
                sync::Notice::Entry(entry) => &entry.room,
                sync::Notice::Welcome(welcome) => &welcome.room,
                sync::Notice::Ephemeral(ephemeral) => &ephemeral.room,
            };
            let from_room = stanza
                .from
                .as_ref()
                .is_some_and(|from| from == room.as_jid());
            (from_room || from_own_server).then_some(Notice::Sync(notice))
        }
        Ok(notice) => Some(notice),
        Err(malformed) => {
            tracing::warn!(%malformed, "a notice of the server cannot be read");
            None
        }
    }
}
