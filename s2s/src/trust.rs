//! Whom we believe, and what it takes: the operator's word on one domain before the rule for all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use comity_net::tls::verdict::{self, Pin, Unproven};
use comity_net::tls::{Roots, Service};
use rustls_pki_types::CertificateDer;

/// What is asked of a domain before there are streams with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// There are none.
    Deny,
    /// A certificate that proves it.
    Require,
    /// A certificate, or where none is shown, dialback (XEP-0220).
    Allow,
}

/// What holds for one domain in place of the rule for all.
#[derive(Clone, Debug, Default)]
pub struct PeerTrust {
    pub policy: Option<Policy>,
    /// The keys it is believed with, and no others. None: whatever an authority vouches for.
    pub pins: Vec<Pin>,
}

/// What one of our domains asks of others.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Of those that are not among `peers`.
    pub others: Policy,
    pub peers: HashMap<String, PeerTrust>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            others: Policy::Require,
            peers: HashMap::new(),
        }
    }
}

impl Rules {
    fn policy(&self, domain: &str) -> Policy {
        let peer = self.peers.get(domain);
        peer.and_then(|peer| peer.policy).unwrap_or(self.others)
    }

    fn pins(&self, domain: &str) -> &[Pin] {
        self.peers.get(domain).map_or(&[], |peer| &peer.pins)
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Trust(Arc<Believed>);

struct Believed {
    roots: Roots,
    /// By our domains; for others nobody asks.
    rules: HashMap<String, Rules>,
    none: Rules,
}

impl Trust {
    /// `rules` is by our domains; one without believes certificates alone.
    #[must_use]
    pub fn new(roots: Roots, rules: HashMap<String, Rules>) -> Self {
        Self(Arc::new(Believed {
            roots,
            rules,
            none: Rules::default(),
        }))
    }

    fn rules(&self, ours: &str) -> &Rules {
        self.0.rules.get(ours).unwrap_or(&self.0.none)
    }

    #[must_use]
    pub fn policy(&self, ours: &str, domain: &str) -> Policy {
        self.rules(ours).policy(domain)
    }

    /// Does a chain that was shown speak for the domain, in the eyes of ours?
    ///
    /// # Errors
    /// Why it does not.
    pub fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        ours: &str,
        domain: &str,
        now: SystemTime,
    ) -> Result<(), Unproven> {
        match self.rules(ours).pins(domain) {
            [] => verdict::judge(chain, domain, Service::Server, &self.0.roots, now),
            pins => verdict::pinned(chain, domain, pins),
        }
    }

    /// Is there dialback between the two at all, in either direction? Not where a certificate is
    /// required; and a pin is a promise that there will be one.
    #[must_use]
    pub fn dials_back(&self, ours: &str, domain: &str) -> bool {
        let rules = self.rules(ours);
        rules.policy(domain) == Policy::Allow && rules.pins(domain).is_empty()
    }

    /// May a domain of which this is the verdict prove itself by dialback instead? A certificate
    /// that fails is a warning, not a gap to be filled by something weaker.
    #[must_use]
    pub fn dialback(&self, ours: &str, domain: &str, verdict: &Result<(), Unproven>) -> bool {
        self.dials_back(ours, domain) && *verdict == Err(Unproven::Absent)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use comity_net::tls::{CertificateFiles, local};
    use rustls_pki_types::pem::PemObject as _;

    use super::*;

    /// SHA-256 of the key, as `openssl` reads it from the file.
    fn pin(files: &CertificateFiles) -> Pin {
        let pem = std::fs::read(&files.chain).unwrap();
        let certificate = openssl::x509::X509::from_pem(&pem).unwrap();
        let key = certificate
            .public_key()
            .unwrap()
            .public_key_to_der()
            .unwrap();
        openssl::sha::sha256(&key)
    }

    fn chain(files: &CertificateFiles) -> Vec<CertificateDer<'static>> {
        let pem = std::fs::read(&files.chain).unwrap();
        CertificateDer::pem_slice_iter(&pem)
            .map(Result::unwrap)
            .collect()
    }

    /// What the certificate of b.example is worth: under the rule for all, for b.example with a
    /// policy, and with pins.
    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn policy_pins_and_certificate_decide_together() {
        let unique = format!("comity-trust-{}", comity_net::random::id());
        let folder = std::env::temp_dir().join(unique);
        let now = SystemTime::now();
        let made = local::ensure(&folder.join("b"), &["b.example".to_owned()], now).unwrap();
        let other = local::ensure(&folder.join("c"), &["c.example".to_owned()], now).unwrap();
        let authority = std::slice::from_ref(&made.authority);
        let roots = Roots::load(false, authority).unwrap();
        let strangers = Roots::load(false, std::slice::from_ref(&other.authority)).unwrap();
        let good = chain(&made.certificates[0]);
        let (right, wrong) = (pin(&made.certificates[0]), pin(&other.certificates[0]));
        let late = now + Duration::from_secs(800 * 86_400);

        enum Shown {
            Good,
            Late,
            /// Of an authority we do not believe.
            Stranger,
            Nothing,
        }
        use Policy::{Allow, Deny, Require};
        use Shown::{Good, Late, Nothing, Stranger};
        #[derive(Debug, PartialEq)]
        enum Outcome {
            Proven,
            Dialback,
            Refused,
        }
        use Outcome::{Dialback, Proven, Refused};
        let none: &[Pin] = &[];
        let cases = [
            (Allow, None, none, Good, Proven),
            (Allow, None, none, Nothing, Dialback),
            (Allow, None, none, Late, Refused),
            (Allow, None, none, Stranger, Refused),
            (Require, None, none, Good, Proven),
            (Require, None, none, Nothing, Refused),
            (Require, None, none, Late, Refused),
            (Require, Some(Allow), none, Nothing, Dialback),
            (Require, Some(Allow), none, Stranger, Refused),
            (Allow, Some(Require), none, Good, Proven),
            (Allow, Some(Require), none, Nothing, Refused),
            (Allow, Some(Deny), none, Nothing, Refused),
            // A pin makes authority and date irrelevant, and any other key, and none, a fault.
            (Allow, None, &[right], Good, Proven),
            (Require, None, &[right], Late, Proven),
            (Require, None, &[right], Stranger, Proven),
            (Allow, None, &[wrong, right], Good, Proven),
            (Allow, None, &[wrong], Good, Refused),
            (Allow, Some(Allow), &[right], Nothing, Refused),
        ];
        for (n, (others, policy, pins, shown, expect)) in cases.into_iter().enumerate() {
            let peer = PeerTrust {
                policy,
                pins: pins.to_vec(),
            };
            let believed = match shown {
                Stranger => strangers.clone(),
                Good | Late | Nothing => roots.clone(),
            };
            let peers = HashMap::from([("b.example".to_owned(), peer)]);
            // Another domain of ours has rules of its own.
            let other = Rules {
                others: Policy::Deny,
                ..Rules::default()
            };
            let rules = HashMap::from([
                ("a.example".to_owned(), Rules { others, peers }),
                ("other.example".to_owned(), other),
            ]);
            let trust = Trust::new(believed, rules);
            let (chain, when) = match shown {
                Good | Stranger => (&good[..], now),
                Late => (&good[..], late),
                Nothing => (&[][..], now),
            };
            let verdict = trust.judge(chain, "a.example", "b.example", when);
            let dialback = trust.dialback("a.example", "b.example", &verdict);
            let outcome = match (&verdict, dialback) {
                (Ok(()), _) => Proven,
                (Err(_), true) => Dialback,
                (Err(_), false) => Refused,
            };
            assert_eq!(outcome, expect, "case {n}: {verdict:?}");
            // No dialback where a certificate is required or promised, whoever would begin.
            if pins.is_empty() && policy.unwrap_or(others) == Allow {
                assert!(trust.dials_back("a.example", "b.example"));
            } else {
                assert!(!trust.dials_back("a.example", "b.example"), "case {n}");
            }
            assert_eq!(trust.policy("other.example", "b.example"), Deny);
            assert!(!trust.dials_back("other.example", "b.example"));
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
