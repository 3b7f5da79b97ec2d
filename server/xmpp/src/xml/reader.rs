//! A cursor over one element's bytes. quick-xml finds the markup; everything that makes the
//! result well-formed, namespace-well-formed and fit for XMPP is checked here.

use std::borrow::Cow;

use quick_xml::events::Event;

use super::chars::{all_chars, is_nc_name, is_space};
use super::scope::{Binding, Scope};
use super::text::{attribute_value, cdata, character_data, newlines, reference};
use super::{MAX_BINDINGS, MAX_DEPTH};
use crate::error::StreamError;
use crate::ns;
use crate::stream::Header;

/// Up to here attributes are compared pair by pair; above, they are sorted first.
const PAIRWISE: usize = 12;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// Its name and attributes are asked of the reader, until the next token.
    Start,
    End,
    Text(Cow<'a, str>),
}

/// Where a name comes from: its prefix, and the declaration that gives the prefix its meaning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) local: &'a str,
    /// None for an attribute without a prefix, which has no namespace.
    binding: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Attribute<'a> {
    pub(crate) name: Name<'a>,
    pub(crate) value: Cow<'a, str>,
}

pub(crate) struct Reader<'a> {
    inner: quick_xml::Reader<&'a [u8]>,
    text: &'a str,
    scope: Scope<'a>,
    depth: usize,
    /// Where the last token starts, and ends.
    span: (usize, usize),
    name: Name<'a>,
    attributes: Vec<Attribute<'a>>,
    /// The last start tag was an empty element: its end follows by itself.
    empty: bool,
    /// Its end has been given: what it declared is forgotten before the next token.
    leaving: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], header: &'a Header) -> Result<Self, StreamError> {
        // RFC 6120 §11.6: only UTF-8.
        let text = std::str::from_utf8(bytes).map_err(|_| {
            StreamError::not_well_formed("the bytes are not UTF-8: send XML in UTF-8 only")
        })?;
        if !text.starts_with('<') {
            return Err(StreamError::not_well_formed("an element was expected"));
        }
        if !all_chars(text) {
            return Err(StreamError::not_well_formed(
                "a character that XML 1.0 does not allow",
            ));
        }
        let mut inner = quick_xml::Reader::from_str(text);
        inner.config_mut().check_end_names = true;
        Ok(Self {
            inner,
            text,
            scope: Scope::new(header),
            depth: 0,
            span: (0, 0),
            name: Name {
                prefix: "",
                local: "",
                binding: None,
            },
            attributes: Vec::new(),
            empty: false,
            leaving: false,
        })
    }

    /// Reads the start tag of the top-level element.
    pub(crate) fn open(&mut self) -> Result<(), StreamError> {
        match self.next()? {
            Some(Token::Start) => Ok(()),
            _ => Err(StreamError::not_well_formed("an element was expected")),
        }
    }

    /// Makes sure that the top-level element is closed and that nothing follows it.
    pub(crate) fn end(&mut self) -> Result<(), StreamError> {
        if self.depth == 0 && self.next()?.is_none() {
            Ok(())
        } else {
            Err(StreamError::not_well_formed(
                "one whole element was expected, and nothing after it",
            ))
        }
    }

    /// The next token, or None where the bytes end.
    pub(crate) fn next(&mut self) -> Result<Option<Token<'a>>, StreamError> {
        if self.leaving {
            self.scope.leave(self.depth + 1);
            self.leaving = false;
        }
        if self.empty {
            self.empty = false;
            self.span.0 = self.span.1;
            return Ok(Some(self.leave()));
        }
        let begin = self.span.1;
        let event = self
            .inner
            .read_event()
            .map_err(|e| StreamError::not_well_formed(e.to_string()))?;
        let end = usize::try_from(self.inner.buffer_position()).unwrap_or(usize::MAX);
        self.span = (begin, end);
        let raw = self
            .text
            .get(begin..end)
            .ok_or_else(|| StreamError::not_well_formed("markup that cannot be told apart"))?;
        let token = match event {
            Event::Start(_) => self.start(raw, false)?,
            Event::Empty(_) => self.start(raw, true)?,
            Event::End(_) if self.depth > 0 => self.leave(),
            Event::Text(_) if self.depth > 0 => Token::Text(character_data(raw)?),
            Event::CData(_) if self.depth > 0 => Token::Text(newlines(cdata(raw)?)),
            Event::GeneralRef(_) if self.depth > 0 => {
                let mut text = String::new();
                reference(raw, &mut text)?;
                Token::Text(Cow::Owned(text))
            }
            Event::Eof => return Ok(None),
            // RFC 6120 §11.1.
            Event::Comment(_) => return Err(StreamError::restricted_xml("a comment")),
            Event::PI(_) | Event::Decl(_) => {
                return Err(StreamError::restricted_xml("a processing instruction"));
            }
            Event::DocType(_) => {
                return Err(StreamError::restricted_xml("a document type declaration"));
            }
            Event::End(_) | Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                return Err(StreamError::not_well_formed("content outside the element"));
            }
        };
        Ok(Some(token))
    }

    /// 1 inside the top-level element.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Where the last token lies in the bytes.
    pub(crate) fn span(&self) -> (usize, usize) {
        self.span
    }

    pub(crate) fn name(&self) -> Name<'a> {
        self.name
    }

    pub(crate) fn attributes(&self) -> &[Attribute<'a>] {
        &self.attributes
    }

    pub(crate) fn take_attributes(&mut self) -> Vec<Attribute<'a>> {
        std::mem::take(&mut self.attributes)
    }

    /// The namespace of a name; None for an attribute without a prefix.
    pub(crate) fn ns(&self, name: Name<'_>) -> Option<&str> {
        name.binding.map(|index| &*self.scope.at(index).ns)
    }

    /// At which depth a name's prefix was declared: 0 for the stream header.
    pub(crate) fn declared_at(&self, name: Name<'_>) -> Option<usize> {
        name.binding.map(|index| self.scope.at(index).depth)
    }

    /// What a prefix means here.
    pub(crate) fn meaning(&self, prefix: &str) -> Option<&str> {
        self.scope
            .find(prefix)
            .map(|index| &*self.scope.at(index).ns)
    }

    /// What the last start tag declared: (prefix, namespace).
    pub(crate) fn declarations(&self) -> impl Iterator<Item = (&'a str, &str)> {
        self.scope
            .declared_at(self.depth)
            .map(|binding| (binding.prefix, &*binding.ns))
    }

    fn leave(&mut self) -> Token<'a> {
        self.depth -= 1;
        self.leaving = true;
        Token::End
    }

    fn start(&mut self, raw: &'a str, empty: bool) -> Result<Token<'a>, StreamError> {
        if self.depth == 0 && self.span.0 != 0 {
            return Err(StreamError::not_well_formed(
                "a second element after the first",
            ));
        }
        if self.depth >= MAX_DEPTH {
            return Err(StreamError::too_much(format!(
                "a depth of over {MAX_DEPTH} elements"
            )));
        }
        self.depth += 1;
        self.empty = empty;
        let tail = if empty { 2 } else { 1 };
        let inside = raw
            .get(1..raw.len().saturating_sub(tail))
            .ok_or_else(|| StreamError::not_well_formed("a tag without a name"))?;
        let name_end = inside.bytes().position(is_space).unwrap_or(inside.len());
        let (name, rest) = inside.split_at(name_end);
        let (prefix, local) = split_name(name)?;
        self.read_attributes(rest)?;
        // The declarations of a tag hold for its own name and attributes.
        self.name = self.resolve(prefix, local)?;
        for i in 0..self.attributes.len() {
            let Name { prefix, local, .. } = self.attributes[i].name;
            if !prefix.is_empty() {
                self.attributes[i].name = self.resolve(prefix, local)?;
            }
        }
        self.check_duplicates()?;
        Ok(Token::Start)
    }

    /// XML 1.0 §3.1: `(S Attribute)* S?`. Declarations go into the scope, the rest is kept.
    fn read_attributes(&mut self, mut rest: &'a str) -> Result<(), StreamError> {
        self.attributes.clear();
        loop {
            let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
            if trimmed.is_empty() {
                return Ok(());
            }
            if trimmed.len() == rest.len() {
                return Err(StreamError::not_well_formed(
                    "attributes without a space between them",
                ));
            }
            let (name, after) = trimmed
                .split_once('=')
                .ok_or_else(|| StreamError::not_well_formed("an attribute without a value"))?;
            let (prefix, local) = split_name(name.trim_end_matches([' ', '\t', '\r', '\n']))?;
            let after = after.trim_start_matches([' ', '\t', '\r', '\n']);
            let quote = after
                .chars()
                .next()
                .filter(|c| matches!(c, '\'' | '"'))
                .ok_or_else(|| StreamError::not_well_formed("an attribute value without quotes"))?;
            let (value, after) = after[1..].split_once(quote).ok_or_else(|| {
                StreamError::not_well_formed("an attribute value without its closing quote")
            })?;
            rest = after;
            let value = attribute_value(value)?;
            if prefix == "xmlns" {
                self.declare(local, value)?;
            } else if prefix.is_empty() && local == "xmlns" {
                self.declare("", value)?;
            } else {
                self.attributes.push(Attribute {
                    name: Name {
                        prefix,
                        local,
                        binding: None,
                    },
                    value,
                });
            }
        }
    }

    /// Namespaces in XML §3 and its reserved names.
    fn declare(&mut self, prefix: &'a str, ns: Cow<'a, str>) -> Result<(), StreamError> {
        let reserved = match prefix {
            "xmlns" => true,
            "xml" => ns != ns::XML,
            _ => ns == ns::XML || ns == ns::XMLNS,
        };
        if reserved {
            return Err(StreamError::not_well_formed(
                "a declaration of a reserved prefix or namespace",
            ));
        }
        if ns.is_empty() && !prefix.is_empty() {
            return Err(StreamError::not_well_formed(
                "a prefix declared as no namespace",
            ));
        }
        if self
            .scope
            .declared_at(self.depth)
            .any(|binding| binding.prefix == prefix)
        {
            return Err(StreamError::not_well_formed(
                "a prefix declared twice on one element",
            ));
        }
        if self.scope.len() >= MAX_BINDINGS {
            return Err(StreamError::too_much(format!(
                "over {MAX_BINDINGS} namespace declarations at once"
            )));
        }
        self.scope.push(Binding {
            prefix,
            ns,
            depth: self.depth,
        });
        Ok(())
    }

    fn resolve(&self, prefix: &'a str, local: &'a str) -> Result<Name<'a>, StreamError> {
        match self.scope.find(prefix) {
            Some(index) => Ok(Name {
                prefix,
                local,
                binding: Some(index),
            }),
            // RFC 6120 §4.9.3.13 calls this not-well-formed too: XML is namespace-well-formed.
            None => Err(StreamError::not_well_formed(format!(
                "the undeclared prefix {prefix:?}"
            ))),
        }
    }

    /// Namespaces in XML §6.3: no two attributes with the same expanded name.
    fn check_duplicates(&self) -> Result<(), StreamError> {
        let key = |attribute: &Attribute<'_>| {
            let name = attribute.name;
            (name.local.to_owned(), self.ns(name).map(str::to_owned))
        };
        let double = if self.attributes.len() <= PAIRWISE {
            let same = |a: &Attribute<'_>, b: &Attribute<'_>| {
                a.name.local == b.name.local && self.ns(a.name) == self.ns(b.name)
            };
            self.attributes
                .iter()
                .enumerate()
                .any(|(i, a)| self.attributes[..i].iter().any(|b| same(a, b)))
        } else {
            let mut keys: Vec<_> = self.attributes.iter().map(key).collect();
            keys.sort_unstable();
            keys.windows(2).any(|pair| pair[0] == pair[1])
        };
        if double {
            return Err(StreamError::not_well_formed("an attribute given twice"));
        }
        Ok(())
    }
}

/// Namespaces in XML §4: `NCName`, or two of them with a colon between.
fn split_name(text: &str) -> Result<(&str, &str), StreamError> {
    let (prefix, local) = match text.split_once(':') {
        Some((prefix, local)) if is_nc_name(prefix) => (prefix, local),
        Some(_) => return Err(StreamError::not_well_formed("a name that is none")),
        None => ("", text),
    };
    if is_nc_name(local) {
        Ok((prefix, local))
    } else {
        Err(StreamError::not_well_formed("a name that is none"))
    }
}
