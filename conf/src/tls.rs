//! `[tls]`: our certificates, and whose we believe.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Acme;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// By domain. A domain without one gets a certificate of a local authority in the data
    /// directory, and a warning: other domains and clients have to be told to trust it.
    pub certificates: BTreeMap<String, Certificate>,
    /// Gets certificates by ACME for the domains without one above. Default off.
    pub acme: Acme,
    /// Further authorities to trust, PEM files. Default none; for test set-ups and private networks.
    pub extra_roots: Vec<PathBuf>,
    /// Trust the authorities the operating system trusts. Default true.
    pub system_roots: bool,
}

impl Tls {
    /// How this domain gets its certificate, if it does so by ACME. No authority certifies
    /// `localhost`.
    #[must_use]
    pub fn acme_for(&self, domain: &str) -> Option<&Acme> {
        let other = self.certificates.contains_key(domain) || domain == "localhost";
        (!other && !self.acme.is_off()).then_some(&self.acme)
    }
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
            acme: Acme::default(),
            extra_roots: Vec::new(),
            system_roots: true,
        }
    }
}
