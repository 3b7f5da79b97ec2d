use comity_xmpp::jid::Jid;
use comity_xmpp::stanza::{Kind, PresenceType};

use super::*;

const SETTINGS: Settings = Settings {
    retry_first: Duration::from_secs(2),
    retry_most: Duration::from_secs(300),
    idle: Duration::from_secs(600),
    queue: 3,
};

/// A peer, a clock and an outbox.
struct Play {
    peer: Peer,
    now: Instant,
}

impl Play {
    fn new() -> Self {
        let now = Instant::now();
        // Always the middle: the pause is as long as it is meant to be.
        let peer = Peer::new(SETTINGS, Box::new(|most| most / 2), now);
        Self { peer, now }
    }

    /// What is wanted, in a short form.
    fn wants(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.peer.poll())
            .map(|action| match action {
                Action::Connect => "connect".to_owned(),
                Action::Fetch { after, limit } => format!("fetch {limit} after {after}"),
                Action::Write(Parcel::Row(id), _) => format!("row {id}"),
                Action::Write(Parcel::Volatile(stanza), _) => format!("stanza {}", name(&stanza)),
                Action::Delivered(ids) => {
                    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
                    format!("delivered {}", ids.join(" "))
                }
                Action::Bounce(stanza, error) => {
                    format!("bounce {} {}", name(&stanza), error.condition.as_str())
                }
                Action::Close => "close".to_owned(),
                Action::Rest => "rest".to_owned(),
            })
            .collect()
    }

    fn rows(&mut self, ids: std::ops::RangeInclusive<i64>, limit: usize) {
        let rows = ids.map(|id| Queued {
            id,
            stanza: bytes::Bytes::from_static(b"<message/>"),
        });
        let rows: Vec<_> = rows.collect();
        let read = Read {
            last: rows.last().map(|row| row.id),
            full: rows.len() >= limit,
        };
        self.peer.rows(rows, read, self.now);
    }

    fn no_rows(&mut self) {
        let read = Read {
            last: None,
            full: false,
        };
        self.peer.rows(Vec::new(), read, self.now);
    }

    fn send(&mut self, id: &str) {
        self.peer.send(stanza(id), self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.peer.timeout(self.now);
    }

    fn fail(&mut self) {
        let failure = Failure {
            not_found: false,
            text: "nobody answers".to_owned(),
        };
        self.peer.ended(Some(failure), Vec::new(), self.now);
    }

    fn delivered(&mut self, ids: impl IntoIterator<Item = i64>) {
        let parcels = ids.into_iter().map(Parcel::Row).collect();
        self.peer.delivered(parcels, self.now);
    }

    /// Connected, with one row written.
    fn up() -> Self {
        let mut play = Self::new();
        play.peer.wake(play.now);
        play.wants();
        play.rows(1..=1, BATCH);
        assert_eq!(play.wants(), ["connect"]);
        play.peer.connected(None, play.now);
        assert_eq!(play.wants(), ["row 1"]);
        play
    }

    /// How long the peer waits from now on.
    fn pause(&self) -> Duration {
        assert_eq!(self.peer.state(), State::Waiting);
        self.peer.poll_timeout().unwrap() - self.now
    }
}

fn stanza(id: &str) -> Stanza {
    Stanza::new(Kind::Presence(PresenceType::Available))
        .with_id(id)
        .with_to(Jid::parse("b.example").unwrap())
}

fn name(stanza: &Stanza) -> &str {
    stanza.id.as_deref().unwrap()
}

#[test]
fn the_outbox_is_read_before_anything_is_opened() {
    let mut play = Play::new();
    play.peer.wake(play.now);
    assert_eq!(play.wants(), ["fetch 64 after 0"]);
    play.no_rows();
    assert_eq!(play.wants(), [""; 0]);
    assert_eq!(play.peer.state(), State::Idle);
}

#[test]
fn rows_go_in_order_and_leave_when_delivered() {
    let mut play = Play::up();
    play.delivered([1]);
    assert_eq!(play.wants(), ["delivered 1"]);
    play.peer.wake(play.now);
    assert_eq!(play.wants(), ["fetch 64 after 1"]);
    play.rows(2..=4, BATCH);
    assert_eq!(play.wants(), ["row 2", "row 3", "row 4"]);
    play.delivered([2, 3]);
    assert_eq!(play.wants(), ["delivered 2 3"]);
}

#[test]
fn a_full_batch_means_more_and_the_window_is_bounded() {
    let mut play = Play::new();
    play.peer.wake(play.now);
    play.wants();
    play.rows(1..=64, BATCH);
    assert_eq!(play.wants(), ["fetch 64 after 64", "connect"]);
    play.peer.connected(None, play.now);
    assert_eq!(play.wants().len(), 64);
    play.rows(65..=128, BATCH);
    assert_eq!(play.wants().len(), 64);
    play.peer.wake(play.now);
    assert_eq!(play.wants(), [""; 0]);
    play.delivered(1..=10);
    assert_eq!(
        play.wants(),
        ["delivered 1 2 3 4 5 6 7 8 9 10", "fetch 10 after 128"]
    );
}

#[test]
fn volatile_stanzas_stay_behind_the_rows_before_them() {
    let mut play = Play::up();
    play.send("first");
    assert_eq!(play.wants(), ["stanza first"]);
    play.peer.wake(play.now);
    play.send("second");
    assert_eq!(play.wants(), ["fetch 64 after 1"]);
    play.rows(2..=2, BATCH);
    assert_eq!(play.wants(), ["row 2", "stanza second"]);
    play.peer.wake(play.now);
    assert_eq!(play.wants(), ["fetch 64 after 2"]);
    play.peer.wake(play.now);
    play.send("third");
    play.rows(3..=3, BATCH);
    assert_eq!(play.wants(), ["fetch 64 after 3", "row 3"]);
    play.no_rows();
    assert_eq!(play.wants(), ["stanza third"]);
}

#[test]
fn volatile_stanzas_wait_for_the_end_of_the_outbox_but_not_for_ever() {
    let mut play = Play::up();
    play.delivered([1]);
    play.peer.wake(play.now);
    play.send("patient");
    let (mut readings, mut next) = (0, 2);
    while !play.wants().contains(&"stanza patient".to_owned()) {
        readings += 1;
        let last = next + 63;
        play.rows(next..=last, BATCH);
        play.delivered(next..=last);
        next = last + 1;
    }
    assert_eq!(readings, OVERTAKEN + 1);
}

#[test]
fn a_congested_stream_is_given_nothing() {
    let mut play = Play::up();
    play.peer.congested(true, play.now);
    play.peer.wake(play.now);
    play.send("later");
    assert_eq!(play.wants(), [""; 0]);
    play.peer.congested(false, play.now);
    assert_eq!(play.wants(), ["fetch 64 after 1"]);
    play.no_rows();
    assert_eq!(play.wants(), ["stanza later"]);
}

#[test]
fn rows_of_another_of_our_domains_are_passed_over() {
    let mut play = Play::new();
    play.peer.wake(play.now);
    assert_eq!(play.wants(), ["fetch 64 after 0"]);
    let foreign = Read {
        last: Some(64),
        full: true,
    };
    play.peer.rows(Vec::new(), foreign, play.now);
    assert_eq!(play.wants(), ["fetch 64 after 64"]);
    play.rows(65..=65, BATCH);
    assert_eq!(play.wants(), ["connect"]);
}

#[test]
fn pauses_double_up_to_the_longest() {
    let mut play = Play::new();
    play.peer.wake(play.now);
    play.wants();
    play.rows(1..=1, BATCH);
    let mut pauses = Vec::new();
    for _ in 0..10 {
        assert_eq!(play.wants(), ["connect"]);
        play.fail();
        pauses.push(play.pause().as_secs());
        let pause = play.pause();
        play.pass(pause);
        assert_eq!(play.wants(), ["fetch 64 after 0"]);
        play.rows(1..=1, BATCH);
    }
    assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
}

#[test]
fn pauses_differ_from_peer_to_peer() {
    for (jitter, expected) in [(0, 1500), (500, 2500)] {
        let now = Instant::now();
        let mut peer = Peer::new(SETTINGS, Box::new(move |_| jitter), now);
        peer.send(stanza("x"), now);
        peer.ended(
            Some(Failure {
                not_found: true,
                text: String::new(),
            }),
            Vec::new(),
            now,
        );
        assert_eq!((peer.poll_timeout().unwrap() - now).as_millis(), expected);
    }
}

#[test]
fn waking_cuts_a_pause_only_so_far() {
    let mut play = Play::new();
    play.send("x");
    for _ in 0..8 {
        play.fail();
        let pause = play.pause();
        play.pass(pause);
        play.send("x");
    }
    play.wants();
    play.fail();
    assert_eq!(play.pause().as_secs(), 300);
    play.pass(Duration::from_secs(5));
    play.peer.wake(play.now);
    play.peer.wake(play.now);
    assert_eq!(play.pause().as_secs(), 25);
    play.peer.seen(play.now);
    assert_eq!(play.pause().as_secs(), 0);
}

#[test]
fn what_cannot_be_sent_is_bounced() {
    let mut play = Play::new();
    for id in ["1", "2", "3", "4"] {
        play.send(id);
    }
    assert_eq!(play.wants(), ["connect", "bounce 4 resource-constraint"]);
    play.fail();
    let bounced = ["1", "2", "3"].map(|id| format!("bounce {id} remote-server-timeout"));
    assert_eq!(play.wants(), bounced);
    // The next attempt is near, so this one waits for it.
    play.send("5");
    assert_eq!(play.wants(), [""; 0]);
    let pause = play.pause();
    play.pass(pause);
    assert_eq!(play.wants(), ["fetch 64 after 0", "connect"]);
    let nobody = Failure {
        not_found: true,
        text: "no such domain".to_owned(),
    };
    play.peer.ended(Some(nobody), Vec::new(), play.now);
    assert_eq!(play.wants(), ["bounce 5 remote-server-not-found"]);
}

#[test]
fn far_from_the_next_attempt_nothing_waits() {
    let mut play = Play::new();
    play.send("x");
    for _ in 0..6 {
        play.fail();
        let pause = play.pause();
        play.pass(pause);
        play.send("x");
    }
    play.wants();
    play.fail();
    play.wants();
    play.send("late");
    assert_eq!(play.wants(), ["bounce late remote-server-timeout"]);
}

#[test]
fn a_lost_stream_is_replaced_at_once_and_its_rows_are_read_again() {
    let mut play = Play::up();
    play.delivered([1]);
    play.peer.wake(play.now);
    play.wants();
    play.rows(2..=3, BATCH);
    play.wants();
    let unacked = vec![Parcel::Row(2), Parcel::Row(3)];
    let failure = Failure {
        not_found: false,
        text: "cut".to_owned(),
    };
    play.peer.ended(Some(failure), unacked, play.now);
    assert_eq!(play.wants(), ["fetch 64 after 0"]);
    play.rows(2..=3, BATCH);
    assert_eq!(play.wants(), ["connect"]);
}

#[test]
fn a_stream_that_ends_at_once_counts_as_a_failure() {
    let mut play = Play::up();
    play.peer.ended(
        Some(Failure {
            not_found: false,
            text: "not today".to_owned(),
        }),
        vec![Parcel::Row(1)],
        play.now,
    );
    assert_eq!(play.pause().as_secs(), 2);
}

#[test]
fn a_peer_that_closes_at_once_however_politely_is_no_better() {
    let mut play = Play::up();
    play.peer.ended(None, vec![Parcel::Row(1)], play.now);
    assert_eq!(play.pause().as_secs(), 2);
}

#[test]
fn rows_that_were_being_read_for_a_lost_stream_are_read_again() {
    let mut play = Play::up();
    play.peer.wake(play.now);
    assert_eq!(play.wants(), ["fetch 64 after 1"]);
    play.pass(Duration::from_secs(20));
    play.fail();
    play.rows(2..=2, BATCH);
    assert_eq!(play.wants(), ["fetch 64 after 0"]);
}

#[test]
fn after_a_long_silence_the_stream_is_closed_and_the_peer_rests() {
    let mut play = Play::up();
    play.delivered([1]);
    play.wants();
    play.pass(SETTINGS.idle);
    assert_eq!(play.wants(), ["close"]);
    // What comes while it closes waits for the next stream.
    play.send("x");
    assert_eq!(play.wants(), [""; 0]);
    play.peer.ended(None, Vec::new(), play.now);
    assert_eq!(play.wants(), ["connect"]);
    play.peer.connected(None, play.now);
    assert_eq!(play.wants(), ["stanza x"]);
    let delivered = vec![Parcel::Volatile(Box::new(stanza("x")))];
    play.peer.delivered(delivered, play.now);
    play.pass(SETTINGS.idle);
    assert_eq!(play.wants(), ["close"]);
    play.peer.ended(None, Vec::new(), play.now);
    play.pass(Duration::from_secs(59));
    assert_eq!(play.wants(), [""; 0]);
    play.pass(Duration::from_secs(1));
    assert_eq!(play.wants(), ["rest"]);
    assert_eq!(play.peer.poll_timeout(), None);
    play.peer.wake(play.now);
    assert_eq!(play.wants(), ["fetch 64 after 0"]);
}

#[test]
fn a_stream_with_rows_on_their_way_is_not_idle() {
    let play = Play::up();
    assert_eq!(play.peer.poll_timeout(), None);
}

#[test]
fn rows_that_the_peer_holds_are_delivered_and_not_sent() {
    let mut play = Play::new();
    play.peer.wake(play.now);
    assert_eq!(play.wants(), ["fetch 64 after 0"]);
    play.rows(1..=64, 64);
    assert_eq!(play.wants(), ["fetch 64 after 64", "connect"]);
    play.peer.connected(Some(66), play.now);
    let first: Vec<_> = (1..=64).map(|id: i64| id.to_string()).collect();
    assert_eq!(play.wants(), [format!("delivered {}", first.join(" "))]);
    play.rows(65..=68, 64);
    assert_eq!(play.wants(), ["delivered 65 66", "row 67", "row 68"]);
    // The next stream says anew how far it is held.
    play.fail();
    play.pass(Duration::from_secs(60));
    assert_eq!(play.wants(), ["fetch 64 after 0"]);
    play.rows(67..=68, 64);
    assert_eq!(play.wants(), ["connect"]);
    play.peer.connected(Some(0), play.now);
    assert_eq!(play.wants(), ["row 67", "row 68"]);
}

#[test]
fn the_operator_does_not_wait_for_the_pause() {
    let mut play = Play::new();
    play.peer.wake(play.now);
    play.rows(1..=1, BATCH);
    play.wants();
    play.fail();
    for _ in 0..8 {
        let pause = play.pause();
        play.pass(pause);
        play.wants();
        play.rows(1..=1, BATCH);
        play.wants();
        play.fail();
    }
    assert!(play.pause() > Duration::from_secs(100));
    play.peer.flush(play.now);
    assert_eq!(play.pause(), Duration::ZERO);
    play.pass(Duration::ZERO);
    assert_eq!(play.wants(), ["fetch 64 after 0"]);
    play.rows(1..=1, BATCH);
    assert_eq!(play.wants(), ["connect"]);
}

#[test]
fn a_forbidden_domain_loses_its_stream() {
    let mut play = Play::up();
    play.peer.forbidden(play.now);
    assert_eq!(play.wants(), ["close"]);
    // Where there is none, nothing is to be done.
    let mut play = Play::new();
    play.peer.forbidden(play.now);
    assert!(play.wants().is_empty());
}
