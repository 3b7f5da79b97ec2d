//! The life of a peer's stream once it is trusted: stanzas are handed to the server, and where the
//! stream carries both directions, those for the peer go along.

use std::collections::VecDeque;
use std::sync::Arc;

use comity_net::drive::Step;
use comity_net::stop::Stop;
use comity_xmpp::error::{StreamCondition, StreamError};
use tokio::sync::watch;

use super::{Gone, LAST_WORDS, Stream, Verifying, shutdown, verified, verify};
use crate::incoming::{Command, Event};
use crate::intake::{Intake, Taken, failing};
use crate::line::{Offered, Order};
use crate::link::{Federation, Peers, Shared};

struct Carrying<'a> {
    shared: &'a Arc<Shared>,
    peers: Peers,
    peer: &'a str,
    intake: Intake,
    verifying: Verifying,
    /// Where the stream carries both directions.
    lent: Option<Offered<'a>>,
}

/// The server is stopping.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    Asked,
    Last,
    Said,
}

/// Until the stream is over. What was received and not counted then is taken in only where the peer
/// does not count either.
pub(super) async fn carry(
    mut pump: Stream,
    peer: &str,
    federation: &Federation,
    verifying: Verifying,
    stop: &mut Stop,
) -> Gone {
    let (shared, peers) = (&federation.0, federation.peers());
    let ours = pump.machine().ours().to_owned();
    let lent = (pump.machine().is_bidi()).then(|| shared.lines.offer(&ours, peer));
    peers.seen(&ours, peer, lent.is_some());
    let mut this = Carrying {
        shared,
        peers,
        peer,
        intake: Intake::new(Arc::clone(shared), &ours, peer),
        verifying,
        lent,
    };
    let mut leaving = Leaving::No;
    let mut policy = shared.policy.subscribe();
    let gone = loop {
        if leaving != Leaving::Last {
            this.intake.go_on();
        }
        if leaving == Leaving::Asked {
            // What has come by now is still taken in, what comes meanwhile is not.
            leaving = Leaving::Last;
        }
        if leaving == Leaving::Last && !this.intake.is_taking() {
            leaving = Leaving::Said;
            pump.command(Command::Close(Some(shutdown())));
        }
        if let Some(lent) = &this.lent {
            lent.line.congested(!pump.writable());
            if pump.drained() {
                pump.command(Command::Flushed);
            }
        }
        tokio::select! {
            taken = this.intake.taken() => tell(taken, &mut pump),
            (query, verdict) = verified(&mut this.verifying) => {
                pump.command(Command::Verified(query, verdict));
            }
            orders = orders(this.lent.as_ref()) => obey(orders, &mut pump),
            step = pump.step() => match step {
                Ok(Step::Event(Event::Closed(error))) => {
                    break error.map_or(Gone::Orderly, Gone::Stream);
                }
                Ok(Step::Event(event)) => this.hear(event, &mut pump).await,
                Ok(Step::Written) => {}
                Err(ended) => break Gone::Ended(ended),
            },
            () = forbidden(&mut policy, shared, (&ours, peer)) => {
                pump.command(Command::Close(Some(unwanted())));
            }
            () = stop.wait(), if leaving == Leaving::No => leaving = Leaving::Asked,
        }
    };
    this.end(pump, gone).await
}

impl Carrying<'_> {
    async fn hear(&mut self, event: Event, pump: &mut Stream) {
        match event {
            Event::Verify(query) => verify(self.shared, &mut self.verifying, query),
            Event::Stanza(stanza, number) => self.intake.stanza(stanza, number),
            Event::Opened(name) => pump.command(match self.intake.open(name).await {
                Some(held) => Command::Held(held),
                None => Command::Close(Some(failing())),
            }),
            Event::Answer(error) => {
                // An error that finds no place is not worth another.
                let _ = self.peers.send(self.peer, error);
            }
            Event::Ready => {
                if let Some(lent) = &self.lent {
                    lent.line.ready(pump.machine().held());
                }
            }
            Event::Delivered(parcels) => {
                if let Some(lent) = &self.lent {
                    lent.line.delivered(parcels);
                }
            }
            Event::StartTls | Event::Restart | Event::Trusted(_) | Event::Closed(_) => {}
        }
    }

    async fn end(self, pump: Stream, gone: Gone) -> Gone {
        let all = !pump.machine().is_acking();
        if let Some(lent) = &self.lent {
            lent.withdraw();
        }
        self.intake.finish(all).await;
        let machine = pump.shutdown(LAST_WORDS).await;
        if let Some(lent) = self.lent {
            lent.line.end(gone.failure(), machine.into_unacked());
        }
        gone
    }
}

/// What is asked of a stream that is lent. Cancel-safe.
async fn orders(lent: Option<&Offered<'_>>) -> VecDeque<Order> {
    match lent {
        Some(lent) => lent.line.orders().await,
        None => std::future::pending().await,
    }
}

fn obey(orders: VecDeque<Order>, pump: &mut Stream) {
    for order in orders {
        pump.command(match order {
            Order::Begin(queue) => Command::Begin(queue),
            Order::Send(parcel, bytes) => Command::Send(parcel, bytes),
            Order::Close => Command::Close(None),
        });
    }
}

fn tell(taken: Taken, pump: &mut Stream) {
    for _ in 0..taken.count {
        pump.command(Command::Committed);
    }
    if let Some(error) = taken.error {
        pump.command(Command::Close(Some(error)));
    }
}

/// Waits until there may be no streams with the peer any longer. Cancel-safe.
async fn forbidden(policy: &mut watch::Receiver<u64>, shared: &Shared, (ours, peer): (&str, &str)) {
    while policy.changed().await.is_ok() {
        if !shared.server.federates(ours, peer) {
            return;
        }
    }
    std::future::pending().await
}

/// RFC 6120 §4.9.3.14.
fn unwanted() -> StreamError {
    StreamError::new(
        StreamCondition::PolicyViolation,
        "this server has no streams with your domain",
    )
}
