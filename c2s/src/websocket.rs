//! The framing of RFC 7395: each message of a WebSocket is one element, and `<open/>` and
//! `<close/>` stand for a stream's header and its end. RFC 6455 itself is tungstenite's, which is
//! handed bytes and gives bytes: no socket here, and no extension, so no compression.
//!
//! An element is measured and limited as on TCP, by the same scanner; one that is not alone in its
//! message, or does not fill it, is a fault.

use std::io::{self, Read, Write};

use bytes::{Buf as _, Bytes, BytesMut};
use comity_xmpp::element::Element;
use comity_xmpp::error::{StreamCondition, StreamError};
use comity_xmpp::frame::{Framing, Limits, TcpFraming};
use comity_xmpp::machine::Frame;
use comity_xmpp::ns;
use comity_xmpp::stream::Header;
use comity_xmpp::xml;
use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Utf8Bytes};

/// The subprotocol (RFC 7395 §3.1).
pub const SUBPROTOCOL: &str = "xmpp";

/// What tungstenite takes in one piece; a waiting connection holds that much.
const READ_BYTES: usize = 4 * 1024;

pub struct WebSocketFraming {
    context: WebSocketContext,
    wire: Wire,
    limits: Limits,
    over: bool,
}

/// Both directions of the connection, in memory.
#[derive(Default)]
struct Wire {
    input: BytesMut,
    output: BytesMut,
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = self.input.len().min(into.len());
        into[..length].copy_from_slice(&self.input[..length]);
        self.input.advance(length);
        Ok(length)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WebSocketFraming {
    /// The server's end, after the handshake.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::with_role(Role::Server, limits)
    }

    fn with_role(role: Role, limits: Limits) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(limits.element_bytes))
            .max_frame_size(Some(limits.element_bytes));
        Self {
            context: WebSocketContext::new(role, Some(config)),
            wire: Wire::default(),
            limits,
            over: false,
        }
    }

    fn read(&mut self) -> Result<Option<Frame>, StreamError> {
        loop {
            let message = match self.context.read(&mut self.wire) {
                Ok(message) => message,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(None);
                }
                // RFC 7395 §3.6: whoever closes without `<close/>` has closed the stream too.
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                    return Ok(Some(Frame::Close));
                }
                Err(Error::Capacity(_)) => {
                    let text =
                        format!("an element has at most {} bytes", self.limits.element_bytes);
                    return Err(StreamError::new(StreamCondition::PolicyViolation, text));
                }
                Err(error) => {
                    let text = format!("not a WebSocket any more: {error}");
                    return Err(StreamError::new(StreamCondition::BadFormat, text));
                }
            };
            match message {
                // RFC 7395 §3.8: some keep their connection alive so.
                Message::Text(text) if text.trim().is_empty() => {}
                Message::Text(text) => return frame(&text, self.limits).map(Some),
                Message::Close(_) => return Ok(Some(Frame::Close)),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                // RFC 7395 §3.2.
                Message::Binary(_) => {
                    let text = "messages are text, one element each";
                    return Err(StreamError::new(StreamCondition::BadFormat, text));
                }
            }
        }
    }

    fn say(&mut self, text: String) {
        // Into memory: it fails only where the connection is closed, and then nobody listens.
        let _ = self
            .context
            .write(&mut self.wire, Message::Text(text.into()));
    }
}

impl Framing for WebSocketFraming {
    fn buffer(&mut self) -> &mut BytesMut {
        &mut self.wire.input
    }

    fn next_frame(&mut self) -> Option<Frame> {
        if self.over {
            self.wire.input.clear();
            return None;
        }
        let frame = self
            .read()
            .unwrap_or_else(|error| Some(Frame::Fault(error)));
        self.over = matches!(frame, Some(Frame::Close | Frame::Fault(_)));
        frame
    }

    /// Each `<open/>` says that a new stream begins; nothing has to be expected.
    fn restart(&mut self, _discard: bool) {}

    fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.context.set_config(|config| {
            config.max_message_size = Some(limits.element_bytes);
            config.max_frame_size = Some(limits.element_bytes);
        });
    }

    fn put(&mut self, frame: &Frame, out: &mut BytesMut) -> Result<(), StreamError> {
        match frame {
            Frame::Open(header) => self.say(header.to_open().to_string()),
            Frame::Element(bytes) => self.say(alone(bytes)),
            Frame::Close => {
                self.say(Element::new(ns::FRAMING, "close").to_string());
                // As above.
                let _ = self.context.close(&mut self.wire, None);
            }
            Frame::Fault(error) => return Err(error.clone()),
        }
        self.put_control(out);
        Ok(())
    }

    fn put_control(&mut self, out: &mut BytesMut) {
        // Answers to pings, and to a close.
        let _ = self.context.flush(&mut self.wire);
        out.unsplit(self.wire.output.split());
    }
}

/// What one message carries.
fn frame(text: &Utf8Bytes, limits: Limits) -> Result<Frame, StreamError> {
    let mut elements = TcpFraming::of_elements(limits);
    elements.buffer().extend_from_slice(text.as_bytes());
    let element = match elements.next_frame() {
        Some(Frame::Element(bytes)) => bytes,
        Some(Frame::Fault(error)) => return Err(error),
        _ => return Err(not_one_element()),
    };
    if elements.next_frame().is_some() || !elements.buffer().is_empty() {
        return Err(not_one_element());
    }
    if let Some(framing) = of_framing(&element)? {
        return match framing.name.as_str() {
            "open" => Header::from_open(&framing).map(Frame::Open),
            "close" => Ok(Frame::Close),
            name => Err(StreamError::new(
                StreamCondition::UnsupportedStanzaType,
                format!("there is no <{name}/> in RFC 7395"),
            )),
        };
    }
    Ok(Frame::Element(element))
}

/// `<open/>` and `<close/>`; nothing else is parsed here.
fn of_framing(element: &Bytes) -> Result<Option<Element>, StreamError> {
    let tag = element
        .split(|byte| *byte == b'>')
        .next()
        .unwrap_or_default();
    let names_it = tag
        .windows(ns::FRAMING.len())
        .any(|window| window == ns::FRAMING.as_bytes());
    if !names_it {
        return Ok(None);
    }
    let parsed = xml::parse(element, &Header::of(ns::CLIENT))?;
    Ok((parsed.ns == ns::FRAMING).then_some(parsed))
}

fn not_one_element() -> StreamError {
    StreamError::new(
        StreamCondition::BadFormat,
        "a message is exactly one element (RFC 7395, section 3.3.3)",
    )
}

/// An element of ours without a stream around it: one that states no default namespace is in that
/// of a client's stanzas.
fn alone(element: &[u8]) -> String {
    let text = String::from_utf8_lossy(element);
    let name_end = text
        .find(|c: char| c.is_ascii_whitespace() || c == '/' || c == '>')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(name_end);
    if name.contains(':') || states_namespace(rest) {
        return text.into_owned();
    }
    format!("{name} xmlns='{}'{rest}", ns::CLIENT)
}

/// Is there ` xmlns='…'` among the attributes of this start tag, as our writer writes them?
fn states_namespace(attributes: &str) -> bool {
    let mut quoted = attributes.split('\'');
    while let Some(outside) = quoted.next() {
        if outside.contains('>') {
            return false;
        }
        if outside.ends_with(" xmlns=") {
            return true;
        }
        quoted.next();
    }
    false
}

#[cfg(test)]
mod tests;
