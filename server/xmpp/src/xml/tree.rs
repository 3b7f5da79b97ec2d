//! Builds an [`Element`] from a reader that stands on its start tag.

use super::reader::{Name, Reader, Token};
use crate::element::{Attribute, Element, Node};
use crate::error::StreamError;

/// Reads from the start tag the reader stands on to its end tag.
pub(crate) fn finish(reader: &mut Reader<'_>) -> Result<Element, StreamError> {
    let mut stack = vec![started(reader)];
    loop {
        match reader.next()? {
            Some(Token::Start) => stack.push(started(reader)),
            Some(Token::Text(text)) => {
                if let Some(element) = stack.last_mut() {
                    append_text(element, &text);
                }
            }
            Some(Token::End) => {
                let Some(element) = stack.pop() else {
                    return Err(unfinished());
                };
                match stack.last_mut() {
                    Some(parent) => parent.children.push(Node::Element(element)),
                    None => return Ok(element),
                }
            }
            None => return Err(unfinished()),
        }
    }
}

fn started(reader: &mut Reader<'_>) -> Element {
    let ns = |reader: &Reader<'_>, name: Name<'_>| reader.ns(name).map(str::to_owned);
    let name = reader.name();
    let mut element = Element::new(ns(reader, name).unwrap_or_default(), name.local);
    element.attributes = reader
        .take_attributes()
        .into_iter()
        .map(|attribute| Attribute {
            ns: ns(reader, attribute.name),
            name: attribute.name.local.to_owned(),
            value: attribute.value.into_owned(),
        })
        .collect();
    element
}

/// Text, references and CDATA that touch are one text.
fn append_text(element: &mut Element, text: &str) {
    match element.children.last_mut() {
        Some(Node::Text(before)) => before.push_str(text),
        _ if text.is_empty() => {}
        _ => element.children.push(Node::Text(text.to_owned())),
    }
}

fn unfinished() -> StreamError {
    StreamError::not_well_formed("an element without its end")
}
