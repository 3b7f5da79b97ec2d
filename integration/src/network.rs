//! A play's own network: a namespace in which nothing is but what the play puts there, with public
//! addresses, standard ports and a name server that everything in it asks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::sched::{CloneFlags, unshare};

use crate::dns::Dns;

/// The name server. All addresses of plays are from the blocks for documentation (RFC 5737,
/// RFC 3849): as public as any to the programs, and nobody's.
pub(crate) const DNS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);

/// Where a party of the play is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

/// The network of one play, and its folder, which goes when the play has succeeded.
pub struct Network {
    pub dns: Dns,
    folder: PathBuf,
    next: AtomicU8,
}

/// Plays a story in a network of its own.
///
/// # Panics
/// When the story does, or when the network cannot be made: that takes root.
pub fn play<S>(name: &str, story: S)
where
    S: AsyncFnOnce(&Network) + Send + 'static,
{
    let name = name.to_owned();
    // Namespaces belong to a thread, and those it starts, programs included, inherit them.
    let stage = std::thread::spawn(move || {
        let folder = std::env::temp_dir().join(format!("comity-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        separate(&folder).expect("a network namespace can be made: run as root");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async {
            let dns = Dns::start(DNS.into()).await.expect("the DNS starts");
            let network = Network {
                dns,
                folder,
                next: AtomicU8::new(1),
            };
            story(&network).await;
        });
    });
    if let Err(panic) = stage.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Gives this thread, and what it starts, a network with loopback alone, and mounts of its own.
///
/// # Errors
/// It takes root.
pub fn alone() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    run("mount", &["--make-rprivate", "/"])?;
    run("ip", &["link", "set", "lo", "up"])
}

/// Leaves the network and the mounts of the process for new ones, in this thread.
fn separate(folder: &Path) -> io::Result<()> {
    alone()?;
    run("ip", &["address", "add", &format!("{DNS}/32"), "dev", "lo"])?;
    let files = [
        ("resolv.conf", format!("nameserver {DNS}\n")),
        ("hosts", "127.0.0.1 localhost\n".to_owned()),
        ("nsswitch.conf", "hosts: files dns\n".to_owned()),
    ];
    for (name, text) in files {
        let ours = folder.join(name);
        let theirs = Path::new("/etc").join(name);
        std::fs::write(&ours, text)?;
        if !theirs.exists() {
            std::fs::write(&theirs, "")?;
        }
        run(
            "mount",
            &["--bind", &ours.to_string_lossy(), &theirs.to_string_lossy()],
        )?;
    }
    Ok(())
}

fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!(
        "{program} {}: {said}",
        arguments.join(" ")
    )))
}

impl Network {
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Addresses that nobody has yet.
    ///
    /// # Panics
    /// When the system refuses them.
    pub fn place(&self) -> Place {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        assert!(n < DNS.octets()[3], "a play has fewer parties");
        let place = Place {
            v4: Ipv4Addr::new(192, 0, 2, n),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()),
        };
        self.assign(place.v4.into());
        self.assign(place.v6.into());
        place
    }

    /// Makes an address one of this machine's.
    ///
    /// # Panics
    /// When the system refuses it.
    pub fn assign(&self, address: IpAddr) {
        let (with_length, more): (_, &[&str]) = match address {
            IpAddr::V4(address) => (format!("{address}/32"), &[]),
            // Nobody else could have it, so it need not be asked for.
            IpAddr::V6(address) => (format!("{address}/128"), &["nodad"]),
        };
        let arguments = [&["address", "add", &with_length, "dev", "lo"], more].concat();
        run("ip", &arguments).expect("an address can be added");
    }

    /// Runs a program of the system in this network.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn run(&self, program: &str, arguments: &[&str]) -> io::Result<()> {
        run(program, arguments)
    }

    /// The address records of a host.
    pub async fn host(&self, name: &str, place: Place) {
        self.dns.host(name, place.v4.into()).await;
        self.dns.host(name, place.v6.into()).await;
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what the servers wrote is in {}", self.folder.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
