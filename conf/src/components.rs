//! `[components]`: services of other programs, with domains of their own (XEP-0114).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Components {
    /// Where they connect, if any are named below. Default port 5347 on loopback: the protocol has no
    /// TLS.
    pub listen: Vec<SocketAddr>,
    /// By domain, the file that holds the secret which the component shares with us.
    pub secret_files: BTreeMap<String, PathBuf>,
}

impl Default for Components {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 5347))],
            secret_files: BTreeMap::new(),
        }
    }
}
