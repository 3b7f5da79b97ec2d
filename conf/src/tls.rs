//! `[tls]`: our certificates, and whose we believe.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// By domain. A domain without one gets a certificate of a local authority in the data
    /// directory, and a warning: other domains and clients have to be told to trust it.
    pub certificates: BTreeMap<String, Certificate>,
    /// Further authorities to trust, PEM files. Default none; for test set-ups and private networks.
    pub extra_roots: Vec<PathBuf>,
    /// Trust the authorities the operating system trusts. Default true.
    pub system_roots: bool,
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The certificate, followed by those that lead to its authority.
    pub chain: PathBuf,
    pub key: PathBuf,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificates: BTreeMap::new(),
            extra_roots: Vec::new(),
            system_roots: true,
        }
    }
}
