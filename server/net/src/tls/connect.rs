//! Our end of the handshake where we go to others.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WantsClientCert};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    version,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::verdict::{Unproven, judge};
use super::{Certificates, Roots, Service, TlsError, ascii, provider};
use crate::dns::order::Start;
use crate::transport::Transport;

/// Connects for one service. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    start_tls: TlsConnector,
    direct: TlsConnector,
}

impl Connector {
    /// For a client: the handshake fails unless the server's certificate leads to one of the
    /// roots and names the domain (RFC 6120 §13.7.2).
    pub fn for_client(roots: Roots) -> Result<Self, TlsError> {
        let verifier = Verifier {
            provider: provider(),
            insist: Some(roots),
        };
        let builder = Self::builder(verifier)?;
        Ok(Self::of(builder.with_no_client_auth(), Service::Client))
    }

    /// For a server that speaks as `domain`: it shows that domain's certificate, and takes and
    /// keeps whatever the peer shows, to be judged afterwards.
    pub fn for_server(certificates: Arc<Certificates>, domain: &str) -> Result<Self, TlsError> {
        let ours = Ours {
            certificates,
            domain: domain.to_owned(),
        };
        let config = Self::keeping()?.with_client_cert_resolver(Arc::new(ours));
        Ok(Self::of(config, Service::Server))
    }

    /// For a server that shows no certificate where it connects, and otherwise likewise.
    pub fn without_certificate() -> Result<Self, TlsError> {
        let config = Self::keeping()?.with_no_client_auth();
        Ok(Self::of(config, Service::Server))
    }

    /// Takes whatever the peer shows.
    fn keeping() -> Result<rustls::ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
        Self::builder(Verifier {
            provider: provider(),
            insist: None,
        })
    }

    fn builder(
        verifier: Verifier,
    ) -> Result<rustls::ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
        Ok(
            ClientConfig::builder_with_provider(Arc::clone(&verifier.provider))
                .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier)),
        )
    }

    fn of(mut config: ClientConfig, service: Service) -> Self {
        let start_tls = Arc::new(config.clone());
        // XEP-0368 §3: ALPN is how a direct TLS port knows which protocol is meant.
        config.alpn_protocols = vec![service.name().into()];
        Self {
            start_tls: start_tls.into(),
            direct: Arc::new(config).into(),
        }
    }

    /// The handshake with the server of `domain`, for as long as `patience` lasts. SNI carries
    /// the domain, not the host that SRV records led to (XEP-0368 §3).
    pub async fn connect(
        &self,
        stream: TcpStream,
        domain: &str,
        start: Start,
        patience: Duration,
    ) -> Result<Transport, TlsError> {
        let name =
            ServerName::try_from(ascii(domain)?).map_err(|_| TlsError::Name(domain.to_owned()))?;
        let connector = match start {
            Start::StartTls => &self.start_tls,
            Start::Direct => &self.direct,
        };
        let handshake = Box::pin(connector.connect(name, stream));
        match tokio::time::timeout(patience, handshake).await {
            Ok(Ok(stream)) => Ok(Transport::Tls(Box::new(TlsStream::Client(stream)), None)),
            Ok(Err(error)) => Err(failure(error)),
            Err(_) => Err(TlsError::Slow),
        }
    }
}

/// The certificate of the domain we speak as, as it is now.
struct Ours {
    certificates: Arc<Certificates>,
    domain: String,
}

impl ResolvesClientCert for Ours {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.certificates.for_domain(&self.domain))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ours")
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

/// Checks that the server has the key of its certificate, and where `insist` says so, that the
/// certificate speaks for the domain.
struct Verifier {
    provider: Arc<CryptoProvider>,
    insist: Option<Roots>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.insist else {
            return Ok(ServerCertVerified::assertion());
        };
        let chain: Vec<_> = std::iter::once(end_entity)
            .chain(intermediates)
            .cloned()
            .collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        match judge(&chain, &server_name.to_str(), Service::Client, roots, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(why) => Err(refusal(why)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// Keeps our words for the person, where rustls would have its own.
fn refusal(why: Unproven) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}

/// Finds them again in what comes out of the handshake.
fn failure(error: io::Error) -> TlsError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    if let Some(Error::InvalidCertificate(CertificateError::Other(OtherError(why)))) = inner
        && let Some(why) = why.downcast_ref::<Unproven>()
    {
        return TlsError::Unproven(why.clone());
    }
    TlsError::Handshake(error)
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("insists", &self.insist.is_some())
            .finish_non_exhaustive()
    }
}
