//! What a blocked contact sees of the account, and sees again (XEP-0191 §3.3, §3.5).

use comity_storage::{Contact, Error};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::stanza::{Kind, PresenceType, Stanza};

use crate::blocklists::covers;
use crate::deliver::Deliveries;
use crate::home::Home;
use crate::module::presence::{current, unavailable, vanished};

/// Whoever saw the account, and is blocked now, sees it go offline.
pub(super) async fn hidden(
    home: &Home,
    account: &BareJid,
    blocked: &[String],
) -> Result<Deliveries, Error> {
    let mut deliveries = Deliveries::none();
    if blocked.is_empty() || home.sessions.available(account).is_empty() {
        return Ok(deliveries);
    }
    let named = |jid: &Jid| blocked.iter().any(|item| covers(item, jid));
    let mut told = Vec::new();
    for contact in home.storage.roster(account.as_str()).await?.contacts {
        if let Some(jid) = jid_of(&contact, contact.subscription.from(), named) {
            for stanza in vanished(home, account, &jid) {
                deliveries.push_last_word(stanza);
            }
            told.push(jid.to_bare());
        }
    }
    for session in home
        .sessions
        .of(account, |session| Some(session.jid.clone()))
    {
        // RFC 6121 §4.6.3: and whoever has been sent directed presence.
        let directed = home.sessions.with(&session, |session| {
            let gone: Vec<Jid> = session
                .directed
                .iter()
                .filter(|jid| named(jid))
                .cloned()
                .collect();
            session.directed.retain(|jid| !gone.contains(jid));
            gone
        });
        for jid in directed.unwrap_or_default() {
            if !told.contains(&jid.to_bare()) {
                deliveries.push_last_word(unavailable(session.clone(), jid));
            }
        }
    }
    Ok(deliveries)
}

/// Whoever may see the account sees it again, and is asked what he shows.
pub(super) async fn shown(
    home: &Home,
    account: &BareJid,
    unblocked: &[String],
) -> Result<Deliveries, Error> {
    let mut deliveries = Deliveries::none();
    if unblocked.is_empty() || home.sessions.available(account).is_empty() {
        return Ok(deliveries);
    }
    let named = |jid: &Jid| unblocked.iter().any(|item| covers(item, jid));
    for contact in home.storage.roster(account.as_str()).await?.contacts {
        if let Some(jid) = jid_of(&contact, contact.subscription.from(), named) {
            for stanza in current(home, account, &jid) {
                deliveries.push(stanza);
            }
        }
        if let Some(jid) = jid_of(&contact, contact.subscription.to(), named)
            && !home.blocklists.blocks(account, &jid)
        {
            let probe = Stanza::new(Kind::Presence(PresenceType::Probe));
            deliveries.push(probe.with_from(account.clone()).with_to(jid));
        }
    }
    Ok(deliveries)
}

fn jid_of(contact: &Contact, sees: bool, named: impl Fn(&Jid) -> bool) -> Option<Jid> {
    if !sees {
        return None;
    }
    Jid::parse(&contact.contact).ok().filter(named)
}
