//! Sessions whose clients may come back (XEP-0198 §5), by the name they were told: on a stream that
//! may be dead without our knowing, or waiting without one. Each lies with one task; who comes
//! back asks that task for it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use comity_xmpp::ack::{Inbound, Outbound};
use comity_xmpp::error::StreamError;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::sasl::Hash;
use comity_xmpp::stanza::Stanza;
use tokio::sync::{mpsc, oneshot};

use crate::link::Inbox;

/// How long the task that holds a session may take to give it away: what was received before is
/// committed first.
const PATIENCE: Duration = Duration::from_secs(20);
/// Sessions that are over and whose counts are still told.
const REMEMBERED: usize = 10_000;

/// What of a session outlives its stream.
pub struct Kept {
    pub(crate) key: Arc<str>,
    pub(crate) jid: Jid,
    pub(crate) inbound: Inbound,
    /// What of its count is kept.
    pub(crate) kept: u32,
    pub(crate) outbound: Outbound<Arc<Stanza>>,
    pub(crate) unwritten: VecDeque<Arc<Stanza>>,
    /// Of a session that an earlier life of the server has left: what its client may not have.
    pub(crate) restored: Option<Vec<(Option<u32>, Arc<Stanza>)>>,
}

/// What a session is kept by: whoever reads that cannot come back in its client's place.
pub(crate) fn key(id: &str) -> Arc<str> {
    let hash = Hash::Sha256.digest(id.as_bytes());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    hash.into()
}

impl Kept {
    pub(crate) fn of(restored: crate::link::Restored) -> (Self, Inbox) {
        let kept = Self {
            key: restored.key,
            jid: restored.jid,
            inbound: Inbound::resumed(restored.h),
            kept: restored.h,
            outbound: Outbound::default(),
            unwritten: VecDeque::new(),
            restored: Some(restored.stanzas),
        };
        (kept, restored.inbox)
    }

    /// The client has what it counts up to `h`.
    ///
    /// # Errors
    /// XEP-0198 §4: it was not sent that many.
    pub(crate) fn acknowledged(&mut self, h: u32) -> Result<Acknowledged, StreamError> {
        let Some(restored) = self.restored.take() else {
            return Ok(Acknowledged::More(self.outbound.acknowledged(h)?.len()));
        };
        let left = restored
            .into_iter()
            .filter(|(said, _)| said.is_none_or(|said| !has(said, h)))
            .map(|(_, stanza)| stanza);
        self.outbound = Outbound::resumed(h, left.collect());
        Ok(Acknowledged::UpTo(h))
    }
}

pub(crate) enum Acknowledged {
    /// So many more.
    More(usize),
    /// All before, of what an earlier life of the server has said.
    UpTo(u32),
}

/// Does a client that counts to `h` have the stanza of this number? Counters wrap at 2^32, and are
/// never that far apart (XEP-0198 §4).
fn has(said: u32, h: u32) -> bool {
    h.wrapping_sub(said) < u32::MAX / 2
}

/// A session between two streams.
pub(crate) struct Waiting {
    pub(crate) kept: Kept,
    pub(crate) inbox: Inbox,
    pub(crate) seat: Seat,
}

/// The end that the task of a session listens on.
pub(crate) type Seat = mpsc::Receiver<oneshot::Sender<Waiting>>;

/// Every session that can be resumed, and those that could until lately.
#[derive(Default)]
pub(crate) struct Resumables(Mutex<Table>);

#[derive(Default)]
struct Table {
    seats: HashMap<Arc<str>, (BareJid, mpsc::Sender<oneshot::Sender<Waiting>>)>,
    over: HashMap<Arc<str>, (BareJid, u32)>,
    /// The oldest first.
    forgetting: VecDeque<Arc<str>>,
}

impl Resumables {
    /// A session can be resumed from now on.
    pub(crate) fn open(&self, key: &Arc<str>, account: BareJid) -> Seat {
        let (sender, seat) = mpsc::channel(1);
        let key = Arc::clone(key);
        self.lock().seats.insert(key, (account, sender));
        seat
    }

    /// It is over, with this many of its client's stanzas handled.
    pub(crate) fn close(&self, key: &Arc<str>, h: u32) {
        let mut table = self.lock();
        let Some((account, _)) = table.seats.remove(key) else {
            return;
        };
        if table.forgetting.len() >= REMEMBERED
            && let Some(oldest) = table.forgetting.pop_front()
        {
            table.over.remove(&oldest);
        }
        table.over.insert(Arc::clone(key), (account, h));
        table.forgetting.push_back(Arc::clone(key));
    }

    /// Takes a session from whoever holds it; else its last count, for its own account alone.
    pub(crate) async fn take(&self, id: &str, account: &BareJid) -> Result<Waiting, Option<u32>> {
        let key = key(id);
        let seat = {
            let table = self.lock();
            match table.seats.get(&key) {
                Some((owner, seat)) if owner == account => seat.clone(),
                Some(_) => return Err(None),
                None => {
                    let over = table.over.get(&key).filter(|(owner, _)| owner == account);
                    return Err(over.map(|(_, h)| *h));
                }
            }
        };
        let (sender, waiting) = oneshot::channel();
        let taking = async {
            seat.send(sender).await.ok()?;
            waiting.await.ok()
        };
        match tokio::time::timeout(PATIENCE, taking).await {
            Ok(Some(waiting)) => Ok(waiting),
            // It ended in this very moment, or somebody else was faster.
            Ok(None) | Err(_) => {
                let over = self.lock().over.get(&key).map(|(_, h)| *h);
                Err(over)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it holds the lock; if something did, the table is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
