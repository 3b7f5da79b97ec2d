//! The hub: takes requests to rooms ordered here, one change in flight for each room.
//!
//! A change is decided on a clone of what is in memory, written in one transaction that holds only
//! if the room still stands where it was, and only then is memory advanced. So whatever is refused,
//! fails or is given up half-way leaves memory and database as they were.

mod abuse;
mod answers;
mod cache;
mod domains;
mod ephemeral;
mod nominate;
mod outside;
mod report;
mod snapshot;
mod sweep;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use comity_mls_credential::keys::PrivateKey;
use comity_mls_credential::leaf::CLOCK_TOLERANCE_S;
use comity_mls_credential::provider::Provider;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{
    Accepted, Answer, Entry, Ephemeral, Fanout, Head, IdempotencyKey, Info, Member, Request,
    Stamped,
};
use comity_storage::Storage;
use comity_storage::rooms::{self as rows_of, Append, Appended, At, PendingChange};
use comity_xmpp::jid::BareJid;
use mls_rs_core::crypto::CipherSuite;
use tokio::sync::OwnedMutexGuard;

use super::fanout::Plan;
use super::limits::Limits;
use super::public_tree::Observer;
use super::rates::{Kind, Rates};
use super::state::{Room, State};
use super::{commit, create, external, propose, removal, rows, send};
use crate::authority::Authority;
use crate::error::{Refused, internal};
use cache::Cache;
use ephemeral::Passed;

pub use answers::digest;
pub use nominate::Nomination;

/// How often a decision is made anew because another process of this domain came first.
const ATTEMPTS: usize = 5;

/// The hub as an external sender of its rooms' groups, for one domain.
pub struct HubKey {
    /// Its certificate (DER).
    pub certificate: Bytes,
    /// The certificate's key as MLS writes it.
    pub public_key: Bytes,
    pub key: PrivateKey,
    /// Cipher suites whose signatures the key makes.
    pub suites: Vec<u16>,
}

impl HubKey {
    /// The hub that a domain's AS vouches for. One certificate speaks for it, so its rooms have the
    /// suites of that certificate's key alone.
    #[must_use]
    pub fn of(authority: &Authority) -> Option<Self> {
        let suite = CipherSuite::P256_AES128;
        let hub = authority.hub(suite)?;
        Some(Self {
            certificate: Bytes::copy_from_slice(&hub.certificate),
            public_key: Bytes::copy_from_slice(hub.identity.signature_key.as_ref()),
            key: hub.key.clone(),
            suites: vec![*suite],
        })
    }
}

/// What a hub needs of the server around it.
pub trait Surroundings: Send + Sync + 'static {
    /// Is this domain one of ours?
    fn serves(&self, domain: &str) -> bool;
    /// The key with which rooms at this domain are ordered.
    fn hub_key(&self, domain: &str) -> Option<Arc<HubKey>>;
    /// The message that carries an entry to a domain, as the outbox keeps it.
    fn stanza(&self, room: &BareJid, domain: &str, fanout: &Fanout) -> Vec<u8>;
}

/// Where MLS is worked out: a bounded number of threads beside those that serve sockets.
pub trait Pool: Send + Sync + 'static {
    /// `None`: the work was not done, because the server is stopping or the work panicked.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> + Send;
}

/// All that a decision reads beside the room itself.
pub struct Deciding<'a> {
    pub hub: &'a HubKey,
    pub observer: &'a Observer,
    pub surroundings: &'a dyn Surroundings,
    pub limits: &'a Limits,
    /// Of the request.
    pub digest: [u8; 32],
    /// Milliseconds since 1970.
    pub now: u64,
}

impl Deciding<'_> {
    /// When leaves are accepted, in seconds since 1970. A KeyPackage made this moment by a client
    /// whose clock is a little ahead is valid already; one that ends this moment is not any more.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.now / 1000 + CLOCK_TOLERANCE_S
    }

    /// The change that puts an entry into the log, with what every such change carries. `asked` is
    /// whose request it was, and what they are told.
    #[must_use]
    pub fn append(
        &self,
        at: At,
        entry: &Entry,
        asked: Option<(&Member, IdempotencyKey, &Accepted)>,
        plan: Plan,
    ) -> Append {
        Append {
            room: entry.room.as_str().to_owned(),
            at,
            entry: rows::entry_row(entry),
            now: self.now,
            pending: PendingChange::Keep,
            updated: None,
            gone: Vec::new(),
            come: Vec::new(),
            changes: rows::change_rows(&entry.changes, &|domain| self.surroundings.serves(domain)),
            domains: plan.domains,
            welcome: None,
            answer: asked.map(|(sender, key, accepted)| self.answer(sender, key, accepted)),
            outbox: plan.outbox,
            barred: None,
            nominated: None,
        }
    }

    /// The row under which the answer is found again.
    fn answer(&self, sender: &Member, key: IdempotencyKey, accepted: &Accepted) -> rows_of::Answer {
        rows_of::Answer {
            account: sender.account.as_str().to_owned(),
            device: sender.device.into_bytes(),
            key: key.0.into_bytes(),
            digest: self.digest,
            seq: accepted.seq,
            epoch: accepted.epoch,
            time: accepted.time,
            head: accepted.head,
        }
    }
}

/// What a decision came to: the change, and the room once it is made.
pub struct Decided {
    pub append: Append,
    pub next: Room,
    pub entry: Entry,
    pub accepted: Accepted,
}

/// An answer, and who is to be told now that it is true.
#[derive(Debug)]
pub struct Reply {
    pub answer: Answer,
    /// The entry by which the log has grown.
    pub entry: Option<Entry>,
    /// Other domains with new rows in the outbox.
    pub wake: Vec<String>,
    /// What the hub had proposed may be void: [`Hub::sweep`] proposes it anew.
    pub sweep: bool,
    /// It is time for another snapshot of the room: [`Hub::snapshot`] makes it.
    pub snapshot: bool,
    /// A message outside the log, and the domains to whose devices it goes.
    pub ephemeral: Option<(Ephemeral, BTreeSet<String>)>,
}

/// The rooms ordered here.
pub struct Hub<P: Pool> {
    shared: Arc<Shared>,
    pool: P,
    rates: Mutex<Rates>,
    /// Messages outside the log, by device and epoch.
    passed: Mutex<Passed>,
    cache: Cache,
}

/// What goes along into the pool.
struct Shared {
    storage: Storage,
    observer: Observer,
    surroundings: Arc<dyn Surroundings>,
    limits: Limits,
}

type Slot = OwnedMutexGuard<Option<Room>>;

impl<P: Pool> Hub<P> {
    pub fn new(
        storage: Storage,
        provider: Provider,
        surroundings: Arc<dyn Surroundings>,
        limits: Limits,
        pool: P,
    ) -> Self {
        Self {
            cache: Cache::new(limits.rooms_in_memory),
            shared: Arc::new(Shared {
                storage,
                observer: Observer::new(provider, &comity_mls_wire::policy::SUITES),
                surroundings,
                limits,
            }),
            pool,
            rates: Mutex::default(),
            passed: Mutex::default(),
        }
    }

    /// Takes one request at `now` (milliseconds since 1970). `from` is proved: the account of a
    /// session, or the domain itself.
    pub async fn request(
        &self,
        room: &BareJid,
        from: &BareJid,
        stamped: Stamped,
        now: u64,
    ) -> Result<Reply, Refused> {
        let Some(hub) = self.shared.surroundings.hub_key(room.domain()) else {
            return Err(Refusal::NoRoom.into());
        };
        self.rate(from, &stamped.request, now)?;
        let digest = digest(&stamped.request);
        let sender = stamped.device.map(|device| Member {
            account: from.clone(),
            device,
        });
        let sender = sender
            .filter(|_| from.local().is_some())
            .ok_or(Refusal::NoDevice);
        let asked = Asked {
            room: room.clone(),
            hub,
            digest,
            now,
        };
        match stamped.request {
            Request::Hub => {
                let exists = self.shared.storage.room_exists(room.as_str()).await;
                let exists = exists.map_err(|e| internal(e, "looking for a room"))?;
                Ok(told(Answer::Hub(create::describe(&asked.hub, exists))))
            }
            Request::Info => Ok(told(self.info(room, &sender?).await?)),
            Request::Head => Ok(told(self.head(room, &sender?).await?)),
            Request::GroupInfo => Ok(told(self.group_info(room, &sender?, now).await?)),
            Request::Status { key } => Ok(told(self.status(room, &sender?, key).await?)),
            Request::Ephemeral { epoch, message } => {
                self.ephemeral(room, sender?, epoch, message).await
            }
            Request::Report { seq, hash, why } => {
                self.report(asked, &sender?, seq, hash, why).await
            }
            Request::ReportMessage(report) => self.report_message(asked, &sender?, *report).await,
            Request::Fetch { after, limit } => self.fetch(room, from, after, limit, now).await,
            Request::Acknowledge {
                seq,
                welcomes,
                active,
            } => {
                let held = domains::Held {
                    seq,
                    welcomes: &welcomes,
                    active: &active,
                };
                Ok(told(self.acknowledge(room, from, &held, now).await?))
            }
            change => self.change(asked, sender?, change).await,
        }
    }

    fn rate(&self, from: &BareJid, request: &Request, now: u64) -> Result<(), Refusal> {
        let kind = match request {
            Request::Create(_) => Kind::Creation,
            Request::Commit(_) => Kind::Commit,
            Request::Propose { .. } | Request::Report { .. } | Request::ReportMessage(_) => {
                Kind::Proposal
            }
            Request::Send { .. } => Kind::Message,
            Request::Ephemeral { .. } => Kind::Ephemeral,
            Request::Hub
            | Request::Info
            | Request::Head
            | Request::Status { .. }
            | Request::GroupInfo
            | Request::Fetch { .. }
            | Request::Acknowledge { .. } => Kind::Question,
        };
        // Nothing panics while it holds the lock.
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.take(from, kind, &self.shared.limits.rates, now)
    }

    async fn change(
        &self,
        asked: Asked,
        sender: Member,
        request: Request,
    ) -> Result<Reply, Refused> {
        let Some(key) = answers::key(&request) else {
            return Err(internal("a question came as a change", "a request").into());
        };
        let mut slot = self.cache.lock(&asked.room).await;
        if let Some(accepted) = self.answered(&asked, &sender, key).await? {
            return Ok(told(Answer::Accepted(accepted)));
        }
        let request = Arc::new(request);
        for _ in 0..ATTEMPTS {
            let room = self.load(&mut slot, &asked.room).await?;
            let decided = self.decide(&asked, &sender, &request, room).await?;
            match self.shared.storage.write(decided.append.clone()).await {
                Ok(Appended::Done) => {
                    let snapshot = decided.next.state.since.is_long();
                    *slot = Some(decided.next);
                    return Ok(Reply {
                        answer: Answer::Accepted(decided.accepted),
                        entry: Some(decided.entry),
                        wake: destinations(&decided.append),
                        sweep: comes_by_itself(&request),
                        snapshot,
                        ephemeral: None,
                    });
                }
                // Another process has lengthened the log: what was read has passed.
                Ok(Appended::Moved) => *slot = None,
                Err(error) => {
                    *slot = None;
                    return Err(internal(error, "writing an entry").into());
                }
            }
        }
        Err(internal("the room is never where it was read", "writing an entry").into())
    }

    async fn decide(
        &self,
        asked: &Asked,
        sender: &Member,
        request: &Arc<Request>,
        room: Option<Room>,
    ) -> Result<Decided, Refused> {
        let shared = Arc::clone(&self.shared);
        let (asked, sender, request) = (asked.clone(), sender.clone(), Arc::clone(request));
        let work = move || decide(&shared, &asked, &sender, &request, room);
        match self.pool.run(work).await {
            Some(decided) => decided,
            None => Err(internal("the pool is gone", "deciding on a request").into()),
        }
    }

    /// The room as it stands, from memory or the database; `None` if there is none.
    async fn load(&self, slot: &mut Slot, room: &BareJid) -> Result<Option<Room>, Refusal> {
        if let Some(room) = &**slot {
            return Ok(Some(room.clone()));
        }
        let row = self.shared.storage.room(room.as_str()).await;
        let Some(row) = row.map_err(|error| internal(error, "reading a room"))? else {
            return Ok(None);
        };
        let (shared, address) = (Arc::clone(&self.shared), room.clone());
        let loaded = self
            .pool
            .run(move || Room::load(&shared.observer, &address, row))
            .await
            .ok_or_else(|| internal("the pool is gone", "loading a room"))?
            .map_err(|error| internal(error, "loading a room"))?;
        **slot = Some(loaded.clone());
        Ok(Some(loaded))
    }

    async fn info(&self, room: &BareJid, sender: &Member) -> Result<Answer, Refusal> {
        let room = self.for_member(room, sender).await?;
        let state = room.state;
        Ok(Answer::Info(Info {
            group_id: Bytes::copy_from_slice(&state.group_id),
            epoch: state.epoch,
            seq: state.seq,
            head: state.head,
            members: state.members.values().cloned().collect(),
        }))
    }

    async fn head(&self, room: &BareJid, sender: &Member) -> Result<Answer, Refusal> {
        let state = self.for_member(room, sender).await?.state;
        Ok(Answer::Head(Head {
            group_id: Bytes::copy_from_slice(&state.group_id),
            epoch: state.epoch,
            seq: state.seq,
            head: state.head,
        }))
    }

    /// The room, for one of its members; nobody else learns that there is one.
    async fn for_member(&self, room: &BareJid, sender: &Member) -> Result<Room, Refusal> {
        self.for_whom(room, sender, |state| state.leaf_of(sender).is_some())
            .await
    }

    async fn for_whom(
        &self,
        room: &BareJid,
        sender: &Member,
        may: impl FnOnce(&State) -> bool,
    ) -> Result<Room, Refusal> {
        let mut slot = self.cache.lock(room).await;
        let found = self.load(&mut slot, room).await?;
        let found = found
            .filter(|room| may(&room.state))
            .ok_or(Refusal::NoRoom)?;
        removal::check_sender(&self.shared.observer, &found, sender)?;
        Ok(found)
    }
}

impl Shared {
    fn deciding<'a>(&'a self, asked: &'a Asked) -> Deciding<'a> {
        Deciding {
            hub: &asked.hub,
            observer: &self.observer,
            surroundings: self.surroundings.as_ref(),
            limits: &self.limits,
            digest: asked.digest,
            now: asked.now,
        }
    }
}

/// A request with what belongs to it.
#[derive(Clone)]
struct Asked {
    room: BareJid,
    hub: Arc<HubKey>,
    digest: [u8; 32],
    now: u64,
}

fn decide(
    shared: &Shared,
    asked: &Asked,
    sender: &Member,
    request: &Request,
    room: Option<Room>,
) -> Result<Decided, Refused> {
    let deciding = shared.deciding(asked);
    if let Some(room) = &room {
        removal::check_sender(&shared.observer, room, sender)?;
    }
    match (request, room) {
        (Request::Create(_), Some(_)) => Err(Refusal::RoomExists.into()),
        (Request::Create(request), None) => create::create(&deciding, &asked.room, sender, request),
        (_, None) => Err(Refusal::NoRoom.into()),
        (Request::Commit(bundle), Some(room)) => commit::commit(&deciding, &room, sender, bundle),
        (Request::Propose { key, proposal }, Some(room)) => {
            propose::propose(&deciding, &room, sender, *key, proposal)
        }
        (
            Request::Send {
                key,
                epoch,
                message,
            },
            Some(room),
        ) => send::send(&deciding, &room, sender, *key, *epoch, message),
        _ => Err(internal("a question came as a change", "a request").into()),
    }
}

fn told(answer: Answer) -> Reply {
    Reply {
        answer,
        entry: None,
        wake: Vec::new(),
        sweep: false,
        snapshot: false,
        ephemeral: None,
    }
}

/// An external commit carries no removals of the hub's (RFC 9420 §12.2).
fn comes_by_itself(request: &Request) -> bool {
    matches!(request, Request::Commit(bundle) if external::is_one(&bundle.commit))
}

fn destinations(append: &Append) -> Vec<String> {
    append
        .outbox
        .iter()
        .map(|row| row.destination.clone())
        .collect()
}
