//! TLS by rustls over ring: what we show, what we believe, and both ends of the handshake.
//!
//! Between servers the handshake never fails on the peer's certificate. The chain is kept and
//! judged afterwards ([`verdict`]), because only the stream header says which domain the peer
//! claims to be, and because public authorities no longer issue certificates for clients, which
//! stock verifiers insist on.

pub mod accept;
pub mod certificates;
pub mod connect;
mod end_point;
pub mod local;
pub mod roots;
pub mod verdict;

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ProtocolVersion;
use rustls::crypto::CryptoProvider;

pub use accept::Acceptor;
pub use certificates::{CertificateFiles, Certificates};
pub use connect::Connector;
pub use end_point::EndPoint;
pub use roots::Roots;

/// RFC 9266 §2.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// Which of XMPP's two services a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Clients to servers: `xmpp-client`.
    Client,
    /// Servers to servers: `xmpp-server`.
    Server,
}

impl Service {
    /// The name in SRV records, in SRV-IDs and, XEP-0368 §3, in ALPN.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "xmpp-client",
            Self::Server => "xmpp-server",
        }
    }

    /// The same for direct TLS, in SRV records only.
    #[must_use]
    pub fn direct_name(self) -> &'static str {
        match self {
            Self::Client => "xmpps-client",
            Self::Server => "xmpps-server",
        }
    }
}

/// What is wrong with what the operator gave us, or with a handshake.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}: {error}; check that the file exists and that we may read it")]
    Read { path: PathBuf, error: io::Error },
    #[error("cannot write {path}: {error}")]
    Write { path: PathBuf, error: io::Error },
    #[error("{path} holds no usable {what} in PEM form: {why}")]
    Pem {
        path: PathBuf,
        what: &'static str,
        why: String,
    },
    #[error("the key in {path} does not belong to its certificate: {why}")]
    Mismatch { path: PathBuf, why: String },
    #[error("no certificate is configured")]
    NoCertificate,
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    #[error("a certificate could not be made: {0}")]
    Make(#[from] openssl::error::ErrorStack),
    #[error("{0:?} is no name a certificate could be for")]
    Name(String),
    #[error(transparent)]
    Unproven(verdict::Unproven),
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("the TLS handshake took too long")]
    Slow,
}

/// The one cryptography provider of every TLS configuration.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// tls-exporter (RFC 9266). Only for TLS 1.3: below it the value is unique only with the extended
/// master secret, which is not ours to see.
pub fn exporter<D>(connection: &rustls::ConnectionCommon<D>) -> Option<[u8; 32]> {
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return None;
    }
    connection
        .export_keying_material([0; 32], EXPORTER_LABEL, Some(b""))
        .ok()
}

/// Writes a file that nobody else may read, in one step: nobody ever sees half of it.
///
/// # Errors
/// Why it could not be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), TlsError> {
    write(path, bytes, 0o600)
}

/// Writes beside and renames over, so that nobody ever reads half a file.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    let beside = path.with_extension("new");
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| TlsError::Write {
        path: path.to_owned(),
        error,
    })
}

/// A domain as DNS and certificates write it, in A-labels and lower case.
pub fn ascii(domain: &str) -> Result<String, TlsError> {
    idna::domain_to_ascii(domain).map_err(|_| TlsError::Name(domain.to_owned()))
}
