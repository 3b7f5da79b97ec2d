//! Telling a service manager how we are: the protocol of `sd_notify(3)`, one datagram a word. Where
//! nobody asks for it (no `NOTIFY_SOCKET`), nothing is said.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use comity_net::stop::Stop;
use tokio::time::{MissedTickBehavior, interval};

/// Whom to tell. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Manager {
    address: Option<SocketAddr>,
    /// It wants to hear of us this often, or ends us.
    watchdog: Option<Duration>,
}

impl Manager {
    /// As the environment says it.
    #[must_use]
    pub fn of_environment() -> Self {
        let var = |name| std::env::var(name).ok();
        let own = std::process::id().to_string();
        // Meant for another process, whose environment we have inherited.
        let other = var("WATCHDOG_PID").is_some_and(|process| process != own);
        let micros = var("WATCHDOG_USEC").and_then(|micros| micros.parse().ok());
        let asked = micros.filter(|micros: &u64| *micros > 0 && !other);
        Self {
            address: var("NOTIFY_SOCKET").and_then(|name| address(&name)),
            watchdog: asked.map(Duration::from_micros),
        }
    }

    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// systemd wants to know when, by the clock that never goes back.
    pub fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_us()));
    }

    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=closing streams");
    }

    /// Shows that the runtime is alive, until the end: tasks that hang would keep this one from its
    /// turn. Half the time that was asked for, as systemd recommends.
    pub async fn keep_watch(self, mut stop: Stop) {
        let Some(watchdog) = self.watchdog else {
            return;
        };
        let mut ticks = interval(watchdog / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.tell("WATCHDOG=1"),
                () = stop.wait() => return,
            }
        }
    }

    fn tell(&self, words: &str) {
        let Some(address) = &self.address else {
            return;
        };
        if let Err(error) = send(address, words) {
            tracing::debug!(%error, words, "the service manager does not hear");
        }
    }
}

fn send(address: &SocketAddr, words: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not stop us.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(words.as_bytes(), address).map(drop)
}

/// A path, or with `@` in front a name of Linux' abstract sockets.
fn address(name: &str) -> Option<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None if name.starts_with('/') => SocketAddr::from_pathname(name).ok(),
        None => None,
    }
}

fn monotonic_us() -> i64 {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |now| now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000)
}

#[cfg(test)]
mod tests {
    use comity_net::stop;

    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    #[tokio::test]
    async fn a_manager_is_told_in_its_own_words() {
        let name = format!("comity-notify-{}", std::process::id());
        let at = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&at).unwrap();
        let manager = Manager {
            address: address(&format!("@{name}")),
            watchdog: Some(Duration::from_millis(10)),
        };
        manager.ready("serving a.example");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=serving a.example");
        manager.reloading();
        let reloading = heard(&socket);
        let micros = reloading
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .unwrap();
        assert!(micros.parse::<u64>().unwrap() > 0);
        manager.stopping();
        assert!(heard(&socket).starts_with("STOPPING=1\n"));
        let (stopper, stop) = stop::channel();
        let watch = tokio::spawn(manager.keep_watch(stop));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(stopper.stop(Duration::from_secs(5)).await);
        watch.await.unwrap();
        assert_eq!(heard(&socket), "WATCHDOG=1");
    }

    #[test]
    fn where_nobody_asks_nothing_is_said() {
        Manager::default().ready("x");
        assert!(address("relative").is_none());
        assert!(address("").is_none());
    }
}
