//! The certificates we show: the operator's, or for a domain without any, one of our own making.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use comity_conf::Conf;
use comity_net::tls::{CertificateFiles, Certificates, TlsError, local, write_private};
use tracing::warn;

use super::acme;

/// Where the certificate of a domain lies, whether it is there already or not.
pub(crate) fn files(conf: &Conf, domain: &str) -> CertificateFiles {
    let files = |chain, key| CertificateFiles {
        domain: domain.to_owned(),
        chain,
        key,
    };
    if let Some(certificate) = conf.tls.certificates.get(domain) {
        return files(certificate.chain.clone(), certificate.key.clone());
    }
    if conf.tls.acme_for(domain).is_some() {
        let name = comity_net::tls::ascii(domain).unwrap_or_default();
        let both = acme::directory(conf).join(format!("{name}.pem"));
        return files(both.clone(), both);
    }
    local::files(&conf.server.data_dir.join("tls"), domain)
        .unwrap_or_else(|_| files(PathBuf::new(), PathBuf::new()))
}

/// Until ACME has brought a certificate, one of our own making stands in its place.
fn stopgap(conf: &Conf, files: &CertificateFiles, now: SystemTime) -> Result<(), TlsError> {
    let directory = acme::directory(conf);
    std::fs::create_dir_all(&directory).map_err(|error| TlsError::Write {
        path: directory,
        error,
    })?;
    if files.load().is_ok() {
        return Ok(());
    }
    let domains = [files.domain.clone()];
    let made = local::ensure(&conf.server.data_dir.join("tls"), &domains, now)?;
    for made in made.certificates {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| TlsError::Read {
                path: path.clone(),
                error,
            })
        };
        let both = [read(&made.chain)?, read(&made.key)?].concat();
        write_private(&files.chain, &both)?;
    }
    Ok(())
}

/// Loads what is configured and makes what is missing.
pub(super) fn certificates(
    conf: &Conf,
    domains: &[String],
    now: SystemTime,
) -> Result<Arc<Certificates>, TlsError> {
    let mut files = Vec::with_capacity(domains.len());
    let mut missing = Vec::new();
    for domain in domains {
        let found = self::files(conf, domain);
        if conf.tls.certificates.contains_key(domain) {
            files.push(found);
        } else if conf.tls.acme_for(domain).is_some() {
            stopgap(conf, &found, now)?;
            files.push(found);
        } else {
            missing.push(domain.clone());
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
