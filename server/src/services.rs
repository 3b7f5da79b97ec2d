//! What modules keep in memory beside storage: keys, caches, locks. One field for each service of
//! the extension, opened once at start.

pub(crate) mod anchors;
pub mod closed;
pub(crate) mod feeds;
pub(crate) mod nominations;
pub(crate) mod owed;
pub(crate) mod revocations;
pub mod rooms;
pub(crate) mod spent;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use comity_conf::Conf;
use comity_mls_credential::anchors::{AnchorsError, TlsKey, TlsRoots};
use comity_mls_credential::keys::Algorithm;
use comity_mls_credential::provider::Provider;
use comity_mls_service::authority::token::{Place, Token};
use comity_mls_service::authority::{
    Authority, AuthorityError, IssuingKey, Options, RootKey, Trust,
};
use comity_mls_service::key_packages::{Directory, Limits};
use comity_mls_service::room::limits::STANZA_BYTES;
use comity_mls_wire::{disco, policy};
use comity_net::tls::{self, CertificateFiles, TlsError};
use comity_storage::Storage;

use crate::home::{Clock, millis};
use crate::module::caps::Caps;
use crate::work::Work;

pub use anchors::Fetches;
pub use rooms::Rooms;

/// The services behind the modules of the MLS extension.
pub struct Services {
    /// Where signatures and trees are worked on.
    pub work: Work,
    /// The Authentication Service of each of our domains.
    authorities: BTreeMap<String, Served>,
    /// Whose CAs are believed: one memory for all of our domains.
    pub trust: Trust,
    /// KeyPackages, by domain.
    pub directories: HashMap<String, Directory>,
    /// What service discovery says of the extension.
    pub(crate) limits: disco::Limits,
    /// Rooms: ours, and the copies of others.
    pub rooms: Rooms,
    pub(crate) fetches: Fetches,
    /// What clients show of themselves.
    pub(crate) caps: Caps,
    pub(crate) crl_fetches: revocations::CrlFetches,
}

struct Served {
    authority: Authority,
    tls: CertificateFiles,
}

/// Why a service could not be opened; one variant for each.
#[derive(Debug, thiserror::Error)]
pub enum ServicesError {
    #[error("the authentication service of {domain}: {error}")]
    Authority {
        domain: String,
        error: AuthorityError,
    },
    #[error("the TLS certificate of {domain}: {error}")]
    Tls { domain: String, error: TlsError },
    #[error("the TLS key of {domain} cannot sign its anchors: {error}")]
    TlsKey { domain: String, error: AnchorsError },
    #[error("tls.extra_roots: {0}")]
    Roots(TlsError),
}

impl Services {
    /// Opens all services for these domains. `conf` has their sections and the data directory.
    ///
    /// # Errors
    /// What the operator has to mend.
    pub async fn open(
        conf: &Conf,
        domains: &[String],
        storage: &Storage,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, ServicesError> {
        let roots = tls::roots::certificates(conf.tls.system_roots, &conf.tls.extra_roots)
            .map_err(ServicesError::Roots)?;
        let trust = Trust::new(TlsRoots::new(roots.iter().map(|root| root.as_ref())));
        let mut authorities = BTreeMap::new();
        let mut directories = HashMap::new();
        for domain in domains {
            let tls = certificate_files(conf, domain, clock)?;
            let key = tls_key(&tls)?;
            let authority = Authority::open(
                options(conf, domain),
                storage.clone(),
                trust.clone(),
                key,
                millis(clock.wall()) / 1000,
            )
            .await
            .map_err(|error| ServicesError::Authority {
                domain: domain.clone(),
                error,
            })?;
            let directory = directory(conf, storage, &trust.provider);
            directories.insert(domain.clone(), directory);
            authorities.insert(domain.clone(), Served { authority, tls });
        }
        let work = Work::of_this_machine();
        let hubs = authorities
            .iter()
            .map(|(domain, served): (&String, &Served)| (domain.clone(), served.authority.clone()))
            .collect();
        Ok(Self {
            rooms: Rooms::open(conf, storage, &trust, &work, hubs),
            work,
            authorities,
            trust,
            directories,
            limits: discovered(conf),
            fetches: Fetches::default(),
            caps: Caps::default(),
            crl_fetches: revocations::CrlFetches::default(),
        })
    }

    /// The Authentication Service of a domain of ours.
    #[must_use]
    pub fn authority(&self, domain: &str) -> Option<&Authority> {
        self.authorities.get(domain).map(|served| &served.authority)
    }

    pub fn authorities(&self) -> impl Iterator<Item = &Authority> {
        self.authorities.values().map(|served| &served.authority)
    }

    /// Reads the TLS keys again, since certificates are renewed while the server runs.
    pub(crate) fn reload_tls(&self) {
        for (domain, served) in &self.authorities {
            match tls_key(&served.tls) {
                Ok(key) => served.authority.set_tls(key),
                // Perhaps only half of the files is written yet: again at the next round.
                Err(error) => tracing::warn!(
                    domain, %error,
                    "the anchors of this domain are signed with the TLS key from before"
                ),
            }
        }
    }
}

/// The KeyPackage directory of a domain, which believes credentials as `provider` does.
fn directory(conf: &Conf, storage: &Storage, provider: &Provider) -> Directory {
    let section = &conf.mls.key_packages;
    let limits = Limits {
        per_device: section.per_device,
        low_stock: section.low_stock,
        lifetime_s: section.lifetime.as_secs(),
        claims_per_requester: section.claims_per_requester,
        claims_per_target: section.claims_per_target,
        claims_per_domain: section.claims_per_domain,
        strangers: section.strangers,
    };
    Directory::new(storage.clone(), provider.clone(), limits)
}

/// The limits in force, as service discovery shows them.
fn discovered(conf: &Conf) -> disco::Limits {
    let section = &conf.mls;
    disco::Limits {
        suites: policy::SUITES.to_vec(),
        rooms_host: None,
        key_packages: section.key_packages.per_device,
        key_package_lifetime_s: section.key_packages.lifetime.as_secs(),
        certificate_lifetime_s: section.authority.certificate_lifetime.as_secs(),
        room_leaves: section.rooms.devices,
        stanza_bytes: u32::try_from(STANZA_BYTES).unwrap_or(u32::MAX),
    }
}

pub(crate) fn options(conf: &Conf, domain: &str) -> Options {
    let section = &conf.mls.authority;
    Options {
        root: match section.root {
            comity_conf::RootKey::Here => RootKey::File,
            comity_conf::RootKey::Offline => RootKey::Offline,
            comity_conf::RootKey::Token => RootKey::Token,
        },
        issuing: match section.issuing {
            comity_conf::IssuingKey::Here => IssuingKey::File,
            comity_conf::IssuingKey::Token => IssuingKey::Token,
        },
        token: token(&section.token),
        algorithm: match section.algorithm {
            comity_conf::Algorithm::P256 => Algorithm::P256,
            comity_conf::Algorithm::Ed25519 => Algorithm::Ed25519,
        },
        root_lifetime_s: section.root_lifetime.as_secs(),
        issuing_lifetime_s: section.issuing_lifetime.as_secs(),
        certificate_lifetime_s: section.certificate_lifetime.as_secs(),
        anchors_lifetime_s: section.anchors_lifetime.as_secs(),
        devices: section.devices,
        certificates_per_day: section.certificates_per_day,
        ..Options::new(domain, ca_directory(conf, domain))
    }
}

/// Nothing is asked of it yet.
fn token(section: &comity_conf::Token) -> Option<Token> {
    if section.module.as_os_str().is_empty() {
        return None;
    }
    let keypad = section.pin_file.as_os_str().is_empty();
    Some(Token::at(Place {
        module: section.module.clone(),
        label: section.label.clone(),
        slot: section.slot.parse().ok(),
        pin_file: (!keypad).then(|| section.pin_file.clone()),
        key_prefix: section.key_prefix.clone(),
        sessions: usize::try_from(section.sessions).unwrap_or(1),
    }))
}

fn ca_directory(conf: &Conf, domain: &str) -> PathBuf {
    // Domains hold no `/` and are no `..` (RFC 7622 §3.2).
    conf.server.data_dir.join("ca").join(domain)
}

/// The files that TLS uses for the domain too: configured, or of our own making.
fn certificate_files(
    conf: &Conf,
    domain: &str,
    clock: &Arc<dyn Clock>,
) -> Result<CertificateFiles, ServicesError> {
    if conf.tls.certificates.contains_key(domain) || conf.tls.acme_for(domain).is_some() {
        return Ok(crate::run::tls::files(conf, domain));
    }
    let failed = |error| ServicesError::Tls {
        domain: domain.to_owned(),
        error,
    };
    let directory = conf.server.data_dir.join("tls");
    let made =
        tls::local::ensure(&directory, &[domain.to_owned()], clock.wall()).map_err(failed)?;
    made.certificates
        .into_iter()
        .next()
        .ok_or_else(|| failed(TlsError::NoCertificate))
}

fn tls_key(files: &CertificateFiles) -> Result<TlsKey, ServicesError> {
    let read = |path: &PathBuf| {
        fs::read(path).map_err(|error| ServicesError::Tls {
            domain: files.domain.clone(),
            error: TlsError::Read {
                path: path.clone(),
                error,
            },
        })
    };
    TlsKey::from_pem(&read(&files.chain)?, &read(&files.key)?).map_err(|error| {
        ServicesError::TlsKey {
            domain: files.domain.clone(),
            error,
        }
    })
}
