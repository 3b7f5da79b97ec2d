//! Judging a certificate that was shown: does it lead to an authority we believe, and does it
//! name the domain (RFC 6120 §13.7)?

use std::time::SystemTime;

use comity_xmpp::certificate::{Names, names};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::ParsedCertificate;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{Roots, Service, ascii, provider};

/// Why a certificate does not speak for a domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    #[error("no certificate was shown")]
    Absent,
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    #[error("the certificate leads to no authority we believe: {0}")]
    Untrusted(String),
    #[error("the certificate is for {}, not for {wanted}", found.join(", "))]
    OtherName { wanted: String, found: Vec<String> },
}

/// Does the chain speak for `domain` in this service, at this time?
pub fn judge(
    chain: &[CertificateDer<'_>],
    domain: &str,
    service: Service,
    roots: &Roots,
    now: SystemTime,
) -> Result<(), Unproven> {
    trusted(chain, roots, now)?;
    let (end_entity, _) = chain.split_first().ok_or(Unproven::Absent)?;
    let names = names(end_entity).map_err(|error| Unproven::Unreadable(error.to_string()))?;
    if speaks_for(&names, domain, service) {
        return Ok(());
    }
    let found = [names.dns, names.srv, names.xmpp].concat();
    Err(Unproven::OtherName {
        wanted: domain.to_owned(),
        found,
    })
}

/// Does the chain lead to one of the roots? Checked for the usage serverAuth in both directions:
/// public authorities no longer issue clientAuth, and servers show what they have.
pub fn trusted(
    chain: &[CertificateDer<'_>],
    roots: &Roots,
    now: SystemTime,
) -> Result<(), Unproven> {
    let (end_entity, intermediates) = chain.split_first().ok_or(Unproven::Absent)?;
    let parsed = ParsedCertificate::try_from(end_entity)
        .map_err(|error| Unproven::Unreadable(error.to_string()))?;
    let since_epoch = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let provider = provider();
    verify_server_cert_signed_by_trust_anchor(
        &parsed,
        &roots.0,
        intermediates,
        UnixTime::since_unix_epoch(since_epoch),
        provider.signature_verification_algorithms.all,
    )
    .map_err(|error| Unproven::Untrusted(error.to_string()))
}

/// RFC 6120 §13.7.1.2, and RFC 6125 §6.4: a DNS-ID, an SRV-ID or an XmppAddr that names the
/// domain. The subject's common name counts for nothing.
#[must_use]
pub fn speaks_for(names: &Names, domain: &str, service: Service) -> bool {
    let Ok(domain) = ascii(domain) else {
        return false;
    };
    let prefix = format!("_{}.", service.name());
    let srv = (names.srv.iter())
        .filter_map(|name| {
            let head = name.get(..prefix.len())?;
            let rest = name.get(prefix.len()..)?;
            head.eq_ignore_ascii_case(&prefix).then_some(rest)
        })
        .any(|name| covers(name, &domain));
    srv || names.dns.iter().any(|name| covers(name, &domain))
        || (names.xmpp.iter()).any(|name| ascii(name).is_ok_and(|name| name == domain))
}

/// A DNS name or pattern against a domain in ASCII. RFC 6125 §6.4.3: a `*` stands for one whole
/// leftmost label, and for nothing else.
fn covers(pattern: &str, domain: &str) -> bool {
    let pattern = pattern.strip_suffix('.').unwrap_or(pattern);
    match pattern.strip_prefix("*.") {
        // A wildcard right under the top level would cover everybody.
        Some(parent) => {
            parent.contains('.')
                && domain
                    .split_once('.')
                    .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
        }
        None => !pattern.is_empty() && pattern.eq_ignore_ascii_case(domain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &Names, domain: &str, expect: bool) {
        assert_eq!(
            speaks_for(names, domain, Service::Server),
            expect,
            "{domain}"
        );
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn dns_names_and_their_wildcards() {
        let names = Names {
            dns: list(&[
                "A.example",
                "*.rooms.example",
                "*.com",
                "xn--bcher-kva.example",
                "f*.x.example",
            ]),
            ..Names::default()
        };
        check(&names, "a.example", true);
        check(&names, "b.a.example", false);
        check(&names, "one.rooms.example", true);
        check(&names, "two.one.rooms.example", false);
        check(&names, "rooms.example", false);
        check(&names, "anybody.com", false);
        check(&names, "b\u{fc}cher.example", true);
        check(&names, "foo.x.example", false);
    }

    #[test]
    fn srv_names_speak_for_their_service_only() {
        let names = Names {
            srv: list(&[
                "_xmpp-server.a.example",
                "_xmpp-client.b.example",
                "_x\u{fc}",
            ]),
            ..Names::default()
        };
        check(&names, "a.example", true);
        check(&names, "b.example", false);
        assert!(speaks_for(&names, "b.example", Service::Client));
    }

    #[test]
    fn an_xmpp_address_speaks_for_the_bare_domain_only() {
        let names = Names {
            xmpp: list(&["b\u{fc}cher.example", "juliet@a.example"]),
            ..Names::default()
        };
        check(&names, "b\u{fc}cher.example", true);
        check(&names, "a.example", false);
    }
}
