//! What comes in on a stream that is trusted: each stanza from a domain that was proved, to one of
//! ours, counted (XEP-0198) and, where the peer says so, with its place in the peer's queue
//! (`s2s/QUEUE.md`).

use bytes::Bytes;
use comity_xmpp::ack::{self, Inbound};
use comity_xmpp::element::Element;
use comity_xmpp::error::{StreamCondition, StreamError};
use comity_xmpp::jid::Jid;
use comity_xmpp::ns;
use comity_xmpp::stanza::{Stanza, Unacceptable};
use comity_xmpp::stream::Header;

use crate::incoming::Domains;

/// Octets of a queue's name.
const QUEUE_NAME: usize = 64;
/// Pairs of domains that one stream carries beside its first.
const PAIRS: usize = 64;

/// What a stanza has come to.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    /// With its number in the peer's queue.
    Stanza(Stanza, Option<i64>),
    /// An error for the peer.
    Answer(Stanza),
    Nothing,
}

pub(crate) struct Receiving {
    domains: Domains,
    /// Which of our domains the stream is for, and what its peer has proved to be.
    ours: String,
    theirs: String,
    /// Further pairs of their domain and ours, proved on the same stream (XEP-0220 §2.6).
    further: Vec<(String, String)>,
    acks: Inbound,
    acking: bool,
    queue: Queue,
}

/// How far the peer's queue is agreed upon.
#[derive(Debug, PartialEq, Eq)]
enum Queue {
    Closed,
    /// The server is asked how far we hold it.
    Opening,
    Open,
    /// This is the number of the next stanza.
    Numbered(i64),
}

impl Receiving {
    pub(crate) fn new(domains: Domains, ours: &str, theirs: &str) -> Self {
        Self {
            domains,
            ours: ours.to_owned(),
            theirs: theirs.to_owned(),
            further: Vec::new(),
            acks: Inbound::default(),
            acking: false,
            queue: Queue::Closed,
        }
    }

    /// Another pair was proved on this stream; false: there are too many.
    pub(crate) fn prove(&mut self, theirs: &str, ours: &str) -> bool {
        let pair = (theirs.to_owned(), ours.to_owned());
        if self.further.contains(&pair) {
            return true;
        }
        if self.further.len() >= PAIRS {
            return false;
        }
        self.further.push(pair);
        true
    }

    /// Stanzas received and not yet committed.
    pub(crate) fn waiting(&self) -> usize {
        self.acks.waiting()
    }

    /// Nothing more is read while the server is asked.
    pub(crate) fn is_opening(&self) -> bool {
        self.queue == Queue::Opening
    }

    /// Has the peer opened its queue?
    pub(crate) fn has_queue(&self) -> bool {
        self.queue != Queue::Closed
    }

    pub(crate) fn is_acking(&self) -> bool {
        self.acking
    }

    /// XEP-0198: counting begins with the next stanza.
    pub(crate) fn begin(&mut self) {
        self.acking = true;
        self.acks.begin();
    }

    /// `<r/>`: the answer may be due at once.
    pub(crate) fn asked(&mut self) -> Option<Element> {
        self.acks.asked();
        self.answer()
    }

    /// The oldest stanza is committed: an `<a/>` may be due.
    pub(crate) fn committed(&mut self) -> Option<Element> {
        self.acks.handled();
        self.answer()
    }

    fn answer(&mut self) -> Option<Element> {
        self.acking.then(|| self.acks.answer()).flatten()
    }

    /// What is committed by now, for the end of the stream.
    pub(crate) fn last_count(&self) -> Option<Element> {
        self.acking.then(|| self.acks.acknowledgement())
    }

    /// `<open/>` and `<next/>` of `s2s/QUEUE.md`. Gives the name of a queue to be opened.
    pub(crate) fn queue(&mut self, element: &Element) -> Result<Option<String>, StreamError> {
        match (element.name.as_str(), &self.queue) {
            ("open", Queue::Closed) => {
                let name = element.attr("queue").unwrap_or_default();
                if name.is_empty() || name.len() > QUEUE_NAME {
                    return Err(bad_format("<open/> names in 'queue' what is opened"));
                }
                self.queue = Queue::Opening;
                Ok(Some(name.to_owned()))
            }
            ("next", Queue::Open) => {
                let number = element.attr("number").and_then(|text| text.parse().ok());
                let number = number.filter(|number| *number > 0);
                let number =
                    number.ok_or_else(|| bad_format("<next/> needs a number in 'number'"))?;
                self.queue = Queue::Numbered(number);
                Ok(None)
            }
            _ => Err(StreamError::new(
                StreamCondition::PolicyViolation,
                format!("<{}/> of a queue was not expected here", element.name),
            )),
        }
    }

    /// The server has said how far we hold the queue that was opened.
    pub(crate) fn held(&mut self, number: i64) -> Option<Element> {
        if self.queue != Queue::Opening {
            return None;
        }
        self.queue = Queue::Open;
        Some(Element::new(ns::QUEUE, "held").with_attr("number", number.to_string()))
    }

    /// `proves`: is the stream's peer, of this domain, proved to another of ours too?
    pub(crate) fn stanza(
        &mut self,
        bytes: &Bytes,
        header: &Header,
        proves: &dyn Fn(&str, &str) -> bool,
    ) -> Result<Heard, StreamError> {
        let number = match self.queue {
            Queue::Numbered(number) => {
                self.queue = Queue::Open;
                Some(number)
            }
            _ => None,
        };
        let stanza = match Stanza::parse(bytes, header) {
            Ok(stanza) => stanza,
            Err(Unacceptable::Stream(error)) => return Err(error),
            Err(Unacceptable::Stanza(mut refused)) => {
                if refused.to_malformed {
                    // Whom it was for cannot be read, so the domain that was asked for answers.
                    refused.stanza.to = Jid::parse(&self.ours).ok();
                }
                self.check(&refused.stanza, proves)?;
                self.acks.received_and_handled();
                return Ok(refused.reply().map_or(Heard::Nothing, Heard::Answer));
            }
        };
        let own = self.check(&stanza, proves)?;
        self.acks.received();
        // The queue is that of the stream's first pair.
        Ok(Heard::Stanza(stanza, number.filter(|_| own)))
    }

    /// RFC 6120 §4.9.3.7, §8.1.1.2, §8.1.2.2: both addresses, between servers always. True where
    /// they are of the domains that the stream is for.
    fn check(
        &mut self,
        stanza: &Stanza,
        proves: &dyn Fn(&str, &str) -> bool,
    ) -> Result<bool, StreamError> {
        let (Some(from), Some(to)) = (&stanza.from, &stanza.to) else {
            return Err(StreamError::new(
                StreamCondition::ImproperAddressing,
                "a stanza between servers needs 'from' and 'to'",
            ));
        };
        let (theirs, ours) = (from.domain(), to.domain());
        if theirs == self.theirs && ours == self.ours {
            return Ok(true);
        }
        let pair = |pair: &(String, String)| pair.0 == theirs && pair.1 == ours;
        if self.further.iter().any(pair) {
            return Ok(false);
        }
        if theirs != self.theirs {
            return Err(StreamError::new(
                StreamCondition::InvalidFrom,
                format!(
                    "this stream is for {}, not for {}",
                    self.theirs,
                    from.domain()
                ),
            ));
        }
        if !(self.domains.serves)(to.domain()) {
            return Err(StreamError::new(
                StreamCondition::HostUnknown,
                format!("{ours} is not served here"),
            ));
        }
        // Each of our domains has rules of its own; what one believes says nothing of another.
        if !proves(theirs, ours) || !self.prove(theirs, ours) {
            return Err(StreamError::new(
                StreamCondition::PolicyViolation,
                format!("what {theirs} has for {ours} comes on a stream of its own"),
            ));
        }
        Ok(false)
    }
}

fn bad_format(text: &str) -> StreamError {
    StreamError::new(StreamCondition::BadFormat, text)
}

/// The number of a `<held/>`.
pub(crate) fn held_up_to(element: &Element) -> Result<i64, StreamError> {
    let number = element.attr("number").and_then(|text| text.parse().ok());
    let number = number.filter(|number| *number >= 0);
    number.ok_or_else(|| bad_format("<held/> says in 'number' how far the queue is held"))
}

/// The number of an `<a/>`.
pub(crate) fn count(element: &Element) -> Result<u32, StreamError> {
    ack::h(element).ok_or_else(|| bad_format("<a/> needs a number in 'h'"))
}
