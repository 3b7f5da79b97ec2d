//! A load of numbered messages, and the reckoning of what has become of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use comity_client::connection::{Connection, Inbound, Options};
use comity_xmpp::element::Element;
use comity_xmpp::jid::Jid;
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, MessageType, PresenceType, Stanza};
use tokio::task::JoinHandle;

/// Messages between two questions whether they were accepted.
const BURST: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(120);
/// Writers pause between their bursts, so that readers have not too much to read.
const BREATH: Duration = Duration::from_millis(20);

/// Enough randomness to hit different moments, and the same ones again with the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn seeded() -> Self {
        let seed = std::env::var("COMITY_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(0xc4a0_5eed);
        println!("COMITY_SEED={seed}");
        Self(seed)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

pub fn steps(short: usize) -> usize {
    let long = std::env::var("COMITY_LONG").is_ok_and(|long| !long.is_empty());
    if long { short * 10 } else { short }
}

pub async fn pause(dice: &mut Dice, most: u64) {
    tokio::time::sleep(Duration::from_millis(100 + dice.below(most))).await;
}

/// Somebody who writes 1, 2, 3 … to one other person, whatever happens to the server.
pub struct Writer {
    task: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    /// The highest number that was certainly accepted, for which all lower ones that were sent on
    /// the same session were too.
    accepted: Arc<Mutex<Vec<u64>>>,
    sent: Arc<AtomicU64>,
}

impl Dice {
    /// Below 2^32.
    pub fn small(&mut self, limit: u32) -> u32 {
        u32::try_from(self.below(limit.into())).unwrap_or(0)
    }
}

impl Writer {
    pub fn start(options: Options, to: Jid) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let accepted = Arc::default();
        let sent = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(write(
            options,
            to,
            Arc::clone(&stop),
            Arc::clone(&accepted),
            Arc::clone(&sent),
        ));
        Self {
            task,
            stop,
            accepted,
            sent,
        }
    }

    /// The numbers that were accepted, and how many were sent.
    pub async fn finish(self) -> (Vec<u64>, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("a writer does not panic");
        let accepted = std::mem::take(&mut *lock(&self.accepted));
        (accepted, self.sent.load(Ordering::Relaxed))
    }
}

fn lock(numbers: &Mutex<Vec<u64>>) -> MutexGuard<'_, Vec<u64>> {
    numbers.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn write(
    options: Options,
    to: Jid,
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<u64>>>,
    sent: Arc<AtomicU64>,
) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = Connection::open(&options).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            let first = sent.load(Ordering::Relaxed) + 1;
            let last = first + BURST - 1;
            sent.store(last, Ordering::Relaxed);
            if !burst(&mut connection, &to, first, last).await {
                break;
            }
            lock(&accepted).extend(first..=last);
            tokio::time::sleep(BREATH).await;
        }
    }
}

/// Sends a burst and asks whether the server is done with it (RFC 6120 §10.1: in order).
async fn burst(connection: &mut Connection, to: &Jid, first: u64, last: u64) -> bool {
    for number in first..=last {
        let body = Element::new(ns::CLIENT, "body").with_text(number.to_string());
        let mut stanza = Stanza::new(Kind::Message(MessageType::Chat))
            .with_to(to.clone())
            .with_id(number.to_string());
        stanza.push(&body);
        if !connection.send(stanza).await {
            return false;
        }
    }
    let id = format!("asked-{last}");
    let mut ping = Stanza::new(Kind::Iq(IqType::Get)).with_id(id.as_str());
    ping.push(&Element::new(ns::PING, "ping"));
    if !connection.send(ping).await {
        return false;
    }
    let answered = async {
        loop {
            match connection.receive().await {
                Inbound::Stanza(stanza) if stanza.id.as_deref() == Some(&id) => {
                    return stanza.kind == Kind::Iq(IqType::Result);
                }
                Inbound::Stanza(_) => {}
                Inbound::Closed(_) => return false,
            }
        }
    };
    let answered = tokio::time::timeout(Duration::from_secs(20), answered).await;
    answered.unwrap_or(false)
}

/// Everything one reader has got, until the last accepted number has come and then nothing more.
pub async fn read(connection: &mut Connection, last: u64) -> Vec<u64> {
    let deadline = Instant::now() + PATIENCE;
    let mut numbers = Vec::new();
    loop {
        let there = numbers.last().is_some_and(|number| *number >= last) || last == 0;
        let patience = if there {
            Duration::from_secs(2)
        } else {
            deadline.saturating_duration_since(Instant::now())
        };
        match tokio::time::timeout(patience, connection.receive()).await {
            Ok(Inbound::Stanza(stanza)) => numbers.extend(number(&stanza)),
            Ok(Inbound::Closed(why)) => panic!("a reader's stream ended: {why}"),
            Err(_) => return numbers,
        }
    }
}

pub fn number(stanza: &Stanza) -> Option<u64> {
    if !matches!(stanza.kind, Kind::Message(MessageType::Chat)) {
        return None;
    }
    stanza.child(ns::CLIENT, "body")?.text().parse().ok()
}

pub async fn present(options: &Options) -> Connection {
    let connection = Connection::open(options).await.expect("a reader logs in");
    let presence = Stanza::new(Kind::Presence(PresenceType::Available));
    assert!(connection.send(presence).await);
    connection
}

/// What has become of all messages.
#[derive(Default, Debug)]
pub struct Tally {
    pub sent: u64,
    pub accepted: usize,
    pub received: usize,
    pub lost: usize,
    pub doubled: usize,
    pub disordered: usize,
}

impl Tally {
    pub fn count(&mut self, accepted: &[u64], received: &[u64]) {
        let mut times: BTreeMap<u64, usize> = BTreeMap::new();
        for number in received {
            *times.entry(*number).or_default() += 1;
        }
        self.accepted += accepted.len();
        self.received += received.len();
        self.lost += accepted.iter().filter(|n| !times.contains_key(n)).count();
        self.doubled += times.values().map(|times| times - 1).sum::<usize>();
        self.disordered += received.windows(2).filter(|two| two[0] > two[1]).count();
    }

    pub fn check(&self, play: &str, least: usize) {
        println!("{play}: {self:?}");
        assert_eq!((self.lost, self.doubled, self.disordered), (0, 0, 0));
        assert!(self.accepted >= least, "too little was said to mean much");
    }
}
