//! Giving a message to sessions. One that outlives the server gets a place in its queue first, and
//! the place is kept with the message (XEP-0198).

use std::sync::Arc;

use comity_c2s::link::Place;
use comity_storage::{AcceptMessage, Content, Form, Queued};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{Kind, MessageType, Stanza};

use super::accept::name_in;
use super::{is_of_a_room, worth_keeping};
use crate::deliver::Deliveries;
use crate::home::Home;
use crate::module::carbons;
use crate::sessions::{Session, Standing};

/// To the sessions of a verdict; false where that has to wait, since the only ones are being given
/// what was kept before.
pub(super) fn to_sessions(
    home: &Home,
    account: &BareJid,
    sessions: Vec<Jid>,
    stanza: &Arc<Stanza>,
    change: &mut AcceptMessage,
    deliveries: &mut Deliveries,
) -> bool {
    // Most sessions end with the server: for them nothing is written.
    let managed = |jid: &Jid| {
        let managed = home.sessions.with(jid, |session| session.managed.is_some());
        managed == Some(true)
    };
    let content = match sessions.iter().any(managed) {
        true => content(account, stanza, change),
        false => archived(account, change),
    };
    let waits = |jid: &Jid| {
        let waits = |session: &mut Session| session.is_draining() && session.managed.is_some();
        home.sessions.with(jid, waits) == Some(true)
    };
    if content.is_some() && sessions.iter().all(waits) && !sessions.is_empty() {
        return false;
    }
    let copies = carbons::received(home, account, &sessions, stanza);
    for session in sessions {
        let stanza = Arc::clone(stanza);
        match keep(home, &session, content.as_ref(), Form::Plain, change) {
            Kept::Placed(place) => deliveries.push_placed(session, place, stanza),
            Kept::ForLater => {}
            Kept::Not => deliveries.push_kept(session, stanza),
        }
    }
    let archived = content.filter(|content| matches!(content, Content::Archived(_)));
    to_others(
        home,
        copies,
        archived.as_ref(),
        Form::Received,
        change,
        deliveries,
    );
    true
}

/// Copies of what an account has sent (XEP-0280).
pub(super) fn sent(
    home: &Home,
    sender: Option<&Jid>,
    stanza: &Stanza,
    change: &mut AcceptMessage,
) -> Deliveries {
    let mut deliveries = Deliveries::none();
    if let Some(session) = sender {
        let account = session.to_bare();
        let name = name_in(change.archive.as_ref(), &account);
        let copies = carbons::sent(home, session, stanza, name);
        let archived = archived(&account, change);
        to_others(
            home,
            copies,
            archived.as_ref(),
            Form::Sent,
            change,
            &mut deliveries,
        );
    }
    deliveries
}

fn to_others(
    home: &Home,
    copies: Vec<(Jid, Arc<Stanza>)>,
    content: Option<&Content>,
    form: Form,
    change: &mut AcceptMessage,
    deliveries: &mut Deliveries,
) {
    for (session, copy) in copies {
        match keep(home, &session, content, form, change) {
            Kept::Placed(place) => deliveries.push_placed(session, place, copy),
            Kept::ForLater => {}
            Kept::Not => deliveries.push_local(session, copy),
        }
    }
}

/// What is kept for a session together with the message.
enum Kept {
    /// It is to be given the message in this place.
    Placed(Place),
    /// The next server will give it the message.
    ForLater,
    Not,
}

fn keep(
    home: &Home,
    session: &Jid,
    content: Option<&Content>,
    form: Form,
    change: &mut AcceptMessage,
) -> Kept {
    let Some(content) = content else {
        return Kept::Not;
    };
    let (key, epoch, place, kept) = match home.sessions.place(session) {
        Standing::Managed { key, epoch, place } => (key, epoch, place.place(), Kept::Placed(place)),
        Standing::Suspended { key, epoch, place } => (key, epoch, place, Kept::ForLater),
        Standing::Plain => return Kept::Not,
    };
    change.queued.push(Queued {
        key: key.to_string(),
        epoch,
        place,
        form,
        content: content.clone(),
    });
    kept
}

/// By what a message is found again; `None`: it is of no use after a restart.
fn content(account: &BareJid, stanza: &Stanza, change: &AcceptMessage) -> Option<Content> {
    let archived = archived(account, change);
    let kind = matches!(
        stanza.kind,
        Kind::Message(MessageType::Chat | MessageType::Normal)
    );
    let worth = kind
        && worth_keeping(stanza)
        && !is_of_a_room(stanza)
        && !carbons::is_copy(stanza)
        && !stanza.has(ns::MAM, "result");
    archived.or_else(|| worth.then(|| Content::Stanza(stanza.to_bytes(None).to_vec())))
}

fn archived(account: &BareJid, change: &AcceptMessage) -> Option<Content> {
    let name = name_in(change.archive.as_ref(), account)?;
    Some(Content::Archived(name.to_owned()))
}
