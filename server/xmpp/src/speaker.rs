//! Our direction of a stream: what is to be said, in order, and when all has been said
//! (RFC 6120 §4.2 to §4.4).

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::element::Element;
use crate::error::StreamError;
use crate::machine::Frame;
use crate::stream::Header;
use crate::xml;

/// A queue of frames that knows whether the stream is open. Once closed it says nothing more.
#[derive(Debug)]
pub struct Speaker {
    content_ns: &'static str,
    state: State,
    out: VecDeque<Frame>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Silent,
    Open,
    Closed,
}

impl Speaker {
    #[must_use]
    pub fn new(content_ns: &'static str) -> Self {
        Self {
            content_ns,
            state: State::Silent,
            out: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Opens the stream with this header.
    pub fn open(&mut self, header: Header) {
        if self.state == State::Silent {
            self.state = State::Open;
            self.out.push_back(Frame::Open(header));
        }
    }

    /// A new stream begins on the same transport (RFC 6120 §4.3.3): a header is due again.
    pub fn restart(&mut self) {
        if self.state == State::Open {
            self.state = State::Silent;
        }
    }

    pub fn say(&mut self, element: &Element) {
        let mut bytes = BytesMut::new();
        xml::write(element, self.content_ns, &mut bytes);
        self.say_bytes(bytes.freeze());
    }

    /// Says what is written already, without `xmlns` of its own where it is in the content
    /// namespace.
    pub fn say_bytes(&mut self, element: Bytes) {
        if self.state == State::Open {
            self.bytes += element.len();
            self.out.push_back(Frame::Element(element));
        }
    }

    pub fn close(&mut self) {
        if self.state == State::Open {
            self.out.push_back(Frame::Close);
        }
        self.state = State::Closed;
    }

    /// Says why the stream ends, and ends it. RFC 6120 §4.9.1.2: where no header was said yet,
    /// `header` goes before the error.
    pub fn fail(&mut self, error: &StreamError, header: impl FnOnce() -> Header) {
        if self.state == State::Silent {
            self.open(header());
        }
        self.say(&error.to_element());
        self.close();
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Frames that nobody has taken yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Bytes of their elements.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.bytes
    }

    pub fn poll(&mut self) -> Option<Frame> {
        let frame = self.out.pop_front()?;
        if let Frame::Element(element) = &frame {
            self.bytes -= element.len();
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StreamCondition;
    use crate::ns;

    fn frames(speaker: &mut Speaker) -> Vec<Frame> {
        std::iter::from_fn(|| speaker.poll()).collect()
    }

    fn error() -> StreamError {
        StreamError::new(StreamCondition::HostUnknown, "not here")
    }

    #[test]
    fn an_error_before_the_header_brings_the_header() {
        let mut speaker = Speaker::new(ns::CLIENT);
        speaker.fail(&error(), Header::default);
        speaker.say(&Element::new(ns::CLIENT, "late"));
        let said = frames(&mut speaker);
        assert!(matches!(
            &said[..],
            [Frame::Open(_), Frame::Element(_), Frame::Close]
        ));
        assert_eq!((speaker.waiting(), speaker.waiting_bytes()), (0, 0));
    }

    #[test]
    fn nothing_is_said_before_the_header_or_after_the_end() {
        let mut speaker = Speaker::new(ns::CLIENT);
        speaker.say(&Element::new(ns::CLIENT, "early"));
        speaker.open(Header::default());
        speaker.close();
        speaker.close();
        speaker.fail(&error(), Header::default);
        assert!(matches!(
            &frames(&mut speaker)[..],
            [Frame::Open(_), Frame::Close]
        ));
    }
}
