//! Closes a payload while it is read: see the module above for what that means.

use bytes::{Bytes, BytesMut};

use super::Child;
use crate::error::StreamError;
use crate::ns;
use crate::xml::{Reader, Token, attribute, content, finish};

/// All content namespaces are one inside a stanza: a child in any is the stanza's own.
pub(super) fn content_ns(namespace: &str) -> &str {
    if namespace == ns::SERVER || namespace == ns::COMPONENT {
        ns::CLIENT
    } else {
        namespace
    }
}

fn is_content(namespace: &str) -> bool {
    content_ns(namespace) == ns::CLIENT
}

/// The bytes between the stanza's tags, and what stands where in them.
pub(super) struct Payload {
    pub(super) bytes: Bytes,
    pub(super) children: Vec<Child>,
}

impl Payload {
    pub(super) fn read(
        element: &Bytes,
        reader: &mut Reader<'_>,
        stream_ns: &str,
    ) -> Result<Self, StreamError> {
        let begin = reader.span().1;
        let mut closing = Closing {
            stream_ns,
            done: begin,
            rewritten: BytesMut::new(),
        };
        let mut children = Vec::new();
        loop {
            match reader.next()? {
                Some(Token::Start) => children.push(closing.child(element, reader)?),
                Some(Token::Text(_)) => {}
                Some(Token::End) => break,
                None => {
                    return Err(StreamError::not_well_formed("a stanza without its end"));
                }
            }
        }
        // An empty element's end has no bytes: it stands where the start tag ends.
        let end = reader.span().0;
        let bytes = if closing.done == begin {
            element.slice(begin..end)
        } else {
            closing
                .rewritten
                .extend_from_slice(&element[closing.done..end]);
            closing.rewritten.freeze()
        };
        Ok(Self { bytes, children })
    }
}

/// What has been copied, with changes; nothing, as long as nothing had to change.
struct Closing<'h> {
    /// The content namespace that the stream declares for all of it.
    stream_ns: &'h str,
    /// Up to here the element's bytes are in `rewritten`; `begin` while nothing is.
    done: usize,
    rewritten: BytesMut,
}

impl Closing<'_> {
    /// The reader stands on a child's start tag; reads to the child's end.
    fn child(&mut self, element: &Bytes, reader: &mut Reader<'_>) -> Result<Child, StreamError> {
        let (tag_start, tag_end) = reader.span();
        let name = reader.name();
        let namespace = reader.ns(name).unwrap_or_default().to_owned();
        let start = self.position(tag_start);
        let child_ns = content_ns(&namespace).into();
        let child_name = name.local.into();
        let stated = !name.prefix.is_empty()
            || reader.declared_at(name) == Some(2)
            || namespace != self.stream_ns;
        if is_content(&namespace) && stated {
            // Its namespace would name one stream's content on another's: written anew.
            let tree = finish(reader)?;
            self.copy(element, tag_start);
            content(&tree, &mut self.rewritten);
            self.done = reader.span().1;
        } else {
            let mut outer = Outer {
                stream_ns: self.stream_ns,
                bindings: Vec::new(),
            };
            outer.start_tag(reader);
            while reader.depth() > 1 {
                match reader.next()? {
                    Some(Token::Start) => outer.start_tag(reader),
                    Some(_) => {}
                    None => break,
                }
            }
            if !outer.bindings.is_empty() {
                let name_end = tag_start + 1 + name.prefix.len() + name.local.len();
                let name_end = name_end + usize::from(!name.prefix.is_empty());
                self.copy(element, name_end.min(tag_end));
                outer.declare(&mut self.rewritten);
            }
        }
        let end = self.position(reader.span().1);
        Ok(Child {
            ns: child_ns,
            name: child_name,
            range: start..end,
        })
    }

    fn copy(&mut self, element: &Bytes, to: usize) {
        self.rewritten.extend_from_slice(&element[self.done..to]);
        self.done = to;
    }

    /// Where an offset of the element lies in the payload.
    fn position(&self, at: usize) -> usize {
        self.rewritten.len() + (at - self.done)
    }
}

/// Declarations of the stream's or the stanza's tag that a child leans on.
struct Outer<'h> {
    stream_ns: &'h str,
    bindings: Vec<(String, String)>,
}

impl Outer<'_> {
    /// Takes note of what the names on this start tag mean.
    fn start_tag(&mut self, reader: &Reader<'_>) {
        let names =
            std::iter::once(reader.name()).chain(reader.attributes().iter().map(|a| a.name));
        for name in names {
            let (Some(namespace), Some(depth)) = (reader.ns(name), reader.declared_at(name)) else {
                continue;
            };
            // The content namespace is what every stream declares.
            let provided = name.prefix.is_empty() && namespace == self.stream_ns;
            if depth > 1 || name.prefix == "xml" || provided {
                continue;
            }
            if !self
                .bindings
                .iter()
                .any(|(prefix, _)| prefix == name.prefix)
            {
                self.bindings
                    .push((name.prefix.to_owned(), namespace.to_owned()));
            }
        }
    }

    fn declare(&self, out: &mut BytesMut) {
        for (prefix, namespace) in &self.bindings {
            let name = if prefix.is_empty() {
                "xmlns".to_owned()
            } else {
                format!("xmlns:{prefix}")
            };
            attribute(&name, namespace, out);
        }
    }
}
