//! Hands what comes in on one stream to the server: as many stanzas at a time as have come, and
//! where they are numbered, only while no newer stream carries the same queue.

use std::sync::Arc;

use comity_xmpp::error::{StreamCondition, StreamError};
use comity_xmpp::stanza::Stanza;

use crate::link::{Later, Place, Received, Shared};
use crate::turn::Turn;

pub(crate) struct Intake {
    shared: Arc<Shared>,
    ours: Arc<str>,
    peer: Arc<str>,
    queue: Option<Queue>,
    /// Bounded by the stream's window, as its machine keeps count.
    waiting: Vec<Received>,
    current: Option<Later<'static, Taken>>,
}

/// The peer's queue, once it is opened.
struct Queue {
    name: Arc<str>,
    turn: Arc<Turn>,
}

/// How many stanzas were taken in, and why the stream has to end before the others are.
pub(crate) struct Taken {
    pub(crate) count: usize,
    pub(crate) error: Option<StreamError>,
}

impl Intake {
    pub(crate) fn new(shared: Arc<Shared>, ours: &str, peer: &str) -> Self {
        Self {
            shared,
            ours: ours.into(),
            peer: peer.into(),
            queue: None,
            waiting: Vec::new(),
            current: None,
        }
    }

    /// The peer opens its queue: up to where do we hold it? None where that cannot be known now.
    pub(crate) async fn open(&mut self, name: String) -> Option<i64> {
        let turn = self.shared.turns.take(&self.ours, &self.peer).await;
        let server = &self.shared.server;
        let held = server.held(&self.ours, &self.peer, &name).await?;
        self.queue = Some(Queue {
            name: name.into(),
            turn: Arc::new(turn),
        });
        Some(held)
    }

    pub(crate) fn stanza(&mut self, stanza: Stanza, number: Option<i64>) {
        let place = number.and_then(|number| self.place(number));
        self.waiting.push(Received { stanza, place });
    }

    fn place(&self, number: i64) -> Option<Place> {
        Some(Place {
            ours: Arc::clone(&self.ours),
            queue: Arc::clone(&self.queue.as_ref()?.name),
            number,
        })
    }

    /// Begins with what has come, unless something is being taken in.
    pub(crate) fn go_on(&mut self) {
        if self.current.is_none() && !self.waiting.is_empty() {
            let turn = self.queue.as_ref().map(|queue| Arc::clone(&queue.turn));
            let stanzas = std::mem::take(&mut self.waiting);
            let (shared, peer) = (Arc::clone(&self.shared), Arc::clone(&self.peer));
            self.current = Some(Box::pin(take(shared, peer, stanzas, turn)));
        }
    }

    pub(crate) fn is_taking(&self) -> bool {
        self.current.is_some()
    }

    /// What has come of it; never, while nothing is taken in. Cancel-safe.
    pub(crate) async fn taken(&mut self) -> Taken {
        let Some(current) = &mut self.current else {
            return std::future::pending().await;
        };
        let taken = current.await;
        self.current = None;
        taken
    }

    /// The stream is over. What is being taken in is taken in; what waits, where the peer believes
    /// that everything it has sent was.
    pub(crate) async fn finish(mut self, all: bool) {
        if self.is_taking() {
            self.taken().await;
        }
        if all {
            self.queue = None;
            self.go_on();
            if self.is_taking() {
                self.taken().await;
            }
        }
    }
}

async fn take(
    shared: Arc<Shared>,
    peer: Arc<str>,
    stanzas: Vec<Received>,
    turn: Option<Arc<Turn>>,
) -> Taken {
    let all = stanzas.len();
    let held = match &turn {
        Some(turn) => match turn.hold().await {
            Some(held) => Some(held),
            None => {
                return Taken {
                    count: 0,
                    error: Some(superseded()),
                };
            }
        },
        None => None,
    };
    let count = shared.server.stanzas(&peer, stanzas).await;
    drop(held);
    Taken {
        count,
        error: (count < all).then(failing),
    }
}

/// RFC 6120 §4.9.3.3.
fn superseded() -> StreamError {
    StreamError::new(
        StreamCondition::Conflict,
        "your queue comes on a newer stream",
    )
}

pub(crate) fn failing() -> StreamError {
    StreamError::new(
        StreamCondition::InternalServerError,
        "what you send cannot be kept now: come back soon",
    )
}
