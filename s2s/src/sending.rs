//! What goes out on a stream that is ready: remembered until the peer has it, and where both keep
//! count of our queue (`s2s/QUEUE.md`), each row with its number.

use std::time::{Duration, Instant};

use bytes::Bytes;
use comity_xmpp::ack::Outbound;
use comity_xmpp::element::Element;
use comity_xmpp::error::StreamError;
use comity_xmpp::ns;
use comity_xmpp::speaker::Speaker;

use crate::outgoing::Parcel;

/// How long the peer may leave what we sent unacknowledged before the stream counts as dead.
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Sending {
    unacked: Outbound<Parcel>,
    acking: bool,
    /// Up to where the peer held our queue when the stream began.
    held: Option<i64>,
    deadline: Option<Instant>,
}

impl Sending {
    /// XEP-0198: the peer counts from now on.
    pub(crate) fn begin(&mut self) {
        self.acking = true;
    }

    pub(crate) fn is_acking(&self) -> bool {
        self.acking
    }

    /// Nothing is on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.unacked.is_empty()
    }

    pub(crate) fn open(&mut self, held: i64) {
        self.held = Some(held);
    }

    pub(crate) fn held(&self) -> Option<i64> {
        self.held
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn send(
        &mut self,
        parcel: Parcel,
        bytes: Bytes,
        speaker: &mut Speaker,
        now: Instant,
    ) {
        if let (Some(_), Parcel::Row(id)) = (self.held, &parcel) {
            let next = Element::new(ns::QUEUE, "next").with_attr("number", id.to_string());
            speaker.say(&next);
        }
        // Once closed nothing is said; it comes back with what was never acknowledged.
        speaker.say_bytes(bytes);
        self.unacked.sent(parcel);
        if self.acking {
            self.deadline.get_or_insert(now + ACKNOWLEDGEMENT);
        }
    }

    /// The peer has handled all up to `h`; gives what that is.
    pub(crate) fn acknowledged(
        &mut self,
        h: u32,
        now: Instant,
    ) -> Result<Vec<Parcel>, StreamError> {
        let delivered = self.unacked.acknowledged(h)?;
        self.deadline = (!self.unacked.is_empty()).then(|| now + ACKNOWLEDGEMENT);
        Ok(delivered)
    }

    /// All that was said is written. Without acknowledgements that counts as delivered: more
    /// cannot be known.
    pub(crate) fn flushed(&mut self, speaker: &Speaker) -> Vec<Parcel> {
        if self.acking || speaker.waiting() > 0 || self.unacked.is_empty() {
            return Vec::new();
        }
        std::mem::take(&mut self.unacked).into_unacked().into()
    }

    /// An `<r/>`, behind the last of a burst, not after each of it.
    pub(crate) fn request(&mut self) -> Option<Element> {
        self.acking.then(|| self.unacked.request()).flatten()
    }

    /// What was sent and has not been acknowledged, oldest first.
    pub(crate) fn into_unacked(self) -> Vec<Parcel> {
        self.unacked.into_unacked().into()
    }
}
