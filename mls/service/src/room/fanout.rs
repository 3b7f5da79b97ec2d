//! What each domain gets of an entry: one stanza for all its devices together, whatever their
//! number.

use std::collections::BTreeSet;

use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Change, Entry, Fanout, Member, Welcome};
use comity_storage::Outgoing;
use comity_storage::rooms::Presence;
use comity_xmpp::jid::BareJid;
use openssl::sha::sha256;
use uuid::Uuid;

use super::hub::{Deciding, HubKey, Surroundings};
use super::limits::{Limits, STANZA_BYTES};

/// What leaves with an entry, once it is in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub outbox: Vec<Outgoing>,
    pub domains: Vec<Presence>,
}

/// Whom an entry goes to.
pub struct Audience {
    /// Domains in the room before and after the entry.
    pub before: BTreeSet<String>,
    pub after: BTreeSet<String>,
}

/// Makes the stanzas of an entry, before it is written: what is sent is stored with it.
pub fn plan(
    deciding: &Deciding<'_>,
    entry: &Entry,
    welcome: Option<&Welcome>,
    audience: &Audience,
) -> Result<Plan, Refusal> {
    let surroundings = deciding.surroundings;
    let mut plan = Plan::default();
    for domain in audience.before.union(&audience.after) {
        // Our own devices read the log itself.
        if surroundings.serves(domain) {
            continue;
        }
        let fanout = for_domain(entry, welcome, domain);
        let limits = deciding.limits;
        plan.outbox.push(outgoing(
            domain,
            &fanout,
            surroundings,
            limits,
            deciding.now,
        )?);
        let present = audience.after.contains(domain);
        if present != audience.before.contains(domain) {
            plan.domains.push(Presence {
                domain: domain.clone(),
                present,
            });
        }
    }
    Ok(plan)
}

/// An entry with only that in it which concerns a domain.
#[must_use]
pub fn for_domain(entry: &Entry, welcome: Option<&Welcome>, domain: &str) -> Fanout {
    let mut entry = entry.clone();
    entry
        .changes
        .retain(|change| change.member.account.domain() == domain);
    let welcome = welcome.and_then(|welcome| {
        let mut welcome = welcome.clone();
        welcome
            .joiners
            .retain(|joiner| joiner.account.domain() == domain);
        (!welcome.joiners.is_empty()).then_some(welcome)
    });
    Fanout { entry, welcome }
}

/// A stanza on its way to a domain.
pub fn outgoing(
    domain: &str,
    fanout: &Fanout,
    surroundings: &dyn Surroundings,
    limits: &Limits,
    now: u64,
) -> Result<Outgoing, Refusal> {
    let stanza = surroundings.stanza(&fanout.entry.room, domain, fanout);
    if stanza.len() > STANZA_BYTES {
        return Err(Refusal::LimitReached {
            limit: format!(
                "who comes and goes makes a stanza of {} octets, at most {STANZA_BYTES} travel",
                stanza.len()
            ),
        });
    }
    Ok(Outgoing {
        destination: domain.to_owned(),
        stanza,
        created: now,
        expires: now.saturating_add(limits.fanout_lifetime_ms),
    })
}

/// The id of the Welcome that belongs to an entry: the same however often it is sent.
#[must_use]
pub fn welcome_id(hub: &HubKey, room: &BareJid, seq: u64) -> Uuid {
    let mut named = b"comity welcome\0".to_vec();
    named.extend_from_slice(&sha256(&hub.certificate));
    named.extend_from_slice(room.as_str().as_bytes());
    named.push(0);
    named.extend_from_slice(&seq.to_be_bytes());
    let hash = sha256(&named);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Who came and went, as an entry tells it.
pub fn changes<'a>(
    gone: impl IntoIterator<Item = &'a Member>,
    come: impl IntoIterator<Item = &'a Member>,
) -> Vec<Change> {
    let change = |joined| {
        move |member: &Member| Change {
            member: member.clone(),
            joined,
        }
    };
    gone.into_iter()
        .map(change(false))
        .chain(come.into_iter().map(change(true)))
        .collect()
}
