//! The parts of SCRAM's messages (RFC 5802 §7).

use super::MESSAGE_BYTES;

/// A message is UTF-8 of bounded length without NUL.
pub(super) fn text(message: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(message).ok()?;
    (text.len() <= MESSAGE_BYTES && !text.contains('\0')).then_some(text)
}

/// `printable`: 0x21 to 0x7E without the comma.
pub(super) fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b',')
}

/// `attr-val`: an extension that may be ignored.
pub(super) fn is_attribute(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() > 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b'='
}

/// `saslname`: `,` is written `=2C` and `=` is written `=3D`; no other `=` may stand.
pub(super) fn unescape_name(text: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split('=');
    out.push_str(parts.next()?);
    for part in parts {
        let (c, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return None,
        };
        out.push(c);
        out.push_str(rest);
    }
    Some(out)
}

pub(super) fn escape_name(text: &str) -> String {
    text.replace('=', "=3D").replace(',', "=2C")
}
