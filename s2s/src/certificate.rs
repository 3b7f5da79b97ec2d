//! Does the certificate a peer has shown speak for a domain (RFC 6120 §13.7, XEP-0178)?

use std::time::SystemTime;

use comity_net::tls::verdict::Unproven;
use rustls_pki_types::CertificateDer;

use crate::trust::Trust;

/// What a peer has shown in the handshake, kept to be judged once it says who it is.
#[derive(Clone)]
pub struct Shown {
    chain: Vec<CertificateDer<'static>>,
    trust: Trust,
}

impl Shown {
    #[must_use]
    pub fn new(chain: Vec<CertificateDer<'static>>, trust: Trust) -> Self {
        Self { chain, trust }
    }
}

/// Whoever can tell whether a peer is a domain, in the eyes of one of ours.
pub trait Proof: Send {
    fn speaks_for(&self, ours: &str, domain: &str, now: SystemTime) -> Result<(), Unproven>;
    /// May the domain prove itself by dialback instead? A certificate that was shown and failed is
    /// a warning, not a gap to be filled by something else (XEP-0220 §1.2 leaves that to policy).
    fn may_dial_back(&self, ours: &str, domain: &str, now: SystemTime) -> bool {
        self.speaks_for(ours, domain, now) == Err(Unproven::Absent)
    }
}

impl Proof for Shown {
    fn speaks_for(&self, ours: &str, domain: &str, now: SystemTime) -> Result<(), Unproven> {
        self.trust.judge(&self.chain, ours, domain, now)
    }

    fn may_dial_back(&self, ours: &str, domain: &str, now: SystemTime) -> bool {
        let verdict = self.speaks_for(ours, domain, now);
        self.trust.dialback(ours, domain, &verdict)
    }
}
