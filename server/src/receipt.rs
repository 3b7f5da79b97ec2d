//! Stanzas of other domains, each taken in once (`s2s/QUEUE.md`): a stanza's place in its domain's
//! queue is kept in the transaction of what it causes, or where it causes nothing lasting, before
//! anything of it leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use comity_s2s::link::{Place, Received};
use comity_storage::{
    AcceptMessage, AcceptedMessage, Error, Once, Receive, ReceiveMessages, Settled, Write,
};
use comity_xmpp::jid::Jid;
use comity_xmpp::stanza::{Kind, Stanza};
use tracing::{Instrument, debug, error};

use crate::deliver::{self, Deliveries};
use crate::dispatch;
use crate::fault;
use crate::home::Home;
use crate::module::Origin;
use crate::module::message::{Decision, Then};
use crate::route::ROOM_MARK;

/// The place of a stanza that is being handled, and what has become of it.
#[derive(Clone, Debug)]
pub struct Receipt {
    place: comity_storage::Receipt,
    fate: Arc<AtomicU8>,
}

/// What has become of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Fate {
    /// Not kept yet.
    Open,
    /// Kept, with a change.
    Kept,
    /// It had been kept before: the stanza comes a second time.
    Again,
    /// The change failed, and the place was not kept.
    Failed,
}

impl Receipt {
    fn new(peer: &str, place: &Place, now_ms: u64) -> Self {
        Self {
            place: comity_storage::Receipt {
                ours: place.ours.to_string(),
                peer: peer.to_owned(),
                queue: place.queue.to_string(),
                number: place.number,
                heard: now_ms,
            },
            fate: Arc::new(AtomicU8::new(Fate::Open as u8)),
        }
    }

    fn fate(&self) -> Fate {
        match self.fate.load(Ordering::Acquire) {
            1 => Fate::Kept,
            2 => Fate::Again,
            3 => Fate::Failed,
            _ => Fate::Open,
        }
    }

    fn met(&self, fate: Fate) {
        self.fate.store(fate as u8, Ordering::Release);
    }
}

/// Makes a change together with the place of the stanza that causes it. `None`: it was made
/// before. A stanza causes at most one such change.
pub(crate) async fn once<W>(
    home: &Home,
    receipt: Option<&Receipt>,
    change: W,
) -> Result<Option<W::Outcome>, Error>
where
    W: Write,
    W::Outcome: Settled,
{
    let once = Once {
        receipt: receipt.map(|receipt| receipt.place.clone()),
        change,
    };
    let outcome = home.storage.write(once).await;
    if let Some(receipt) = receipt {
        match &outcome {
            Ok(Some(outcome)) if outcome.settled() => receipt.met(Fate::Kept),
            Ok(Some(_)) => {}
            Ok(None) => receipt.met(Fate::Again),
            Err(_) => receipt.met(Fate::Failed),
        }
    }
    outcome
}

/// Takes in what a peer has sent, in order; returns once it is committed and on its way. How many
/// stanzas that are: the rest failed, and the peer has to send it again.
pub(crate) async fn take(home: &Home, peer: &str, stanzas: Vec<Received>) -> usize {
    let mut intake = Intake {
        home,
        peer,
        origin: Origin::Peer(peer.to_owned()),
        held: None,
        pending: Vec::new(),
        taken: 0,
    };
    for received in stanzas {
        if intake.take(received).await.is_none() {
            return intake.taken;
        }
    }
    // What fails here is not counted.
    let _ = intake.keep_pending().await;
    intake.taken
}

/// A run of stanzas of one stream, while no other takes in the same queue.
struct Intake<'a> {
    home: &'a Home,
    peer: &'a str,
    origin: Origin,
    /// Up to where the queue is held, with what is pending.
    held: Option<i64>,
    /// Stanzas whose places are kept together, before anything of them leaves.
    pending: Vec<(Receipt, Decision)>,
    taken: usize,
}

impl Intake<'_> {
    /// `None`: the storage failed, and this stanza, or one before it, was not taken.
    async fn take(&mut self, Received { stanza, place }: Received) -> Option<()> {
        let receipt = place.map(|place| Receipt::new(self.peer, &place, self.home.now_ms()));
        if let Some(receipt) = &receipt
            && self.known(receipt).await?
        {
            debug!(
                peer = self.peer,
                "a stanza that had been taken in is dropped"
            );
            self.taken += 1;
            return Some(());
        }
        // What an account's message is decided upon does not change with the messages before it;
        // all else waits until they have left.
        if receipt.is_none() || !is_for_an_account(&stanza) {
            self.keep_pending().await?;
        }
        let span = dispatch::span(&stanza);
        let deciding = dispatch::decide_at(self.home, self.origin.clone(), receipt.clone(), stanza);
        let decision = deciding.instrument(span).await;
        match receipt {
            None => {
                let deliveries = decision.carry_out(self.home).await;
                self.leave(deliveries).await;
            }
            Some(receipt) => match receipt.fate() {
                Fate::Open => self.pending.push((receipt, decision)),
                // Nothing is pending before such a one.
                Fate::Kept => {
                    let deliveries = decision.carry_out(self.home).await;
                    self.leave(deliveries).await;
                }
                Fate::Again => self.taken += 1,
                Fate::Failed => {
                    self.keep_pending().await?;
                    return None;
                }
            },
        }
        Some(())
    }

    /// Is this place held already? From now on it is.
    async fn known(&mut self, receipt: &Receipt) -> Option<bool> {
        let place = &receipt.place;
        let held = match self.held {
            Some(held) => held,
            None => {
                let storage = &self.home.storage;
                let held = storage.held(&place.ours, &place.peer, &place.queue).await;
                held.inspect_err(|fault| error!(%fault, "it cannot be read what we hold"))
                    .ok()?
            }
        };
        self.held = Some(held.max(place.number));
        Some(place.number <= held)
    }

    /// Keeps what is pending, and the place of the last of it, in one; then lets it leave.
    async fn keep_pending(&mut self) -> Option<()> {
        let mut places = Vec::with_capacity(self.pending.len());
        let mut messages = Vec::new();
        let mut last = None;
        for (receipt, decision) in std::mem::take(&mut self.pending) {
            last = Some(receipt.place);
            places.push(match decision {
                Decision::Settled(deliveries) => Next::Leave(deliveries),
                Decision::Accept(acceptance) => {
                    messages.push(acceptance.change);
                    Next::Settle(Box::new(acceptance.then))
                }
            });
        }
        let Some(last) = last else {
            return Some(());
        };
        let outcomes = match keep(self.home, last, messages).await {
            Ok(outcomes) => outcomes,
            Err(fault) => {
                let what = "what a peer has sent cannot be kept: it has to send it again";
                fault::log(&fault, what);
                return None;
            }
        };
        let Some(outcomes) = outcomes else {
            // Another stream of this peer has brought it meanwhile.
            self.taken += places.len();
            return Some(());
        };
        let mut outcomes = outcomes.iter();
        for next in places {
            let deliveries = match next {
                Next::Leave(deliveries) => deliveries,
                Next::Settle(then) => match outcomes.next() {
                    Some(outcome) => then.settle(self.home, Ok(outcome)),
                    None => Deliveries::none(),
                },
            };
            self.leave(deliveries).await;
        }
        Some(())
    }

    async fn leave(&mut self, deliveries: Deliveries) {
        deliver::deliver_for(self.home, &self.origin, deliveries).await;
        self.taken += 1;
    }
}

/// What follows once pending stanzas are kept.
enum Next {
    Leave(Deliveries),
    Settle(Box<Then>),
}

/// For each message what has become of it; `None`: all of it had been kept before.
async fn keep(
    home: &Home,
    receipt: comity_storage::Receipt,
    messages: Vec<AcceptMessage>,
) -> Result<Option<Vec<AcceptedMessage>>, Error> {
    if messages.is_empty() {
        let number = receipt.number;
        let before = home.storage.write(Receive(receipt)).await?;
        return Ok((before < number).then(Vec::new));
    }
    let change = ReceiveMessages { receipt, messages };
    home.storage.write(change).await
}

/// Only then is nothing kept while it is decided upon.
fn is_for_an_account(stanza: &Stanza) -> bool {
    let to = stanza.to.as_ref().and_then(Jid::local);
    matches!(stanza.kind, Kind::Message(_)) && to.is_some_and(|local| !local.starts_with(ROOM_MARK))
}

#[cfg(test)]
mod tests;
