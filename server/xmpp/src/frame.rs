//! Where a top-level element ends: a resumable scanner that measures bytes as they arrive and
//! enforces the limits on size, depth and attributes before anything is parsed.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::StreamError;
use crate::machine::Frame;
use crate::stream::Header;

mod declaration;
mod scanner;

use scanner::{Found, Scanner};

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

/// Elements up to this size are copied out of the buffer, so that a stanza which waits somewhere
/// keeps its own bytes alive and not the whole read; larger ones take the buffer with them.
const COPIED_BYTES: usize = 4096;

/// Bytes to frames and back, for one kind of transport.
pub trait Framing {
    /// Where the driver reads into; call `next_frame` until it has none after each read.
    fn buffer(&mut self) -> &mut BytesMut;
    /// A fault ends the stream: it is given once, as `Frame::Fault`, and nothing after it.
    fn next_frame(&mut self) -> Option<Frame>;
    /// A new stream begins on the same transport (after TLS or SASL): the next frame is a header.
    /// What was already read is discarded when `discard` says so.
    fn restart(&mut self, discard: bool);
    fn set_limits(&mut self, limits: Limits);
    /// Writes a frame as it stands on the transport.
    ///
    /// # Errors
    /// For a fault, which is never said.
    fn put(&mut self, frame: &Frame, out: &mut BytesMut) -> Result<(), StreamError>;
    /// Writes what the transport has to answer by itself.
    fn put_control(&mut self, _out: &mut BytesMut) {}
}

impl Framing for TcpFraming {
    fn buffer(&mut self) -> &mut BytesMut {
        self.buffer()
    }

    fn next_frame(&mut self) -> Option<Frame> {
        self.next_frame()
    }

    fn restart(&mut self, discard: bool) {
        self.restart(discard);
    }

    fn set_limits(&mut self, limits: Limits) {
        self.set_limits(limits);
    }

    fn put(&mut self, frame: &Frame, out: &mut BytesMut) -> Result<(), StreamError> {
        Self::write(frame, out)
    }
}

/// RFC 6120 §4 over TCP: bytes in, frames out.
pub struct TcpFraming {
    buffer: BytesMut,
    limits: Limits,
    scanner: Scanner,
    /// The name on the stream's start tag, once there was one: its end tag must have the same.
    stream: Option<Bytes>,
    over: bool,
}

impl TcpFraming {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            buffer: BytesMut::new(),
            limits,
            scanner: Scanner::new(),
            stream: None,
            over: false,
        }
    }

    /// For elements alone, without a stream around them.
    #[must_use]
    pub fn of_elements(limits: Limits) -> Self {
        Self {
            stream: Some(Bytes::new()),
            ..Self::new(limits)
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
        if self.over {
            self.buffer.clear();
            return None;
        }
        match self.scan() {
            Ok(Some(frame)) => {
                self.over = frame == Frame::Close;
                Some(frame)
            }
            Ok(None) => None,
            Err(error) => {
                self.over = true;
                Some(Frame::Fault(error))
            }
        }
    }

    /// A new stream begins on the same transport (after TLS or SASL): the next frame is a header.
    /// What was already read is discarded when `discard` says so: RFC 6120 §5.4.3.3, bytes sent in
    /// clear after `<starttls/>` are never processed.
    pub fn restart(&mut self, discard: bool) {
        if discard {
            self.buffer.clear();
        }
        self.scanner = Scanner::new();
        self.stream = None;
        self.over = false;
    }

    /// Writes a frame as it stands on a TCP stream.
    pub fn write(frame: &Frame, out: &mut BytesMut) -> Result<(), StreamError> {
        match frame {
            Frame::Open(header) => header.write(out),
            Frame::Element(bytes) => out.extend_from_slice(bytes),
            Frame::Close => out.extend_from_slice(b"</stream:stream>"),
            Frame::Fault(error) => return Err(error.clone()),
        }
        Ok(())
    }

    fn scan(&mut self) -> Result<Option<Frame>, StreamError> {
        loop {
            let opened = self.stream.is_some();
            let Some(found) = self.scanner.scan(&self.buffer, opened, &self.limits)? else {
                self.drop_space();
                return Ok(None);
            };
            match found {
                Found::Declaration { start, end } => {
                    declaration::check(&self.buffer[start..end])?;
                    self.pass(end);
                }
                Found::Header { start, end } => {
                    let tag = &self.buffer[start..end];
                    let header = Header::parse(tag)?;
                    self.stream = Some(tag_name(tag));
                    self.pass(end);
                    return Ok(Some(Frame::Open(header)));
                }
                Found::Element { start, end } => {
                    self.buffer.advance(start);
                    return Ok(Some(Frame::Element(self.take(end - start))));
                }
                Found::End { start, end } => {
                    let name = tag_name(&self.buffer[start + 1..end]);
                    if self.stream.as_ref() != Some(&name) {
                        return Err(StreamError::not_well_formed(
                            "the end tag is not that of the stream",
                        ));
                    }
                    self.pass(end);
                    return Ok(Some(Frame::Close));
                }
            }
        }
    }

    fn take(&mut self, end: usize) -> Bytes {
        self.scanner.rewind();
        if end > COPIED_BYTES {
            return self.buffer.split_to(end).freeze();
        }
        let bytes = Bytes::copy_from_slice(&self.buffer[..end]);
        self.buffer.advance(end);
        bytes
    }

    fn pass(&mut self, end: usize) {
        self.scanner.rewind();
        self.buffer.advance(end);
    }

    /// Whitespace between elements is not kept while we wait for more.
    fn drop_space(&mut self) {
        if let Some(space) = self.scanner.between_elements() {
            self.buffer.advance(space);
            self.scanner.rewind();
        }
    }
}

/// The name that follows the first byte of a tag; whether it is one is the parser's business.
fn tag_name(tag: &[u8]) -> Bytes {
    let name = &tag[1..];
    let end = name
        .iter()
        .position(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b'/' | b'>'))
        .unwrap_or(name.len());
    Bytes::copy_from_slice(&name[..end])
}

#[cfg(test)]
mod tests;
