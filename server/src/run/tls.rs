//! The certificates we show: the operator's, or for a domain without any, one of our own making.

use std::sync::Arc;
use std::time::SystemTime;

use comity_conf::Conf;
use comity_net::tls::{CertificateFiles, Certificates, TlsError, local};
use tracing::warn;

/// Loads what is configured and makes what is missing.
pub(super) fn certificates(
    conf: &Conf,
    domains: &[String],
    now: SystemTime,
) -> Result<Arc<Certificates>, TlsError> {
    let mut files = Vec::with_capacity(domains.len());
    let mut missing = Vec::new();
    for domain in domains {
        match conf.tls.certificates.get(domain) {
            Some(certificate) => files.push(CertificateFiles {
                domain: domain.clone(),
                chain: certificate.chain.clone(),
                key: certificate.key.clone(),
            }),
            None => missing.push(domain.clone()),
        }
    }
    if !missing.is_empty() {
        let made = local::ensure(&conf.server.data_dir.join("tls"), &missing, now)?;
        warn!(
            domains = missing.join(" "),
            authority = %made.authority.display(),
            "no certificate is configured: using one of a local authority, which clients and other \
             domains believe only when told to; configure one in [tls.certificates]"
        );
        files.extend(made.certificates);
    }
    Certificates::load(files)
}
