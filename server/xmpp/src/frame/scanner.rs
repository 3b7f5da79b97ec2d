//! The state between two bytes of a stream. It only measures: what it lets through is parsed
//! strictly, and what it takes for an element that is none is refused there.

use super::Limits;
use crate::error::{StreamCondition, StreamError};

/// Something whole, as offsets into the buffer.
pub(super) enum Found {
    Declaration { start: usize, end: usize },
    Header { start: usize, end: usize },
    Element { start: usize, end: usize },
    End { start: usize, end: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between tags: text inside an element, whitespace outside.
    Text,
    /// After `<`.
    Open,
    /// In the name of a start tag.
    Name,
    /// In a start tag, between attributes.
    Tag,
    /// After `/` in a start tag.
    Slash,
    /// In the name of an attribute, or at its `=`.
    Attribute,
    /// In an attribute's value, up to this quote.
    Value(u8),
    /// In an end tag.
    Close,
    /// After `<!`, with as many bytes of `[CDATA[` as were seen.
    Bang(u8),
    /// In a CDATA section, with as many bytes of `]]>` as were seen.
    Cdata(u8),
    /// After `<?`, with as many bytes of `xml` as were seen; a space must follow.
    Question(u8),
    /// In the XML declaration; the last byte was `?` or was not.
    Declaration(bool),
}

#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    /// The next byte to look at. Every byte is looked at once.
    at: usize,
    /// Where the top-level markup starts.
    start: usize,
    depth: usize,
    /// Bytes of the name being read, and attributes of the tag being read.
    name: usize,
    attributes: usize,
    /// A declaration may still come.
    pristine: bool,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self {
            state: State::Text,
            at: 0,
            start: 0,
            depth: 0,
            name: 0,
            attributes: 0,
            pristine: true,
        }
    }

    /// The bytes looked at so far were taken from the buffer.
    pub(super) fn rewind(&mut self) {
        self.at = 0;
        self.start = 0;
    }

    /// How many bytes of mere whitespace stand before the next element, if none has begun.
    pub(super) fn between_elements(&self) -> Option<usize> {
        (self.depth == 0 && self.state == State::Text).then_some(self.at)
    }

    /// Goes on where the last call stopped. `opened` says that the stream's start tag is past.
    pub(super) fn scan(
        &mut self,
        buffer: &[u8],
        opened: bool,
        limits: &Limits,
    ) -> Result<Option<Found>, StreamError> {
        while let Some(&byte) = buffer.get(self.at) {
            self.at += 1;
            let found = self.step(byte, opened, limits)?;
            if self.state != State::Text || self.depth > 0 || found.is_some() {
                self.check_size(limits)?;
            }
            if found.is_some() {
                return Ok(found);
            }
            self.skip(buffer);
        }
        // What was skipped counts as well.
        if self.between_elements().is_none() {
            self.check_size(limits)?;
        }
        Ok(None)
    }

    /// Runs over bytes that cannot change the state.
    fn skip(&mut self, buffer: &[u8]) {
        let rest = &buffer[self.at..];
        let run = match self.state {
            State::Text if self.depth > 0 => rest.iter().position(|&b| b == b'<'),
            State::Value(quote) => rest.iter().position(|&b| b == quote),
            State::Cdata(0) => rest.iter().position(|&b| b == b']'),
            _ => return,
        };
        self.at += run.unwrap_or(rest.len());
    }

    fn step(
        &mut self,
        byte: u8,
        opened: bool,
        limits: &Limits,
    ) -> Result<Option<Found>, StreamError> {
        match self.state {
            State::Text => self.text(byte)?,
            State::Open => self.open(byte, opened, limits)?,
            State::Name => match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.state = State::Tag,
                b'/' => self.state = State::Slash,
                b'>' => return self.started(opened, limits),
                _ => self.named(limits)?,
            },
            State::Tag => match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {}
                b'/' => self.state = State::Slash,
                b'>' => return self.started(opened, limits),
                _ => self.attribute(limits)?,
            },
            State::Slash => match byte {
                b'>' => return self.emptied(opened, limits),
                _ => return Err(StreamError::not_well_formed("`/` inside a tag")),
            },
            State::Attribute => match byte {
                b'"' | b'\'' => self.state = State::Value(byte),
                b'>' | b'<' => {
                    return Err(StreamError::not_well_formed("an attribute without a value"));
                }
                _ => self.named(limits)?,
            },
            State::Value(quote) if byte == quote => self.state = State::Tag,
            State::Value(_) => {}
            State::Close => {
                if byte == b'>' {
                    return Ok(self.closed());
                }
                self.named(limits)?;
            }
            State::Bang(seen) => self.bang(seen, byte)?,
            State::Cdata(seen) => self.cdata(seen, byte),
            State::Question(seen) => self.question(seen, byte)?,
            State::Declaration(mark) => {
                if mark && byte == b'>' {
                    self.state = State::Text;
                    self.pristine = false;
                    return Ok(Some(Found::Declaration {
                        start: self.start,
                        end: self.at,
                    }));
                }
                self.state = State::Declaration(byte == b'?');
            }
        }
        Ok(None)
    }

    fn text(&mut self, byte: u8) -> Result<(), StreamError> {
        match byte {
            b'<' => {
                if self.depth == 0 {
                    self.start = self.at - 1;
                }
                self.state = State::Open;
                Ok(())
            }
            _ if self.depth > 0 => Ok(()),
            // RFC 6120 §11.7: whitespace between elements keeps a connection alive.
            b' ' | b'\t' | b'\r' | b'\n' => Ok(()),
            _ => Err(StreamError::new(
                StreamCondition::BadFormat,
                "text between the elements of a stream: an XMPP stream holds elements only",
            )),
        }
    }

    fn open(&mut self, byte: u8, opened: bool, limits: &Limits) -> Result<(), StreamError> {
        self.name = 0;
        self.attributes = 0;
        self.state = match byte {
            b'/' if opened => State::Close,
            b'/' => {
                return Err(StreamError::not_well_formed(
                    "an end tag before the stream's start",
                ));
            }
            b'!' => State::Bang(0),
            b'?' if self.pristine && !opened => State::Question(0),
            b'?' => return Err(StreamError::restricted_xml("a processing instruction")),
            b' ' | b'\t' | b'\r' | b'\n' | b'>' | b'<' | b'=' | b'"' | b'\'' => {
                return Err(StreamError::not_well_formed("a tag without a name"));
            }
            _ => {
                self.state = State::Name;
                return self.named(limits);
            }
        };
        Ok(())
    }

    /// One more byte of a name.
    fn named(&mut self, limits: &Limits) -> Result<(), StreamError> {
        self.name += 1;
        if self.name > limits.name_bytes {
            return Err(StreamError::too_much(format!(
                "a name of more than {} bytes",
                limits.name_bytes
            )));
        }
        Ok(())
    }

    fn attribute(&mut self, limits: &Limits) -> Result<(), StreamError> {
        self.attributes += 1;
        if self.attributes > limits.attributes {
            return Err(StreamError::too_much(format!(
                "more than {} attributes",
                limits.attributes
            )));
        }
        self.name = 0;
        self.state = State::Attribute;
        self.named(limits)
    }

    /// `>` of a start tag.
    fn started(&mut self, opened: bool, limits: &Limits) -> Result<Option<Found>, StreamError> {
        self.state = State::Text;
        self.pristine = false;
        let (start, end) = (self.start, self.at);
        if !opened {
            return Ok(Some(Found::Header { start, end }));
        }
        self.depth += 1;
        self.check_depth(self.depth, limits)?;
        Ok(None)
    }

    /// `/>` of an empty element.
    fn emptied(&mut self, opened: bool, limits: &Limits) -> Result<Option<Found>, StreamError> {
        if !opened {
            return Err(StreamError::new(
                StreamCondition::BadFormat,
                "a stream that ends where it starts",
            ));
        }
        self.state = State::Text;
        self.check_depth(self.depth + 1, limits)?;
        let (start, end) = (self.start, self.at);
        Ok((self.depth == 0).then_some(Found::Element { start, end }))
    }

    /// `>` of an end tag.
    fn closed(&mut self) -> Option<Found> {
        self.state = State::Text;
        let (start, end) = (self.start, self.at);
        match self.depth {
            0 => Some(Found::End { start, end }),
            1 => {
                self.depth = 0;
                Some(Found::Element { start, end })
            }
            _ => {
                self.depth -= 1;
                None
            }
        }
    }

    fn bang(&mut self, seen: u8, byte: u8) -> Result<(), StreamError> {
        const START: &[u8] = b"[CDATA[";
        if seen == 0 && byte == b'-' {
            return Err(StreamError::restricted_xml("a comment"));
        }
        if seen == 0 && byte.eq_ignore_ascii_case(&b'd') {
            return Err(StreamError::restricted_xml("a document type declaration"));
        }
        if START.get(usize::from(seen)) != Some(&byte) || self.depth == 0 {
            return Err(StreamError::not_well_formed(
                "`<!` that starts nothing known",
            ));
        }
        self.state = if usize::from(seen) + 1 == START.len() {
            State::Cdata(0)
        } else {
            State::Bang(seen + 1)
        };
        Ok(())
    }

    fn cdata(&mut self, seen: u8, byte: u8) {
        self.state = match (seen, byte) {
            (2, b'>') => State::Text,
            (0, b']') => State::Cdata(1),
            (1 | 2, b']') => State::Cdata(2),
            _ => State::Cdata(0),
        };
    }

    fn question(&mut self, seen: u8, byte: u8) -> Result<(), StreamError> {
        self.state = match (seen, byte) {
            (0, b'x') => State::Question(1),
            (1, b'm') => State::Question(2),
            (2, b'l') => State::Question(3),
            (3, b' ' | b'\t' | b'\r' | b'\n') => State::Declaration(false),
            _ => return Err(StreamError::restricted_xml("a processing instruction")),
        };
        Ok(())
    }

    fn check_depth(&self, depth: usize, limits: &Limits) -> Result<(), StreamError> {
        if depth > limits.depth {
            return Err(StreamError::too_much(format!(
                "elements nested deeper than {}",
                limits.depth
            )));
        }
        Ok(())
    }

    fn check_size(&self, limits: &Limits) -> Result<(), StreamError> {
        if self.at - self.start > limits.element_bytes {
            return Err(StreamError::too_much(format!(
                "an element of more than {} bytes",
                limits.element_bytes
            )));
        }
        Ok(())
    }
}
