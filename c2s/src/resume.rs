//! Sessions whose clients may come back (XEP-0198 §5), by the name they were told: on a stream that
//! may be dead without our knowing, or waiting without one. Each lies with one task; who comes
//! back asks that task for it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use comity_xmpp::ack::{Inbound, Outbound};
use comity_xmpp::jid::{BareJid, Jid};
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
    pub(crate) id: Box<str>,
    pub(crate) jid: Jid,
    pub(crate) inbound: Inbound,
    pub(crate) outbound: Outbound<Arc<Stanza>>,
    pub(crate) unwritten: VecDeque<Arc<Stanza>>,
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
    seats: HashMap<Box<str>, (BareJid, mpsc::Sender<oneshot::Sender<Waiting>>)>,
    over: HashMap<Box<str>, (BareJid, u32)>,
    /// The oldest first.
    forgetting: VecDeque<Box<str>>,
}

impl Resumables {
    /// A session can be resumed from now on.
    pub(crate) fn open(&self, id: &str, account: BareJid) -> Seat {
        let (sender, seat) = mpsc::channel(1);
        self.lock().seats.insert(id.into(), (account, sender));
        seat
    }

    /// It is over, with this many of its client's stanzas handled.
    pub(crate) fn close(&self, id: &str, h: u32) {
        let mut table = self.lock();
        let Some((account, _)) = table.seats.remove(id) else {
            return;
        };
        if table.forgetting.len() >= REMEMBERED
            && let Some(oldest) = table.forgetting.pop_front()
        {
            table.over.remove(&oldest);
        }
        table.over.insert(id.into(), (account, h));
        table.forgetting.push_back(id.into());
    }

    /// Takes a session from whoever holds it; else its last count, for its own account alone.
    pub(crate) async fn take(&self, id: &str, account: &BareJid) -> Result<Waiting, Option<u32>> {
        let seat = {
            let table = self.lock();
            match table.seats.get(id) {
                Some((owner, seat)) if owner == account => seat.clone(),
                Some(_) => return Err(None),
                None => {
                    let over = table.over.get(id).filter(|(owner, _)| owner == account);
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
                let over = self.lock().over.get(id).map(|(_, h)| *h);
                Err(over)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it holds the lock; if something did, the table is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
