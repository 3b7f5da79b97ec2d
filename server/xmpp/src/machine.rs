//! A stream as a state machine: frames and time in; frames, events and deadlines out.

use std::time::{Instant, SystemTime};

use bytes::Bytes;

use crate::error::StreamError;
use crate::stream::Header;

/// What a transport carries one of at a time, whatever its framing (RFC 6120 §4 over TCP,
/// RFC 7395 over WebSocket).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The stream header, or RFC 7395's `<open/>`.
    Open(Header),
    /// One top-level element. Stanzas state no `xmlns` of their own when they go out: the
    /// framing adds it where no stream root provides it.
    Element(Bytes),
    /// `</stream:stream>`, or RFC 7395's `<close/>`.
    Close,
    /// Only inbound: what stood here was no frame, and the stream has to end with this error.
    Fault(StreamError),
}

/// One moment on both clocks. A driver takes it once per wake-up; a test invents it.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub instant: Instant,
    pub wall: SystemTime,
}

impl Now {
    /// The same moment, `later` on.
    #[must_use]
    pub fn after(self, later: std::time::Duration) -> Self {
        Self {
            instant: self.instant + later,
            wall: self.wall + later,
        }
    }
}

/// A stream's behaviour without its transport. `net::drive` pumps it over a socket; a unit test
/// pumps two of them face to face.
pub trait Machine {
    /// What our side asks of the stream: send this, TLS is up, here are the credentials.
    type Command;
    /// What our side learns: a stanza, start TLS, credentials wanted, closed.
    type Event;

    /// Takes one frame. It cannot fail: a fault becomes a transmit and a closing event.
    fn receive(&mut self, frame: Frame, now: Now);
    fn command(&mut self, command: Self::Command, now: Now);
    /// False while an answer (credentials, TLS) is awaited: the driver stops reading.
    fn ready(&self) -> bool;
    /// Does it want to read though the peer has left unread much of what we have written? No, where
    /// all that is written answers what was read. Yes, where both sides say things of their own
    /// accord: if both stopped reading, neither would ever go on.
    fn hears_while_congested(&self) -> bool {
        false
    }
    fn poll_event(&mut self) -> Option<Self::Event>;
    fn poll_transmit(&mut self) -> Option<Frame>;
    /// When `timeout` wants to be called, if nothing else happens first.
    fn poll_timeout(&self) -> Option<Instant>;
    /// Called once the moment of `poll_timeout` has passed.
    fn timeout(&mut self, now: Now);
}
