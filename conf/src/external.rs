//! `[external]`: services beside this server that clients learn of from it (XEP-0215, XEP-0030), and
//! where they learn of its outages (XEP-0455).

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct External {
    /// Default: none.
    pub services: Vec<ExternalService>,
    /// Addresses of XMPP services elsewhere, for rooms or uploads, that whoever asks this server what
    /// it has is told of. Default: none.
    pub addresses: Vec<String>,
    /// URLs of what a program can read about outages. Default: none.
    pub outages: Vec<String>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalService {
    /// `stun`, `turn`, `stuns`, `turns`, or another of XEP-0215's registry.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name or address.
    pub host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A file with the secret that the service shares with us (coturn's `static-auth-secret`): each
    /// account gets a user name and a password of its own, good for `lifetime`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Of these. Default 12 h: longer than a call.
    #[serde(with = "crate::duration", default = "lifetime")]
    pub lifetime: Duration,
    /// The same user name for everybody, where there is no shared secret, and the file that holds its
    /// password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// Services that clients are told of: an answer has to fit into a stanza.
const MOST: usize = 32;

impl External {
    /// What is wrong with it.
    pub(crate) fn broken(&self) -> Option<String> {
        let told = [
            self.services.len(),
            self.addresses.len(),
            self.outages.len(),
        ];
        if told.into_iter().any(|number| number > MOST) {
            return Some(format!("at most {MOST} of each can be told of"));
        }
        self.services.iter().find_map(ExternalService::broken)
    }

    pub(crate) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.services.iter_mut().flat_map(|service| {
            service
                .secret_file
                .iter_mut()
                .chain(&mut service.password_file)
        })
    }
}

impl ExternalService {
    fn broken(&self) -> Option<String> {
        let this = format!("the {} service at {:?}", self.kind, self.host);
        if self.kind.is_empty() || self.host.is_empty() {
            return Some("a service needs a type and a host".to_owned());
        }
        if self.username.is_some() != self.password_file.is_some() {
            return Some(format!("{this}: username and password_file go together"));
        }
        if self.secret_file.is_some() && self.username.is_some() {
            return Some(format!("{this}: either secret_file or username, not both"));
        }
        if self.lifetime < Duration::from_secs(60) {
            return Some(format!("{this}: lifetime is less than a minute"));
        }
        None
    }
}

fn lifetime() -> Duration {
    Duration::from_secs(12 * 3600)
}
