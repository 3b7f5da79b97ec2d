//! The Delivery Service towards others (`mls/PROTOCOL.md`, `urn:xmpp:mls:0:room`): requests to our
//! rooms, from accounts here and elsewhere and from other domains, and what the hubs of other
//! domains send us.

mod copy;
mod ephemeral;
pub(super) mod nominate;
pub(super) mod sweep;

use std::sync::Arc;
use std::time::Duration;

use comity_mls_credential::leaf::CredentialError;
use comity_mls_service::error::Refused;
use comity_mls_service::room::Reply;
use comity_mls_wire::blob;
use comity_mls_wire::disco;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{self as mls_room, Answer, Entry, IdempotencyKey, Stamped};
use comity_mls_wire::sync::Notice;
use comity_storage::rooms::PurgeRooms;
use comity_xmpp::jid::BareJid;
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, MessageType, Stanza};

use super::{Context, Entity, Handles, Later, Module, Request, Target, Tick, What};
use super::{mls_as, mls_blob};
use crate::deliver::Deliveries;
use crate::home::Home;

pub const MODULE: Module = Module {
    name: "mls_room",
    handles: &[
        asked(IqType::Get),
        asked(IqType::Set),
        Handles {
            what: What::Iq(IqType::Set),
            ns: ns::MLS_ROOM,
            name: "ephemeral",
            target: Target::Domain,
        },
        Handles {
            what: What::Message,
            ns: ns::MLS_ROOM,
            name: "fanout",
            target: Target::Domain,
        },
    ],
    features: &[
        (Entity::Domain, disco::DOMAIN_FEATURES[3]),
        (Entity::Room, disco::ROOM_FEATURES[0]),
        (Entity::Room, disco::ROOM_FEATURES[1]),
    ],
    handle,
    tick: Some(Tick {
        every: TICK,
        run: tick,
    }),
    ..Module::EMPTY
};

/// How often copies are compared with their hubs and the logs are purged.
const TICK: Duration = Duration::from_secs(3600);
/// Domains whose anchors one request may make us fetch: the leaves of a commit name few.
const ISSUERS: usize = 8;
/// What everybody has is kept for a day, for a device that has lost its latest state.
const GRACE_MS: u64 = 24 * 3600 * 1000;
/// Chunks of one purge; what is left waits for the next.
const PURGE_CHUNKS: usize = 1_000;

const fn asked(kind: IqType) -> Handles {
    Handles {
        what: What::Iq(kind),
        ns: ns::MLS_ROOM,
        name: "*",
        target: Target::Room,
    }
}

fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        match request.stanza.kind {
            Kind::Iq(_) if request.target == Target::Domain => ephemeral::take(&context, &request),
            Kind::Iq(kind) => ask(context, request, kind).await,
            _ => copy::take(&context, &request).await,
        }
    })
}

/// A request to a room of ours, which may name what is too large for it.
async fn ask(context: Context, mut request: Request, kind: IqType) -> Deliveries {
    let named = match blob::named(&request.payload) {
        Ok(named) => named,
        Err(error) => return refuse(&request.stanza, Refusal::from(error)),
    };
    if named.is_empty() {
        return decide(context, request, kind).await;
    }
    let here = mls_blob::all_held(&context.home, &named).await;
    let decided = async move {
        let (own, sender) = (request.to.domain(), request.from.domain());
        let account = request.from.to_bare();
        let payload = &mut request.payload;
        let put = mls_blob::put_in(&context.home, own, sender, account.as_str(), payload).await;
        match put {
            Ok(()) => decide(context, request, kind).await,
            Err(refusal) => refuse(&request.stanza, refusal),
        }
    };
    if matches!(here, Ok(true)) {
        return decided.await;
    }
    // Who waits for another domain holds up nobody meanwhile.
    let mut deliveries = Deliveries::none();
    deliveries.afterwards(decided);
    deliveries
}

async fn decide(context: Context, request: Request, kind: IqType) -> Deliveries {
    let stamped = match Stamped::from_iq(kind, &request.payload) {
        Ok(stamped) => stamped,
        Err(error) => return refuse(&request.stanza, Refusal::from(error)),
    };
    let asked = Asked {
        home: context.home.clone(),
        room: request.to.to_bare(),
        from: request.from.to_bare(),
        stamped,
        now: context.now_ms(),
        stanza: request.stanza,
    };
    match asked.once().await {
        // Its anchors are to be had from its domain, and who waits for another domain holds up
        // nobody meanwhile.
        Err(Refused::Issuer { domain, issuer }) => {
            let mut deliveries = Deliveries::none();
            let missing = CredentialError::UnknownIssuer { domain, issuer };
            deliveries.afterwards(async move { asked.with_anchors(missing).await });
            deliveries
        }
        decided => asked.answer(decided).await,
    }
}

struct Asked {
    home: Home,
    room: BareJid,
    from: BareJid,
    stamped: Stamped,
    now: u64,
    stanza: Stanza,
}

impl Asked {
    async fn once(&self) -> Result<Reply, Refused> {
        let rooms = &self.home.services.rooms;
        match rooms
            .closed
            .check(self.room.as_str(), &self.stamped.request)
        {
            Ok(()) => self.request(self.stamped.request.clone()).await,
            Err(closed) => self.before(closed).await,
        }
    }

    async fn request(&self, request: mls_room::Request) -> Result<Reply, Refused> {
        let hub = &self.home.services.rooms.hub;
        let device = self.stamped.device;
        let stamped = Stamped { device, request };
        hub.request(&self.room, &self.from, stamped, self.now).await
    }

    /// The room is closed; but what was accepted before has the answer that it had.
    async fn before(&self, closed: Refusal) -> Result<Reply, Refused> {
        let Some(key) = key(&self.stamped.request) else {
            return Err(closed.into());
        };
        let reply = self.request(mls_room::Request::Status { key }).await?;
        match reply.answer {
            Answer::Status(Some(accepted)) => Ok(Reply {
                answer: Answer::Accepted(accepted),
                ..reply
            }),
            _ => Err(closed.into()),
        }
    }

    /// Fetches the anchors of each domain that is missing, and tries again.
    async fn with_anchors(self, mut missing: CredentialError) -> Deliveries {
        for _ in 0..ISSUERS {
            if let Err(refusal) = mls_as::learn(&self.home, self.room.domain(), &missing).await {
                return refuse(&self.stanza, refusal);
            }
            match self.once().await {
                Err(Refused::Issuer { domain, issuer }) => {
                    missing = CredentialError::UnknownIssuer { domain, issuer };
                }
                decided => return self.answer(decided).await,
            }
        }
        let why = missing.to_string();
        refuse(&self.stanza, Refusal::BadCredential { why })
    }

    async fn answer(&self, decided: Result<Reply, Refused>) -> Deliveries {
        let reply = match decided {
            Ok(reply) => reply,
            Err(refused) => return refuse(&self.stanza, refused.refusal()),
        };
        let mut answer = reply.answer.to_element();
        if let Err(refusal) = mls_blob::put_out(&self.home, &mut answer).await {
            return refuse(&self.stanza, refusal);
        }
        let mut deliveries = Deliveries::answer(self.stanza.result(Some(&answer)));
        for domain in reply.wake {
            deliveries.wake(domain);
        }
        if let Some(entry) = &reply.entry {
            tell(&self.home, entry);
        }
        if let Some((ephemeral, domains)) = reply.ephemeral {
            ephemeral::spread(&self.home, &ephemeral, domains, &mut deliveries);
        }
        if reply.sweep {
            let (home, room) = (self.home.clone(), self.room.as_str().to_owned());
            deliveries.afterwards(async move { sweep::sweep(&home, &[room]).await });
        } else if reply.snapshot {
            let (home, room) = (self.home.clone(), self.room.clone());
            deliveries.afterwards(async move {
                home.services.rooms.hub.snapshot(&room, home.now_ms()).await;
                Deliveries::none()
            });
        }
        deliveries
    }
}

/// Under which a change is accepted once.
fn key(request: &mls_room::Request) -> Option<IdempotencyKey> {
    use mls_room::Request;
    match request {
        Request::Commit(bundle) => Some(bundle.key),
        Request::Propose { key, .. } | Request::Send { key, .. } => Some(*key),
        _ => None,
    }
}

fn refuse(stanza: &Stanza, refusal: Refusal) -> Deliveries {
    Deliveries::refuse(stanza, &refusal.to_stanza_error())
}

/// Lets our own devices know of an entry that has just been stored.
fn tell(home: &Home, entry: &Entry) {
    let feeds = &home.services.rooms.feeds;
    let room = entry.room.as_str();
    tell_change(home, entry);
    let ready = feeds.watched(room).then(|| {
        // Its changes are for domains, which keep them beside it.
        let entry = Entry {
            changes: Vec::new(),
            ..entry.clone()
        };
        let stanza = Stanza::new(Kind::Message(MessageType::Normal))
            .with_from(entry.room.clone())
            .with(&Notice::Entry(entry).to_element());
        Arc::new(stanza)
    });
    feeds.grown(room, ready.map(|stanza| (entry.seq, stanza)));
    nominate::note(home, entry);
}

/// Lets our own devices know that an entry is stored, and perhaps was before.
fn tell_again(home: &Home, entry: &Entry) {
    tell_change(home, entry);
    let feeds = &home.services.rooms.feeds;
    feeds.grown(entry.room.as_str(), None);
    nominate::note(home, entry);
}

fn tell_change(home: &Home, entry: &Entry) {
    let feeds = &home.services.rooms.feeds;
    for change in &entry.changes {
        if home.hosts.serves(change.member.account.domain()) {
            feeds.moved(&change.member, entry.room.as_str());
        }
    }
}

fn tick(home: Home) -> Later<Deliveries> {
    Box::pin(async move {
        purge(&home).await;
        let mut deliveries = sweep::daily(&home).await;
        deliveries.extend(copy::compare(&home).await);
        deliveries
    })
}

async fn purge(home: &Home) {
    let now = home.now_ms();
    let mut purge = PurgeRooms {
        held_before: now.saturating_sub(GRACE_MS),
        before: now.saturating_sub(home.services.rooms.retention_ms),
        from: 0,
    };
    for _ in 0..PURGE_CHUNKS {
        match home.storage.write(purge.clone()).await {
            Ok(purged) => match purged.next {
                Some(next) => purge.from = next,
                None if purged.rows > 0 => purge.from = i64::MAX,
                None => return,
            },
            Err(error) => {
                tracing::error!(%error, "the logs of rooms could not be purged");
                return;
            }
        }
    }
}
