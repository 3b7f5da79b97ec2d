//! Looks after the certificates of the domains that get theirs by ACME: orders the first, renews
//! after two thirds of its life, and waits ever longer where that fails.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use comity_conf::{AcmeAlgorithm, AcmeChallenge, Conf};
use comity_net::acme::{self, Algorithm, Challenge, Settings, Update};
use comity_net::dns::Dns;
use comity_net::random;
use comity_net::stop::Stop;
use comity_net::tls::{CertificateFiles, Certificates, Roots, TlsError, write_private};
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::RunError;
use super::tls::files;

/// After a first failure; public authorities allow five an hour.
const RETRY_FIRST: Duration = Duration::from_secs(15 * 60);
const RETRY_MOST: Duration = Duration::from_secs(12 * 3600);
/// The clock may be set meanwhile, and a file be put back by hand.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// Starts one task for each such domain.
pub(super) fn start(
    conf: &Conf,
    certificates: &Arc<Certificates>,
    stop: &Stop,
) -> Result<(), RunError> {
    let domains: Vec<&String> = (conf.server.domains.iter())
        .filter(|domain| conf.tls.acme_for(domain).is_some())
        .collect();
    if domains.is_empty() {
        return Ok(());
    }
    let office = Arc::new(Office {
        settings: settings(conf)?,
        lookup: Arc::new(Dns::asking(&conf.server.nameservers)),
        roots: Roots::load(conf.tls.system_roots, &conf.tls.extra_roots)?,
        certificates: Arc::clone(certificates),
        turn: Mutex::default(),
    });
    for domain in domains {
        let (office, files, stop) = (Arc::clone(&office), files(conf, domain), stop.clone());
        tokio::spawn(async move { office.look_after(files, stop).await });
    }
    Ok(())
}

/// Where the last failure of a domain is noted, for `comity check`.
pub(crate) fn failure_of(files: &CertificateFiles) -> PathBuf {
    files.chain.with_extension("error")
}

struct Office {
    settings: Settings,
    lookup: Arc<Dns>,
    roots: Roots,
    certificates: Arc<Certificates>,
    /// One order at a time: they may need the same port.
    turn: Mutex<()>,
}

impl Office {
    async fn look_after(&self, files: CertificateFiles, mut stop: Stop) {
        let mut failures = 0;
        loop {
            let wait = match failures {
                0 => due(&files.chain),
                _ => pause(failures),
            };
            // A renewal that is far away is looked at again; a pause after a failure is kept.
            let part = if failures == 0 {
                wait.min(LOOK_AGAIN)
            } else {
                wait
            };
            tokio::select! {
                () = tokio::time::sleep(part) => {}
                () = stop.wait() => return,
            }
            if part < wait {
                continue;
            }
            let ordered = tokio::select! {
                ordered = self.order(&files) => ordered,
                () = stop.wait() => return,
            };
            failures = match ordered {
                Ok(()) => 0,
                Err(why) => {
                    self.failed(&files, &why);
                    failures + 1
                }
            };
        }
    }

    async fn order(&self, files: &CertificateFiles) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        let domain = &files.domain;
        info!(
            domain,
            authority = self.settings.directory,
            "ordering a certificate"
        );
        let lookup = Arc::clone(&self.lookup);
        let obtained = acme::obtain(&self.settings, domain, lookup, self.roots.clone()).await;
        let obtained = obtained.map_err(|error| error.to_string())?;
        let written = write_private(&files.chain, obtained.pem.as_bytes());
        written.map_err(|error| error.to_string())?;
        // It may not be there.
        let _ = std::fs::remove_file(failure_of(files));
        self.certificates
            .reload()
            .map_err(|error| error.to_string())?;
        info!(domain, "a new certificate is in use");
        Ok(())
    }

    fn failed(&self, files: &CertificateFiles, why: &str) {
        warn!(
            domain = files.domain,
            %why,
            "no certificate was got: `comity check` tells which challenge can work"
        );
        if let Err(error) = write_private(&failure_of(files), why.as_bytes()) {
            warn!(%error, "that could not be noted");
        }
    }
}

/// How long until a certificate has to be renewed.
fn due(file: &Path) -> Duration {
    let pem = std::fs::read(file).unwrap_or_default();
    let due = acme::due(&pem, random::up_to(1000));
    due.and_then(|due| due.duration_since(SystemTime::now()).ok())
        .unwrap_or_default()
}

fn pause(failures: u32) -> Duration {
    let doubled = RETRY_FIRST * 2_u32.saturating_pow((failures - 1).min(8));
    // Between three quarters and five quarters: not all at the same minute.
    doubled.min(RETRY_MOST) * (750 + random::up_to(500)) / 1000
}

fn settings(conf: &Conf) -> Result<Settings, RunError> {
    let acme = &conf.tls.acme;
    let challenge = match (acme.challenge, &acme.update, &acme.hook) {
        (AcmeChallenge::Http01, ..) => Challenge::Http01,
        (AcmeChallenge::TlsAlpn01, ..) => Challenge::TlsAlpn01,
        (AcmeChallenge::Dns01, Some(update), _) => Challenge::Update(Update {
            server: update.server,
            zone: update.zone.clone(),
            key: update.key.clone(),
            algorithm: match update.algorithm {
                AcmeAlgorithm::HmacSha256 => Algorithm::HmacSha256,
                AcmeAlgorithm::HmacSha384 => Algorithm::HmacSha384,
                AcmeAlgorithm::HmacSha512 => Algorithm::HmacSha512,
            },
            secret: secret(&update.secret_file)?,
        }),
        // The configuration is refused where both are missing.
        (AcmeChallenge::Dns01, None, hook) => Challenge::Hook(hook.clone().unwrap_or_default()),
    };
    let host = acme.url().trim_start_matches("https://");
    let host: String = host.chars().take_while(|c| *c != '/').collect();
    let account = format!("account-{}.json", host.replace(':', "-"));
    Ok(Settings {
        directory: acme.url().to_owned(),
        contact: acme.contact.clone(),
        challenge,
        account: directory(conf).join(account),
    })
}

/// Where certificates and accounts lie.
pub(super) fn directory(conf: &Conf) -> PathBuf {
    conf.server.data_dir.join("tls").join("acme")
}

fn secret(path: &Path) -> Result<Vec<u8>, RunError> {
    let unusable = |why: String| {
        RunError::Tls(TlsError::Pem {
            path: path.to_owned(),
            what: "secret (base64)",
            why,
        })
    };
    let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    STANDARD
        .decode(text.trim())
        .map_err(|error| unusable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let quarter = |time: Duration| (time * 3 / 4)..=(time * 5 / 4);
        assert!(quarter(RETRY_FIRST).contains(&pause(1)));
        assert!(quarter(4 * RETRY_FIRST).contains(&pause(3)));
        assert!(quarter(RETRY_MOST).contains(&pause(u32::MAX)));
    }
}
