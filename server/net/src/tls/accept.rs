//! Our end of the handshake where others come to us.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme, version,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::{Certificates, Service, TlsError, provider};
use crate::dns::order::Start;
use crate::transport::Transport;

/// Accepts TLS for one service. Cheap to clone.
#[derive(Clone)]
pub struct Acceptor {
    start_tls: TlsAcceptor,
    direct: TlsAcceptor,
    certificates: Arc<Certificates>,
}

impl Acceptor {
    /// For [`Service::Server`] the peer is asked for its certificate, and whatever it shows is
    /// taken and kept: see the head of [`crate::tls`].
    pub fn new(service: Service, certificates: Arc<Certificates>) -> Result<Self, TlsError> {
        Self::speaking(service, service.name(), certificates)
    }

    /// For the web: HTTP/1.1 in ALPN (RFC 7301), TLS from the first byte.
    pub fn web(certificates: Arc<Certificates>) -> Result<Self, TlsError> {
        Self::speaking(Service::Client, "http/1.1", certificates)
    }

    fn speaking(
        service: Service,
        protocol: &str,
        certificates: Arc<Certificates>,
    ) -> Result<Self, TlsError> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?;
        let builder = match service {
            Service::Client => builder.with_no_client_auth(),
            Service::Server => builder.with_client_cert_verifier(Arc::new(KeepAny(provider))),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&certificates) as _);
        // One ticket serves the client that comes back; the second of the default only costs.
        config.send_tls13_tickets = 1;
        let start_tls = Arc::new(config.clone());
        // XEP-0368 §3: ALPN belongs to direct TLS; whoever offers no protocol at all is served.
        config.alpn_protocols = vec![protocol.into()];
        Ok(Self {
            start_tls: start_tls.into(),
            direct: Arc::new(config).into(),
            certificates,
        })
    }

    /// The handshake, for as long as `patience` lasts.
    pub async fn accept(
        &self,
        stream: TcpStream,
        start: Start,
        patience: Duration,
    ) -> Result<Transport, TlsError> {
        let acceptor = match start {
            Start::StartTls => &self.start_tls,
            Start::Direct => &self.direct,
        };
        let shown = self.certificates.shown();
        // Boxed: the handshake's future is large, and a stream's task would carry it for life.
        let handshake = Box::pin(acceptor.accept(stream));
        match tokio::time::timeout(patience, handshake).await {
            Ok(Ok(stream)) => {
                let name = stream.get_ref().1.server_name();
                let end_point = self.certificates.end_point(&shown, name);
                let stream = Box::new(TlsStream::Server(stream));
                Ok(Transport::Tls(stream, end_point))
            }
            Ok(Err(error)) => Err(TlsError::Handshake(error)),
            Err(_) => Err(TlsError::Slow),
        }
    }
}

/// Asks for a certificate, and takes any: only the proof that the peer has its key is checked.
#[derive(Debug)]
struct KeepAny(Arc<CryptoProvider>);

impl ClientCertVerifier for KeepAny {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
