//! The table of features. A feature is a file of `module/`; what it answers to is data, which
//! dispatch and service discovery read.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use comity_xmpp::element::Element;
use comity_xmpp::error::StanzaError;
use comity_xmpp::jid::Jid;
use comity_xmpp::stanza::{IqType, Stanza};
use uuid::Uuid;

use crate::deliver::Deliveries;
use crate::home::Home;
use crate::receipt::Receipt;

pub mod account;
pub mod archive;
pub mod avatar;
pub mod blocking;
pub mod bookmarks;
pub(crate) mod caps;
pub mod carbons;
pub mod contacts;
pub mod disco;
pub mod entity_time;
pub mod external_services;
pub mod http_upload;
pub mod last_activity;
pub mod message;
pub mod mls_as;
pub mod mls_blob;
pub mod mls_crl;
pub mod mls_keys;
pub mod mls_log;
pub mod mls_room;
pub mod mls_sync;
pub mod outages;
pub mod outbox;
pub mod ping;
pub mod presence;
pub mod private_xml;
pub mod pubsub;
pub mod registration;
pub mod roster;
pub mod vcard;
pub mod version;

/// Every feature of this server. A line here is all it takes to add one.
pub const MODULES: &[Module] = &[
    account::MODULE,
    archive::MODULE,
    avatar::MODULE,
    blocking::MODULE,
    bookmarks::MODULE,
    carbons::MODULE,
    contacts::MODULE,
    disco::MODULE,
    entity_time::MODULE,
    external_services::MODULE,
    http_upload::MODULE,
    last_activity::MODULE,
    message::MODULE,
    // Before the one that answers everything else of the namespace.
    mls_log::MODULE,
    mls_as::MODULE,
    mls_crl::MODULE,
    mls_keys::MODULE,
    mls_blob::MODULE,
    mls_room::MODULE,
    mls_room::nominate::MODULE,
    mls_sync::MODULE,
    outages::MODULE,
    outbox::MODULE,
    ping::MODULE,
    presence::MODULE,
    private_xml::MODULE,
    pubsub::MODULE,
    registration::MODULE,
    roster::MODULE,
    vcard::MODULE,
    version::MODULE,
];

/// The module that answers such a request.
pub(crate) fn answering(
    what: What,
    ns: &str,
    name: &str,
    target: Target,
) -> Option<&'static Module> {
    MODULES.iter().find(|module| {
        module.handles.iter().any(|handled| {
            handled.what == what
                && handled.target == target
                && handled.ns == ns
                && (handled.name == "*" || handled.name == name)
        })
    })
}

/// A future that owns what it needs.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One feature: what it answers to, what service discovery says of it, and its handlers.
pub struct Module {
    /// As it appears in logs.
    pub name: &'static str,
    /// The requests it answers. Of two modules that name the same, the earlier gets it.
    pub handles: &'static [Handles],
    /// Features for service discovery (XEP-0030).
    pub features: &'static [(Entity, &'static str)],
    /// Whether service discovery says so, as this server is configured.
    pub offered: fn(&Home) -> bool,
    /// Further elements of a disco#info answer (XEP-0128).
    pub info: fn(&Home, Entity) -> Vec<Element>,
    /// Takes one request that fits `handles`. An IQ request must be answered: by
    /// [`Deliveries::answer`] or [`Deliveries::refuse`].
    pub handle: fn(Context, Request) -> Later<Deliveries>,
    /// Something to be done now and then, the first time at start.
    pub tick: Option<Tick>,
}

/// What a module does at intervals, whoever asks or not.
#[derive(Clone, Copy)]
pub struct Tick {
    pub every: Duration,
    pub run: fn(Home) -> Later<Deliveries>,
}

impl Module {
    /// A module that answers to nothing: for `..Module::EMPTY`.
    pub const EMPTY: Self = Self {
        name: "",
        handles: &[],
        features: &[],
        offered: |_| true,
        info: |_, _| Vec::new(),
        handle: |_, _| Box::pin(std::future::ready(Deliveries::none())),
        tick: None,
    };
}

/// A kind of request that a module answers: by the name of the payload, and whom it is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handles {
    pub what: What,
    pub ns: &'static str,
    /// Local name of the payload; `*` for any in the namespace.
    pub name: &'static str,
    pub target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// `IqType::Get` or `IqType::Set`.
    Iq(IqType),
    /// A message, of any type but error, with a direct child of that name.
    Message,
}

/// Whom a request is addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A domain of ours.
    Domain,
    /// The bare address of the account that sends it (also when it has no `to`).
    OwnAccount,
    /// The bare address of another account of ours. The account may not exist: the answer must be
    /// the same as for one that gives nothing to the requester.
    OtherAccount,
    /// A room of ours (which may not exist).
    Room,
}

/// Who is described by service discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entity {
    Domain,
    /// An account, as its owner and those who see its presence learn it.
    Account,
    Room,
}

/// One request in a module's hands. `from` and `to` of the stanza are set and proved.
#[derive(Clone, Debug)]
pub struct Request {
    pub stanza: Stanza,
    pub from: Jid,
    pub to: Jid,
    /// The child that `handles` named.
    pub payload: Element,
    pub target: Target,
}

/// Where a stanza came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A session of ours: its full address.
    Session(Jid),
    /// A stream that has proved this domain.
    Peer(String),
    /// This server itself.
    Server,
}

/// What a handler may use.
#[derive(Clone)]
pub struct Context {
    pub home: Home,
    /// The moment the stanza was taken in; handlers read no other clock.
    pub now: SystemTime,
    pub origin: Origin,
    /// The device that the sender's session has proved to be; only for sessions of ours.
    pub device: Option<Uuid>,
    /// The stanza's place in its domain's queue, to be kept with what the stanza causes. A module
    /// whose change is the same however often it is made may leave it to dispatch.
    pub receipt: Option<Receipt>,
}

impl Context {
    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        crate::home::millis(self.now)
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn now_s(&self) -> u64 {
        self.now_ms() / 1000
    }

    /// The sender's session, if it is one of ours.
    #[must_use]
    pub fn session(&self) -> Option<&Jid> {
        match &self.origin {
            Origin::Session(jid) => Some(jid),
            Origin::Peer(_) | Origin::Server => None,
        }
    }

    /// Sends an IQ request of the server itself and waits for the answer: `from` is one of our
    /// domains or rooms, `payload` the request.
    ///
    /// Only in [`Deliveries::afterwards`] and ticks: a stream's stanzas are handled one after the
    /// other, so that a handler which waits for an answer from the same stream would wait in vain.
    pub async fn ask(
        &self,
        from: impl Into<Jid>,
        to: impl Into<Jid>,
        kind: IqType,
        payload: &Element,
    ) -> Result<Stanza, StanzaError> {
        crate::requests::ask(&self.home, from.into(), to.into(), kind, payload).await
    }
}
