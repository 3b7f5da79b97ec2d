//! The writer: one spelling for every tree.

use bytes::BytesMut;

use super::chars::is_char;
use crate::element::{Attribute, Element, Node};
use crate::ns;

/// Writes a tree; `default_ns` is what the surroundings already declare as default namespace.
///
/// Elements of the stream's own namespace are written with the prefix `stream`, declared where
/// they stand: several clients look for the name `stream:features`, not for its namespace.
pub fn write(element: &Element, default_ns: &str, out: &mut BytesMut) {
    tree(element, default_ns, Above::Nothing, out);
}

/// Writes text with its markup escaped, fit for element content and for attribute values.
pub fn escape(text: &str, out: &mut BytesMut) {
    escape_with(text, true, out);
}

/// Writes ` name='value'`.
pub(crate) fn attribute(name: &str, value: &str, out: &mut BytesMut) {
    out.extend_from_slice(b" ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    escape_with(value, true, out);
    out.extend_from_slice(b"'");
}

/// Writes a payload that stands in the content namespace, however its author named that.
pub(crate) fn content(element: &Element, out: &mut BytesMut) {
    let default_ns = if element.ns == ns::SERVER {
        ns::SERVER
    } else {
        ns::CLIENT
    };
    write(element, default_ns, out);
}

/// What stands above an element that is being written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Above {
    Nothing,
    /// Elements with the prefix `stream`, and nothing else.
    Stream,
    Other,
}

fn tree(element: &Element, default_ns: &str, above: Above, out: &mut BytesMut) {
    // A prefixed element lets the default namespace of its surroundings through, which would not
    // do in the middle of a payload: there that namespace changes with the stream.
    let prefixed = element.ns == ns::STREAM && above != Above::Other;
    let inner_ns = if prefixed { default_ns } else { &element.ns };
    let open_name = |out: &mut BytesMut| {
        if prefixed {
            out.extend_from_slice(b"stream:");
        }
        out.extend_from_slice(element.name.as_bytes());
    };
    out.extend_from_slice(b"<");
    open_name(out);
    if prefixed && above == Above::Nothing {
        attribute("xmlns:stream", ns::STREAM, out);
    }
    if inner_ns != default_ns {
        attribute("xmlns", inner_ns, out);
    }
    for (index, a) in element.attributes.iter().enumerate() {
        written_attribute(index, a, out);
    }
    if element.children.is_empty() {
        out.extend_from_slice(b"/>");
        return;
    }
    out.extend_from_slice(b">");
    let above = if prefixed {
        Above::Stream
    } else {
        Above::Other
    };
    for child in &element.children {
        match child {
            Node::Element(child) => tree(child, inner_ns, above, out),
            Node::Text(text) => escape_with(text, false, out),
        }
    }
    out.extend_from_slice(b"</");
    open_name(out);
    out.extend_from_slice(b">");
}

fn written_attribute(index: usize, a: &Attribute, out: &mut BytesMut) {
    match a.ns.as_deref() {
        None => attribute(&a.name, &a.value, out),
        Some(ns::XML) => attribute(&format!("xml:{}", a.name), &a.value, out),
        Some(namespace) => {
            attribute(&format!("xmlns:ns{index}"), namespace, out);
            attribute(&format!("ns{index}:{}", a.name), &a.value, out);
        }
    }
}

fn escape_with(text: &str, in_attribute: bool, out: &mut BytesMut) {
    let mut done = 0;
    for (at, c) in text.char_indices() {
        let replacement = match c {
            '<' => "&lt;",
            '>' => "&gt;",
            '&' => "&amp;",
            '\'' => "&apos;",
            '"' => "&quot;",
            // A reader would turn these into spaces or line feeds (XML 1.0 §2.11, §3.3.3).
            '\r' => "&#xD;",
            '\n' if in_attribute => "&#xA;",
            '\t' if in_attribute => "&#x9;",
            // XML 1.0 has no way to write these at all; whoever made the text meant something
            // that cannot be sent, and a stream that breaks would be worse.
            c if !is_char(c) => "\u{fffd}",
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[done..at]);
        out.extend_from_slice(replacement.as_bytes());
        done = at + c.len_utf8();
    }
    out.extend_from_slice(&text.as_bytes()[done..]);
}
