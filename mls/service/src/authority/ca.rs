//! The domain's CA as files: a root, issuing CAs under it, and the hub's keys.
//!
//! `root.key` and `root.pem`; `issuing-1.key` and `.pem`, then `-2` when the first nears its end,
//! and so on; `hub-p256` and `hub-ed25519` likewise. Keys are readable by their owner alone. A key
//! is written before its certificate, so that a crash between the two is healed by the next start.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use comity_mls_credential::certificate::Certificate;
use comity_mls_credential::issue::{self, IssueError, Issuer, Validity};
use comity_mls_credential::keys::{Algorithm, KeyError, PrivateKey};
use comity_mls_credential::leaf::{CLOCK_TOLERANCE_S, CredentialError};
use comity_xmpp::jid::BareJid;
use mls_rs_core::identity::{CertificateChain, Credential, SigningIdentity};
use openssl::x509::X509;

use super::Options;

/// Issuing CAs there may ever be: at two years each, more than the root's life.
const MAX_ISSUING: u32 = 64;

#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("{path} cannot be read or written: {error}")]
    File { path: PathBuf, error: io::Error },
    #[error("{path} holds no usable certificate: {why}; restore it from a backup")]
    Certificate { path: PathBuf, why: String },
    #[error("{path} holds no usable key: {error}; restore it from a backup")]
    Key { path: PathBuf, error: KeyError },
    #[error("{path} is missing beside its certificate; restore it from a backup")]
    KeyMissing { path: PathBuf },
    #[error(
        "the root of {domain} ends in less than a client certificate's lifetime: make a new one"
    )]
    RootEnds { domain: String },
    #[error("a certificate cannot be made: {0}")]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error("{0:?} is no domain")]
    Domain(String),
}

/// Who the domain is as an external sender of rooms.
#[derive(Clone, Debug)]
pub struct Hub {
    pub key: PrivateKey,
    /// DER: the domain as XmppAddr, and no device.
    pub certificate: Vec<u8>,
    pub identity: SigningIdentity,
}

/// All keys of the CA.
#[derive(Debug)]
pub struct Ca {
    pub(super) root: Issuer,
    /// The newest last; it issues.
    issuing: Vec<(Issuer, Validity)>,
    p256: Arc<Hub>,
    ed25519: Arc<Hub>,
}

impl Ca {
    /// Reads the CA, making what is missing.
    pub(super) fn open(options: &Options, now: u64) -> Result<Self, CaError> {
        let store = Files::open(options)?;
        let begins = now.saturating_sub(CLOCK_TOLERANCE_S);
        let root = store.root(Validity {
            not_before: begins,
            not_after: now.saturating_add(options.root_lifetime_s),
        })?;
        let root_validity = validity(&root.certificate)?;
        let issuing = store.issuing(&root, root_validity, now)?;
        let Some((issuer, until)) = issuing.last() else {
            // `issuing` makes one where there is none.
            return Err(CaError::Domain(options.domain.clone()));
        };
        Ok(Self {
            p256: store.hub(Algorithm::P256, issuer, *until)?,
            ed25519: store.hub(Algorithm::Ed25519, issuer, *until)?,
            root,
            issuing,
        })
    }

    /// The CA with a new issuing CA, where the present one is too near its end to issue
    /// certificates of full length.
    pub(super) fn renewed(&self, options: &Options, now: u64) -> Result<Option<Self>, CaError> {
        let due = self
            .issuing
            .last()
            .is_none_or(|(_, validity)| ends_soon(validity, options, now));
        if due {
            Self::open(options, now).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn hub(&self, algorithm: Algorithm) -> Arc<Hub> {
        match algorithm {
            Algorithm::P256 => Arc::clone(&self.p256),
            Algorithm::Ed25519 => Arc::clone(&self.ed25519),
        }
    }

    /// The CA that issues now, and how long it may.
    pub(super) fn issuer(&self) -> Option<(&Issuer, Validity)> {
        self.issuing
            .last()
            .map(|(issuer, validity)| (issuer, *validity))
    }

    /// Issuing CAs whose certificates may be valid still, newest first. A leaf never outlives its
    /// issuer, so an issuer's end is the end of all it issued.
    pub(super) fn listed(&self, now: u64) -> impl Iterator<Item = &[u8]> {
        self.issuing
            .iter()
            .rev()
            .filter(move |(_, validity)| validity.not_after >= now)
            .map(|(issuer, _)| issuer.certificate.as_slice())
    }

    /// The same with their keys, which sign revocation lists until the last certificate is gone.
    pub(super) fn revoking(&self, now: u64) -> impl Iterator<Item = &Issuer> {
        self.issuing
            .iter()
            .filter(move |(_, validity)| validity.not_after >= now)
            .map(|(issuer, _)| issuer)
    }

    /// Every issuing CA there ever was.
    pub(super) fn ever(&self) -> Vec<Vec<u8>> {
        self.issuing
            .iter()
            .map(|(issuer, _)| issuer.certificate.clone())
            .collect()
    }
}

fn ends_soon(validity: &Validity, options: &Options, now: u64) -> bool {
    // Twice, so that the new one is known everywhere before it is needed.
    validity.not_after < now.saturating_add(options.certificate_lifetime_s.saturating_mul(2))
}

fn validity(certificate: &[u8]) -> Result<Validity, CredentialError> {
    let read = Certificate::read(certificate)?;
    Ok(Validity {
        not_before: read.not_before,
        not_after: read.not_after,
    })
}

/// The directory, and what is made in it.
struct Files<'a> {
    options: &'a Options,
    domain: BareJid,
}

impl<'a> Files<'a> {
    fn open(options: &'a Options) -> Result<Self, CaError> {
        let domain = BareJid::parse(&options.domain)
            .ok()
            .filter(|jid| jid.local().is_none())
            .ok_or_else(|| CaError::Domain(options.domain.clone()))?;
        let directory = &options.directory;
        fs::create_dir_all(directory).map_err(|error| file(directory, error))?;
        Ok(Self { options, domain })
    }

    fn root(&self, validity: Validity) -> Result<Issuer, CaError> {
        let (key, certificate) = self.read("root")?;
        if let Some(certificate) = certificate {
            return Ok(Issuer { key, certificate });
        }
        let root = issue::root(&self.options.domain, key, validity)?;
        self.write_certificate("root", &root.certificate)?;
        tracing::info!(domain = %self.options.domain, "made the root of the domain's CA");
        Ok(root)
    }

    fn issuing(
        &self,
        root: &Issuer,
        root_validity: Validity,
        now: u64,
    ) -> Result<Vec<(Issuer, Validity)>, CaError> {
        let mut issuing: Vec<(Issuer, Validity)> = Vec::new();
        for number in 1..=MAX_ISSUING {
            let name = format!("issuing-{number}");
            let exists = self.path(&name, "pem").exists();
            let enough = issuing
                .last()
                .is_some_and(|(_, validity)| !ends_soon(validity, self.options, now));
            if !exists && enough {
                break;
            }
            let (key, certificate) = self.read(&name)?;
            let certificate = match certificate {
                Some(certificate) => certificate,
                None => self.make_issuing(&name, &key, root, root_validity, now)?,
            };
            let validity = validity(&certificate)?;
            issuing.push((Issuer { key, certificate }, validity));
        }
        Ok(issuing)
    }

    fn make_issuing(
        &self,
        name: &str,
        key: &PrivateKey,
        root: &Issuer,
        root_validity: Validity,
        now: u64,
    ) -> Result<Vec<u8>, CaError> {
        let ends = now
            .saturating_add(self.options.issuing_lifetime_s)
            .min(root_validity.not_after);
        if ends < now.saturating_add(self.options.certificate_lifetime_s) {
            return Err(CaError::RootEnds {
                domain: self.options.domain.clone(),
            });
        }
        let validity = Validity {
            not_before: now.saturating_sub(CLOCK_TOLERANCE_S),
            not_after: ends,
        };
        let public = key.public().map_err(IssueError::from)?;
        let certificate = issue::issuing(&self.options.domain, &public, root, validity)?;
        self.write_certificate(name, &certificate)?;
        tracing::info!(domain = %self.options.domain, name, "made an issuing CA");
        Ok(certificate)
    }

    /// The hub's key for one algorithm, with a certificate of the present issuing CA.
    fn hub(
        &self,
        algorithm: Algorithm,
        issuer: &Issuer,
        until: Validity,
    ) -> Result<Arc<Hub>, CaError> {
        let name = match algorithm {
            Algorithm::P256 => "hub-p256",
            Algorithm::Ed25519 => "hub-ed25519",
        };
        let (key, certificate) = self.read_or_make(name, algorithm)?;
        let public = key.public().map_err(IssueError::from)?;
        let issuer_key = issuer.key.public().map_err(IssueError::from)?;
        let current = certificate.filter(|der| {
            Certificate::read(der)
                .is_ok_and(|read| read.public_key == public && read.signed_by(&issuer_key))
        });
        let certificate = match current {
            Some(certificate) => certificate,
            None => {
                let made = issue::leaf(&self.domain, None, &public, issuer, until)?;
                self.write_certificate(name, &made)?;
                made
            }
        };
        let chain = CertificateChain::from(vec![certificate.clone()]);
        let identity = SigningIdentity::new(Credential::X509(chain), public.to_mls());
        Ok(Arc::new(Hub {
            key,
            certificate,
            identity,
        }))
    }

    /// A key, made if there is none, and its certificate if there is one.
    fn read(&self, name: &str) -> Result<(PrivateKey, Option<Vec<u8>>), CaError> {
        self.read_or_make(name, self.options.algorithm)
    }

    fn read_or_make(
        &self,
        name: &str,
        algorithm: Algorithm,
    ) -> Result<(PrivateKey, Option<Vec<u8>>), CaError> {
        let certificate = self.read_certificate(name)?;
        let path = self.path(name, "key");
        let key = match fs::read(&path) {
            Ok(pem) => PrivateKey::from_pem(&pem).map_err(|error| CaError::Key { path, error })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if certificate.is_some() {
                    return Err(CaError::KeyMissing { path });
                }
                let key = PrivateKey::generate(algorithm).map_err(IssueError::from)?;
                write(&path, &key.to_pem().map_err(IssueError::from)?, 0o600)?;
                key
            }
            Err(error) => return Err(file(&path, error)),
        };
        if let Some(der) = &certificate {
            let public = key.public().map_err(IssueError::from)?;
            if Certificate::read(der)?.public_key != public {
                return Err(CaError::Certificate {
                    path: self.path(name, "pem"),
                    why: "it is for another key than the one beside it".to_owned(),
                });
            }
        }
        Ok((key, certificate))
    }

    fn read_certificate(&self, name: &str) -> Result<Option<Vec<u8>>, CaError> {
        let path = self.path(name, "pem");
        let pem = match fs::read(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file(&path, error)),
        };
        let unusable = |why: String| CaError::Certificate {
            path: path.clone(),
            why,
        };
        let certificate = X509::from_pem(&pem).map_err(|error| unusable(error.to_string()))?;
        let der = certificate
            .to_der()
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Some(der))
    }

    fn write_certificate(&self, name: &str, der: &[u8]) -> Result<(), CaError> {
        let pem = X509::from_der(der)
            .and_then(|certificate| certificate.to_pem())
            .map_err(IssueError::from)?;
        write(&self.path(name, "pem"), &pem, 0o644)
    }

    fn path(&self, name: &str, extension: &str) -> PathBuf {
        self.options.directory.join(format!("{name}.{extension}"))
    }
}

/// Writes a file so that it is there whole or not at all, even after a power cut.
fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), CaError> {
    let scratch = path.with_extension("new");
    let written = || -> io::Result<()> {
        // A scratch file of a start that failed may have other permissions.
        let _ = fs::remove_file(&scratch);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&scratch)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&scratch, path)?;
        match path.parent() {
            Some(directory) => fs::File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    };
    written().map_err(|error| file(path, error))
}

fn file(path: &Path, error: io::Error) -> CaError {
    CaError::File {
        path: path.to_owned(),
        error,
    }
}
