//! Other people's servers, as Debian packages them, started with a configuration the play writes.

pub mod ejabberd;
pub mod prosody;

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::certificates::Files;
use crate::network::Place;

pub use ejabberd::Ejabberd;
pub use prosody::Prosody;

/// How long a peer may take to its first open port; ejabberd compiles nothing, but loads much.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What every peer has to be told.
#[derive(Clone, Debug)]
pub struct Options {
    pub domain: String,
    pub place: Place,
    pub certificate: Files,
    /// Whom it believes.
    pub authority: PathBuf,
    /// Takes those who prove themselves by dialback alone (XEP-0220), and offers that to others.
    pub dialback: bool,
    /// Says only what goes wrong: for a bench.
    pub quiet: bool,
    /// Keeps everybody's messages (XEP-0313).
    pub archive: bool,
}

/// Somebody else's server.
pub trait Peer {
    fn options(&self) -> &Options;

    /// Makes an account.
    ///
    /// # Errors
    /// Why it could not.
    fn add_user(&self, local: &str, password: &str) -> io::Result<()>;

    /// SIGKILL.
    fn kill(&mut self);

    /// Starts it again after that.
    ///
    /// # Errors
    /// Why it could not.
    fn start(&mut self) -> io::Result<()>;

    fn log(&self) -> PathBuf;

    fn domain(&self) -> &str {
        &self.options().domain
    }

    fn c2s(&self) -> SocketAddr {
        (self.options().place.v4, 5222).into()
    }
}

/// Runs a program until it listens wherever it should.
pub(crate) fn start(command: &mut Command, log: &Path, open: &[SocketAddr]) -> io::Result<Child> {
    let output = File::options().create(true).append(true).open(log)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()?;
    let started = Instant::now();
    loop {
        let second = Duration::from_secs(1);
        let listens = |address| TcpStream::connect_timeout(address, second).is_ok();
        if open.iter().all(listens) {
            return Ok(child);
        }
        let why = match child.try_wait()? {
            Some(status) => format!("ended at its start, {status}"),
            None if started.elapsed() > START_LIMIT => "does not open its port".to_owned(),
            None => {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        let _ = child.kill();
        let _ = child.wait();
        let said = std::fs::read_to_string(log).unwrap_or_default();
        return Err(io::Error::other(format!("a peer {why}; it says: {said}")));
    }
}

/// SIGKILL, at the end of a play or in it.
pub(crate) fn kill(process: &mut Option<Child>) {
    if let Some(mut process) = process.take() {
        let _ = process.kill();
        let _ = process.wait();
    }
}
