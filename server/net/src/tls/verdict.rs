//! Judging a certificate that was shown: does it lead to an authority we believe, and does it
//! name the domain (RFC 6120 §13.7)?

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use comity_xmpp::certificate::{Names, key, names};
use rustls::CertificateError;
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
    #[error("the certificate is signed by its own key and by no authority")]
    SelfSigned,
    #[error("the certificate expired {} ago", span(*.0))]
    Expired(Duration),
    #[error("the certificate is not yet valid for another {}: whose clock is wrong?", span(*.0))]
    Early(Duration),
    #[error(
        "the certificate has the key {found}, which is not the one pinned for {domain}: if its \
         operator confirms the new key, write it into s2s.peers"
    )]
    OtherKey { domain: String, found: String },
    #[error("the certificate is for {}, not for {wanted}", list(found))]
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
    .map_err(|error| why(&error, end_entity))
}

/// In words that tell an operator what to do.
fn why(error: &rustls::Error, end_entity: &CertificateDer<'_>) -> Unproven {
    let rustls::Error::InvalidCertificate(fault) = error else {
        return Unproven::Untrusted(error.to_string());
    };
    let between = |from: UnixTime, to: UnixTime| {
        Duration::from_secs(to.as_secs().saturating_sub(from.as_secs()))
    };
    match fault {
        CertificateError::ExpiredContext { time, not_after } => {
            Unproven::Expired(between(*not_after, *time))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            Unproven::Early(between(*time, *not_before))
        }
        _ if key(end_entity).is_ok_and(|key| key.self_issued) => Unproven::SelfSigned,
        CertificateError::UnknownIssuer => {
            let hint =
                "its issuer is unknown here, or it was shown without the certificates between";
            Unproven::Untrusted(hint.to_owned())
        }
        fault => Unproven::Untrusted(fault.to_string()),
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "no name at all".to_owned(),
        names => names.join(", "),
    }
}

fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        0..=119 => (seconds, "s"),
        120..=7_199 => (seconds / 60, "min"),
        7_200..=172_799 => (seconds / 3_600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    format!("{count} {unit}")
}

/// SHA-256 of a public key as certificates hold it (subjectPublicKeyInfo).
pub type Pin = [u8; 32];

/// Is the key of the certificate one of those that were pinned for a domain? Nothing else of it is
/// looked at: whoever compares keys has no need of authorities, names and dates.
pub fn pinned(chain: &[CertificateDer<'_>], domain: &str, pins: &[Pin]) -> Result<(), Unproven> {
    let end_entity = chain.first().ok_or(Unproven::Absent)?;
    let key = key(end_entity).map_err(|error| Unproven::Unreadable(error.to_string()))?;
    let digest = ring::digest::digest(&ring::digest::SHA256, &key.info);
    if pins.iter().any(|pin| pin == digest.as_ref()) {
        return Ok(());
    }
    let found = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    Err(Unproven::OtherKey {
        domain: domain.to_owned(),
        found: found.collect(),
    })
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
        // A wildcard right under the top level would cover everybody, and an address has no labels.
        Some(parent) => {
            parent.contains('.')
                && domain.parse::<IpAddr>().is_err()
                && domain
                    .split_once('.')
                    .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
        }
        None => !pattern.is_empty() && pattern.eq_ignore_ascii_case(domain),
    }
}

#[cfg(test)]
mod tests;
