//! Both directions of a stream, face to face, without sockets and with a clock that the test
//! moves.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use comity_net::tls::verdict::Unproven;
use comity_s2s::certificate::Proof;
use comity_s2s::incoming::{self, Domains, Incoming};
use comity_s2s::outgoing::{self, Outgoing, Parcel};
use comity_xmpp::jid::Jid;
use comity_xmpp::machine::{Machine as _, Now};
use comity_xmpp::stanza::{Kind, MessageType, Stanza};

struct Anybody;

impl Proof for Anybody {
    fn speaks_for(&self, _: &str, _: &str, _: SystemTime) -> Result<(), Unproven> {
        Ok(())
    }
}

struct Pair {
    now: Now,
    ours: Outgoing,
    theirs: Incoming,
    sent: Vec<outgoing::Event>,
    received: Vec<incoming::Event>,
}

impl Pair {
    fn new() -> Self {
        let now = comity_xmpp::transcript::now();
        let ours = outgoing::Settings {
            ours: "a.example".to_owned(),
            theirs: "b.example".to_owned(),
            queue: Some("ours".to_owned()),
            dialback: None,
            verify: None,
            bidi: None,
            negotiation: Duration::from_secs(30),
        };
        let theirs = incoming::Settings {
            domains: Domains {
                serves: Arc::new(|domain| domain == "b.example"),
                federates: Arc::new(|_, _| true),
                dials_back: Arc::new(|_, _| true),
            },
            ids: ["1".to_owned(), "2".to_owned(), "3".to_owned()],
            dialback: None,
            bidi: false,
            negotiation: Duration::from_secs(30),
            idle: Duration::from_secs(600),
        };
        Self {
            now,
            ours: Outgoing::new(ours, None, now),
            theirs: Incoming::new(theirs, None, now),
            sent: Vec::new(),
            received: Vec::new(),
        }
    }

    /// Carries frames across until both are silent.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(event) = self.ours.poll_event() {
                quiet = false;
                if event == outgoing::Event::StartTls {
                    self.ours
                        .command(outgoing::Command::TlsStarted(Box::new(Anybody)), self.now);
                }
                self.sent.push(event);
            }
            while let Some(event) = self.theirs.poll_event() {
                quiet = false;
                if event == incoming::Event::StartTls {
                    self.theirs
                        .command(incoming::Command::TlsStarted(Box::new(Anybody)), self.now);
                }
                if matches!(event, incoming::Event::Opened(_)) {
                    self.theirs.command(incoming::Command::Held(0), self.now);
                }
                self.received.push(event);
            }
            if let Some(frame) = self.ours.poll_transmit() {
                quiet = false;
                self.theirs.receive(frame, self.now);
            }
            if let Some(frame) = self.theirs.poll_transmit() {
                quiet = false;
                self.ours.receive(frame, self.now);
            }
            if quiet {
                return;
            }
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
        let now = self.now;
        if self.ours.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.ours.timeout(now);
        }
        if self
            .theirs
            .poll_timeout()
            .is_some_and(|at| at <= now.instant)
        {
            self.theirs.timeout(now);
        }
        self.settle();
    }

    fn send(&mut self, row: i64) {
        let stanza = Stanza::new(Kind::Message(MessageType::Chat))
            .with_from(Jid::parse("alice@a.example").unwrap())
            .with_to(Jid::parse("bob@b.example").unwrap())
            .with_id(row.to_string());
        let bytes = stanza.to_bytes(None);
        let command = outgoing::Command::Send(Parcel::Row(row), bytes);
        self.ours.command(command, self.now);
        self.settle();
    }

    fn commit(&mut self) {
        self.theirs.command(incoming::Command::Committed, self.now);
        self.settle();
    }

    fn delivered(&self) -> Vec<i64> {
        let parcels = self.sent.iter().filter_map(|event| match event {
            outgoing::Event::Delivered(parcels) => Some(parcels),
            _ => None,
        });
        let rows = parcels.flatten().map(|parcel| match parcel {
            Parcel::Row(id) => *id,
            Parcel::Volatile(_) => panic!("only rows were sent"),
        });
        rows.collect()
    }

    fn stanzas(&self) -> usize {
        let is_stanza = |event: &&incoming::Event| matches!(event, incoming::Event::Stanza(..));
        self.received.iter().filter(is_stanza).count()
    }
}

#[test]
fn they_meet_and_rows_are_delivered_when_they_are_committed() {
    let mut pair = Pair::new();
    pair.settle();
    assert!(pair.sent.contains(&outgoing::Event::Ready));
    assert!(
        pair.received
            .contains(&incoming::Event::Trusted("a.example".to_owned()))
    );
    pair.send(1);
    pair.send(2);
    assert_eq!(pair.stanzas(), 2);
    assert!(pair.delivered().is_empty());
    pair.commit();
    assert_eq!(pair.delivered(), [1]);
    pair.commit();
    assert_eq!(pair.delivered(), [1, 2]);
}

#[test]
fn an_idle_stream_is_closed_by_both_in_good_order() {
    let mut pair = Pair::new();
    pair.settle();
    pair.send(1);
    pair.commit();
    pair.pass(600);
    assert_eq!(
        pair.sent.last(),
        Some(&outgoing::Event::Closed(outgoing::Over::Orderly))
    );
    pair.settle();
    assert_eq!(pair.received.last(), Some(&incoming::Event::Closed(None)));
}

#[test]
fn a_peer_that_never_commits_costs_the_stream_and_no_row() {
    let mut pair = Pair::new();
    pair.settle();
    pair.send(1);
    pair.pass(60);
    assert!(matches!(
        pair.sent.last(),
        Some(outgoing::Event::Closed(outgoing::Over::Stream(_)))
    ));
    assert!(pair.delivered().is_empty());
    assert_eq!(pair.ours.into_unacked(), [Parcel::Row(1)]);
}
