//! What a stream runs over: a TCP connection, bare or inside TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::tls::{self, EndPoint};

/// Both kinds in one type, so that a stream's task is the same before and after STARTTLS.
pub enum Transport {
    Plain(TcpStream),
    // With the binding to the certificate we have shown, where one is of use.
    // Boxed: a waiting bare connection would otherwise cost as much as a TLS session.
    Tls(Box<TlsStream<TcpStream>>, Option<Arc<EndPoint>>),
}

impl Transport {
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(..))
    }

    /// The certificates the peer showed, its own first; empty where it showed none.
    #[must_use]
    pub fn peer_chain(&self) -> Vec<CertificateDer<'static>> {
        match self {
            Self::Plain(_) => Vec::new(),
            Self::Tls(stream, _) => (stream.get_ref().1.peer_certificates())
                .map(<[_]>::to_vec)
                .unwrap_or_default(),
        }
    }

    /// tls-exporter (RFC 9266) of the connection; see [`tls::exporter`].
    #[must_use]
    pub fn exporter(&self) -> Option<[u8; 32]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream, _) => match &**stream {
                TlsStream::Server(stream) => tls::exporter(stream.get_ref().1),
                TlsStream::Client(stream) => tls::exporter(stream.get_ref().1),
            },
        }
    }
}

impl Transport {
    /// tls-server-end-point (RFC 5929) of the certificate that we have shown, over TLS 1.3.
    #[must_use]
    pub fn end_point(&self) -> Option<EndPoint> {
        match self {
            Self::Tls(_, end_point) if self.exporter().is_some() => end_point.as_deref().copied(),
            _ => None,
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream, _) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream, _) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
