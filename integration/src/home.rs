//! One domain: its configuration, its data directory and its server process.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take from its start to its first open port.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Where a home listens and what it knows of others.
#[derive(Clone, Debug)]
pub struct Options {
    pub domain: String,
    /// Further domains that the same process serves.
    pub also: Vec<String>,
    pub address: IpAddr,
    pub c2s_port: u16,
    /// Where TLS comes first (XEP-0368); None, where nobody asks for it.
    pub c2s_tls_port: Option<u16>,
    pub s2s_port: u16,
    pub web_port: u16,
    /// Other domains: where their server listens, and the CA of their certificate.
    pub peers: Vec<Peer>,
    /// What is logged, and how.
    pub log: String,
    pub log_format: String,
    /// Further lines for the configuration file.
    pub extra: String,
    /// Further lines for `[s2s]`.
    pub s2s: String,
    /// The network namespace to run in, where it is not the play's.
    pub namespace: Option<String>,
    /// Further lines for `[web]`.
    pub web: String,
    /// The whole configuration file, where the play writes it itself.
    pub text: Option<String>,
    /// Of the environment of the server and of the operator's commands.
    pub environment: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub struct Peer {
    pub domain: String,
    pub address: SocketAddr,
    pub ca: PathBuf,
}

impl Options {
    /// A home on the standard ports of an address of its own.
    #[must_use]
    pub fn new(domain: &str, address: Ipv4Addr) -> Self {
        Self {
            domain: domain.to_owned(),
            also: Vec::new(),
            address: address.into(),
            c2s_port: 5222,
            c2s_tls_port: Some(5223),
            s2s_port: 5269,
            web_port: 5443,
            peers: Vec::new(),
            log: "info,comity_c2s=debug".to_owned(),
            log_format: "text".to_owned(),
            extra: String::new(),
            s2s: String::new(),
            namespace: None,
            web: String::new(),
            text: None,
            environment: Vec::new(),
        }
    }
}

/// A domain's server, running or not. Dropping it ends the process.
pub struct Home {
    options: Options,
    folder: PathBuf,
    process: Option<Child>,
}

impl Home {
    /// Prepares a home in an empty folder; nothing runs yet.
    pub fn new(options: Options, folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let home = Self {
            options,
            folder: folder.to_owned(),
            process: None,
        };
        home.write_configuration()?;
        Ok(home)
    }

    /// Starts homes that know each other: each makes its certificate at a first start, and is
    /// then told where the others are and which CA they have.
    pub fn start_together(homes: &mut [Self]) -> io::Result<()> {
        for home in homes.iter_mut() {
            home.start()?;
            home.stop()?;
        }
        let peers: Vec<Peer> = homes.iter().flat_map(Self::as_peers).collect();
        for home in homes {
            let own = home.domains();
            let others = peers.iter().filter(|peer| !own.contains(&peer.domain));
            home.options.peers = others.cloned().collect();
            home.write_configuration()?;
            home.start()?;
        }
        Ok(())
    }

    /// What others have to know of each of its domains.
    fn as_peers(&self) -> Vec<Peer> {
        let peer = |domain| Peer {
            domain,
            address: self.s2s(),
            ca: self.ca(),
        };
        self.domains().into_iter().map(peer).collect()
    }

    /// All domains it serves.
    #[must_use]
    pub fn domains(&self) -> Vec<String> {
        let first = std::iter::once(&self.options.domain);
        first.chain(&self.options.also).cloned().collect()
    }

    #[must_use]
    pub fn domain(&self) -> &str {
        &self.options.domain
    }

    #[must_use]
    pub fn c2s(&self) -> SocketAddr {
        (self.options.address, self.options.c2s_port).into()
    }

    #[must_use]
    pub fn c2s_tls(&self) -> Option<SocketAddr> {
        let port = self.options.c2s_tls_port?;
        Some((self.options.address, port).into())
    }

    #[must_use]
    pub fn s2s(&self) -> SocketAddr {
        (self.options.address, self.options.s2s_port).into()
    }

    #[must_use]
    pub fn web(&self) -> SocketAddr {
        (self.options.address, self.options.web_port).into()
    }

    /// The certificate of the CA that the server made for its own TLS certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.data().join("tls/ca.pem")
    }

    /// The CAs that a client of this home believes: its own server's, and those of the domains it
    /// talks with, whose anchors they vouch for.
    #[must_use]
    pub fn roots(&self) -> Vec<PathBuf> {
        let peers = self.options.peers.iter().map(|peer| peer.ca.clone());
        std::iter::once(self.ca()).chain(peers).collect()
    }

    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("homeserver.toml")
    }

    fn write_configuration(&self) -> io::Result<()> {
        if let Some(text) = &self.options.text {
            return std::fs::write(self.configuration(), text);
        }
        let domains = self.domains();
        let Options {
            peers,
            extra,
            s2s,
            web,
            log,
            log_format,
            ..
        } = &self.options;
        let mut roots: Vec<&Path> = peers.iter().map(|p| p.ca.as_path()).collect();
        // A CA of several domains is named once.
        roots.dedup();
        let targets: String = peers
            .iter()
            .map(|p| format!("{:?} = \"{}\"\n", p.domain, p.address))
            .collect();
        let tls: Vec<String> = self.c2s_tls().iter().map(SocketAddr::to_string).collect();
        let text = format!(
            "[server]\ndomains = {domains:?}\ndata_dir = {:?}\n\
             log = {log:?}\nlog_format = {log_format:?}\n\n\
             [c2s]\nlisten = [\"{}\"]\nlisten_tls = {tls:?}\n\n\
             [s2s]\nlisten = [\"{}\"]\nlisten_tls = []\n{s2s}\n\
             [web]\nlisten = [\"{}\"]\n{web}\n\
             [s2s.targets]\n{targets}\n\
             [tls]\nextra_roots = {roots:?}\n\n{extra}\n",
            self.data(),
            self.c2s(),
            self.s2s(),
            self.web(),
        );
        std::fs::write(self.configuration(), text)
    }

    /// Starts the server and waits until it accepts clients.
    pub fn start(&mut self) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = match &self.options.namespace {
            Some(name) => {
                // It becomes the server: the process is the same.
                let mut command = Command::new("ip");
                command
                    .args(["netns", "exec", name])
                    .arg(crate::binary("comity"));
                command
            }
            None => Command::new(crate::binary("comity")),
        };
        let child = command
            .args(["serve", "--config"])
            .arg(self.configuration())
            .env("NO_COLOR", "1")
            .envs(self.options.environment.clone())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.process = Some(child);
        self.wait_until_open()
    }

    fn wait_until_open(&mut self) -> io::Result<()> {
        let started = Instant::now();
        loop {
            if std::net::TcpStream::connect_timeout(&self.c2s(), Duration::from_secs(1)).is_ok() {
                return Ok(());
            }
            if let Some(status) = self
                .process
                .as_mut()
                .and_then(|p| p.try_wait().ok().flatten())
            {
                return Err(self.fault(&format!("ended at its start, {status}")));
            }
            if started.elapsed() > START_LIMIT {
                return Err(self.fault("does not open its port"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn fault(&self, what: &str) -> io::Error {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(20).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        io::Error::other(format!(
            "{} {what}; its log ends:\n{}",
            self.domain(),
            tail.join("\n")
        ))
    }

    /// From its next start on, these lines are in `[s2s]`.
    pub fn set_s2s(&mut self, lines: &str) -> io::Result<()> {
        lines.clone_into(&mut self.options.s2s);
        self.write_configuration()
    }

    /// From its next start on, the server finds another domain here.
    pub fn find_at(&mut self, domain: &str, address: SocketAddr) -> io::Result<()> {
        let peers = self.options.peers.iter_mut();
        for peer in peers.filter(|peer| peer.domain == domain) {
            peer.address = address;
        }
        self.write_configuration()
    }

    /// Octets of memory that the server's process holds at this moment.
    #[must_use]
    pub fn resident(&self) -> Option<u64> {
        let process = self.process.as_ref()?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes * 1024)
    }

    /// While it runs.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// SIGKILL: nothing that was not durable survives.
    pub fn kill(&mut self) -> io::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// SIGHUP: the certificates are read again.
    pub fn hang_up(&self) -> io::Result<()> {
        let process = self.process.as_ref();
        let id = process.ok_or_else(|| io::Error::other("it does not run"))?;
        let id = id.id().to_string();
        match Command::new("kill").args(["-HUP", &id]).status()?.success() {
            true => Ok(()),
            false => Err(io::Error::other("kill -HUP")),
        }
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) -> io::Result<()> {
        if let Some(mut process) = self.process.take() {
            Command::new("kill")
                .arg(process.id().to_string())
                .status()?;
            process.wait()?;
        }
        Ok(())
    }

    /// An operator's command, as `comity` takes it; its output.
    pub fn comity(&self, arguments: &[&str], input: &str) -> io::Result<String> {
        use std::io::Write;
        let mut child = Command::new(crate::binary("comity"))
            .args(arguments)
            .arg("--config")
            .arg(self.configuration())
            .envs(self.options.environment.clone())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!(
            "comity {} says: {said}",
            arguments.join(" ")
        )))
    }

    /// The same, whatever its exit status.
    pub fn output(&self, arguments: &[&str]) -> io::Result<std::process::Output> {
        Command::new(crate::binary("comity"))
            .args(arguments)
            .arg("--config")
            .arg(self.configuration())
            .envs(self.options.environment.clone())
            .stdin(Stdio::null())
            .output()
    }

    /// Makes an account; the server has to run.
    pub fn add_user(&self, local: &str, password: &str) -> io::Result<()> {
        self.add_account(&format!("{local}@{}", self.domain()), password)
    }

    /// The same at any domain that it serves.
    pub fn add_account(&self, jid: &str, password: &str) -> io::Result<()> {
        self.comity(
            &["user", "add", jid, "--password-file", "/dev/stdin"],
            &format!("{password}\n"),
        )?;
        Ok(())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // The process may have ended by itself; then there is nothing left to end.
        let _ = self.kill();
    }
}
