//! `[server]`: who we are, where our data lies, what we log.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The domains served; the first is the one meant where none is named. Default `localhost`,
    /// for trying out.
    pub domains: Vec<String>,
    /// Database, certificate authority, generated certificates and the admin socket. Default
    /// `comity-data`. To move a server, move this directory.
    pub data_dir: PathBuf,
    /// What is logged: a level, or `target=level` pairs. Default `info`, which suits everybody
    /// who is not looking for a fault; `comity=debug` then.
    pub log: String,
    /// How it is logged. Default text, for people; JSON for collectors; journald for its own fields.
    pub log_format: LogFormat,
    /// How long streams may take to close at a shutdown. Default 10 s, below the 90 s after which
    /// systemd kills.
    #[serde(with = "crate::duration")]
    pub drain: std::time::Duration,
    /// Name servers to ask, each with its port. Default none, which is the system's: those of
    /// `/etc/resolv.conf`, and `/etc/hosts`.
    pub nameservers: Vec<SocketAddr>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
    Journald,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            domains: vec!["localhost".to_owned()],
            data_dir: "comity-data".into(),
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            drain: std::time::Duration::from_secs(10),
            nameservers: Vec::new(),
        }
    }
}
