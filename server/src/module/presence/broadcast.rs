//! A client comes, changes its presence, and goes (RFC 6121 §4.2, §4.4, §4.5).

use std::collections::HashSet;
use std::sync::Arc;

use comity_storage::Contact;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{Kind, PresenceType, Stanza};
use tracing::error;

use super::{addressed, current, subscribers};
use crate::deliver::{self, Deliveries};
use crate::home::Home;
use crate::module::{avatar, caps, last_activity, message, pubsub};
use crate::sessions::Session;

/// RFC 6121 §4.2, §4.4: the session is available, with this priority.
pub(super) async fn available(home: &Home, session: &Jid, stanza: Stanza) -> Deliveries {
    let priority = match priority(&stanza) {
        Ok(priority) => priority,
        Err(error) => return Deliveries::refuse(&stanza, &error),
    };
    let account = session.to_bare();
    let roster = match home.storage.roster(account.as_str()).await {
        Ok(roster) => roster,
        Err(fault) => return deliver::failed(&stanza, &fault),
    };
    let presence = Arc::new(avatar::shown(home, &account, stanza).await);
    let Some(appeared) = home
        .sessions
        .appear(session, Arc::clone(&presence), priority)
    else {
        // The session has ended meanwhile.
        return Deliveries::none();
    };
    let mut deliveries = to_subscribers(&presence, &roster.contacts);
    deliveries.extend(to_own(home, &account, &presence));
    if appeared.first {
        deliveries.extend(first_sight(home, session, &roster.contacts).await);
    }
    if appeared.drain {
        // RFC 6121 §8.5.2.2.1, XEP-0160 §3: now messages can be delivered.
        deliveries.afterwards(message::drain(home.clone(), session.clone()));
    }
    if caps::shown(&presence).is_some() {
        let arrived = pubsub::arrival::ours(home.clone(), session.clone(), presence);
        deliveries.afterwards(arrived);
    }
    deliveries
}

/// The account's avatar is another now: its sessions' presence says so (XEP-0398 §2.3).
pub(crate) async fn refreshed(home: &Home, account: &BareJid) -> Deliveries {
    let mut deliveries = Deliveries::none();
    let roster = match home.storage.roster(account.as_str()).await {
        Ok(roster) => roster,
        Err(fault) => {
            error!(%fault, "a roster cannot be read: contacts see the old avatar");
            return deliveries;
        }
    };
    for available in home.sessions.available(account) {
        let before = Stanza::clone(&available.presence);
        let presence = Arc::new(avatar::shown(home, account, before).await);
        if presence == available.presence {
            continue;
        }
        let still = home.sessions.with(&available.jid, |session| {
            let same = (session.presence.as_ref())
                .is_some_and(|shown| Arc::ptr_eq(shown, &available.presence));
            if same {
                session.presence = Some(Arc::clone(&presence));
            }
            same
        });
        if still == Some(true) {
            deliveries.extend(to_subscribers(&presence, &roster.contacts));
            deliveries.extend(to_own(home, account, &presence));
        }
    }
    deliveries
}

/// RFC 6121 §4.7.2.3: absent means 0.
fn priority(stanza: &Stanza) -> Result<i8, StanzaError> {
    let Some(element) = stanza.child(ns::CLIENT, "priority") else {
        return Ok(0);
    };
    element.text().trim().parse().map_err(|_| {
        StanzaError::new(ErrorType::Modify, StanzaCondition::BadRequest)
            .with_text("a priority is a number from -128 to 127")
    })
}

fn to_subscribers(presence: &Arc<Stanza>, contacts: &[Contact]) -> Deliveries {
    let mut deliveries = Deliveries::none();
    for subscriber in subscribers(contacts) {
        deliveries.push(addressed(presence, &subscriber));
    }
    deliveries
}

/// RFC 6121 §4.2.2: to all available resources of the account, the sender's among them.
fn to_own(home: &Home, account: &BareJid, presence: &Arc<Stanza>) -> Deliveries {
    let stanza = Arc::new(addressed(presence, &account.clone().into()));
    let mut deliveries = Deliveries::none();
    for available in home.sessions.available(account) {
        deliveries.push_local(available.jid, Arc::clone(&stanza));
    }
    deliveries
}

/// What a resource learns when it has become available.
async fn first_sight(home: &Home, session: &Jid, contacts: &[Contact]) -> Deliveries {
    let account = session.to_bare();
    let mut deliveries = Deliveries::none();
    for presence in current(home, &account, session) {
        if presence.from.as_ref() != Some(session) {
            deliveries.push_local(session.clone(), Arc::new(presence));
        }
    }
    // RFC 6121 §4.3.1.
    for contact in contacts.iter().filter(|contact| contact.subscription.to()) {
        if let Ok(contact) = Jid::parse(&contact.contact) {
            deliveries.push(
                Stanza::new(Kind::Presence(PresenceType::Probe))
                    .with_from(session.clone())
                    .with_to(contact),
            );
        }
    }
    // RFC 6121 §3.1.3: requests are shown at each login until they are answered.
    match home.storage.subscription_requests(account.as_str()).await {
        Ok(requests) => {
            for request in requests {
                if let Some(stanza) = message::read(&request.stanza) {
                    deliveries.push_local(session.clone(), Arc::new(stanza));
                }
            }
        }
        Err(fault) => error!(%fault, "requests to subscribe cannot be read: shown at next login"),
    }
    deliveries
}

/// RFC 6121 §4.5: the session is not available any more, but stays.
pub(super) async fn unavailable(home: &Home, session: &Jid, stanza: Stanza) -> Deliveries {
    let Some((was_available, directed)) = home.sessions.disappear(session) else {
        return Deliveries::none();
    };
    farewell(home, session, Arc::new(stanza), was_available, directed).await
}

/// RFC 6121 §4.5.2: the session has ended, and its client may not have said so.
pub(crate) async fn gone(home: &Home, session: Session) -> Deliveries {
    let presence = Stanza::new(Kind::Presence(PresenceType::Unavailable));
    let presence = Arc::new(presence.with_from(session.jid.clone()));
    let was_available = session.presence.is_some();
    farewell(
        home,
        &session.jid,
        presence,
        was_available,
        session.directed,
    )
    .await
}

async fn farewell(
    home: &Home,
    session: &Jid,
    presence: Arc<Stanza>,
    was_available: bool,
    directed: HashSet<Jid>,
) -> Deliveries {
    if !was_available && directed.is_empty() {
        return Deliveries::none();
    }
    let account = session.to_bare();
    if was_available {
        last_activity::left(home, &account, &presence).await;
    }
    let contacts = home
        .storage
        .roster(account.as_str())
        .await
        .map(|roster| roster.contacts)
        .unwrap_or_else(|fault| {
            error!(%fault, "a roster cannot be read: contacts are not told who has left");
            Vec::new()
        });
    let mut deliveries = Deliveries::none();
    let mut told = HashSet::new();
    if was_available {
        deliveries.extend(to_subscribers(&presence, &contacts));
        deliveries.extend(to_own(home, &account, &presence));
        told.extend(subscribers(&contacts).map(|jid| jid.to_bare()));
        told.insert(account);
    }
    // RFC 6121 §4.6.3: and whoever has been sent directed presence.
    for jid in directed {
        if !told.contains(&jid.to_bare()) {
            deliveries.push(addressed(&presence, &jid));
        }
    }
    deliveries
}
