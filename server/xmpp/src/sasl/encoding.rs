//! Base64 as SASL over XMPP uses it (RFC 6120 §6.4.2): strict, and `=` for nothing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::MESSAGE_BYTES;
use super::failure::{Condition, Failure};

/// The bytes of an `<auth/>`, `<challenge/>`, `<response/>` or `<success/>`.
pub fn decode(text: &str) -> Result<Vec<u8>, Failure> {
    if text == "=" {
        // RFC 6120 §6.4.2: an initial response of length zero.
        return Ok(Vec::new());
    }
    // Refused before a byte of it is decoded.
    if text.len() > MESSAGE_BYTES / 3 * 4 {
        return Err(Failure::new(Condition::MalformedRequest)
            .with_text(format!("a SASL message has at most {MESSAGE_BYTES} bytes")));
    }
    STANDARD.decode(text).map_err(|error| {
        Failure::new(Condition::IncorrectEncoding).with_text(format!("base64: {error}"))
    })
}

/// Text for an element; `=` for no bytes.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        "=".to_owned()
    } else {
        STANDARD.encode(bytes)
    }
}
