//! ejabberd, as Debian packages it. The virtual machine is started without `ejabberdctl`, whose
//! control file in /etc would name the system's own configuration, and without a node name, so that
//! no port mapper outlives the play.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::{Options, Peer};

/// Where it takes its operator's orders, at its address.
const API_PORT: u16 = 5280;

pub struct Ejabberd {
    options: Options,
    folder: PathBuf,
    process: Option<Child>,
}

impl Ejabberd {
    /// # Errors
    /// Why it does not start.
    pub fn start(options: Options, folder: &Path) -> io::Result<Self> {
        Self::start_with(options, folder, "")
    }

    /// The same, with further lines of `modules`, each with two spaces before it.
    ///
    /// # Errors
    /// Why it does not start.
    pub fn start_with(options: Options, folder: &Path, more: &str) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut this = Self {
            options,
            folder: folder.to_owned(),
            process: None,
        };
        std::fs::write(this.configuration(), this.text() + more)?;
        Peer::start(&mut this)?;
        Ok(this)
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("ejabberd.yml")
    }

    fn text(&self) -> String {
        let Options {
            domain,
            place,
            certificate,
            authority,
            dialback,
            quiet,
            archive,
        } = &self.options;
        let archive = match archive {
            true => "  mod_mam: {default: always}\n",
            false => "",
        };
        let level = if *quiet { "error" } else { "debug" };
        let listen: String = [place.v4.to_string(), place.v6.to_string()]
            .iter()
            .map(|ip| {
                format!(
                    "  - {{port: 5222, ip: \"{ip}\", module: ejabberd_c2s, starttls: true}}\n  \
                     - {{port: 5269, ip: \"{ip}\", module: ejabberd_s2s_in}}\n  \
                     - {{port: 5270, ip: \"{ip}\", module: ejabberd_s2s_in, tls: true}}\n"
                )
            })
            .collect();
        let dialback = match dialback {
            true => "  mod_s2s_dialback: {}\n",
            false => "",
        };
        format!(
            "hosts: [\"{domain}\"]\nloglevel: {level}\n\
             certfiles: [\"{chain}\", \"{key}\"]\nca_file: \"{authority}\"\n\
             s2s_use_starttls: required\ns2s_max_retry_delay: 1\noutgoing_s2s_families: [ipv6, ipv4]\n\
             listen:\n{listen}  \
             - {{port: {api_port}, ip: \"{v4}\", module: ejabberd_http, \
             request_handlers: {{/api: mod_http_api}}}}\n\
             api_permissions:\n  \"the play\":\n    \
             who: [{{ip: 127.0.0.1/8}}, {{ip: \"{v4}/32\"}}]\n    what: \"*\"\n\
             modules:\n  mod_caps: {{}}\n  mod_disco: {{}}\n  mod_offline: {{}}\n  mod_ping: {{}}\n  \
             mod_roster: {{}}\n  mod_version: {{}}\n  mod_stream_mgmt: {{}}\n  \
             mod_admin_extra: {{}}\n  mod_http_api: {{}}\n  \
             mod_pubsub: {{plugins: [flat, pep]}}\n{dialback}{archive}",
            chain = certificate.chain.display(),
            key = certificate.key.display(),
            authority = authority.display(),
            v4 = place.v4,
            api_port = API_PORT,
        )
    }
}

impl Ejabberd {
    fn api(&self) -> SocketAddr {
        (self.options.place.v4, API_PORT).into()
    }

    /// While it runs.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }
}

impl Peer for Ejabberd {
    fn options(&self) -> &Options {
        &self.options
    }

    fn add_user(&self, local: &str, password: &str) -> io::Result<()> {
        let body = serde_json::json!({
            "user": local, "host": self.domain(), "password": password,
        });
        let body = body.to_string();
        let mut stream = TcpStream::connect(self.api())?;
        write!(
            stream,
            "POST /api/register HTTP/1.0\r\nHost: localhost\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.split_whitespace().nth(1) {
            Some("200") => Ok(()),
            _ => Err(io::Error::other(format!("ejabberd: {answer}"))),
        }
    }

    fn kill(&mut self) {
        super::kill(&mut self.process);
    }

    fn start(&mut self) -> io::Result<()> {
        let spool = self.folder.join("spool");
        let libraries = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let mut command = Command::new("erl");
        command
            .args(["-noinput", "-mnesia", "dir"])
            .arg(format!("{:?}", spool.display().to_string()))
            .args(["-s", "ejabberd"])
            .env("ERL_LIBS", libraries)
            .env("EJABBERD_CONFIG_PATH", self.configuration())
            .env("EJABBERD_LOG_PATH", self.log())
            .env("ERL_CRASH_DUMP_BYTES", "0")
            .env("HOME", &self.folder);
        let open = [self.c2s(), self.api()];
        let process = super::start(&mut command, &self.folder.join("output"), &open)?;
        self.process = Some(process);
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.folder.join("ejabberd.log")
    }
}

impl Drop for Ejabberd {
    fn drop(&mut self) {
        Peer::kill(self);
    }
}
