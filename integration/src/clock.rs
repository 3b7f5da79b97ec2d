//! A clock that the play moves, for its clients and for the servers it starts: libfaketime
//! (Debian's package `faketime`) answers in place of the system's.
//!
//! Only the time of day moves. Timers go on in real time, so a server does at its start what it
//! does every hour: a play that lets a day pass starts its servers again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where the moved process finds its folder.
const MOVED: &str = "COMITY_PLAY_CLOCK";
/// Where libfaketime reads how far the clock is ahead: at each look, so that nobody is behind.
const FILE: &str = "FAKETIME_TIMESTAMP_FILE";

/// The time of day of a play.
pub struct Clock {
    file: PathBuf,
    ahead: AtomicU64,
}

/// Plays a story in a process of its own whose clock the story moves. `test` is the full name of
/// the test that calls this.
///
/// # Panics
/// When the story does, or when libfaketime is not installed.
pub fn play<S>(test: &str, story: S)
where
    S: AsyncFnOnce(&Clock),
{
    match std::env::var_os(MOVED) {
        Some(folder) => tell(Path::new(&folder), story),
        None => in_another_process(test),
    }
}

fn in_another_process(test: &str) {
    let name = test.rsplit(':').next().unwrap_or(test);
    let name = format!("comity-clock-{name}-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let file = folder.join("ahead");
    set(&file, 0);
    let status = Command::new(std::env::current_exe().expect("a process knows its program"))
        .args([test, "--exact", "--nocapture"])
        .env(MOVED, &folder)
        .env("LD_PRELOAD", library())
        .env(FILE, &file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        // Certificates are read again when their files change, by the files' own times.
        .env("NO_FAKE_STAT", "1")
        .status()
        .expect("a program can start itself");
    // Nobody tells a story that no test is called after.
    let told = told(&folder).exists();
    let _ = std::fs::remove_dir_all(&folder);
    assert!(status.success(), "the play failed: see above");
    assert!(told, "no test is called {test}");
}

fn tell<S: AsyncFnOnce(&Clock)>(folder: &Path, story: S) {
    let file = folder.join("ahead");
    let clock = Clock {
        file,
        ahead: AtomicU64::new(0),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(story(&clock));
    std::fs::write(told(folder), "").expect("the folder can be written to");
}

fn told(folder: &Path) -> PathBuf {
    folder.join("told")
}

/// # Panics
/// When it is not installed.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("there are libraries");
    let found = folders
        .flatten()
        .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.exists());
    found.expect("libfaketime is installed: apt-get install faketime")
}

/// In one step, so that nobody reads half of it.
fn set(file: &Path, seconds: u64) {
    let new = file.with_extension("new");
    std::fs::write(&new, format!("+{seconds}\n")).expect("the folder can be written to");
    std::fs::rename(&new, file).expect("a file can be replaced");
}

impl Clock {
    /// Time passes, for everybody at once.
    ///
    /// # Panics
    /// When the clock's file cannot be written.
    pub fn forward(&self, by: Duration) {
        let ahead = self.ahead.fetch_add(by.as_secs(), Ordering::Relaxed) + by.as_secs();
        set(&self.file, ahead);
    }

    /// Somebody puts the clock back, though not further than to the truth.
    ///
    /// # Panics
    /// When it would be further, or when the clock's file cannot be written.
    pub fn back(&self, by: Duration) {
        let before = self.ahead.fetch_sub(by.as_secs(), Ordering::Relaxed);
        let ahead = before.checked_sub(by.as_secs());
        set(&self.file, ahead.expect("not further than to the truth"));
    }
}
