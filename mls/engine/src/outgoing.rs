//! What leaves the engine, and what comes back: the wire's requests and answers under one roof.

use comity_mls_wire::{authority, keys, refusal::Refusal, room, sync};
use comity_xmpp::jid::BareJid;

/// Pairs an answer with its request, for as long as this engine is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Whom an IQ goes to. With [`Request`] the one enum that is matched to the end: who carries requests
/// carries all of them, and a kind more is a new major version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// One's own domain.
    Own,
    /// An account's bare JID; its server answers.
    Account(BareJid),
    Room(BareJid),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub id: RequestId,
    pub to: Destination,
    pub request: Request,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Authority(authority::Request),
    Keys(keys::Request),
    Room(room::Request),
    Sync(sync::Request),
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    Authority(authority::Answer),
    Keys(keys::Answer),
    Room(room::Answer),
    Sync(sync::Answer),
}

/// What servers send unasked. Whoever receives it checks first that it comes from one's own server
/// or, for entries and Welcomes, from the room it names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    Authority(authority::Notice),
    Keys(keys::Notice),
    Sync(sync::Notice),
}

pub type Answered = Result<Answer, Refusal>;
