//! From characters as they are written to the text they stand for.

use std::borrow::Cow;

use super::chars::{is_char, is_nc_name};
use crate::error::StreamError;

pub(super) fn character_data(raw: &str) -> Result<Cow<'_, str>, StreamError> {
    // XML 1.0 §2.4.
    if raw.contains("]]>") {
        return Err(StreamError::not_well_formed("`]]>` in text"));
    }
    Ok(newlines(raw))
}

pub(super) fn cdata(raw: &str) -> Result<&str, StreamError> {
    raw.strip_prefix("<![CDATA[")
        .and_then(|raw| raw.strip_suffix("]]>"))
        .ok_or_else(|| StreamError::not_well_formed("a CDATA section without its end"))
}

/// XML 1.0 §2.11.
pub(super) fn newlines(text: &str) -> Cow<'_, str> {
    if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(text)
    }
}

/// XML 1.0 §3.3.3, for attributes without a declared type.
pub(super) fn attribute_value(raw: &str) -> Result<Cow<'_, str>, StreamError> {
    if !raw
        .bytes()
        .any(|b| matches!(b, b'<' | b'&' | b'\t' | b'\r' | b'\n'))
    {
        return Ok(Cow::Borrowed(raw));
    }
    if raw.contains('<') {
        return Err(StreamError::not_well_formed("`<` in an attribute value"));
    }
    let raw = newlines(raw);
    let mut out = String::with_capacity(raw.len());
    let mut rest = &*raw;
    while let Some(at) = rest.find(['&', '\t', '\n']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('&') {
            let end = rest
                .find(';')
                .ok_or_else(|| StreamError::not_well_formed("`&` that starts no reference"))?;
            reference(&rest[..=end], &mut out)?;
            rest = &rest[end + 1..];
        } else {
            out.push(' ');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

/// XML 1.0 §4.1 and §4.6: character references and the five predefined entities. RFC 6120 §11.1:
/// no others.
pub(super) fn reference(raw: &str, out: &mut String) -> Result<(), StreamError> {
    let name = raw
        .strip_prefix('&')
        .and_then(|raw| raw.strip_suffix(';'))
        .ok_or_else(|| StreamError::not_well_formed("`&` that starts no reference"))?;
    let c = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "apos" => '\'',
        "quot" => '"',
        _ => match name.strip_prefix('#') {
            Some(number) => character(number)?,
            None if is_nc_name(name) => {
                return Err(StreamError::restricted_xml("an entity reference"));
            }
            None => return Err(StreamError::not_well_formed("`&` that starts no reference")),
        },
    };
    out.push(c);
    Ok(())
}

fn character(number: &str) -> Result<char, StreamError> {
    let (digits, radix) = match number.strip_prefix('x') {
        Some(hex) => (hex, 16),
        None => (number, 10),
    };
    // `from_str_radix` would take a sign.
    let value = if digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        u32::from_str_radix(digits, radix).ok()
    } else {
        None
    };
    value
        .and_then(char::from_u32)
        .filter(|&c| is_char(c))
        .ok_or_else(|| {
            StreamError::not_well_formed("a reference to a character that XML 1.0 does not allow")
        })
}
