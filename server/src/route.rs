//! Where a stanza goes next, as pure tables (RFC 6120 §10, RFC 6121 §8).

use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::stanza::{IqType, Kind, MessageType, PresenceType, Stanza};

/// What the local part of every room starts with; never that of an account.
pub const ROOM_MARK: char = '~';

/// The domains that live in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    domains: Vec<String>,
}

impl Hosts {
    #[must_use]
    pub fn new(domains: impl IntoIterator<Item = String>) -> Self {
        Self {
            domains: domains.into_iter().collect(),
        }
    }

    #[must_use]
    pub fn serves(&self, domain: &str) -> bool {
        self.domains.iter().any(|ours| ours == domain)
    }

    #[must_use]
    pub fn domains(&self) -> &[String] {
        &self.domains
    }
}

/// Where a stanza goes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hop {
    /// A domain of ours.
    Domain(BareJid),
    /// An account of ours, handled by the server on its behalf.
    Account(BareJid),
    /// One resource of an account of ours.
    Session(Jid),
    /// A room of ours.
    Room(BareJid),
    /// Another domain.
    Remote(String),
    /// Back to the sender.
    Bounce(StanzaError),
}

/// The next hop of a stanza from `from`. Accounts and rooms may turn out not to exist.
#[must_use]
pub fn route(from: &Jid, stanza: &Stanza, hosts: &Hosts) -> Hop {
    let Some(to) = &stanza.to else {
        // RFC 6120 §10.3: the server handles it on behalf of the account that sent it.
        return Hop::Account(from.to_bare());
    };
    if !hosts.serves(to.domain()) {
        return Hop::Remote(to.domain().to_owned());
    }
    let Some(local) = to.local() else {
        // RFC 6120 §10.5.1, §10.5.2.
        return Hop::Domain(to.to_bare());
    };
    if local.starts_with(ROOM_MARK) {
        return match to.resource() {
            None => Hop::Room(to.to_bare()),
            // Rooms have members, and these have their own addresses: nobody is behind a resource.
            Some(_) => Hop::Bounce(unavailable()),
        };
    }
    match to.resource() {
        None => Hop::Account(to.to_bare()),
        Some(_) => Hop::Session(to.clone()),
    }
}

/// The answer for whatever is not there, and for whatever a stranger may not know to be there:
/// RFC 6121 §8.5.1 and §11 want these alike.
#[must_use]
pub fn unavailable() -> StanzaError {
    StanzaError::new(ErrorType::Cancel, StanzaCondition::ServiceUnavailable)
}

/// Must this kind of stanza be outlived, and so wait in the outbox for a domain that is away?
#[must_use]
pub fn keeps(kind: Kind) -> bool {
    match kind {
        Kind::Message(_) => true,
        Kind::Presence(kind) => subscribes(kind),
        Kind::Iq(_) => false,
    }
}

/// Is this presence about a subscription (RFC 6121 §3)?
#[must_use]
pub fn subscribes(kind: PresenceType) -> bool {
    matches!(
        kind,
        PresenceType::Subscribe
            | PresenceType::Subscribed
            | PresenceType::Unsubscribe
            | PresenceType::Unsubscribed
    )
}

/// What becomes of a message at the account it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To each of these sessions.
    Deliver(Vec<Jid>),
    /// Keep it until the account comes online.
    Store,
    /// It is of no use any more.
    Ignore,
    /// Tell the sender.
    Refuse,
}

/// RFC 6121 §8.5.2: a message to the bare address of an account that exists. `available` are its
/// available resources with their priorities.
///
/// Of the choices given there, all resources with a non-negative priority get a message: a person
/// with two clients sees the conversation in both.
#[must_use]
pub fn at_bare(kind: MessageType, available: &[(Jid, i8)]) -> Verdict {
    let ready: Vec<Jid> = available
        .iter()
        .filter(|(_, priority)| *priority >= 0)
        .map(|(jid, _)| jid.clone())
        .collect();
    match kind {
        MessageType::Error => Verdict::Ignore,
        MessageType::Groupchat => Verdict::Refuse,
        MessageType::Headline if ready.is_empty() => Verdict::Ignore,
        MessageType::Normal | MessageType::Chat if ready.is_empty() => Verdict::Store,
        MessageType::Headline | MessageType::Normal | MessageType::Chat => Verdict::Deliver(ready),
    }
}

/// RFC 6121 §8.5.3: a message to a full address; `bound` says whether that resource is connected,
/// available or not.
#[must_use]
pub fn at_full(kind: MessageType, to: &Jid, bound: bool, available: &[(Jid, i8)]) -> Verdict {
    if bound {
        return Verdict::Deliver(vec![to.clone()]);
    }
    match kind {
        // RFC 6121 §8.5.3.2.1: as if it had been sent to the bare address.
        MessageType::Chat => at_bare(kind, available),
        // The sender may be told or not; telling loses nothing.
        MessageType::Normal | MessageType::Groupchat => Verdict::Refuse,
        MessageType::Headline | MessageType::Error => Verdict::Ignore,
    }
}

/// Is this an IQ that wants an answer?
#[must_use]
pub fn is_request(kind: Kind) -> bool {
    matches!(kind, Kind::Iq(IqType::Get | IqType::Set))
}

#[cfg(test)]
mod tests;
