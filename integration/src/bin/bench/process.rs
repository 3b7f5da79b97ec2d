//! What a process has used, from /proc; and which core it runs on.

use std::io;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Linux tells times to programs in hundredths of a second (proc(5), `USER_HZ`).
const TICK: Duration = Duration::from_millis(10);
const SERVER_CORE: usize = 0;
const OUR_CORE: usize = 1;

/// The generator has a core of its own, so that it does not take the server's.
pub(crate) fn take_our_core() -> io::Result<()> {
    move_to(OUR_CORE)
}

/// Starts a server, with all its threads, on the servers' core.
pub(crate) fn on_server_core<R>(start: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
    move_to(SERVER_CORE)?;
    let started = start();
    move_to(OUR_CORE)?;
    started
}

/// Octets this process has had written to disks (proc(5), io).
pub(crate) fn written() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/io")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes:"));
    line.and_then(|line| line.trim().parse().ok())
        .ok_or_else(|| io::Error::other("/proc has another format"))
}

/// Runs on one of the cores, with all threads that begin here: to make ready, while no server runs.
pub(crate) fn on_core_of<R>(n: usize, work: impl FnOnce() -> R) -> io::Result<R> {
    move_to(n % cores().max(1))?;
    Ok(work())
}

fn move_to(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core.min(cores().saturating_sub(1)))?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

fn cores() -> usize {
    of_machine("processor").count()
}

/// What the figures were taken on.
pub(crate) fn machine() -> String {
    let model = of_machine("model name").next().unwrap_or_default();
    format!(
        "{model}, {} cores; the server on one, the generator on another",
        cores()
    )
}

fn of_machine(key: &str) -> impl Iterator<Item = String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let values: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim().to_owned())
        .collect();
    values.into_iter()
}

/// The CPU a process has used, in the kernel and out of it, in all its threads (proc(5), stat).
pub(crate) fn cpu(process: u32) -> io::Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The program's name may hold anything; what comes after its last bracket is numbers.
    let numbers = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = numbers.split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<u32>().ok());
    match (ticks(), ticks()) {
        (Some(user), Some(system)) => Ok(TICK * (user + system)),
        _ => Err(io::Error::other("/proc has another format")),
    }
}

/// The memory it has, in octets.
pub(crate) fn memory(process: u32) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map(|kib| kib << 10)
        .ok_or_else(|| io::Error::other("/proc has another format"))
}
