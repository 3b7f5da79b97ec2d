//! What the server's CPU buys: the same work done by this server, by Prosody and by ejabberd in
//! turn, on one machine in one run, and by a bare TLS relay as the bound. Absolute figures say
//! little; the ratios are what counts. `--short` only shows that the benches work.

mod chat;
mod client;
mod contender;
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
    /// (used by the bench itself) Be the relay.
    #[arg(long, hide = true, num_args = 3, value_names = ["ADDRESS", "CHAIN", "KEY"])]
    relay: Option<Vec<String>>,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// How long each is measured, after as long again of warming up.
    window: Duration,
    /// How often; the median counts.
    rounds: usize,
    /// Of the most connections a work asks for, which part.
    divisor: usize,
}

const LONG: Extent = Extent {
    window: Duration::from_secs(5),
    rounds: 3,
    divisor: 1,
};
const SHORT: Extent = Extent {
    window: Duration::from_millis(300),
    rounds: 1,
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
    let mut kinds = vec![Kind::Relay];
    if arguments.peers {
        kinds.extend([Kind::Prosody, Kind::Ejabberd]);
    }
    kinds.push(Kind::Comity);
    let stage = Stage::set(ACCOUNTS / extent.divisor)?;
    let mut table = Table::new(&kinds);
    for kind in kinds {
        eprintln!("== {}", kind.name());
        let contender = stage.start(kind, false)?;
        runtime.block_on(measure(&contender, extent, &mut table))?;
        drop(contender);
        if kind != Kind::Relay {
            eprintln!("== {}, archiving", kind.name());
            let contender = stage.start(kind, true)?;
            runtime.block_on(measure_archiving(&contender, extent, &mut table))?;
        }
    }
    println!("{}", process::machine());
    println!("{table}");
    Ok(())
}

/// Everything that a contender can do.
async fn measure(
    contender: &Contender,
    extent: Extent,
    table: &mut Table,
) -> Result<(), Box<dyn Error>> {
    for load in chat::LOADS {
        talk(contender, load, load.name, extent, table).await?;
    }
    if contender.kind == Kind::Relay {
        return Ok(());
    }
    let outcome = login::run(contender, extent).await?;
    table.set(
        "server CPU of a login",
        contender.kind,
        Figure::Time(outcome.cpu),
    );
    table.set(
        "memory of an idle session",
        contender.kind,
        Figure::Memory(outcome.memory),
    );
    let stored = offline::run(contender, extent).await?;
    table.set(
        "offline messages stored",
        contender.kind,
        Figure::Rate(stored),
    );
    Ok(())
}

/// What costs more when every message is kept.
async fn measure_archiving(
    contender: &Contender,
    extent: Extent,
    table: &mut Table,
) -> Result<(), Box<dyn Error>> {
    for load in chat::LOADS {
        let name = format!("{}, archived", load.name);
        talk(contender, load, &name, extent, table).await?;
    }
    Ok(())
}

async fn talk(
    contender: &Contender,
    load: &chat::Load,
    name: &str,
    extent: Extent,
    table: &mut Table,
) -> Result<(), Box<dyn Error>> {
    let outcome = chat::run(contender, load, extent).await?;
    let kind = contender.kind;
    table.set(name, kind, Figure::Rate(outcome.per_cpu_second));
    table.set(&format!("{name}, p50"), kind, Figure::Time(outcome.p50));
    table.set(&format!("{name}, p99"), kind, Figure::Time(outcome.p99));
    table.set(
        &format!("{name}, core used"),
        kind,
        Figure::Share(outcome.busy),
    );
    Ok(())
}
