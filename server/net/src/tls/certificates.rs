//! What we show to others: a certificate for each domain, replaced while the server runs.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::roots::{certificates_in, read};
use super::{EndPoint, TlsError, ascii, provider};
use crate::stop::Stop;

/// How often the files are looked at for a change.
const WATCH_INTERVAL: Duration = Duration::from_secs(60);

/// Where a domain's certificate lies, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub domain: String,
    /// The certificate itself first, then what leads to its authority.
    pub chain: PathBuf,
    pub key: PathBuf,
}

impl CertificateFiles {
    /// The chain, if key and certificate belong together.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub fn load(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        Ok(certified(self)?.cert)
    }
}

/// The certificates in use. Every handshake takes the set that is current; `reload` swaps the
/// whole set at once, or leaves it as it was.
pub struct Certificates {
    files: Vec<CertificateFiles>,
    current: RwLock<Arc<Set>>,
}

struct Set {
    /// For names nobody configured, and for clients that name none.
    default: Arc<Loaded>,
    by_domain: HashMap<String, Arc<Loaded>>,
}

struct Loaded {
    certified: Arc<CertifiedKey>,
    /// Read once, not with every handshake.
    end_point: Option<Arc<EndPoint>>,
}

impl Certificates {
    /// # Errors
    /// For a file that cannot be read or used, and for an empty list.
    pub fn load(files: Vec<CertificateFiles>) -> Result<Arc<Self>, TlsError> {
        let set = Set::load(&files)?;
        Ok(Arc::new(Self {
            files,
            current: RwLock::new(Arc::new(set)),
        }))
    }

    /// Reads the files again. On an error the certificates in use stay.
    pub fn reload(&self) -> Result<(), TlsError> {
        let set = Arc::new(Set::load(&self.files)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = set;
        Ok(())
    }

    /// The certificate shown for a domain.
    #[must_use]
    pub fn for_domain(&self, domain: &str) -> Arc<CertifiedKey> {
        let set = self.set();
        let ascii = ascii(domain).unwrap_or_default();
        Arc::clone(&set.by_domain.get(&ascii).unwrap_or(&set.default).certified)
    }

    /// The chain shown for a domain, in DER, its own certificate first.
    #[must_use]
    pub fn chain(&self, domain: &str) -> Vec<CertificateDer<'static>> {
        self.for_domain(domain).cert.clone()
    }

    /// Reloads whenever a file has changed, until told to stop.
    pub async fn watch(self: Arc<Self>, mut stop: Stop) {
        let mut seen = self.modified();
        loop {
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(WATCH_INTERVAL) => {}
            }
            let now = self.modified();
            if now == seen {
                continue;
            }
            match self.reload() {
                Ok(()) => {
                    seen = now;
                    tracing::info!("new certificates are in use");
                }
                // Perhaps only half of the files is written yet: look again at the next turn.
                Err(error) => tracing::warn!(%error, "the old certificates stay in use"),
            }
        }
    }

    fn modified(&self) -> Vec<Option<SystemTime>> {
        let files = self.files.iter().flat_map(|f| [&f.chain, &f.key]);
        let times = files.map(|file| std::fs::metadata(file).and_then(|m| m.modified()).ok());
        times.collect()
    }

    /// Those of this moment, for [`Self::end_point`].
    pub(super) fn shown(&self) -> Shown {
        Shown(self.set())
    }

    /// What binds to the certificate shown to a client that named this domain in a handshake which
    /// began with these; nothing if they were replaced during it, since either may have been shown.
    pub(super) fn end_point(&self, began: &Shown, name: Option<&str>) -> Option<Arc<EndPoint>> {
        let set = self.set();
        if !Arc::ptr_eq(&set, &began.0) {
            return None;
        }
        set.named(name).end_point.clone()
    }

    fn set(&self) -> Arc<Set> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The certificates at one moment.
pub(super) struct Shown(Arc<Set>);

impl Set {
    /// RFC 6066 §3.
    fn named(&self, name: Option<&str>) -> &Loaded {
        name.and_then(|name| self.by_domain.get(&name.to_ascii_lowercase()))
            .unwrap_or(&self.default)
    }

    fn load(files: &[CertificateFiles]) -> Result<Self, TlsError> {
        let mut by_domain = HashMap::new();
        let mut default = None;
        for file in files {
            let loaded = Arc::new(Loaded::new(certified(file)?));
            default.get_or_insert_with(|| Arc::clone(&loaded));
            by_domain.insert(ascii(&file.domain)?, loaded);
        }
        Ok(Self {
            default: default.ok_or(TlsError::NoCertificate)?,
            by_domain,
        })
    }
}

impl Loaded {
    fn new(certified: CertifiedKey) -> Self {
        let own = certified.cert.first();
        Self {
            end_point: own.and_then(|own| EndPoint::of(own)).map(Arc::new),
            certified: Arc::new(certified),
        }
    }
}

fn certified(files: &CertificateFiles) -> Result<CertifiedKey, TlsError> {
    let chain = certificates_in(&files.chain)?;
    let bytes = read(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| TlsError::Pem {
        path: files.key.clone(),
        what: "private key",
        why: error.to_string(),
    })?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| TlsError::Mismatch {
        path: files.key.clone(),
        why: error.to_string(),
    })
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.set().named(hello.server_name()).certified))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}
