//! What the hubs of other domains send us, and what we ask and tell them.

use std::collections::BTreeSet;
use std::time::Duration;

use comity_mls_service::room::{Outcome, rows};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Answer, Entry, Fanout, Member, Request as Asked};
use comity_mls_wire::{blob, limits};
use comity_xmpp::element::Element;
use comity_xmpp::jid::BareJid;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::deliver::Deliveries;
use crate::home::Home;
use crate::module::{Context, Origin, Request, mls_blob};
use crate::requests;
use crate::services::owed::Due;

/// How long further entries of a room are waited for, to acknowledge them together.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Rooms of one hub acknowledged at a time.
const ACKNOWLEDGED: usize = 32;
/// Entries fetched at a time.
const FETCH: u16 = 100;
/// Fetches one after the other for one gap: beyond, the next entry or hour goes on with it.
const FETCHES: usize = 1_000;
/// Copies read at a time when all are compared with their hubs.
const COPIES: usize = 256;

/// An entry for one of our domains.
pub(super) async fn take(context: &Context, request: &Request) -> Deliveries {
    if !matches!(context.origin, Origin::Peer(_)) {
        // Our own rooms write into the log, and nobody else speaks for a room.
        return Deliveries::none();
    }
    let room = request.from.to_bare();
    let domain = request.to.domain().to_owned();
    let copy = Copy {
        home: context.home.clone(),
        room,
        domain,
    };
    match blob::named(&request.payload) {
        Ok(named) if !named.is_empty() => {
            let payload = request.payload.clone();
            let mut deliveries = Deliveries::none();
            deliveries.afterwards(copy.take_large(payload));
            deliveries
        }
        // What cannot be read is named so below.
        _ => copy.read(&request.payload, context.now_ms()).await,
    }
}

/// One room as one of our domains copies it.
#[derive(Clone)]
struct Copy {
    home: Home,
    room: BareJid,
    domain: String,
}

impl Copy {
    /// An entry that names what its hub has for us. Whoever comes meanwhile and finds a gap fetches
    /// it as well, and what comes twice is stored once.
    async fn take_large(self, mut payload: Element) -> Deliveries {
        let hub = self.room.domain();
        let put = mls_blob::put_in(&self.home, &self.domain, hub, hub, &mut payload).await;
        if let Err(refusal) = put {
            tracing::info!(room = %self.room, %refusal, "what an entry names is not to be had yet");
            let owed = &self.home.services.rooms.owed;
            return match owed.fetch(&self.domain, &self.room) {
                true => self.catch_up().await,
                false => Deliveries::none(),
            };
        }
        let now = self.home.now_ms();
        self.read(&payload, now).await
    }

    async fn read(self, payload: &Element, now: u64) -> Deliveries {
        match Fanout::from_element(payload) {
            Ok(fanout) => self.take(&fanout, now).await,
            Err(error) => {
                tracing::warn!(room = %self.room, %error, "a hub sends what cannot be read");
                Deliveries::none()
            }
        }
    }

    async fn take(self, fanout: &Fanout, now: u64) -> Deliveries {
        let mut deliveries = Deliveries::none();
        match self.store(fanout, now).await {
            Ok(None) => {
                if self.owes(fanout).await {
                    deliveries.afterwards(self.acknowledge());
                }
            }
            // A gap; or not stored, though the stream will say that it came. One fetches for all
            // that come meanwhile.
            Ok(Some(_)) | Err(_) => {
                let owed = &self.home.services.rooms.owed;
                if owed.fetch(&self.domain, &self.room) {
                    deliveries.afterwards(self.catch_up());
                }
            }
        }
        deliveries
    }

    /// Stores an entry and tells our devices; gives what is missing before it, if anything is.
    async fn store(&self, fanout: &Fanout, now: u64) -> Result<Option<u64>, Refusal> {
        let rooms = &self.home.services.rooms;
        let outcome = rooms
            .copies
            .receive(&self.room, &self.domain, fanout, now)
            .await?;
        match outcome {
            Outcome::Stored { .. } => super::tell(&self.home, &fanout.entry),
            // A Welcome that had been missing may have come with it.
            Outcome::Known { .. } => super::tell_again(&self.home, &fanout.entry),
            Outcome::Gap { after } => return Ok(Some(after)),
            Outcome::Refused { why } => {
                let (room, seq) = (&self.room, fanout.entry.seq);
                tracing::warn!(%room, seq, why, "a hub's entry is refused");
            }
        }
        Ok(None)
    }

    /// Notes that the hub is owed an acknowledgement; `true`: it is for the caller to give it.
    async fn owes(&self, fanout: &Fanout) -> bool {
        let storage = &self.home.storage;
        let held = storage.room_copy(self.room.as_str(), &self.domain).await;
        let Ok(Some(held)) = held else { return false };
        let welcome = fanout.welcome.as_ref().map(|welcome| welcome.id);
        let owed = &self.home.services.rooms.owed;
        owed.note(&self.domain, &self.room, held.seq, welcome)
    }

    /// Tells the room's hub what is stored of its rooms, until there is nothing more to tell.
    async fn acknowledge(self) -> Deliveries {
        let owed = &self.home.services.rooms.owed;
        let hub = self.room.domain();
        loop {
            tokio::time::sleep(DEBOUNCE).await;
            let due = owed.due(&self.domain, hub, ACKNOWLEDGED);
            if due.is_empty() {
                return Deliveries::none();
            }
            let untold = self.tell_hub(due).await;
            if !untold.is_empty() {
                owed.put_back(&self.domain, hub, untold);
                return Deliveries::none();
            }
        }
    }

    /// Acknowledges for several rooms of one hub at once; gives what it could not be told.
    async fn tell_hub(&self, due: Vec<(BareJid, Due)>) -> Vec<(BareJid, Due)> {
        let mut asking = JoinSet::new();
        for (room, due) in due {
            let copy = Self {
                room,
                ..self.clone()
            };
            asking.spawn(async move {
                let told = copy.acknowledge_one(&due).await;
                (copy.room, due, told)
            });
        }
        let mut untold = Vec::new();
        while let Some(asked) = asking.join_next().await {
            // A task that failed has said nothing; the room's next entry will.
            let Ok((room, due, told)) = asked else {
                continue;
            };
            if let Err(why) = told {
                tracing::debug!(%room, why, "a hub was not told what is stored here");
                untold.push((room, due));
            }
        }
        untold
    }

    async fn acknowledge_one(&self, due: &Due) -> Result<(), String> {
        let asked = Asked::Acknowledge {
            seq: due.seq,
            welcomes: due.welcomes.clone(),
            active: self.active().await,
        };
        self.ask(&asked).await.map(drop)
    }

    /// Our devices that were in the room last: its hub may ask one of them to commit.
    async fn active(&self) -> Vec<Member> {
        let storage = &self.home.storage;
        let found = storage.domain_active(self.room.as_str(), &self.domain, limits::ACTIVE);
        // The hub does without; the next acknowledgement tells it.
        let found = found.await.unwrap_or_default().into_iter();
        found
            .filter_map(|active| {
                Some(Member {
                    account: rows::address(&active.account).ok()?,
                    device: Uuid::from_bytes(active.device),
                })
            })
            .collect()
    }

    /// Fetches what the copy lacks, and acknowledges it. For whom [`Owed::fetch`] has chosen.
    ///
    /// [`Owed::fetch`]: crate::services::owed::Owed::fetch
    async fn catch_up(self) -> Deliveries {
        let owed = &self.home.services.rooms.owed;
        loop {
            // A moment in which more may come, and in which storage may recover.
            tokio::time::sleep(DEBOUNCE).await;
            if let Err(why) = self.fetch_what_follows().await {
                tracing::info!(room = %self.room, why, "a gap in a room's log is not closed yet");
                owed.fetch_failed(&self.domain, &self.room);
                return Deliveries::none();
            }
            if !owed.fetched(&self.domain, &self.room) {
                break;
            }
        }
        self.say_what_is_held().await;
        Deliveries::none()
    }

    async fn fetch_what_follows(&self) -> Result<(), String> {
        let storage = &self.home.storage;
        let copy = storage.room_copy(self.room.as_str(), &self.domain).await;
        let copy = copy.map_err(|error| error.to_string())?;
        self.fetch_all(copy.map_or(0, |copy| copy.seq)).await
    }

    async fn say_what_is_held(&self) {
        let storage = &self.home.storage;
        let held = storage.room_copy(self.room.as_str(), &self.domain).await;
        if let Ok(Some(held)) = held {
            let due = Due {
                seq: held.seq,
                welcomes: Vec::new(),
            };
            if let Err(why) = self.acknowledge_one(&due).await {
                // The next acknowledgement covers this one.
                tracing::debug!(room = %self.room, why, "a hub was not told what is stored here");
            }
        }
    }

    /// Fetches what follows `after`, until there is no more.
    async fn fetch_all(&self, mut after: u64) -> Result<(), String> {
        for _ in 0..FETCHES {
            let entries = self.fetch(after).await?;
            let Some(last) = entries.last().map(|entry| entry.seq) else {
                break;
            };
            for entry in entries {
                let fanout = Fanout {
                    entry,
                    welcome: None,
                };
                match self.store(&fanout, self.home.now_ms()).await {
                    Ok(None) => {}
                    Ok(Some(_)) => return Err("the hub leaves out entries".to_owned()),
                    Err(refusal) => return Err(refusal.to_string()),
                }
            }
            after = last;
        }
        Ok(())
    }

    async fn fetch(&self, after: u64) -> Result<Vec<Entry>, String> {
        let asked = Asked::Fetch {
            after,
            limit: FETCH,
        };
        match self.ask(&asked).await? {
            Answer::Entries(entries) => Ok(entries),
            other => Err(format!("it answered with {other:?}")),
        }
    }

    async fn ask(&self, asked: &Asked) -> Result<Answer, String> {
        let domain = BareJid::parse(&self.domain).map_err(|error| error.to_string())?;
        let (room, payload) = (self.room.clone(), asked.to_element());
        let kind = asked.iq_type();
        let answer = requests::ask(&self.home, domain.into(), room.into(), kind, &payload)
            .await
            .map_err(|error| error.to_string())?;
        let mut element = answer.first_child().ok_or("its answer is empty")?;
        let hub = self.room.domain();
        mls_blob::put_in(&self.home, &self.domain, hub, hub, &mut element)
            .await
            .map_err(|refusal| refusal.to_string())?;
        Answer::from_element(&element).map_err(|error| error.to_string())
    }
}

/// Asks every hub for what our copies may lack: at start, and now and then.
pub(super) async fn compare(home: &Home) -> Deliveries {
    let mut deliveries = Deliveries::none();
    for domain in home.hosts.domains() {
        let mut last: Option<BareJid> = None;
        loop {
            let copies = &home.services.rooms.copies;
            let Ok(rooms) = copies.rooms(domain, last.as_ref(), COPIES).await else {
                return deliveries;
            };
            if rooms.is_empty() {
                break;
            }
            last = rooms.last().map(|(room, _)| room.clone());
            let copies: Vec<(Copy, u64)> = rooms
                .into_iter()
                .map(|(room, seq)| {
                    let copy = Copy {
                        home: home.clone(),
                        room,
                        domain: domain.clone(),
                    };
                    (copy, seq)
                })
                .collect();
            // One after the other, so that a thousand rooms are no flood.
            deliveries.afterwards(async move {
                let mut away = BTreeSet::new();
                for (copy, seq) in copies {
                    let hub = copy.room.domain().to_owned();
                    if away.contains(&hub) {
                        continue;
                    }
                    match copy.fetch_all(seq).await {
                        Ok(()) => copy.say_what_is_held().await,
                        Err(why) => {
                            tracing::info!(hub, why, "copies are not compared with their hub now");
                            away.insert(hub);
                        }
                    }
                }
                Deliveries::none()
            });
        }
    }
    deliveries
}
