//! A connection that HTTP has let go of, for another protocol.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::listener::Permit;
use crate::transport::Transport;

/// A visitor's connection, with its place among those of the listener.
pub(super) struct Connection {
    pub(super) transport: Transport,
    pub(super) permit: Permit,
}

/// The offer to go on with another protocol.
pub struct Upgrade(OnUpgrade);

impl Upgrade {
    pub(super) fn new(upgrade: OnUpgrade) -> Self {
        Self(upgrade)
    }

    /// The connection, once the answer 101 is on the wire. To be awaited in a task of its own:
    /// the answer does not leave before its handler has returned.
    ///
    /// # Errors
    /// Where the answer was another, or the connection broke.
    pub async fn wait(self) -> io::Result<Upgraded> {
        let upgraded = self.0.await.map_err(io::Error::other)?;
        let parts = upgraded
            .downcast::<TokioIo<Connection>>()
            .map_err(|_| io::Error::other("not a connection of this listener"))?;
        let Connection { transport, permit } = parts.io.into_inner();
        Ok(Upgraded {
            read: parts.read_buf,
            transport,
            _permit: permit,
        })
    }
}

/// The connection after the upgrade. It keeps its place among those of the listener.
pub struct Upgraded {
    /// What came behind the request and was read with it.
    read: Bytes,
    transport: Transport,
    _permit: Permit,
}

impl Upgraded {
    /// What carries it, to ask about TLS.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.transport
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.read.is_empty() {
            return Pin::new(&mut this.transport).poll_read(cx, buffer);
        }
        let length = this.read.len().min(buffer.remaining());
        buffer.put_slice(&this.read[..length]);
        this.read.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().transport).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_shutdown(cx)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().transport).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_shutdown(cx)
    }
}
