//! Strict parse of one framed slice, and the writer (RFC 6120 §11). What quick-xml accepts and
//! XML 1.0, Namespaces in XML or XMPP forbids is refused here.

mod chars;
mod reader;
mod scope;
mod text;
mod tree;
mod write;

pub(crate) use reader::{Reader, Token};
pub(crate) use tree::finish;
pub(crate) use write::{attribute, content};
pub use write::{escape, write};

use crate::element::Element;
use crate::error::StreamError;
use crate::stream::Header;

/// How deep a tree may be, whatever the framing allowed: a tree is dropped and written by
/// recursion.
pub const MAX_DEPTH: usize = 256;
/// Namespace declarations in force at one place.
pub const MAX_BINDINGS: usize = 128;

/// Parses one top-level element of the stream that `header` opened. `bytes` must be exactly that
/// element: nothing before it, nothing after.
pub fn parse(bytes: &[u8], header: &Header) -> Result<Element, StreamError> {
    let mut reader = Reader::new(bytes, header)?;
    reader.open()?;
    let element = finish(&mut reader)?;
    reader.end()?;
    Ok(element)
}

#[cfg(test)]
mod tests;
