//! What goes back to the peer on its own stream (XEP-0288). Offered only where the peer's
//! certificate proves it: on our own streams nobody else gets what is meant for a domain either.

use std::time::{Duration, Instant};

use bytes::Bytes;
use comity_xmpp::element::Element;
use comity_xmpp::error::{StreamCondition, StreamError};
use comity_xmpp::machine::Now;
use comity_xmpp::ns;

use super::{Event, Incoming, State, unexpected};
use crate::outgoing::Parcel;
use crate::receiving;
use crate::sending::Sending;
use crate::words;

/// So long we wait for the peer to enable stream management, since what is sent before that is not
/// counted. Some do it behind the first stanzas, and some never.
const SETTLING: Duration = Duration::from_secs(1);

/// The direction from us to the peer.
#[derive(Default)]
pub(super) struct Back {
    sending: Sending,
    state: Going,
    /// When the peer counts, or will not begin to any more.
    settled: bool,
    /// For settling, or for the answer to our `<open/>`.
    deadline: Option<Instant>,
}

#[derive(Default)]
enum Going {
    /// We have nothing for the peer yet.
    #[default]
    Not,
    /// We have, and a queue of this name; the peer has not settled.
    Wanted(Option<String>),
    /// The peer is asked up to where it holds our queue.
    Opening,
    Ready,
}

impl Back {
    pub(super) fn held(&self) -> Option<i64> {
        self.sending.held()
    }

    pub(super) fn into_unacked(self) -> Vec<Parcel> {
        self.sending.into_unacked()
    }

    pub(super) fn trusted(&mut self, now: Instant) {
        self.deadline = Some(now + SETTLING);
    }

    pub(super) fn request(&mut self) -> Option<Element> {
        self.sending.request()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
            .into_iter()
            .chain(self.sending.deadline())
            .min()
    }
}

impl Incoming {
    pub(super) fn bidi_feature(&self) -> Option<Element> {
        self.settings.bidi.then(words::bidi_feature)
    }

    /// May counting begin? Not while it is unknown whether the peer has read what it would not
    /// count.
    pub(super) fn may_count(&self) -> bool {
        self.back
            .as_ref()
            .is_none_or(|back| back.sending.is_empty())
    }

    /// The peer counts from now on what we send, as we do what it sends (XEP-0198 §3).
    pub(super) fn counted(&mut self, now: Instant) {
        if let Some(back) = &mut self.back {
            back.sending.begin();
            self.settle(now);
        }
    }

    fn settle(&mut self, now: Instant) {
        let Some(back) = &mut self.back else { return };
        if !back.settled {
            back.settled = true;
            back.deadline = None;
        }
        if let Going::Wanted(queue) = &mut back.state {
            let queue = queue.take();
            back.state = Going::Not;
            self.begin_back(queue, now);
        }
    }

    /// We have something for the peer.
    pub(super) fn begin_back(&mut self, queue: Option<String>, now: Instant) {
        let Some(back) = &mut self.back else { return };
        match back.state {
            Going::Not if !back.settled => back.state = Going::Wanted(queue),
            Going::Not => match queue {
                // Whoever has opened a queue knows what ours is (s2s/QUEUE.md).
                Some(queue) if back.sending.is_acking() && self.receiving.has_queue() => {
                    let open = Element::new(ns::QUEUE, "open").with_attr("queue", queue);
                    self.speaker.say(&open);
                    back.state = Going::Opening;
                    back.deadline = Some(now + self.settings.negotiation);
                }
                _ => {
                    back.state = Going::Ready;
                    self.events.push_back(Event::Ready);
                }
            },
            // Somebody else had something for the peer, and has left.
            Going::Ready => self.events.push_back(Event::Ready),
            Going::Wanted(_) | Going::Opening => {}
        }
    }

    /// `<held/>` of `s2s/QUEUE.md`.
    pub(super) fn opened(&mut self, element: &Element) -> Result<(), StreamError> {
        let Some(back) = &mut self.back else {
            return Err(unexpected("<held/> of a queue"));
        };
        let Going::Opening = back.state else {
            return Err(unexpected("<held/> of a queue"));
        };
        back.sending.open(receiving::held_up_to(element)?);
        back.state = Going::Ready;
        back.deadline = None;
        self.events.push_back(Event::Ready);
        Ok(())
    }

    pub(super) fn send(&mut self, parcel: Parcel, bytes: Bytes, now: Instant) {
        if let Some(back) = &mut self.back {
            back.sending.send(parcel, bytes, &mut self.speaker, now);
            if self.state == State::Stanzas {
                self.deadline = Some(now + self.settings.idle);
            }
        }
    }

    pub(super) fn flushed(&mut self) {
        let Some(back) = self.back.as_mut() else {
            return;
        };
        if self.state == State::Stanzas {
            let delivered = back.sending.flushed(&self.speaker);
            self.delivered(delivered);
        }
    }

    pub(super) fn acknowledged(
        &mut self,
        element: &Element,
        now: Instant,
    ) -> Result<(), StreamError> {
        // Without bidi nothing goes out on this stream that could be acknowledged.
        if let Some(back) = &mut self.back {
            let h = receiving::count(element)?;
            let delivered = back.sending.acknowledged(h, now)?;
            self.delivered(delivered);
        }
        Ok(())
    }

    fn delivered(&mut self, parcels: Vec<Parcel>) {
        if !parcels.is_empty() {
            self.events.push_back(Event::Delivered(parcels));
        }
    }

    pub(super) fn back_timeout(&mut self, now: Now) {
        let late = |at: Instant| at <= now.instant;
        let Some(back) = &self.back else { return };
        if self.state != State::Stanzas || !back.deadline().is_some_and(late) {
            return;
        }
        if back.settled {
            let text = "you have acknowledged nothing for too long";
            let error = StreamError::new(StreamCondition::ConnectionTimeout, text);
            self.fail(error, now);
        } else {
            self.settle(now.instant);
        }
    }
}
