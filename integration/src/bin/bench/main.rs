//! What the server's CPU buys: the same work done by this server, by Prosody and by ejabberd in
//! turn, on one machine in one run, and by a bare TLS relay as the bound. Absolute figures say
//! little; the ratios are what counts. `--short` only shows that the benches work.

mod apart;
mod chat;
mod claims;
mod client;
mod commits;
mod contender;
mod device;
mod fanout;
mod federation;
mod ground;
mod house;
mod large;
mod login;
mod offline;
mod process;
mod relay;
mod table;

use std::error::Error;
use std::time::Duration;

use clap::Parser;
use contender::{ACCOUNTS, Contender, Kind, Stage};
use table::{Figure, Table};

#[derive(Parser)]
#[command(about = "Work per second of server CPU: ours, Prosody's, ejabberd's, a bare relay's")]
struct Arguments {
    /// Moments instead of minutes: a check that the benches work, and none of speed.
    #[arg(long)]
    short: bool,
    /// Against Debian's Prosody and ejabberd too.
    #[arg(long)]
    peers: bool,
    /// Only these: relay, prosody, ejabberd, comity.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    on: Vec<Kind>,
    /// Only works whose names contain this.
    #[arg(long, default_value = "", value_name = "TEXT")]
    only: String,
    /// (used by the bench itself) Be the relay.
    #[arg(long, hide = true, num_args = 3, value_names = ["ADDRESS", "CHAIN", "KEY"])]
    relay: Option<Vec<String>>,
}

/// A work that takes longer has stalled.
const STALLED: Duration = Duration::from_secs(240);

/// How much of everything.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// How long each is measured, after half as long of warming up.
    window: Duration,
    /// How often; the median counts.
    rounds: usize,
    /// When those who have left are looked for.
    gone: Duration,
    /// Of the most connections a work asks for, which part.
    divisor: usize,
}

impl Extent {
    /// Of so many, as many as are wanted; one at least.
    fn of(self, many: usize) -> usize {
        (many / self.divisor).max(1)
    }

    /// For what there are many of.
    fn halved(self) -> Self {
        Self {
            window: self.window / 2,
            ..self
        }
    }
}

const LONG: Extent = Extent {
    window: Duration::from_secs(2),
    rounds: 3,
    gone: Duration::from_secs(20),
    divisor: 1,
};
const SHORT: Extent = Extent {
    window: Duration::from_millis(300),
    rounds: 1,
    gone: Duration::from_millis(300),
    divisor: 20,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if let Some(relay) = arguments.relay {
        return runtime.block_on(relay::serve(&relay[0], &relay[1], &relay[2]));
    }
    process::take_our_core()?;
    let extent = if arguments.short { SHORT } else { LONG };
    let kinds = arguments.kinds();
    let stage = Stage::set(ACCOUNTS / extent.divisor)?;
    let mut table = Table::new(&kinds);
    let bench = Bench {
        extent,
        only: arguments.only,
    };
    for &kind in &kinds {
        for archive in [false, true] {
            let works = bench.works(kind, archive);
            if works.is_empty() {
                continue;
            }
            let archiving = if archive { ", archiving" } else { "" };
            eprintln!("== {}{archiving}", kind.name());
            let contender = stage.start(kind, archive)?;
            runtime.block_on(bench.measure(&contender, &works, &mut table));
        }
    }
    for kind in kinds {
        bench.apart(kind, &mut table, &runtime);
    }
    table.compare();
    println!("{}", process::machine());
    println!("{table}");
    Ok(())
}

impl Arguments {
    fn kinds(&self) -> Vec<Kind> {
        let all = [Kind::Relay, Kind::Prosody, Kind::Ejabberd, Kind::Comity];
        let wanted = |kind: &Kind| match self.on.as_slice() {
            [] => self.peers || matches!(kind, Kind::Relay | Kind::Comity),
            on => on.contains(kind),
        };
        all.into_iter().filter(wanted).collect()
    }
}

/// One row of the table, or some that are measured together.
enum Work {
    Talk(&'static chat::Load, String),
    Login,
    Offline,
    Growth,
}

impl Work {
    fn name(&self) -> &str {
        match self {
            Self::Talk(_, name) => name,
            Self::Login => login::NAME,
            Self::Offline => offline::NAME,
            Self::Growth => chat::GROWTH[0],
        }
    }
}

struct Bench {
    extent: Extent,
    only: String,
}

impl Bench {
    /// What a contender can do; where everything is kept, what costs more then.
    fn works(&self, kind: Kind, archive: bool) -> Vec<Work> {
        let mut works: Vec<_> = chat::LOADS
            .iter()
            .map(|load| {
                let kept = if archive { ", archived" } else { "" };
                Work::Talk(load, format!("{}{kept}", load.name))
            })
            .collect();
        match (kind, archive) {
            (Kind::Relay, true) => works.clear(),
            (Kind::Relay, false) | (_, true) => {}
            (_, false) => works.extend([Work::Login, Work::Offline]),
        }
        if kind == Kind::Comity && !archive {
            works.push(Work::Growth);
        }
        works.retain(|work| self.wants(work.name()));
        works
    }

    fn wants(&self, name: &str) -> bool {
        name.contains(&self.only)
    }

    /// What fails or stalls is told, and is no number in the table.
    async fn measure(&self, contender: &Contender, works: &[Work], table: &mut Table) {
        for work in works {
            let measured = tokio::time::timeout(STALLED, self.work(contender, work, table));
            let failed = match measured.await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("not done within {} s", STALLED.as_secs()),
            };
            eprintln!("{}: {}: {failed}", contender.kind.name(), work.name());
        }
    }

    async fn work(
        &self,
        contender: &Contender,
        work: &Work,
        table: &mut Table,
    ) -> Result<(), Box<dyn Error>> {
        let kind = contender.kind;
        match work {
            Work::Talk(load, name) => {
                let outcome = chat::run(contender, load, self.extent).await?;
                talked(table, name, kind, &outcome);
            }
            Work::Login => {
                let outcome = login::run(contender, self.extent).await?;
                table.set(login::NAME, kind, Figure::Time(outcome.cpu));
                table.set(login::MEMORY, kind, Figure::Memory(outcome.memory));
                table.set(login::LEFT, kind, Figure::Memory(outcome.left));
                if kind == Kind::Comity {
                    let most = Figure::Memory(outcome.memory / 4);
                    table.judge(login::LEFT, most, "a quarter, ");
                }
            }
            Work::Offline => {
                let stored = offline::run(contender, self.extent).await?;
                table.set(offline::NAME, kind, Figure::Rate(stored));
            }
            Work::Growth => {
                let (rates, memory) = chat::growth(contender, self.extent).await?;
                for (name, rate) in chat::GROWTH.into_iter().zip(rates) {
                    table.set(name, kind, Figure::Rate(rate));
                }
                let flat = Figure::Rate(0.9 * rates[0]);
                table.judge(chat::GROWTH[1], flat, "nine tenths, ");
                table.set(login::AMONG_MANY, kind, Figure::Memory(memory));
                table.judge(login::AMONG_MANY, login::WANTED, "");
            }
        }
        Ok(())
    }
}

fn talked(table: &mut Table, name: &str, kind: Kind, outcome: &chat::Outcome) {
    table.set(name, kind, Figure::Rate(outcome.per_cpu_second));
    table.set(&format!("{name}, p50"), kind, Figure::Time(outcome.p50));
    table.set(&format!("{name}, p99"), kind, Figure::Time(outcome.p99));
    let share = Figure::Share(outcome.busy);
    table.set(&format!("{name}, core used"), kind, share);
}
