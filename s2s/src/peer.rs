//! One remote domain: when to connect, what to send next, how long to wait after a failure, and
//! what comes back to its sender. Pure: [`crate::link`] carries out what it asks for.
//!
//! The outbox in storage is the queue, and rows leave it only when the peer has them; after each
//! new connection they are read again from the oldest. Volatile stanzas wait here, in memory,
//! behind the rows that were there before them, so that nobody's presence overtakes their message.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::stanza::Stanza;

use crate::link::Queued;
use crate::outgoing::Parcel;

/// Stanzas on their way at once: written, and not known to be delivered.
pub const WINDOW: usize = 128;
/// Rows read from the outbox in one go.
pub const BATCH: usize = 64;
/// However often it is asked, a domain is tried no more often than this.
const EARLIEST_RETRY: Duration = Duration::from_secs(30);
/// A domain that has just come to us is there again; even then it is tried no more often.
const EARLIEST_RETRY_WHEN_SEEN: Duration = Duration::from_secs(2);
/// A volatile stanza waits for an attempt that is at most this far away, else it is bounced.
const WORTH_WAITING: Duration = Duration::from_secs(10);
/// A stream that ends sooner, having delivered nothing, counts as a failure to connect.
const LASTING: Duration = Duration::from_secs(10);
/// A volatile stanza waits until the outbox has been read to its end, but no longer than for so
/// many readings: a flood of rows must not hold up everybody's presence.
const OVERTAKEN: u64 = 32;
/// Without anything to do for so long, the peer is forgotten until it is needed again.
const FORGOTTEN: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The first pause after a failure; it doubles with each, up to the longest.
    pub retry_first: Duration,
    pub retry_most: Duration,
    pub idle: Duration,
    /// Volatile stanzas in memory.
    pub queue: usize,
}

/// What the peer wants done.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Reach the domain; answer with [`Peer::connected`] or [`Peer::ended`].
    Connect,
    /// Read the outbox; answer with [`Peer::rows`].
    Fetch {
        after: i64,
        limit: usize,
    },
    Write(Parcel, bytes::Bytes),
    /// These rows are delivered.
    Delivered(Vec<i64>),
    Bounce(Stanza, StanzaError),
    /// Close the stream, in good order.
    Close,
    /// Nothing is left to do: the peer may be dropped.
    Rest,
}

/// How far the outbox was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    pub last: Option<i64>,
    /// As many rows as were asked for.
    pub full: bool,
}

/// Why there is no stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Nobody is there, as far as the DNS knows.
    pub not_found: bool,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Idle,
    Connecting,
    Up,
    /// Told to close after a long silence; what comes now waits for the next stream.
    Closing,
    /// After a failure, until the next attempt.
    Waiting,
}

impl State {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Closing => "closing",
            Self::Waiting => "waiting",
        }
    }
}

pub struct Peer {
    settings: Settings,
    jitter: Box<dyn FnMut(u32) -> u32 + Send>,
    state: State,
    /// When the state began, and when the last attempt to connect did.
    since: Instant,
    attempted: Instant,
    until: Instant,
    failures: u32,
    last_failure: Option<Failure>,
    /// The outbox may hold rows that were not read.
    dirty: bool,
    fetching: bool,
    /// The stream ended while the outbox was being read for it.
    stale: bool,
    fetches_begun: u64,
    fetches_done: u64,
    /// The last of them that found the end of the outbox.
    exhausted: u64,
    /// Rows read, not yet written; and the last row read.
    rows: VecDeque<Queued>,
    last_read: i64,
    /// Up to here the peer has said it holds our queue: nothing of that is sent again.
    held: i64,
    /// Rows written and not known to be delivered, oldest first, and volatile stanzas likewise.
    on_the_way: usize,
    congested: bool,
    delivered_something: bool,
    volatile: VecDeque<(Stanza, u64)>,
    active: Instant,
    resting: bool,
    actions: VecDeque<Action>,
}

impl Peer {
    /// `jitter` gives a number from 0 to its argument, both included.
    #[must_use]
    pub fn new(
        settings: Settings,
        jitter: Box<dyn FnMut(u32) -> u32 + Send>,
        now: Instant,
    ) -> Self {
        Self {
            settings,
            jitter,
            state: State::Idle,
            since: now,
            attempted: now,
            until: now,
            failures: 0,
            last_failure: None,
            dirty: false,
            fetching: false,
            stale: false,
            fetches_begun: 0,
            fetches_done: 0,
            exhausted: 0,
            rows: VecDeque::new(),
            last_read: 0,
            held: 0,
            on_the_way: 0,
            congested: false,
            delivered_something: false,
            volatile: VecDeque::new(),
            active: now,
            resting: false,
            actions: VecDeque::new(),
        }
    }

    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    #[must_use]
    pub fn last_failure(&self) -> Option<&Failure> {
        self.last_failure.as_ref()
    }

    /// Stanzas in memory or on their way; the outbox may hold more.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.volatile.len() + self.rows.len() + self.on_the_way
    }

    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// There are new rows in the outbox.
    pub fn wake(&mut self, now: Instant) {
        self.dirty = true;
        self.hurry(EARLIEST_RETRY, now);
        self.advance(now);
    }

    /// The operator wants it tried now, however long the pause.
    pub fn flush(&mut self, now: Instant) {
        self.dirty = true;
        if self.state == State::Waiting {
            self.until = now;
        }
        self.advance(now);
    }

    /// There may be no streams with the domain any longer.
    pub fn forbidden(&mut self, now: Instant) {
        if self.state == State::Up {
            self.enter(State::Closing, now);
            self.actions.push_back(Action::Close);
        }
    }

    /// The domain has just come to us: it is there.
    pub fn seen(&mut self, now: Instant) {
        self.hurry(EARLIEST_RETRY_WHEN_SEEN, now);
        self.advance(now);
    }

    /// The domain has opened a stream that takes along what we have for it: nothing is in the way.
    pub fn reachable(&mut self, now: Instant) {
        if self.state == State::Waiting {
            self.until = now;
        }
        self.advance(now);
    }

    /// Something has come from the peer on the stream that we have: it is not idle.
    pub fn heard(&mut self, now: Instant) {
        self.active = now;
    }

    /// A stanza that is not in the outbox.
    pub fn send(&mut self, stanza: Stanza, now: Instant) {
        self.hurry(EARLIEST_RETRY, now);
        if self.state == State::Waiting && self.until > now + WORTH_WAITING {
            let error = self.unreachable();
            return self.actions.push_back(Action::Bounce(stanza, error));
        }
        if self.volatile.len() >= self.settings.queue {
            let error = StanzaError::new(ErrorType::Wait, StanzaCondition::ResourceConstraint)
                .with_text("too much is waiting for that domain: try again later");
            return self.actions.push_back(Action::Bounce(stanza, error));
        }
        // The first reading that sees all that was there before this stanza.
        let reading = self.fetches_begun + u64::from(self.dirty);
        self.volatile.push_back((stanza, reading));
        self.advance(now);
    }

    /// What [`Action::Fetch`] has found, oldest first: of what was read, the rows that are ours.
    pub fn rows(&mut self, rows: Vec<Queued>, read: Read, now: Instant) {
        self.fetching = false;
        self.fetches_done += 1;
        if std::mem::take(&mut self.stale) {
            self.dirty = true;
        } else {
            if read.full {
                // A full batch means that there may be more.
                self.dirty = true;
            } else {
                self.exhausted = self.fetches_done;
            }
            self.last_read = read.last.unwrap_or(self.last_read);
            self.rows.extend(rows);
            self.skip_held();
        }
        self.advance(now);
    }

    /// The stream is ready for stanzas. `held`: up to where the peer has our queue already, where
    /// it keeps count of it.
    pub fn connected(&mut self, held: Option<i64>, now: Instant) {
        self.enter(State::Up, now);
        self.held = held.unwrap_or(0);
        self.skip_held();
        self.on_the_way = 0;
        self.delivered_something = false;
        self.active = now;
        self.advance(now);
    }

    /// The stream is full: what is written now would only wait. Or it no longer is.
    pub fn congested(&mut self, congested: bool, now: Instant) {
        if self.congested != congested {
            self.congested = congested;
            self.advance(now);
        }
    }

    pub fn delivered(&mut self, parcels: Vec<Parcel>, now: Instant) {
        self.on_the_way = self.on_the_way.saturating_sub(parcels.len());
        self.delivered_something = true;
        self.failures = 0;
        self.last_failure = None;
        let rows = parcels.into_iter().filter_map(|parcel| match parcel {
            Parcel::Row(id) => Some(id),
            Parcel::Volatile(_) => None,
        });
        let rows: Vec<_> = rows.collect();
        if !rows.is_empty() {
            self.actions.push_back(Action::Delivered(rows));
        }
        self.active = now;
        self.advance(now);
    }

    /// There is no stream, or no longer: None where it ended in good order. `unacked` is what was
    /// on its way; its rows are still in the outbox.
    pub fn ended(&mut self, failure: Option<Failure>, unacked: Vec<Parcel>, now: Instant) {
        let lasted = match self.state {
            State::Closing => true,
            State::Up => self.delivered_something || now >= self.since + LASTING,
            State::Idle | State::Connecting | State::Waiting => false,
        };
        self.stale = self.fetching;
        self.dirty |= !self.rows.is_empty()
            || unacked
                .iter()
                .any(|parcel| matches!(parcel, Parcel::Row(_)));
        self.rows.clear();
        self.last_read = 0;
        self.held = 0;
        self.on_the_way = 0;
        self.congested = false;
        if failure.is_some() {
            self.last_failure = failure.clone();
        }
        let error = self.unreachable();
        for parcel in unacked {
            if let Parcel::Volatile(stanza) = parcel {
                self.actions
                    .push_back(Action::Bounce(*stanza, error.clone()));
            }
        }
        if lasted {
            // The peer was well and may be again at once: a restart, a cut line, an idle close.
            self.failures = 0;
            self.enter(State::Idle, now);
        } else {
            self.back_off(now);
            while let Some((stanza, _)) = self.volatile.pop_front() {
                self.actions
                    .push_back(Action::Bounce(stanza, error.clone()));
            }
        }
        self.advance(now);
    }

    /// What the peer took in before it, or we, were interrupted is delivered.
    fn skip_held(&mut self) {
        let held = self.rows.partition_point(|row| row.id <= self.held);
        if held > 0 {
            let ids = self.rows.drain(..held).map(|row| row.id).collect();
            self.actions.push_back(Action::Delivered(ids));
        }
    }

    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Idle if self.fetching || self.resting => None,
            State::Idle => Some(self.since + FORGOTTEN),
            State::Connecting | State::Closing => None,
            State::Up if self.is_busy() => None,
            State::Up => Some(self.active + self.settings.idle),
            State::Waiting => Some(self.until),
        }
    }

    pub fn timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        match self.state {
            State::Idle => {
                self.resting = true;
                self.actions.push_back(Action::Rest);
            }
            State::Connecting | State::Closing => {}
            State::Up => {
                self.enter(State::Closing, now);
                self.actions.push_back(Action::Close);
            }
            State::Waiting => {
                self.dirty = true;
                self.enter(State::Idle, now);
                self.advance(now);
            }
        }
    }

    fn is_busy(&self) -> bool {
        self.dirty || self.fetching || self.waiting() > 0
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
        self.resting = false;
    }

    fn advance(&mut self, now: Instant) {
        if self.state == State::Idle || self.state == State::Up {
            self.fetch();
        }
        match self.state {
            State::Idle => {
                if !self.rows.is_empty() || !self.volatile.is_empty() {
                    self.attempted = now;
                    self.enter(State::Connecting, now);
                    self.actions.push_back(Action::Connect);
                }
            }
            State::Up => self.write(now),
            State::Connecting | State::Closing | State::Waiting => {}
        }
    }

    fn fetch(&mut self) {
        let room = WINDOW.saturating_sub(self.on_the_way + self.rows.len());
        let limit = room.min(BATCH);
        if !self.dirty || self.fetching || self.congested || limit == 0 {
            return;
        }
        self.dirty = false;
        self.fetching = true;
        self.resting = false;
        self.fetches_begun += 1;
        let after = self.last_read;
        self.actions.push_back(Action::Fetch { after, limit });
    }

    fn write(&mut self, now: Instant) {
        while let Some(row) = self.rows.pop_front() {
            self.on_the_way += 1;
            self.actions
                .push_back(Action::Write(Parcel::Row(row.id), row.stanza));
            self.active = now;
        }
        while self.on_the_way < WINDOW
            && !self.congested
            && let Some((stanza, _)) = self.volatile.pop_front_if(|(_, reading)| {
                *reading <= self.exhausted || *reading + OVERTAKEN <= self.fetches_done
            })
        {
            self.on_the_way += 1;
            let bytes = stanza.to_bytes(None);
            let parcel = Parcel::Volatile(Box::new(stanza));
            self.actions.push_back(Action::Write(parcel, bytes));
            self.active = now;
        }
    }

    fn back_off(&mut self, now: Instant) {
        let doubled = self.settings.retry_first * 2_u32.saturating_pow(self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let pause = doubled.min(self.settings.retry_most);
        // Between three quarters and five quarters, so that a crowd does not come back at once.
        let pause = pause * (750 + (self.jitter)(500)) / 1000;
        self.until = now + pause;
        self.enter(State::Waiting, now);
    }

    /// Somebody wants the domain now: the pause is cut, but no deeper than `earliest` after the
    /// last attempt.
    fn hurry(&mut self, earliest: Duration, now: Instant) {
        if self.state == State::Waiting {
            self.until = self.until.min(now.max(self.attempted + earliest));
        }
    }

    fn unreachable(&self) -> StanzaError {
        let (kind, condition) = match &self.last_failure {
            Some(failure) if failure.not_found => {
                (ErrorType::Cancel, StanzaCondition::RemoteServerNotFound)
            }
            _ => (ErrorType::Wait, StanzaCondition::RemoteServerTimeout),
        };
        let text = self
            .last_failure
            .as_ref()
            .map(|failure| failure.text.as_str());
        StanzaError::new(kind, condition)
            .with_text(text.unwrap_or("the stream to that domain has ended"))
    }
}

#[cfg(test)]
mod tests;
