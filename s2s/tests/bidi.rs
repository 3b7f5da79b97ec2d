//! One stream that carries both directions (XEP-0288), face to face, without sockets and with a
//! clock that the test moves.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use comity_net::tls::verdict::Unproven;
use comity_s2s::Secret;
use comity_s2s::certificate::Proof;
use comity_s2s::dialback::Verdict;
use comity_s2s::incoming::{self, Domains, Incoming};
use comity_s2s::outgoing::{self, Outgoing, Parcel};
use comity_xmpp::error::{StreamCondition, StreamError};
use comity_xmpp::jid::Jid;
use comity_xmpp::machine::{Frame, Machine as _, Now};
use comity_xmpp::stanza::{Kind, MessageType, Stanza};

/// What the two know of each other.
#[derive(Clone, Copy)]
struct Scene {
    /// Does the stream's opener want both directions, and does the other offer them?
    asked: bool,
    offered: bool,
    /// The opener shows no certificate: dialback.
    dialback: bool,
    /// The opener counts, with a queue or without.
    counts: bool,
    queue: bool,
}

const SCENE: Scene = Scene {
    asked: true,
    offered: true,
    dialback: false,
    counts: true,
    queue: true,
};

struct Shows(Result<(), Unproven>);

impl Proof for Shows {
    fn speaks_for(&self, _: &str, _: &str, _: SystemTime) -> Result<(), Unproven> {
        self.0.clone()
    }
}

/// a.example has opened a stream to b.example.
struct Pair {
    scene: Scene,
    now: Now,
    a: Outgoing,
    b: Incoming,
    of_a: Vec<outgoing::Event>,
    of_b: Vec<incoming::Event>,
    /// What b has said.
    said: Vec<String>,
}

fn domains(ours: &'static str) -> Domains {
    Domains {
        serves: Arc::new(move |domain| domain == ours),
        federates: Arc::new(|_, _| true),
        dials_back: Arc::new(|_, _| true),
    }
}

impl Pair {
    fn new(scene: Scene) -> Self {
        let now = comity_xmpp::transcript::now();
        let secret = scene.dialback.then(|| Secret::new(b"s"));
        let a = outgoing::Settings {
            ours: "a.example".to_owned(),
            theirs: "b.example".to_owned(),
            queue: scene.queue.then(|| "of a".to_owned()),
            dialback: secret.clone(),
            verify: None,
            bidi: scene.asked.then(|| domains("a.example")),
            negotiation: Duration::from_secs(30),
        };
        let b = incoming::Settings {
            domains: domains("b.example"),
            ids: ["1".to_owned(), "2".to_owned(), "3".to_owned()],
            dialback: secret,
            bidi: scene.offered,
            negotiation: Duration::from_secs(30),
            idle: Duration::from_secs(600),
        };
        let mut pair = Self {
            scene,
            now,
            a: Outgoing::new(a, None, now),
            b: Incoming::new(b, None, now),
            of_a: Vec::new(),
            of_b: Vec::new(),
            said: Vec::new(),
        };
        pair.settle();
        pair
    }

    fn events(&mut self) -> bool {
        let mut quiet = true;
        while let Some(event) = self.a.poll_event() {
            quiet = false;
            match &event {
                outgoing::Event::StartTls => {
                    let proof = Box::new(Shows(Ok(())));
                    self.a
                        .command(outgoing::Command::TlsStarted(proof), self.now);
                }
                outgoing::Event::Opened(_) => {
                    self.a.command(outgoing::Command::Held(7), self.now);
                }
                _ => {}
            }
            self.of_a.push(event);
        }
        while let Some(event) = self.b.poll_event() {
            quiet = false;
            match &event {
                incoming::Event::StartTls => {
                    let shown = match self.scene.dialback {
                        true => Err(Unproven::Absent),
                        false => Ok(()),
                    };
                    let proof = Box::new(Shows(shown));
                    self.b
                        .command(incoming::Command::TlsStarted(proof), self.now);
                }
                incoming::Event::Opened(_) => {
                    self.b.command(incoming::Command::Held(0), self.now);
                }
                incoming::Event::Verify(query) => {
                    let verified = incoming::Command::Verified(query.clone(), Verdict::Valid);
                    self.b.command(verified, self.now);
                }
                _ => {}
            }
            self.of_b.push(event);
        }
        quiet
    }

    /// Carries frames across until both are silent.
    fn settle(&mut self) {
        loop {
            let mut quiet = self.events();
            if let Some(frame) = self.a.poll_transmit() {
                quiet = false;
                let lost = matches!(&frame, Frame::Element(bytes)
                    if !self.scene.counts && bytes.starts_with(b"<enable"));
                if !lost {
                    self.b.receive(frame, self.now);
                }
            }
            if let Some(frame) = self.b.poll_transmit() {
                quiet = false;
                if let Frame::Element(bytes) = &frame {
                    self.said.push(String::from_utf8_lossy(bytes).into_owned());
                }
                self.a.receive(frame, self.now);
            }
            if quiet {
                return;
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        let late = |at: std::time::Instant| at <= self.now.instant;
        if self.a.poll_timeout().is_some_and(late) {
            self.a.timeout(self.now);
        }
        if self.b.poll_timeout().is_some_and(late) {
            self.b.timeout(self.now);
        }
        self.settle();
    }

    fn begin(&mut self) {
        let queue = Some("of b".to_owned());
        self.b.command(incoming::Command::Begin(queue), self.now);
        self.settle();
    }

    fn a_sends(&mut self, row: i64) {
        let bytes = message("alice@a.example", "bob@b.example", row);
        let command = outgoing::Command::Send(Parcel::Row(row), bytes);
        self.a.command(command, self.now);
        self.settle();
    }

    fn b_sends(&mut self, row: i64) {
        let bytes = message("bob@b.example", "alice@a.example", row);
        let command = incoming::Command::Send(Parcel::Row(row), bytes);
        self.b.command(command, self.now);
        self.settle();
    }

    fn is_ready(&self) -> bool {
        self.of_b.contains(&incoming::Event::Ready)
    }

    /// Numbers of b's stanzas, as a has them.
    fn numbers(&self) -> Vec<Option<i64>> {
        let number = |event: &outgoing::Event| match event {
            outgoing::Event::Stanza(_, number) => Some(*number),
            _ => None,
        };
        self.of_a.iter().filter_map(number).collect()
    }

    fn delivered_by_b(&self) -> Vec<Parcel> {
        let parcels = |event: &incoming::Event| match event {
            incoming::Event::Delivered(parcels) => parcels.clone(),
            _ => Vec::new(),
        };
        self.of_b.iter().flat_map(parcels).collect()
    }
}

fn message(from: &str, to: &str, id: i64) -> Bytes {
    Stanza::new(Kind::Message(MessageType::Chat))
        .with_from(Jid::parse(from).unwrap())
        .with_to(Jid::parse(to).unwrap())
        .with_id(id.to_string())
        .to_bytes(None)
}

#[test]
fn both_directions_are_counted_and_numbered_over_one_stream() {
    let mut pair = Pair::new(SCENE);
    assert!(pair.a.is_bidi() && pair.b.is_bidi());
    assert!(pair.of_a.contains(&outgoing::Event::Ready));
    assert!(!pair.is_ready(), "nobody has anything for a");
    pair.begin();
    assert!(pair.is_ready());
    assert_eq!(pair.b.held(), Some(7));
    pair.a_sends(1);
    pair.b_sends(8);
    pair.b_sends(9);
    assert_eq!(pair.numbers(), [Some(8), Some(9)]);
    // Delivered is what is committed.
    assert_eq!(pair.delivered_by_b(), []);
    pair.a.command(outgoing::Command::Committed, pair.now);
    pair.settle();
    assert_eq!(pair.delivered_by_b(), [Parcel::Row(8)]);
    pair.b.command(incoming::Command::Committed, pair.now);
    pair.settle();
    let delivered = outgoing::Event::Delivered(vec![Parcel::Row(1)]);
    assert!(pair.of_a.contains(&delivered));
    // The next one with something for a finds it open.
    pair.begin();
    let ready = |event: &&incoming::Event| **event == incoming::Event::Ready;
    assert_eq!(pair.of_b.iter().filter(ready).count(), 2);
    pair.b.command(incoming::Command::Close(None), pair.now);
    pair.settle();
    assert_eq!(pair.b.into_unacked(), [Parcel::Row(9)]);
}

/// What the peer has taken in is known, though our close and its word have crossed.
#[test]
fn an_acknowledgement_behind_our_close_counts() {
    let mut pair = Pair::new(SCENE);
    pair.begin();
    pair.b_sends(8);
    pair.b.command(incoming::Command::Close(None), pair.now);
    let a = Frame::Element(Bytes::from_static(b"<a xmlns='urn:xmpp:sm:3' h='1'/>"));
    pair.b.receive(a, pair.now);
    pair.events();
    assert_eq!(pair.delivered_by_b(), [Parcel::Row(8)]);
    assert_eq!(pair.b.into_unacked(), []);
}

#[test]
fn whoever_proves_itself_by_its_certificate_alone_is_sent_to() {
    // By dialback, without a certificate: nobody asks for both directions, since it is not offered.
    let mut pair = Pair::new(Scene {
        dialback: true,
        ..SCENE
    });
    let trusted = incoming::Event::Trusted("a.example".to_owned());
    assert!(pair.of_b.contains(&trusted));
    assert!(pair.of_a.contains(&outgoing::Event::Ready));
    assert!(!pair.a.is_bidi() && !pair.b.is_bidi());
    // And counts nevertheless, with its queue.
    assert_eq!(pair.a.held(), Some(0));
    pair.a_sends(1);
    let numbered = |event: &incoming::Event| matches!(event, incoming::Event::Stanza(_, Some(1)));
    assert!(pair.of_b.iter().any(numbered));
    for (asked, offered) in [(false, true), (true, false)] {
        let scene = Scene {
            asked,
            offered,
            ..SCENE
        };
        let mut pair = Pair::new(scene);
        assert!(!pair.a.is_bidi() && !pair.b.is_bidi());
        pair.begin();
        assert!(!pair.is_ready());
    }
}

#[test]
fn a_peer_that_does_not_count_is_sent_to_after_a_moment() {
    let scene = Scene {
        counts: false,
        queue: false,
        ..SCENE
    };
    let mut pair = Pair::new(scene);
    pair.begin();
    assert!(!pair.is_ready(), "it may still begin to count");
    pair.pass(Duration::from_secs(1));
    assert!(pair.is_ready());
    pair.b_sends(8);
    // It is not known before it is written.
    assert_eq!(pair.delivered_by_b(), []);
    // Counting would begin behind what is on its way.
    pair.b.receive(enable(), pair.now);
    pair.settle();
    assert!(pair.said.last().unwrap().starts_with("<failed"));
    pair.b.command(incoming::Command::Flushed, pair.now);
    pair.settle();
    assert_eq!(pair.delivered_by_b(), [Parcel::Row(8)]);
    pair.b.receive(enable(), pair.now);
    pair.settle();
    assert!(pair.said.iter().any(|said| said.starts_with("<enabled")));
    assert_eq!(pair.b.held(), None);
}

fn enable() -> Frame {
    Frame::Element(Bytes::from_static(b"<enable xmlns='urn:xmpp:sm:3'/>"))
}

#[test]
fn without_a_queue_of_the_peers_ours_is_not_opened() {
    let scene = Scene {
        queue: false,
        ..SCENE
    };
    let mut pair = Pair::new(scene);
    pair.begin();
    assert!(pair.is_ready());
    pair.b_sends(8);
    assert_eq!(pair.numbers(), [None]);
    assert!(!pair.said.iter().any(|said| said.starts_with("<open")));
}

#[test]
fn a_peer_that_acknowledges_nothing_costs_the_stream_and_no_row() {
    let mut pair = Pair::new(SCENE);
    pair.begin();
    pair.b_sends(8);
    pair.pass(Duration::from_secs(60));
    let closed = |event: &incoming::Event| {
        matches!(event, incoming::Event::Closed(Some(error))
            if error.condition == StreamCondition::ConnectionTimeout)
    };
    assert!(pair.of_b.iter().any(closed));
    assert_eq!(pair.b.into_unacked(), [Parcel::Row(8)]);
}

#[test]
fn what_goes_out_keeps_the_stream_as_what_comes_in_does() {
    let mut pair = Pair::new(SCENE);
    pair.begin();
    pair.pass(Duration::from_secs(599));
    pair.b_sends(8);
    pair.a.command(outgoing::Command::Committed, pair.now);
    pair.settle();
    pair.pass(Duration::from_secs(599));
    let over = |event: &incoming::Event| matches!(event, incoming::Event::Closed(_));
    assert!(!pair.of_b.iter().any(over));
    pair.pass(Duration::from_secs(1));
    assert!(pair.of_b.iter().any(over));
}

/// What b says on the stream that a has opened, and what a makes of it.
#[test]
fn each_stanza_that_comes_back_is_of_the_domain_that_was_reached_and_for_the_one_that_asked() {
    let cases = [
        ("from='b.example' to='a.example'", None),
        ("from='bob@b.example/r' to='alice@a.example'", None),
        (
            "from='c.example' to='a.example'",
            Some(StreamCondition::InvalidFrom),
        ),
        (
            "from='a.example' to='a.example'",
            Some(StreamCondition::InvalidFrom),
        ),
        (
            "from='b.example' to='b.example'",
            Some(StreamCondition::HostUnknown),
        ),
        ("to='a.example'", Some(StreamCondition::ImproperAddressing)),
        (
            "from='b.example'",
            Some(StreamCondition::ImproperAddressing),
        ),
    ];
    for (addresses, refused) in cases {
        let mut pair = Pair::new(SCENE);
        let stanza = format!("<message {addresses}/>");
        pair.a.receive(Frame::Element(stanza.into()), pair.now);
        pair.settle();
        let closed = pair.of_a.iter().find_map(|event| match event {
            outgoing::Event::Closed(outgoing::Over::Stream(error)) => Some(error.condition),
            _ => None,
        });
        assert_eq!(closed, refused, "{addresses}");
        assert_eq!(pair.numbers().len(), usize::from(refused.is_none()));
    }
    // Where both directions were not agreed upon, nothing comes back at all.
    let one_way = Scene {
        asked: false,
        ..SCENE
    };
    let mut pair = Pair::new(one_way);
    let stanza = Frame::Element(message("b.example", "a.example", 1));
    pair.a.receive(stanza, pair.now);
    pair.settle();
    let closed = |event: &outgoing::Event| {
        matches!(event, outgoing::Event::Closed(outgoing::Over::Stream(error))
            if error.condition == StreamCondition::PolicyViolation)
    };
    assert!(pair.of_a.iter().any(closed));
}

#[test]
fn nobody_gets_both_directions_without_the_offer() {
    let scene = Scene {
        offered: false,
        asked: false,
        ..SCENE
    };
    let mut pair = Pair::new(scene);
    let ask = Frame::Element(Bytes::from_static(b"<bidi xmlns='urn:xmpp:bidi'/>"));
    pair.b.receive(ask, pair.now);
    pair.settle();
    let closed = |event: &incoming::Event| {
        matches!(event, incoming::Event::Closed(Some(StreamError { condition, .. }))
            if *condition == StreamCondition::UnsupportedStanzaType)
    };
    assert!(pair.of_b.iter().any(closed));
}

#[test]
fn a_key_for_another_domain_is_shown_elsewhere() {
    let mut pair = Pair::new(SCENE);
    let key = "<db:result xmlns:db='jabber:server:dialback' from='c.example' to='a.example'>1a\
               </db:result>";
    pair.a.receive(Frame::Element(key.into()), pair.now);
    let mut answers = std::iter::from_fn(|| pair.a.poll_transmit());
    let answered = answers.any(|frame| {
        matches!(frame, Frame::Element(bytes)
            if String::from_utf8_lossy(&bytes).contains("feature-not-implemented"))
    });
    assert!(answered);
    // A verdict that nobody has asked for is nothing.
    let verdict = "<db:result xmlns:db='jabber:server:dialback' from='c.example' to='a.example' \
                   type='valid'/>";
    pair.a.receive(Frame::Element(verdict.into()), pair.now);
    assert_eq!(pair.a.poll_transmit(), None);
    pair.a.receive(
        Frame::Element(message("c.example", "a.example", 1)),
        pair.now,
    );
    pair.settle();
    assert!(matches!(
        pair.of_a.last(),
        Some(outgoing::Event::Closed(outgoing::Over::Stream(_)))
    ));
}

/// A peer whose certificate proves it may still choose dialback (RFC 7712 §4): nobody is asked.
#[test]
fn dialback_with_a_certificate_carries_both_directions_too() {
    let now = comity_xmpp::transcript::now();
    let settings = incoming::Settings {
        domains: domains("b.example"),
        ids: ["1".to_owned(), "2".to_owned(), "3".to_owned()],
        dialback: Some(Secret::new(b"s")),
        bidi: true,
        negotiation: Duration::from_secs(30),
        idle: Duration::from_secs(600),
    };
    let mut b = Incoming::new(settings, Some(Box::new(Shows(Ok(())))), now);
    b.receive(Frame::Open(header("a.example", "b.example")), now);
    let said = said_by(|| b.poll_transmit());
    for feature in ["urn:xmpp:features:bidi", "urn:xmpp:sm:3", "comity:queue"] {
        assert!(said.contains(feature), "{said}");
    }
    for words in [
        "<bidi xmlns='urn:xmpp:bidi'/>",
        "<db:result xmlns:db='jabber:server:dialback' from='a.example' to='b.example'>1a\
         </db:result>",
        "<enable xmlns='urn:xmpp:sm:3'/>",
    ] {
        b.receive(Frame::Element(Bytes::from_static(words.as_bytes())), now);
    }
    b.command(incoming::Command::Begin(Some("of b".to_owned())), now);
    let said = said_by(|| b.poll_transmit());
    assert!(
        said.contains("type='valid'") && said.contains("<enabled"),
        "{said}"
    );
    let events: Vec<_> = std::iter::from_fn(|| b.poll_event()).collect();
    let trusted = incoming::Event::Trusted("a.example".to_owned());
    assert_eq!(events, [trusted, incoming::Event::Ready]);
    assert!(b.is_bidi());
}

/// We prove ourselves by dialback, where the peer wants no certificate of ours.
#[test]
fn behind_our_own_dialback_both_directions_are_counted() {
    let now = comity_xmpp::transcript::now();
    let settings = outgoing::Settings {
        ours: "a.example".to_owned(),
        theirs: "b.example".to_owned(),
        queue: Some("of a".to_owned()),
        dialback: Some(Secret::new(b"s")),
        verify: None,
        bidi: Some(domains("a.example")),
        negotiation: Duration::from_secs(30),
    };
    let mut a = Outgoing::new(settings, Some(Box::new(Shows(Ok(())))), now);
    let mut opened = header("b.example", "a.example");
    opened.id = Some("1".to_owned());
    a.receive(Frame::Open(opened), now);
    let features = "<stream:features xmlns:stream='http://etherx.jabber.org/streams'>\
                    <bidi xmlns='urn:xmpp:features:bidi'/>\
                    <dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>\
                    <sm xmlns='urn:xmpp:sm:3'/><queue xmlns='urn:xmpp:comity:queue:0'/>\
                    </stream:features>";
    let hear = |a: &mut Outgoing, words: &'static str| {
        a.receive(Frame::Element(Bytes::from_static(words.as_bytes())), now);
        said_by(|| a.poll_transmit())
    };
    let said = hear(&mut a, features);
    let (bidi, key) = (said.find("<bidi"), said.find("<db:result"));
    assert!(bidi.is_some() && bidi < key, "{said}");
    let valid = "<db:result xmlns:db='jabber:server:dialback' from='b.example' to='a.example' \
                 type='valid'/>";
    assert!(hear(&mut a, valid).contains("<open"));
    // Before we are ready: heard once we are.
    hear(&mut a, "<message from='b.example' to='a.example' id='1'/>");
    let held = "<held xmlns='urn:xmpp:comity:queue:0' number='0'/>";
    assert!(hear(&mut a, held).contains("<enable"));
    assert_eq!(a.poll_event(), None);
    hear(&mut a, "<enabled xmlns='urn:xmpp:sm:3'/>");
    hear(&mut a, "<message from='b.example' to='a.example' id='2'/>");
    let said = hear(&mut a, "<r xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(said, "", "not before they are committed");
    assert_eq!(a.poll_event(), Some(outgoing::Event::Ready));
    for _ in 0..2 {
        let event = a.poll_event();
        assert!(matches!(event, Some(outgoing::Event::Stanza(_, None))));
        a.command(outgoing::Command::Committed, now);
    }
    // What came before counting is not counted.
    assert_eq!(
        said_by(|| a.poll_transmit()),
        "<a xmlns='urn:xmpp:sm:3' h='1'/>"
    );
}

fn header(from: &str, to: &str) -> comity_xmpp::stream::Header {
    comity_xmpp::stream::Header {
        from: Jid::parse(from).ok(),
        to: Jid::parse(to).ok(),
        ..comity_xmpp::stream::Header::of("jabber:server")
    }
}

fn said_by(mut next: impl FnMut() -> Option<Frame>) -> String {
    let frames = std::iter::from_fn(&mut next);
    let words = frames.map(|frame| match frame {
        Frame::Element(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    });
    words.collect()
}
