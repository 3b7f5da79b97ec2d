//! Pairs who chat: each answers at once, or all write at an even pace.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::Extent;
use crate::client::{self, Client, Counter};
use crate::contender::{ACCOUNTS, Contender};
use crate::login;

pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) pairs: usize,
    pub(crate) pace: Pace,
}

#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// So many messages of each pair are always on their way.
    InFlight(usize),
    /// So many a second, of all together, whatever happens to them.
    Offered(u32),
}

pub(crate) const LOADS: &[Load] = &[
    Load {
        name: "chat, 200 pairs, 1 in flight",
        pairs: 200,
        pace: Pace::InFlight(1),
    },
    Load {
        name: "chat, 50 pairs, 8 in flight",
        pairs: 50,
        pace: Pace::InFlight(8),
    },
    Load {
        name: "chat, 50 pairs, 1,000/s offered",
        pairs: 50,
        pace: Pace::Offered(1000),
    },
];

/// The same few talk, first alone and then among thousands.
pub(crate) const GROWTH: [&str; 2] = [
    "talk of 50 pairs, 100 people online",
    "talk of 50 pairs, 10,000 people online",
];
const ALONE: Load = Load {
    name: GROWTH[0],
    pairs: 50,
    pace: Pace::InFlight(1),
};
const OTHERS: usize = 9_900;

/// Of one load; the medians of all rounds.
pub(crate) struct Outcome {
    pub(crate) per_cpu_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Of the server's core: near 1, the server was the limit; else the generator.
    pub(crate) busy: f64,
}

/// What all pairs tell.
#[derive(Default)]
struct Tally {
    measuring: AtomicBool,
    delivered: AtomicU64,
    delays: Mutex<Vec<Duration>>,
}

/// When each message of one direction was sent that has not come.
type Sent = Arc<Mutex<VecDeque<Instant>>>;

pub(crate) async fn run(
    contender: &Contender,
    load: &Load,
    extent: Extent,
) -> Result<Outcome, Box<dyn Error>> {
    // All log in before any talks: the slow would have the others wait.
    let mut pairs = Vec::new();
    for n in 0..(load.pairs / extent.divisor).max(1) {
        pairs.push(client::pair(contender, n).await?);
    }
    talk(pairs, load.pace, extent, &|| contender.cpu()).await
}

/// Two that are logged in, each with what it says to the other.
pub(crate) type Pair = [(Client, String); 2];

/// Pairs talk; `cpu` is what their servers have used.
pub(crate) async fn talk(
    pairs: Vec<Pair>,
    pace: Pace,
    extent: Extent,
    cpu: &dyn Fn() -> io::Result<Duration>,
) -> Result<Outcome, Box<dyn Error>> {
    let tally = Arc::new(Tally::default());
    let mut tasks = tokio::task::JoinSet::new();
    let ends = u32::try_from(2 * pairs.len()).unwrap_or(u32::MAX);
    for [one, other] in pairs {
        let (there, back) = (Sent::default(), Sent::default());
        for ((client, message), sent, awaited) in [(one, &there, &back), (other, &back, &there)] {
            let (read, write) = tokio::io::split(client.into_stream());
            let talk = Talk {
                read,
                write,
                message,
                sent: Arc::clone(sent),
                awaited: Arc::clone(awaited),
                tally: Arc::clone(&tally),
            };
            match pace {
                Pace::InFlight(most) => tasks.spawn(talk.answer(most)),
                Pace::Offered(all) => {
                    tasks.spawn(talk.at_pace(Duration::from_secs(1) * ends / all))
                }
            };
        }
    }
    let mut rounds = Vec::new();
    for _ in 0..extent.rounds {
        tokio::time::sleep(extent.window / 2).await;
        rounds.push(round(cpu, &tally, extent.window).await?);
    }
    if let Some(ended) = tasks.try_join_next() {
        return Err(format!("a client ended before the bench: {ended:?}").into());
    }
    tasks.shutdown().await;
    rounds.sort_by(|a, b| a.per_cpu_second.total_cmp(&b.per_cpu_second));
    let middle = rounds.len() / 2;
    rounds
        .into_iter()
        .nth(middle)
        .ok_or_else(|| "no round".into())
}

/// Delivered for each second of the server's CPU, alone and among thousands; and the memory of one
/// of these.
pub(crate) async fn growth(
    contender: &Contender,
    extent: Extent,
) -> Result<([f64; 2], u64), Box<dyn Error>> {
    let alone = run(contender, &ALONE, extent).await?;
    let accounts = ACCOUNTS / extent.divisor;
    let (sessions, memory) = (OTHERS / extent.divisor, contender.memory()?);
    let others = login::idle(contender, sessions, accounts).await?;
    tokio::time::sleep(login::SETTLED.min(extent.window)).await;
    let memory = contender.memory()?.saturating_sub(memory) / sessions as u64;
    let among = run(contender, &ALONE, extent).await?;
    drop(others);
    Ok(([alone.per_cpu_second, among.per_cpu_second], memory))
}

async fn round(
    used: &dyn Fn() -> io::Result<Duration>,
    tally: &Tally,
    window: Duration,
) -> Result<Outcome, Box<dyn Error>> {
    tally.delays().clear();
    let (cpu, delivered) = (used()?, tally.delivered.load(Ordering::Relaxed));
    tally.measuring.store(true, Ordering::Relaxed);
    let started = Instant::now();
    tokio::time::sleep(window).await;
    let wall = started.elapsed();
    let (cpu, delivered) = (
        used()? - cpu,
        tally.delivered.load(Ordering::Relaxed) - delivered,
    );
    tally.measuring.store(false, Ordering::Relaxed);
    if delivered == 0 {
        return Err("nothing was delivered".into());
    }
    let mut delays = std::mem::take(&mut *tally.delays());
    delays.sort_unstable();
    let at = |part: usize| delays.get(delays.len() * part / 100).copied();
    Ok(Outcome {
        per_cpu_second: delivered as f64 / cpu.as_secs_f64().max(0.01),
        p50: at(50).unwrap_or_default(),
        p99: at(99).unwrap_or_default(),
        busy: cpu.as_secs_f64() / wall.as_secs_f64(),
    })
}

impl Tally {
    fn delays(&self) -> std::sync::MutexGuard<'_, Vec<Duration>> {
        self.delays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrived(&self, awaited: &Sent, count: usize) {
        self.delivered.fetch_add(count as u64, Ordering::Relaxed);
        let mut awaited = awaited.lock().unwrap_or_else(PoisonError::into_inner);
        let sent: Vec<_> = (0..count).filter_map(|_| awaited.pop_front()).collect();
        if self.measuring.load(Ordering::Relaxed) {
            self.delays().extend(sent.iter().map(Instant::elapsed));
        }
    }
}

/// One end of a pair.
struct Talk {
    read: ReadHalf<TlsStream<TcpStream>>,
    write: WriteHalf<TlsStream<TcpStream>>,
    message: String,
    sent: Sent,
    awaited: Sent,
    tally: Arc<Tally>,
}

impl Talk {
    /// Answers each message with one. Both ends begin with half of what is to be on its way.
    async fn answer(mut self, most: usize) -> std::io::Result<()> {
        let mut counter = Counter::of_messages();
        let mut octets = vec![0; 16 << 10];
        // With one on its way, only one of the two begins.
        let first = most.div_ceil(2);
        self.say(if most > 1 || self.begins() { first } else { 0 })
            .await?;
        loop {
            let read = self.read.read(&mut octets).await?;
            if read == 0 {
                return Ok(());
            }
            let count = counter.count(&octets[..read]);
            if count > 0 {
                self.tally.arrived(&self.awaited, count);
                self.say(count).await?;
            }
        }
    }

    /// The lower account of a pair.
    fn begins(&self) -> bool {
        Arc::as_ptr(&self.sent) < Arc::as_ptr(&self.awaited)
    }

    async fn at_pace(mut self, pause: Duration) -> std::io::Result<()> {
        let mut counter = Counter::of_messages();
        let mut octets = vec![0; 16 << 10];
        let mut pace = tokio::time::interval(pause);
        loop {
            tokio::select! {
                _ = pace.tick() => self.say(1).await?,
                read = self.read.read(&mut octets) => {
                    let read = read?;
                    if read == 0 {
                        return Ok(());
                    }
                    self.tally.arrived(&self.awaited, counter.count(&octets[..read]));
                }
            }
        }
    }

    async fn say(&mut self, count: usize) -> std::io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let now = Instant::now();
        self.sent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(std::iter::repeat_n(now, count));
        self.write
            .write_all(self.message.repeat(count).as_bytes())
            .await?;
        self.write.flush().await
    }
}
