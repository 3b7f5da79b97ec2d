use std::collections::VecDeque;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use comity_xmpp::machine::Frame;

const LIMITS: Limits = Limits {
    element_bytes: 100_000,
    depth: 16,
    attributes: 16,
    name_bytes: 64,
};
const HEADER: &[u8] = b"<stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

/// Answers every element with itself, tells of each, and can be made to wait.
#[derive(Default)]
struct Echo {
    seen: VecDeque<Frame>,
    out: VecDeque<Frame>,
    waiting: bool,
    deadline: Option<Instant>,
    timeouts: usize,
}

impl Machine for Echo {
    type Command = Frame;
    type Event = Frame;

    fn receive(&mut self, frame: Frame, _: Now) {
        if let Frame::Element(bytes) = &frame {
            self.out.push_back(Frame::Element(bytes.clone()));
        }
        self.seen.push_back(frame);
    }

    fn command(&mut self, command: Frame, _: Now) {
        self.waiting = false;
        self.out.push_back(command);
    }

    fn ready(&self) -> bool {
        !self.waiting
    }

    fn poll_event(&mut self) -> Option<Frame> {
        self.seen.pop_front()
    }

    fn poll_transmit(&mut self) -> Option<Frame> {
        self.out.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    fn timeout(&mut self, _: Now) {
        self.deadline = None;
        self.timeouts += 1;
        self.seen.push_back(Frame::Close);
    }
}

fn pair(capacity: usize) -> (Pump<DuplexStream, Echo>, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(capacity);
    (Pump::new(ours, Echo::default(), LIMITS), theirs)
}

async fn event(pump: &mut Pump<DuplexStream, Echo>) -> Frame {
    loop {
        if let Step::Event(event) = pump.step().await.unwrap() {
            return event;
        }
    }
}

#[tokio::test]
async fn cancelling_a_step_loses_nothing() {
    let (mut pump, mut peer) = pair(4096);
    peer.write_all(HEADER).await.unwrap();
    assert!(matches!(event(&mut pump).await, Frame::Open(_)));
    for byte in b"<message><body>hi</body></message>" {
        let cancelled = tokio::time::timeout(Duration::from_millis(1), pump.step()).await;
        assert!(cancelled.is_err());
        peer.write_all(&[*byte]).await.unwrap();
    }
    let Frame::Element(element) = event(&mut pump).await else {
        panic!("an element was sent");
    };
    assert_eq!(&element[..], b"<message><body>hi</body></message>");
}

#[tokio::test]
async fn a_machine_that_waits_reads_nothing() {
    let (mut pump, mut peer) = pair(4096);
    pump.machine_mut().waiting = true;
    peer.write_all(HEADER).await.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(20), pump.step())
            .await
            .is_err()
    );
    pump.command(Frame::Element(Bytes::from_static(b"<a/>")));
    assert!(matches!(event(&mut pump).await, Frame::Open(_)));
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_no_longer_read_and_then_given_up() {
    let (mut pump, mut peer) = pair(1024);
    pump.stall = Duration::from_millis(200);
    let feeding = tokio::spawn(async move {
        let _ = peer.write_all(HEADER).await;
        let stanza = format!("<message><body>{}</body></message>", "x".repeat(10_000));
        let mut sent = 0;
        while peer.write_all(stanza.as_bytes()).await.is_ok() {
            sent += 1;
        }
        sent
    });
    let ended = loop {
        match pump.step().await {
            Ok(_) => {}
            Err(ended) => break ended,
        }
    };
    assert!(matches!(ended, Ended::Stalled(_)), "{ended}");
    assert!(!pump.writable());
    drop(pump);
    let sent = feeding.await.unwrap();
    assert!(
        sent * 10_000 <= 2 * UNWRITTEN_BYTES + 10_000,
        "{sent} taken"
    );
}

#[tokio::test]
async fn room_is_told_when_it_comes_back() {
    let (mut pump, mut peer) = pair(1024);
    let big = Bytes::from(format!("<a>{}</a>", "x".repeat(UNWRITTEN_BYTES)));
    let length = big.len();
    pump.command(Frame::Element(big));
    assert!(
        tokio::time::timeout(Duration::from_millis(20), pump.step())
            .await
            .is_err()
    );
    assert!(!pump.writable());
    let reading = tokio::spawn(async move {
        let mut all = vec![0; length];
        peer.read_exact(&mut all).await.unwrap();
        peer
    });
    assert!(matches!(pump.step().await.unwrap(), Step::Written));
    assert!(pump.writable());
    let _peer = reading.await.unwrap();
}

#[tokio::test]
async fn deadlines_reach_the_machine() {
    let (mut pump, _peer) = pair(1024);
    pump.machine_mut().deadline = Some(now().instant + Duration::from_millis(30));
    assert_eq!(event(&mut pump).await, Frame::Close);
    assert_eq!(pump.machine().timeouts, 1);
}

#[tokio::test]
async fn the_end_of_the_connection_is_told() {
    let (mut pump, peer) = pair(1024);
    drop(peer);
    assert!(matches!(pump.step().await, Err(Ended::Eof)));
}
