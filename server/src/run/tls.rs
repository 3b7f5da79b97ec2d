//! The certificates we show: the operator's, or for a domain without any, one of our own making.

use std::sync::Arc;
use std::time::SystemTime;

use comity_conf::Conf;
use comity_net::stop::Stop;
use comity_net::tls::{CertificateFiles, Certificates, TlsError, local};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

/// Reads the certificates again at SIGHUP, as `certbot --deploy-hook` and habit ask for it; they
/// are also read when their files change.
pub(super) async fn reload_at_hangup(certificates: Arc<Certificates>, mut stop: Stop) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return warn!(%error, "SIGHUP is not heard"),
    };
    loop {
        tokio::select! {
            told = hangup.recv() => if told.is_none() { return },
            () = stop.wait() => return,
        }
        match certificates.reload() {
            Ok(()) => info!("SIGHUP: the certificates were read again"),
            Err(error) => warn!(%error, "SIGHUP: the old certificates stay in use"),
        }
    }
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
