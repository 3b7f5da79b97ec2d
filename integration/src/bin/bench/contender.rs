//! Who does the work: each server started alone, on loopback, with a configuration that leaves out
//! what the bench does not ask of it.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use integration::certificates::{Authority, Files, Shape};
use integration::network::Place;
use integration::peers::{self, Ejabberd, Peer, Prosody};
use integration::{Home, home};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::client::Door;
use crate::process;

pub(crate) const DOMAIN: &str = "bench.example";
/// How many people there are, where nothing divides them.
pub(crate) const ACCOUNTS: usize = 400;
pub(crate) const PASSWORD: &str = "in vino veritas";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 9);
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Relay,
    Prosody,
    Ejabberd,
    Comity,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Relay => "bare TLS relay",
            Self::Prosody => "Prosody",
            Self::Ejabberd => "ejabberd",
            Self::Comity => "Comity",
        }
    }
}

enum Running {
    Relay(Child),
    Prosody(Prosody),
    Ejabberd(Ejabberd),
    Comity(Box<Home>),
}

/// A server that runs until this is dropped.
pub(crate) struct Contender {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Arc<ClientConfig>,
    running: Running,
}

/// What all of them have in common.
pub(crate) struct Stage {
    folder: PathBuf,
    authority: Authority,
    certificate: Files,
    accounts: usize,
}

impl Stage {
    pub(crate) fn set(accounts: usize) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("comity-bench-{}", std::process::id()));
        let authority = Authority::new("The bench's authority", &folder)?;
        Ok(Self {
            certificate: authority.issue(DOMAIN, &Shape::dns(DOMAIN))?,
            authority,
            folder,
            accounts,
        })
    }

    pub(crate) fn start(&self, kind: Kind, archive: bool) -> Result<Contender, Box<dyn Error>> {
        let running = process::on_server_core(|| match kind {
            Kind::Relay => self.relay().map(Running::Relay),
            Kind::Prosody => self.prosody(archive).map(Running::Prosody),
            Kind::Ejabberd => self.ejabberd(archive).map(Running::Ejabberd),
            Kind::Comity => self
                .comity(archive)
                .map(|home| Running::Comity(Box::new(home))),
        })?;
        Ok(Contender {
            kind,
            address: (ADDRESS, 5222).into(),
            tls: believing(&self.authority.file())?,
            running,
        })
    }

    fn relay(&self) -> io::Result<Child> {
        let address = SocketAddr::from((ADDRESS, 5222));
        let child = Command::new(std::env::current_exe()?)
            .arg("--relay")
            .arg(address.to_string())
            .args([&self.certificate.chain, &self.certificate.key])
            .stdin(Stdio::null())
            .spawn()?;
        let started = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            if started.elapsed() > PATIENCE {
                return Err(io::Error::other("the relay does not listen"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(child)
    }

    /// A folder that nobody has used.
    fn empty(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    fn options(&self, archive: bool) -> peers::Options {
        peers::Options {
            domain: DOMAIN.to_owned(),
            place: Place {
                v4: ADDRESS,
                v6: Ipv6Addr::LOCALHOST,
            },
            certificate: self.certificate.clone(),
            authority: self.authority.file(),
            dialback: false,
            quiet: true,
            archive,
        }
    }

    fn prosody(&self, archive: bool) -> io::Result<Prosody> {
        let folder = self.empty("prosody")?;
        // `prosodyctl register` takes long for many; this is what it writes.
        let accounts = folder.join("data").join("bench%2eexample").join("accounts");
        std::fs::create_dir_all(&accounts)?;
        for n in 0..self.accounts {
            let text = format!("return {{\n\t[\"password\"] = {PASSWORD:?};\n}};\n");
            std::fs::write(accounts.join(format!("{}.dat", user(n))), text)?;
        }
        Prosody::start(self.options(archive), &folder)
    }

    fn ejabberd(&self, archive: bool) -> io::Result<Ejabberd> {
        let ejabberd = Ejabberd::start(self.options(archive), &self.empty("ejabberd")?)?;
        for n in 0..self.accounts {
            ejabberd.add_user(&user(n), PASSWORD)?;
        }
        Ok(ejabberd)
    }

    fn comity(&self, archive: bool) -> io::Result<Home> {
        let folder = self.empty("comity")?;
        let mut options = home::Options::new(DOMAIN, ADDRESS);
        let keeps = if archive { "always" } else { "never" };
        options.text = Some(format!(
            "[server]\ndomains = [{DOMAIN:?}]\ndata_dir = {data:?}\nlog = \"warn\"\n\
             [c2s]\nlisten = [\"{ADDRESS}:5222\"]\nlisten_tls = []\n\
             connections = 50000\nconnections_per_address = 50000\n\
             connections_per_minute = 1000000\nstanzas_per_second = 0\n\
             [archive]\ndefault = {keeps:?}\n\
             [s2s]\nlisten = [\"{ADDRESS}:5269\"]\nlisten_tls = []\n\
             [web]\nlisten = [\"{ADDRESS}:5443\"]\n\
             [tls.certificates]\n{DOMAIN:?} = {{ chain = {chain:?}, key = {key:?} }}\n",
            data = folder.join("data"),
            chain = self.certificate.chain,
            key = self.certificate.key,
        ));
        let mut home = Home::new(options, &folder)?;
        home.start()?;
        for n in 0..self.accounts {
            home.add_user(&user(n), PASSWORD)?;
        }
        Ok(home)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Contender {
    pub(crate) fn door(&self) -> Door {
        Door {
            address: self.address,
            domain: DOMAIN.to_owned(),
            tls: Arc::clone(&self.tls),
        }
    }

    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        process::cpu(self.process()?)
    }

    pub(crate) fn memory(&self) -> io::Result<u64> {
        process::memory(self.process()?)
    }

    fn process(&self) -> io::Result<u32> {
        let process = match &self.running {
            Running::Relay(child) => Some(child.id()),
            Running::Prosody(prosody) => prosody.process(),
            Running::Ejabberd(ejabberd) => ejabberd.process(),
            Running::Comity(home) => home.process(),
        };
        process.ok_or_else(|| io::Error::other("the server does not run"))
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        if let Running::Relay(child) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// TLS of a client that believes this authority alone.
pub(crate) fn believing(authority: &Path) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority)? {
        roots.add(certificate?)?;
    }
    let tls = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(tls))
}

/// The name of an account.
pub(crate) fn user(n: usize) -> String {
    format!("user{n}")
}
