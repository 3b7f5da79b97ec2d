//! `comity ca audit`: reads the whole transparency log from the database.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use comity_conf::Conf;
use comity_mls_credential::certificate::{Certificate, issuer_id};
use comity_mls_credential::leaf::{IssuerId, Issuers};
use comity_mls_service::authority;
use comity_storage::Storage;
use openssl::x509::X509;

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("{0} is not served here: server.domains names {1}")]
    NotServed(String, String),
    #[error(
        "there is no database at {0}: start the server first, or name its configuration with --config"
    )]
    NoDatabase(PathBuf),
    #[error("{path} cannot be read: {error}")]
    File {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error(transparent)]
    Storage(#[from] comity_storage::Error),
    /// What is wrong has been printed.
    #[error("{0} faults were found: see above what to do")]
    Faults(u64),
}

/// # Errors
/// What was found, or why nothing could be looked at.
pub(super) async fn audit(conf: &Conf, domain: Option<String>) -> Result<(), AuditError> {
    let served = &conf.server.domains;
    let domains = match domain {
        Some(domain) if served.contains(&domain) => vec![domain],
        Some(domain) => return Err(AuditError::NotServed(domain, served.join(", "))),
        None => served.clone(),
    };
    let database = conf.database();
    if !database.exists() {
        return Err(AuditError::NoDatabase(database));
    }
    let storage = Storage::open(&database).await?;
    let mut faults = 0;
    for domain in domains {
        let directory = conf.server.data_dir.join("ca").join(&domain);
        let issuers = OnDisk::read(&domain, &directory)?;
        let found = authority::audit(&storage, &domain, &issuers).await?;
        println!(
            "{domain}: {} entries of {} accounts, {} certificates",
            found.entries, found.accounts, found.certificates
        );
        for fault in &found.faults {
            println!("- {fault}");
        }
        if found.more > 0 {
            println!("- and {} more", found.more);
        }
        let count = u64::try_from(found.faults.len()).unwrap_or(u64::MAX) + found.more;
        if count == 0 {
            println!("everything is as it should be");
        }
        faults += count;
    }
    storage.close().await;
    match faults {
        0 => Ok(()),
        faults => Err(AuditError::Faults(faults)),
    }
}

/// The certificates of a domain's CAs, as they lie beside their keys.
struct OnDisk {
    domain: String,
    all: Vec<(IssuerId, Arc<[u8]>)>,
}

impl OnDisk {
    fn read(domain: &str, directory: &Path) -> Result<Self, AuditError> {
        let failed = |path: &Path, error| AuditError::File {
            path: path.to_owned(),
            error,
        };
        let mut all = Vec::new();
        let entries = fs::read_dir(directory).map_err(|error| failed(directory, error))?;
        for entry in entries {
            let path = entry.map_err(|error| failed(directory, error))?.path();
            if path.extension().is_none_or(|extension| extension != "pem") {
                continue;
            }
            let pem = fs::read(&path).map_err(|error| failed(&path, error))?;
            // What is no certificate of a CA signs no heads.
            all.extend(authority_of(&pem));
        }
        Ok(Self {
            domain: domain.to_owned(),
            all,
        })
    }
}

fn authority_of(pem: &[u8]) -> Option<(IssuerId, Arc<[u8]>)> {
    let der = X509::from_pem(pem).ok()?.to_der().ok()?;
    let read = Certificate::read(&der).ok().filter(|read| read.authority)?;
    Some((issuer_id(&read.public_key).ok()?, der.into()))
}

impl Issuers for OnDisk {
    fn issuer(&self, domain: &str, id: &IssuerId) -> Option<Arc<[u8]>> {
        let found = self.all.iter().find(|(known, _)| known == id);
        found
            .filter(|_| domain == self.domain)
            .map(|(_, der)| Arc::clone(der))
    }
}
