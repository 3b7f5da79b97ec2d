//! `[contacts]`: whom people write to about this server (XEP-0157).

use serde::{Deserialize, Serialize};

/// URIs, as in `mailto:abuse@a.example`; shown to everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Contacts {
    pub abuse: Vec<String>,
    pub admin: Vec<String>,
    pub feedback: Vec<String>,
    pub sales: Vec<String>,
    pub security: Vec<String>,
    pub status: Vec<String>,
    pub support: Vec<String>,
}

impl Contacts {
    /// Those that are set, by the names of XEP-0157 §3.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, Vec<String>)> {
        [
            ("abuse", &self.abuse),
            ("admin", &self.admin),
            ("feedback", &self.feedback),
            ("sales", &self.sales),
            ("security", &self.security),
            ("status", &self.status),
            ("support", &self.support),
        ]
        .into_iter()
        .filter(|(_, addresses)| !addresses.is_empty())
        .map(|(name, addresses)| (name, addresses.clone()))
        .collect()
    }
}
