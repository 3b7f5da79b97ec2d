//! The sessions of the last life of the server: those whose clients may come back wait for them, as
//! if they had lost their connections now; what the others had not got goes back to their accounts.

use std::collections::HashSet;
use std::sync::Arc;

use comity_c2s::Clients;
use comity_c2s::link::{Outbound, Restored};
use comity_net::stop::Stop;
use comity_storage::{Form, RestoreSessions, RestoredSession, RestoredStanza};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::stanza::{Kind, Stanza};
use tracing::{error, info};

use super::{Managed, Seen, forget};
use crate::deliver::{self, Deliveries};
use crate::home::Home;
use crate::module::{carbons, message};
use crate::sessions::Left;

type Stanzas = Vec<(Option<u32>, Arc<Stanza>)>;

/// To be called before anybody can connect. `queue`: stanzas that wait for one session; nothing,
/// where no client can come back.
pub(crate) async fn restore(
    home: &Home,
    clients: &Clients,
    queue: Option<usize>,
    stop: &Stop,
) -> Result<(), comity_storage::Error> {
    let found = home.storage.write(RestoreSessions).await?;
    let all = found.len();
    let mut waiting = 0;
    let mut accounts = HashSet::new();
    for session in found {
        let key: Arc<str> = session.key.as_str().into();
        let Some(jid) = address(home, &session) else {
            forget(home, &key).await;
            continue;
        };
        let stanzas = stanzas(&session, &jid);
        // A device asks its rooms for what it has missed when it logs in, not when it comes back.
        let may = session.resumable && !session.state.device;
        match queue {
            Some(queue) if may && home.sessions.with(&jid, |_| ()).is_none() => {
                let (outbound, inbox) = Outbound::new(queue);
                let ready = session.state.presence.is_some() && session.state.priority >= 0;
                home.sessions.restore(&jid, left(outbound, &key, &session));
                let restored = Restored {
                    key,
                    jid,
                    h: session.handled,
                    stanzas,
                    inbox,
                };
                if ready && accounts.insert(session.account) {
                    message::take_over(home, &restored.jid).await?;
                }
                clients.restore(restored, stop.clone());
                waiting += 1;
            }
            _ => {
                give_back(home, &jid.to_bare(), stanzas).await;
                forget(home, &key).await;
            }
        }
    }
    if all > 0 {
        info!(
            sessions = all,
            waiting, "sessions of the last run are taken up"
        );
    }
    Ok(())
}

fn address(home: &Home, session: &RestoredSession) -> Option<Jid> {
    let account = BareJid::parse(&session.account).ok()?;
    home.hosts
        .serves(account.domain())
        .then(|| account.with_resource(&session.resource).ok())
        .flatten()
}

fn left(outbound: Outbound, key: &Arc<str>, session: &RestoredSession) -> Left {
    let state = &session.state;
    let presence = state.presence.as_deref().and_then(message::read);
    let presence = presence.map(Arc::new);
    let seen = Seen {
        presence: presence.clone(),
        interested: state.interested,
        carbons: state.carbons,
        device: state.device,
    };
    Left {
        outbound,
        presence,
        priority: state.priority,
        interested: state.interested,
        carbons: state.carbons,
        managed: Managed {
            seen: Some(seen),
            ..Managed::new(Arc::clone(key), session.epoch, 0)
        },
    }
}

fn stanzas(session: &RestoredSession, jid: &Jid) -> Stanzas {
    let stanzas = session.stanzas.iter();
    stanzas
        .filter_map(|restored| {
            let stanza = stanza(restored, jid);
            if stanza.is_none() {
                error!(session = %jid, "a message kept for a session cannot be read");
            }
            Some((restored.said, Arc::new(stanza?)))
        })
        .collect()
}

fn stanza(restored: &RestoredStanza, jid: &Jid) -> Option<Stanza> {
    let mut stanza = message::read(&restored.stanza)?;
    let account = jid.to_bare();
    if let Some(uid) = &restored.uid {
        stanza = message::id::named(&stanza, &account, uid);
    }
    let direction = match restored.form {
        Form::Plain => return Some(stanza),
        Form::Sent => "sent",
        Form::Received => "received",
    };
    let copy = carbons::copy(&account, &stanza, direction)?;
    Some(copy.with_to(jid.clone()))
}

/// Nobody will come back for these.
async fn give_back(home: &Home, account: &BareJid, stanzas: Stanzas) {
    let mut deliveries = Deliveries::none();
    for (_, stanza) in stanzas {
        if matches!(stanza.kind, Kind::Message(_)) {
            let stanza = Arc::unwrap_or_clone(stanza);
            deliveries.extend(message::unacknowledged(home, account, None, stanza).await);
        }
    }
    deliver::deliver(home, deliveries).await;
}
