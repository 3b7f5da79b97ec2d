//! Two domains under load, while the line between them is slow, cut or half-open and their servers
//! are killed at random moments. What was accepted arrives: once, and in order for each pair.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use comity_client::connection::{Connection, Inbound, Options};
use comity_client::stream::Login;
use comity_xmpp::element::Element;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, MessageType, Stanza};
use integration::Home;
use integration::link::{Link, Weather};
use integration::stage::{PASSWORD, Stage};
use tokio::task::JoinHandle;

/// People of each domain who write, each to somebody of the other.
const PAIRS: usize = 3;
/// Messages between two questions whether they were accepted.
const BURST: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(120);
/// After the last word, with fair weather, all is delivered within this.
const SETTLED: Duration = Duration::from_secs(10);
/// Writers pause between their bursts, so that readers have not too much to read.
const BREATH: Duration = Duration::from_millis(20);
/// A server that keeps its queue in storage needs no more memory for a longer queue.
const GROWTH: u64 = 96 << 20;

/// Enough randomness to hit different moments, and the same ones again with the same seed.
struct Dice(u64);

impl Dice {
    fn seeded() -> Self {
        let seed = std::env::var("COMITY_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(0xc4a0_5eed);
        println!("COMITY_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn steps(short: usize) -> usize {
    let long = std::env::var("COMITY_LONG").is_ok_and(|long| !long.is_empty());
    if long { short * 10 } else { short }
}

/// Two domains with a line of its own in each direction.
struct Theatre {
    stage: Stage,
    links: [Link; 2],
}

impl Theatre {
    async fn open(play: &str) -> Self {
        let domains = ["montague.example", "capulet.example"];
        // Nobody reads while they write.
        let extra = "[accounts]\noffline_messages = 1000000\n";
        let mut stage = Stage::set_with(play, &domains, extra);
        let mut links = Vec::new();
        for (here, there) in [(0, 1), (1, 0)] {
            let link = Link::to(stage.homes[there].s2s()).await.unwrap();
            stage.homes[here]
                .find_at(domains[there], link.address())
                .unwrap();
            links.push(link);
        }
        for home in &mut stage.homes {
            // Quick to come back, since the play is short.
            home.set_s2s("retry_first = \"100ms\"\nretry_most = \"1s\"\n")
                .unwrap();
            home.stop().unwrap();
            home.start().unwrap();
        }
        for home in &stage.homes {
            for n in 0..PAIRS {
                home.add_user(&format!("writer{n}"), PASSWORD).unwrap();
                home.add_user(&format!("reader{n}"), PASSWORD).unwrap();
            }
        }
        let links = links.try_into().ok().unwrap();
        Self { stage, links }
    }

    fn weather(&self, link: usize, weather: Weather) {
        self.links[link].set(weather);
    }

    /// Does something to a line for a while.
    async fn trouble(&self, dice: &mut Dice) {
        let link = usize::try_from(dice.below(2)).unwrap();
        let weather = match dice.below(3) {
            0 => Weather::Slow(Duration::from_millis(5 + dice.below(40))),
            1 => Weather::Cut,
            _ => Weather::HalfOpen,
        };
        self.weather(link, weather);
        pause(dice, 1000).await;
        self.weather(link, Weather::Fair);
    }

    fn broken(&self) -> usize {
        self.links.iter().map(Link::lost).sum()
    }
}

async fn pause(dice: &mut Dice, most: u64) {
    tokio::time::sleep(Duration::from_millis(100 + dice.below(most))).await;
}

fn options(home: &Home, local: &str) -> Options {
    Options {
        login: Login {
            account: BareJid::parse(&format!("{local}@{}", home.domain())).unwrap(),
            password: PASSWORD.to_owned(),
            resource: None,
        },
        endpoint: Some(home.c2s().into()),
        extra_roots: home.roots(),
        proxy: None,
    }
}

/// Somebody who writes 1, 2, 3 … to one other person, whatever happens to the server.
struct Writer {
    task: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    /// The highest number that was certainly accepted, for which all lower ones that were sent on
    /// the same session were too.
    accepted: Arc<std::sync::Mutex<Vec<u64>>>,
    sent: Arc<AtomicU64>,
}

impl Writer {
    fn start(options: Options, to: Jid) -> Self {
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
    async fn finish(self) -> (Vec<u64>, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        let accepted = std::mem::take(&mut *self.accepted.lock().unwrap());
        (accepted, self.sent.load(Ordering::Relaxed))
    }
}

async fn write(
    options: Options,
    to: Jid,
    stop: Arc<AtomicBool>,
    accepted: Arc<std::sync::Mutex<Vec<u64>>>,
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
            accepted.lock().unwrap().extend(first..=last);
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
async fn read(connection: &mut Connection, last: u64) -> Vec<u64> {
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

fn number(stanza: &Stanza) -> Option<u64> {
    if !matches!(stanza.kind, Kind::Message(MessageType::Chat)) {
        return None;
    }
    stanza.child(ns::CLIENT, "body")?.text().parse().ok()
}

async fn present(options: &Options) -> Connection {
    let connection = Connection::open(options).await.unwrap();
    let presence = Stanza::new(Kind::Presence(comity_xmpp::stanza::PresenceType::Available));
    assert!(connection.send(presence).await);
    connection
}

/// What has become of all messages.
#[derive(Default, Debug)]
struct Tally {
    sent: u64,
    accepted: usize,
    received: usize,
    lost: usize,
    doubled: usize,
    disordered: usize,
}

impl Tally {
    fn count(&mut self, accepted: &[u64], received: &[u64]) {
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

    fn check(&self, play: &str, least: usize) {
        println!("{play}: {self:?}");
        assert_eq!((self.lost, self.doubled, self.disordered), (0, 0, 0));
        assert!(self.accepted >= least, "too little was said to mean much");
    }
}

fn writers(theatre: &Theatre) -> Vec<(usize, usize, Writer)> {
    let mut writers = Vec::new();
    for (here, there) in [(0, 1), (1, 0)] {
        let homes = &theatre.stage.homes;
        for n in 0..PAIRS {
            let to = format!("reader{n}@{}", homes[there].domain());
            let options = options(&homes[here], &format!("writer{n}"));
            let writer = Writer::start(options, Jid::parse(&to).unwrap());
            writers.push((there, n, writer));
        }
    }
    writers
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_and_a_bad_line_lose_double_and_disorder_nothing() {
    let mut dice = Dice::seeded();
    let mut theatre = Theatre::open("chaos").await;
    let writers = writers(&theatre);
    let mut kills = 0;
    let mut highest = [0; 2];
    for _ in 0..steps(24) {
        pause(&mut dice, 600).await;
        if dice.below(2) == 0 {
            let home = usize::try_from(dice.below(2)).unwrap();
            let home = &mut theatre.stage.homes[home];
            kills += 1;
            home.kill().unwrap();
            home.start().unwrap();
        } else {
            theatre.trouble(&mut dice).await;
        }
        for (home, highest) in theatre.stage.homes.iter().zip(&mut highest) {
            *highest = home.resident().unwrap_or(0).max(*highest);
        }
    }
    println!(
        "{kills} kills, {} connections broken, at most {} and {} MiB in memory",
        theatre.broken(),
        highest[0] >> 20,
        highest[1] >> 20
    );
    let mut tally = Tally::default();
    let mut written = Vec::new();
    for (there, n, writer) in writers {
        written.push((there, n, writer.finish().await));
    }
    // What is on its way arrives before anybody is there to read it.
    tokio::time::sleep(SETTLED).await;
    for (there, n, (accepted, sent)) in written {
        let reader = options(&theatre.stage.homes[there], &format!("reader{n}"));
        let mut connection = present(&reader).await;
        let last = accepted.last().copied().unwrap_or(0);
        let received = read(&mut connection, last).await;
        tally.sent += sent;
        tally.count(&accepted, &received);
    }
    tally.check("kills and a bad line", 200);
    assert!(
        kills > 3 && theatre.broken() > 1,
        "hardly anything happened"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn people_who_are_there_read_everything_over_a_bad_line() {
    let mut dice = Dice::seeded();
    let theatre = Theatre::open("line").await;
    let writers = writers(&theatre);
    let mut readers = Vec::new();
    for (there, n, writer) in writers {
        let reader = options(&theatre.stage.homes[there], &format!("reader{n}"));
        let mut connection = present(&reader).await;
        let (told, mut last) = tokio::sync::watch::channel(None);
        let reading = tokio::spawn(async move {
            let mut received = Vec::new();
            let last = loop {
                tokio::select! {
                    inbound = connection.receive() => match inbound {
                        Inbound::Stanza(stanza) => received.extend(number(&stanza)),
                        Inbound::Closed(why) => panic!("a reader's stream ended: {why}"),
                    },
                    _ = last.changed() => break last.borrow().unwrap_or(0),
                }
            };
            if received.last().is_none_or(|number| *number < last) {
                received.extend(read(&mut connection, last).await);
            }
            received
        });
        readers.push((writer, told, reading));
    }
    for _ in 0..steps(12) {
        theatre.trouble(&mut dice).await;
        pause(&mut dice, 300).await;
    }
    let mut tally = Tally::default();
    for (writer, told, reading) in readers {
        let (accepted, sent) = writer.finish().await;
        told.send_replace(accepted.last().copied());
        tally.sent += sent;
        tally.count(&accepted, &reading.await.unwrap());
    }
    println!("{} connections broken", theatre.broken());
    tally.check("a bad line", 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_queue_costs_no_memory() {
    let theatre = Theatre::open("queue").await;
    let home = &theatre.stage.homes[0];
    theatre.weather(0, Weather::Cut);
    let to = Jid::parse("reader0@capulet.example").unwrap();
    let writer = Writer::start(options(home, "writer0"), to);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = home.resident().unwrap();
    tokio::time::sleep(Duration::from_secs(if steps(1) > 1 { 60 } else { 8 })).await;
    let after = home.resident().unwrap();
    let (accepted, sent) = writer.finish().await;
    println!(
        "{} waiting: {} MiB, then {} MiB",
        accepted.len(),
        before >> 20,
        after >> 20
    );
    assert!(after < before + GROWTH, "the queue is in memory");
    theatre.weather(0, Weather::Fair);
    let reader = options(&theatre.stage.homes[1], "reader0");
    let mut connection = present(&reader).await;
    let received = read(&mut connection, accepted.last().copied().unwrap_or(0)).await;
    let mut tally = Tally {
        sent,
        ..Tally::default()
    };
    tally.count(&accepted, &received);
    tally.check("a long queue", 300);
}
