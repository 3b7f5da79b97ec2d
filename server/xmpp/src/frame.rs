//! Where a top-level element ends: a resumable scanner that measures bytes as they arrive and
//! enforces the limits on size, depth and attributes before anything is parsed.

use bytes::{Bytes, BytesMut};

use crate::error::StreamError;
use crate::machine::Frame;

/// What one top-level element may cost its reader. Small ones hold before authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one top-level element (the stream header included).
    pub element_bytes: usize,
    pub depth: usize,
    /// Attributes of one element, namespace declarations included.
    pub attributes: usize,
    /// Bytes of one element or attribute name.
    pub name_bytes: usize,
}

/// RFC 6120 §4 over TCP: bytes in, frames out.
pub struct TcpFraming {
    buffer: BytesMut,
    limits: Limits,
}

impl TcpFraming {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            buffer: BytesMut::new(),
            limits,
        }
    }

    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Where the driver reads into; call `next_frame` until it has none after each read.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// A fault ends the stream: it is given once, as `Frame::Fault`, and nothing after it.
    pub fn next_frame(&mut self) -> Option<Frame> {
        todo!()
    }

    /// A new stream begins on the same transport (after TLS or SASL): the next frame is a header.
    /// What was already read is discarded when `discard` says so: RFC 6120 §5.4.3.3, bytes sent in
    /// clear after `<starttls/>` are never processed.
    pub fn restart(&mut self, discard: bool) {
        let _ = discard;
        todo!()
    }

    /// Writes a frame as it stands on a TCP stream.
    pub fn write(frame: &Frame, out: &mut BytesMut) -> Result<(), StreamError> {
        let _ = (frame, out, Bytes::new());
        todo!()
    }
}
