//! What it costs to log in, and to be logged in and silent.

use std::error::Error;
use std::time::Duration;

use crate::Extent;
use crate::client::Client;
use crate::contender::{ACCOUNTS, Contender};
use crate::table::Figure;

pub(crate) const NAME: &str = "server CPU of a login";
const SESSIONS: usize = 2000;
pub(crate) const MEMORY: &str = "memory of an idle session";
pub(crate) const LEFT: &str = "the same, when they have left";
/// Where growth is measured.
pub(crate) const AMONG_MANY: &str = "memory of an idle session, 9,900 of them";
/// What such a one may take.
pub(crate) const WANTED: Figure = Figure::Memory(16 << 10);
/// A server's memory settles for so long before it is read.
pub(crate) const SETTLED: Duration = Duration::from_secs(2);

pub(crate) struct Outcome {
    /// Of the server, for one login.
    pub(crate) cpu: Duration,
    /// Octets for one session.
    pub(crate) memory: u64,
    /// What of that is still held when they have been gone for a while.
    pub(crate) left: u64,
}

/// TLS 1.3, SCRAM, bind, presence; one after another, and all stay.
pub(crate) async fn run(contender: &Contender, extent: Extent) -> Result<Outcome, Box<dyn Error>> {
    let sessions = SESSIONS / extent.divisor;
    let accounts = ACCOUNTS / extent.divisor;
    let (cpu, memory) = (contender.cpu()?, contender.memory()?);
    let there = idle(contender, sessions, accounts).await?;
    let cpu = contender.cpu()? - cpu;
    tokio::time::sleep(SETTLED).await;
    let memory = contender.memory()?.saturating_sub(memory);
    let each = |memory: u64| memory / sessions as u64;
    let before = contender.memory()?.saturating_sub(memory);
    drop(there);
    tokio::time::sleep(extent.gone).await;
    let left = contender.memory()?.saturating_sub(before);
    Ok(Outcome {
        cpu: cpu / u32::try_from(sessions)?,
        memory: each(memory),
        left: each(left),
    })
}

/// Sessions that stay and say nothing.
pub(crate) async fn idle(
    contender: &Contender,
    sessions: usize,
    accounts: usize,
) -> Result<Vec<Client>, Box<dyn Error>> {
    let mut there = Vec::with_capacity(sessions);
    for n in 0..sessions {
        let resource = format!("idle{}", n / accounts);
        there.push(Client::login(contender, n % accounts, &resource).await?);
    }
    Ok(there)
}
