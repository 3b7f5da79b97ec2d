//! What this process takes of the machine, as Linux tells it. Nothing elsewhere.

use std::fs;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Octets in memory.
    pub(crate) memory: u64,
    /// Milliseconds of processor time, since its start.
    pub(crate) cpu_ms: u64,
    pub(crate) open_files: u64,
}

/// The ticks of `/proc/PID/stat` are hundredths of a second, on every Linux.
const TICK_MS: u64 = 10;

impl Usage {
    pub(crate) fn now() -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}"));
        let files = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self {
            memory: read("status").ok().and_then(|s| memory(&s)).unwrap_or(0),
            cpu_ms: read("stat").ok().and_then(|s| cpu_ms(&s)).unwrap_or(0),
            open_files: u64::try_from(files).unwrap_or(0),
        }
    }
}

fn memory(status: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// proc(5): fields 14 and 15; the second, the name, may hold spaces and ends with a parenthesis.
fn cpu_ms(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * TICK_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        assert_eq!(
            memory("Name:\tx\nVmRSS:\t   2048 kB\n"),
            Some(2 * 1024 * 1024)
        );
        let stat = "1 (a (b) c) S 1 1 1 0 -1 4194560 7 0 0 0 150 50 0 0 20 0 9 0 1 1 1";
        assert_eq!(cpu_ms(stat), Some(2_000));
        assert_eq!(memory(""), None);
        assert_eq!(cpu_ms("1 (x"), None);
    }

    #[test]
    fn this_process_takes_something() {
        let usage = Usage::now();
        assert!(usage.memory > 0 && usage.open_files > 0, "{usage:?}");
    }
}
