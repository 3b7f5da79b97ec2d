//! Prosody, as Debian packages it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::{Options, Peer};

pub struct Prosody {
    options: Options,
    folder: PathBuf,
    process: Option<Child>,
}

impl Prosody {
    /// # Errors
    /// Why it does not start.
    pub fn start(options: Options, folder: &Path) -> io::Result<Self> {
        Self::start_with(options, folder, "")
    }

    /// The same, with further lines for its configuration: components.
    ///
    /// # Errors
    /// Why it does not start.
    pub fn start_with(options: Options, folder: &Path, more: &str) -> io::Result<Self> {
        std::fs::create_dir_all(folder.join("data"))?;
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
        self.folder.join("prosody.cfg.lua")
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
        let archive = if *archive { "\"mam\"; " } else { "" };
        let level = if *quiet { "error" } else { "debug" };
        // Without the judgement of certificates nobody is offered EXTERNAL, and dialback remains.
        let (dialback_module, without) = match dialback {
            true => ("\"dialback\"; ", "\"s2s_auth_certs\""),
            false => ("", ""),
        };
        format!(
            r#"run_as_root = true
daemonize = false
pidfile = "{folder}/pid"
data_path = "{folder}/data"
interfaces = {{ "{v4}", "{v6}" }}
s2s_direct_tls_ports = {{ 5270 }}
modules_enabled = {{ "roster"; "saslauth"; "tls"; "disco"; "pep"; "offline"; "ping"; "version"; "smacks"; "s2s"; "s2s_bidi"; {dialback_module}{archive}}}
modules_disabled = {{ {without} }}
s2s_secure_auth = {secure}
log = {{ {{ levels = {{ min = "{level}" }}; to = "file"; filename = "{log}" }} }}
ssl = {{ cafile = "{authority}"; certificate = "{chain}"; key = "{key}" }}
VirtualHost "{domain}"
"#,
            folder = self.folder.display(),
            v4 = place.v4,
            v6 = place.v6,
            secure = !dialback,
            log = self.log().display(),
            authority = authority.display(),
            chain = certificate.chain.display(),
            key = certificate.key.display(),
        )
    }
}

impl Prosody {
    /// While it runs.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }
}

impl Peer for Prosody {
    fn options(&self) -> &Options {
        &self.options
    }

    fn add_user(&self, local: &str, password: &str) -> io::Result<()> {
        let output = Command::new("prosodyctl")
            .arg("--config")
            .arg(self.configuration())
            .args(["register", local, self.domain(), password])
            .output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("prosodyctl: {output:?}"))),
        }
    }

    fn kill(&mut self) {
        super::kill(&mut self.process);
    }

    fn start(&mut self) -> io::Result<()> {
        let mut command = Command::new("prosody");
        command.arg("--config").arg(self.configuration()).arg("-F");
        let process = super::start(&mut command, &self.folder.join("output"), &[self.c2s()])?;
        self.process = Some(process);
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Prosody {
    fn drop(&mut self) {
        Peer::kill(self);
    }
}
