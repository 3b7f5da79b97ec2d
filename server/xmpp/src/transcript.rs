//! Plays a written transcript against a machine, for the tests of whoever has one: what the peer
//! says, what must be answered, what must be told, and how time goes by.
//!
//! One line is one step:
//!
//! ```text
//! C: <message/>         the peer says this, over TCP framing; further lines may finish it
//! S: <message*          the next thing the machine says; `*` stands for anything
//! E: Stanza(*           the next event, by its Debug form
//! !: tls                a command, in the words of the test
//! T: 60                 so many seconds go by, and the deadline is kept
//! ```
//!
//! Everything said and told has to be expected: a line of the peer, a command or a pause finds
//! nothing left over, nor does the end.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;

use crate::frame::{Limits, TcpFraming};
use crate::machine::{Machine, Now};

/// A machine on its stage.
pub struct Transcript<M> {
    pub machine: M,
    pub now: Now,
    framing: TcpFraming,
}

/// A moment to begin with.
#[must_use]
pub fn now() -> Now {
    Now {
        instant: Instant::now(),
        wall: SystemTime::now(),
    }
}

impl<M: Machine> Transcript<M>
where
    M::Event: Debug,
{
    /// `make` gets the moment at which it all begins.
    pub fn new(limits: Limits, make: impl FnOnce(Now) -> M) -> Self {
        let now = now();
        Self {
            machine: make(now),
            now,
            framing: TcpFraming::new(limits),
        }
    }

    /// Another machine goes on with the same stream.
    pub fn map<N: Machine>(self, make: impl FnOnce(M, Now) -> N) -> Transcript<N> {
        Transcript {
            machine: make(self.machine, self.now),
            now: self.now,
            framing: self.framing,
        }
    }

    /// Plays a script. `command` reads what stands behind `!:`.
    ///
    /// # Panics
    /// When the machine does not keep to it, with the line.
    #[track_caller]
    pub fn play(&mut self, script: &str, command: impl Fn(&str) -> M::Command) {
        for line in script
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let Some((who, what)) = line.split_once(':') else {
                panic!("no such line in a transcript: {line}");
            };
            let what = what.trim();
            match who {
                "C" => {
                    self.nothing_left(line);
                    self.framing.buffer().extend_from_slice(what.as_bytes());
                    self.read();
                }
                "S" => self.said(what, line),
                "E" => self.told(what, line),
                "!" => {
                    self.nothing_left(line);
                    self.machine.command(command(what), self.now);
                    self.read();
                }
                "T" => {
                    self.nothing_left(line);
                    self.wait(what.parse().expect("seconds"));
                }
                _ => panic!("no such line in a transcript: {line}"),
            }
        }
        self.nothing_left("the end");
    }

    fn read(&mut self) {
        while self.machine.ready() {
            let Some(frame) = self.framing.next_frame() else {
                return;
            };
            self.machine.receive(frame, self.now);
        }
    }

    #[track_caller]
    fn said(&mut self, expected: &str, line: &str) {
        let said = self.say();
        let said = said.unwrap_or_else(|| panic!("nothing was said at: {line}"));
        assert!(
            fits(expected, &said),
            "expected {expected}\n    said {said}"
        );
    }

    /// The next thing the machine says, for a test that has to read it.
    pub fn say(&mut self) -> Option<String> {
        let mut out = BytesMut::new();
        TcpFraming::write(&self.machine.poll_transmit()?, &mut out).expect("it can be written");
        let said = String::from_utf8_lossy(&out).into_owned();
        Some(said.replace("<?xml version='1.0'?>", ""))
    }

    #[track_caller]
    fn told(&mut self, expected: &str, line: &str) {
        let event = self.machine.poll_event();
        let event = event.unwrap_or_else(|| panic!("nothing was told at: {line}"));
        let told = format!("{event:?}");
        assert!(
            fits(expected, &told),
            "expected {expected}\n    told {told}"
        );
        // As a driver does: TLS begins on a clean slate, a new stream with what is there already.
        match told.as_str() {
            "StartTls" => self.framing.restart(true),
            "Restart" => {
                self.framing.restart(false);
                self.read();
            }
            _ => {}
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
        if self
            .machine
            .poll_timeout()
            .is_some_and(|at| at <= self.now.instant)
        {
            self.machine.timeout(self.now);
        }
    }

    #[track_caller]
    fn nothing_left(&mut self, line: &str) {
        if let Some(said) = self.say() {
            panic!("before {line}, nobody expected: {said}");
        }
        if let Some(event) = self.machine.poll_event() {
            panic!("before {line}, nobody expected: {event:?}");
        }
    }
}

/// `*` in a pattern stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns() {
        assert!(fits("<a/>", "<a/>"));
        assert!(!fits("<a/>", "<a/><b/>"));
        assert!(fits("<a*", "<a x='1'/>"));
        assert!(fits("<a*x*/>", "<a x='1'/>"));
        assert!(!fits("<a*y*/>", "<a x='1'/>"));
        assert!(!fits("ab*ba", "aba"));
    }
}
