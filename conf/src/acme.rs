//! `tls.acme`: certificates by ACME (RFC 8555), for the domains that have none of their own.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The directories that have a name here.
const KNOWN: [(&str, &str); 2] = [
    (
        "letsencrypt",
        "https://acme-v02.api.letsencrypt.org/directory",
    ),
    (
        "letsencrypt-staging",
        "https://acme-staging-v02.api.letsencrypt.org/directory",
    ),
];

/// `"letsencrypt"`, the URL of another authority's directory, or a table. Nothing: no ACME.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "Written", into = "Written")]
pub struct Acme {
    /// A name or a URL; nothing is off. Whoever names one agrees to its terms of service.
    pub directory: String,
    /// Where the authority may write to, as `mailto:` URLs. Default nowhere.
    pub contact: Vec<String>,
    /// How a domain is proved to be ours. Default `http-01`.
    pub challenge: Challenge,
    /// For `dns-01`: the name server that takes updates (RFC 2136).
    pub update: Option<Update>,
    /// For `dns-01`: a program that is called as `HOOK set|unset NAME VALUE`, NAME being that of
    /// the TXT record, and ends with 0 once it is (no longer) published.
    pub hook: Option<PathBuf>,
}

/// RFC 8555 §8.3, §8.4; RFC 8737.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Challenge {
    /// The authority comes to port 80 of the domain's addresses.
    #[default]
    #[serde(rename = "http-01")]
    Http01,
    /// The authority comes to port 443 of the domain's addresses.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// The authority looks for a TXT record.
    #[serde(rename = "dns-01")]
    Dns01,
}

impl Challenge {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
        }
    }
}

/// Updates of the DNS, signed by TSIG (RFC 8945).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// The primary name server, reached by TCP.
    pub server: SocketAddr,
    /// The zone that holds the records. Default: the domain.
    pub zone: Option<String>,
    /// The name of the key, and its algorithm. Default `hmac-sha256`.
    pub key: String,
    #[serde(default)]
    pub algorithm: Algorithm,
    /// A file with the key's secret in base64.
    pub secret_file: PathBuf,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Algorithm {
    #[default]
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    #[serde(rename = "hmac-sha384")]
    HmacSha384,
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
}

impl Acme {
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.directory.is_empty()
    }

    /// Where the directory is.
    #[must_use]
    pub fn url(&self) -> &str {
        let known = KNOWN.iter().find(|(name, _)| *name == self.directory);
        known.map_or(&self.directory, |(_, url)| url)
    }

    /// What keeps it from being used.
    pub(crate) fn broken(&self) -> Option<String> {
        if self.is_off() {
            return None;
        }
        if !self.url().starts_with("https://") {
            let known = KNOWN.map(|(name, _)| name).join(", ");
            return Some(format!("neither an https URL nor one of: {known}"));
        }
        let ways = (self.challenge, &self.update, &self.hook);
        let why = match ways {
            (Challenge::Dns01, None, None) => "dns-01 needs update or hook",
            (Challenge::Dns01, Some(_), Some(_)) => "update and hook exclude each other",
            (Challenge::Http01 | Challenge::TlsAlpn01, None, None) | (Challenge::Dns01, _, _) => {
                return None;
            }
            _ => "update and hook are for challenge = \"dns-01\"",
        };
        Some(why.to_owned())
    }

    pub(crate) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let secret = self.update.as_mut().map(|update| &mut update.secret_file);
        secret.into_iter().chain(&mut self.hook)
    }
}

#[derive(Deserialize, Serialize)]
#[serde(
    untagged,
    expecting = "\"letsencrypt\", a URL, or { directory = \"…\", challenge = \"…\", … }"
)]
enum Written {
    Directory(String),
    Table(Table),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Table {
    directory: String,
    #[serde(default)]
    contact: Vec<String>,
    #[serde(default)]
    challenge: Challenge,
    update: Option<Update>,
    hook: Option<PathBuf>,
}

impl From<Written> for Acme {
    fn from(written: Written) -> Self {
        match written {
            Written::Directory(directory) => Self {
                directory,
                ..Self::default()
            },
            Written::Table(table) => Self {
                directory: table.directory,
                contact: table.contact,
                challenge: table.challenge,
                update: table.update,
                hook: table.hook,
            },
        }
    }
}

impl From<Acme> for Written {
    fn from(acme: Acme) -> Self {
        if acme.is_off() {
            return Self::Directory(String::new());
        }
        Self::Table(Table {
            directory: acme.directory,
            contact: acme.contact,
            challenge: acme.challenge,
            update: acme.update,
            hook: acme.hook,
        })
    }
}
