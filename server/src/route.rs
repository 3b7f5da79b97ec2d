//! Where a stanza goes next, as one pure table (RFC 6120 §10, RFC 6121 §8).

/// The domains that live in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    domains: Vec<String>,
}

impl Hosts {
    #[must_use]
    pub fn new(domains: impl IntoIterator<Item = String>) -> Self {
        Self {
            domains: domains.into_iter().collect(),
        }
    }

    #[must_use]
    pub fn serves(&self, domain: &str) -> bool {
        self.domains.iter().any(|ours| ours == domain)
    }

    #[must_use]
    pub fn domains(&self) -> &[String] {
        &self.domains
    }
}
