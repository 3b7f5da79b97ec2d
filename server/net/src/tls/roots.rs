//! The authorities we believe: those of the system, and those the operator adds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::TlsError;

/// Cheap to clone.
#[derive(Clone)]
pub struct Roots(pub(crate) Arc<RootCertStore>);

impl Roots {
    /// The authorities in the PEM files `extra`, and where `system` says so, the system's.
    ///
    /// # Errors
    /// Only for the extra ones: a system without a store is a system that trusts nobody.
    pub fn load(system: bool, extra: &[PathBuf]) -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        if !system {
            return Self::with(store, extra);
        }
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            tracing::debug!(%error, "part of the system's certificate store cannot be read");
        }
        let (added, _) = store.add_parsable_certificates(native.certs);
        if added == 0 && extra.is_empty() {
            tracing::warn!("the system has no certificate authorities: no peer will be believed");
        }
        Self::with(store, extra)
    }

    fn with(mut store: RootCertStore, extra: &[PathBuf]) -> Result<Self, TlsError> {
        for path in extra {
            for certificate in certificates_in(path)? {
                store.add(certificate).map_err(|error| TlsError::Pem {
                    path: path.clone(),
                    what: "certificate authority",
                    why: error.to_string(),
                })?;
            }
        }
        Ok(Self(Arc::new(store)))
    }
}

/// The certificates themselves, for those who check chains that came otherwise than in a handshake:
/// the system's, if `system` says so, and those in the PEM files `extra`.
///
/// # Errors
/// Only for the extra ones.
pub fn certificates(
    system: bool,
    extra: &[PathBuf],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut found = Vec::new();
    if system {
        found.extend(rustls_native_certs::load_native_certs().certs);
    }
    for path in extra {
        found.extend(certificates_in(path)?);
    }
    Ok(found)
}

/// All certificates of a PEM file; at least one.
pub(crate) fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let unusable = |why: String| TlsError::Pem {
        path: path.to_owned(),
        what: "certificate",
        why,
    };
    match found {
        Ok(certificates) if certificates.is_empty() => Err(unusable("there is none".to_owned())),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unusable(error.to_string())),
    }
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Read {
        path: path.to_owned(),
        error,
    })
}
