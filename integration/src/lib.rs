//! Whole servers and real people for plays: [`Home`] is a domain whose built binary is started,
//! killed and started again; [`binary`] finds what the workspace has built.
//!
//! Plays run in a network namespace of their own; each test process takes loopback addresses that
//! no other has, so that every home listens on the standard ports.

pub mod certificates;
pub mod clock;
pub mod comity;
pub mod crowd;
pub mod dns;
pub mod home;
pub mod link;
pub mod network;
pub mod ordinary;
pub mod page;
pub mod pebble;
pub mod peers;
pub mod person;
pub mod raw;
pub mod secrecy;
pub mod stage;
pub mod teller;
pub mod traffic;
pub mod wire;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};

pub use home::{Home, Options};

/// A program that the workspace has built, beside the running one.
///
/// # Panics
/// When it is not there: the workspace has to be built first, as `integration/run` does.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its program");
    let mut folder = own.parent().expect("a program lies in a folder").to_owned();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is missing: run cargo build --workspace",
        path.display()
    );
    path
}

/// Where `integration/lib.sh` keeps what it installs for the plays.
#[must_use]
pub fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let cache = std::env::var_os("COMITY_CACHE").map(PathBuf::from);
    cache.unwrap_or_else(|| home().join(".cache/comity"))
}

/// A Python with the client libraries that plays drive.
#[must_use]
pub fn python() -> PathBuf {
    cache().join("venv/bin/python")
}

/// A program that drives somebody else's client for a play.
#[must_use]
pub fn peer(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "peers", name].iter().collect()
}

/// A loopback address for the `n`-th home of this process. Tests run as processes of their own, so
/// the process id tells them apart.
#[must_use]
pub fn address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(
        127,
        1 + high % 200,
        low,
        NEXT.fetch_add(1, Ordering::Relaxed),
    )
}
