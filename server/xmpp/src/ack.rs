//! XEP-0198 counters and the unacked queue, for both directions of a stream. Resumption is the
//! business of whoever keeps a session without a stream.

use std::collections::VecDeque;
use std::time::Duration;

use crate::element::Element;
use crate::error::{StreamCondition, StreamError};
use crate::ns;

/// What has come in. `h` counts only what is *handled*: stanzas whose effects are committed, and
/// in the order in which they came, since a count cannot leave one out.
#[derive(Debug, Default)]
pub struct Inbound {
    /// Counters wrap at 2^32 (XEP-0198 §4).
    handled: u32,
    /// Stanzas from the oldest one not handled on; true for one that is, behind others that are
    /// not.
    waiting: VecDeque<bool>,
    /// So many of the oldest came before counting began.
    uncounted: usize,
    /// The peer has asked; this many of `waiting` came before the question.
    asked: Option<usize>,
    /// And again since; the same of the last question.
    again: Option<usize>,
}

impl Inbound {
    /// Counting begins with the next stanza (XEP-0198 §4: at `<enable/>`).
    pub fn begin(&mut self) {
        self.handled = 0;
        self.uncounted = self.waiting.len();
        (self.asked, self.again) = (None, None);
    }

    /// A stanza has come in, and will be handled.
    pub fn received(&mut self) {
        self.waiting.push_back(false);
    }

    /// A stanza has come in and needed no handling by others.
    pub fn received_and_handled(&mut self) {
        self.waiting.push_back(true);
        self.settle();
    }

    /// The oldest stanza not yet handled now is.
    pub fn handled(&mut self) {
        if let Some(oldest) = self.waiting.front_mut() {
            *oldest = true;
        }
        self.settle();
    }

    fn settle(&mut self) {
        while self.waiting.front() == Some(&true) {
            self.waiting.pop_front();
            if self.uncounted > 0 {
                self.uncounted -= 1;
            } else {
                self.handled = self.handled.wrapping_add(1);
            }
            for before in [&mut self.asked, &mut self.again].into_iter().flatten() {
                *before = before.saturating_sub(1);
            }
        }
    }

    /// Stanzas received and not yet handled.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The peer asks with `<r/>`. The answer is held until what came before the question is
    /// handled: an earlier one would only make it ask again. A question behind another does not put
    /// that one's answer off: who asks after each stanza, and does not pause, would never have one.
    pub fn asked(&mut self) {
        let before = self.waiting.len();
        match self.asked {
            None => self.asked = Some(before),
            Some(_) => self.again = Some(before),
        }
    }

    /// The `<a/>` that is due, if one is.
    pub fn answer(&mut self) -> Option<Element> {
        if self.asked? > 0 {
            return None;
        }
        // Whatever was asked about what is handled now is answered along.
        self.asked = self.again.take().filter(|before| *before > 0);
        Some(self.acknowledgement())
    }

    /// Is an answer due?
    #[must_use]
    pub fn due(&self) -> bool {
        self.asked == Some(0)
    }

    /// What the last of the `oldest` stanzas not yet handled will be counted as; `None`: it is not
    /// counted.
    #[must_use]
    pub fn after(&self, oldest: usize) -> Option<u32> {
        let unhandled = self
            .waiting
            .iter()
            .zip(1..)
            .filter(|(handled, _)| !**handled);
        let (_, place) = unhandled.take(oldest).last()?;
        let counted = u32::try_from(place - self.uncounted.min(place)).ok()?;
        (counted > 0).then(|| self.handled.wrapping_add(counted))
    }

    /// An `<a/>` for fewer than are handled by now.
    #[must_use]
    pub fn acknowledgement_of(h: u32) -> Element {
        Element::new(ns::SM, "a").with_attr("h", h.to_string())
    }

    /// How many stanzas are handled, as `h` says it.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.handled
    }

    /// An `<a/>` as things stand.
    #[must_use]
    pub fn acknowledgement(&self) -> Element {
        Self::acknowledgement_of(self.handled)
    }

    /// Goes on from a count that was kept.
    #[must_use]
    pub fn resumed(handled: u32) -> Self {
        Self {
            handled,
            ..Self::default()
        }
    }
}

/// What has gone out and is not acknowledged, oldest first.
#[derive(Debug)]
pub struct Outbound<T> {
    acknowledged: u32,
    unacked: VecDeque<T>,
    asked: bool,
}

impl<T> Default for Outbound<T> {
    fn default() -> Self {
        Self {
            acknowledged: 0,
            unacked: VecDeque::new(),
            asked: false,
        }
    }
}

impl<T> Outbound<T> {
    /// Goes on behind what the peer has acknowledged, with what it has to be sent again.
    #[must_use]
    pub fn resumed(acknowledged: u32, unacked: VecDeque<T>) -> Self {
        Self {
            acknowledged,
            unacked,
            asked: false,
        }
    }

    /// How many the peer has acknowledged, as it counts them.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.acknowledged
    }

    pub fn sent(&mut self, item: T) {
        self.unacked.push_back(item);
    }

    /// Asks for an acknowledgement if one is wanted and none is on its way: one question at a
    /// time, so that a busy stream asks once in each round trip.
    pub fn request(&mut self) -> Option<Element> {
        if self.asked || self.unacked.is_empty() {
            return None;
        }
        self.asked = true;
        Some(Element::new(ns::SM, "r"))
    }

    /// Asks whatever else is on its way: to hear whether the peer is there.
    pub fn probe(&mut self) -> Element {
        self.asked = true;
        Element::new(ns::SM, "r")
    }

    /// The peer has handled all up to `h`; they are given back, oldest first.
    ///
    /// # Errors
    /// XEP-0198 §4: a count of more than was sent ends the stream.
    pub fn acknowledged(&mut self, h: u32) -> Result<Vec<T>, StreamError> {
        let count = usize::try_from(h.wrapping_sub(self.acknowledged)).unwrap_or(usize::MAX);
        if count > self.unacked.len() {
            let sent = self
                .acknowledged
                .wrapping_add(u32::try_from(self.unacked.len()).unwrap_or(u32::MAX));
            let too_high = Element::new(ns::SM, "handled-count-too-high")
                .with_attr("h", h.to_string())
                .with_attr("send-count", sent.to_string());
            return Err(StreamError::new(
                StreamCondition::UndefinedCondition,
                format!("you acknowledge {h} stanzas, but we have sent {sent}"),
            )
            .with_application(too_high));
        }
        self.asked = false;
        self.acknowledged = h;
        Ok(self.unacked.drain(..count).collect())
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.unacked.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unacked.is_empty()
    }

    /// What is not acknowledged, oldest first.
    pub fn unacked(&self) -> impl Iterator<Item = &T> {
        self.unacked.iter()
    }

    /// A new stream carries on: a question asked on the old one will not be answered.
    pub fn carry_on(&mut self) {
        self.asked = false;
    }

    /// What was never acknowledged, oldest first.
    #[must_use]
    pub fn into_unacked(self) -> VecDeque<T> {
        self.unacked
    }
}

/// Reads the count of an `<a/>`; None where there is no such number.
#[must_use]
pub fn h(element: &Element) -> Option<u32> {
    element.attr("h")?.parse().ok()
}

/// XEP-0198 §3: why stream management, or a resumption, is refused.
#[must_use]
pub fn failed(condition: &str) -> Element {
    Element::new(ns::SM, "failed").with_child(Element::new(ns::STANZAS, condition))
}

/// `<enabled/>` (XEP-0198 §3): where there is a name, by which the client may come back for so long.
#[must_use]
pub fn enabled(id: Option<&str>, most: Option<Duration>) -> Element {
    let enabled = Element::new(ns::SM, "enabled");
    match (id, most) {
        (Some(id), Some(most)) => enabled
            .with_attr("id", id)
            .with_attr("resume", "true")
            .with_attr("max", most.as_secs().to_string()),
        _ => enabled,
    }
}

/// XEP-0198 §5: the session that was to be resumed is not there; `h` is the last count of what we
/// had handled of it, where we still know.
#[must_use]
pub fn not_resumed(h: Option<u32>) -> Element {
    failed("item-not-found").with_attr_opt("h", h.map(|h| h.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_waits_for_what_came_before_the_question() {
        let mut inbound = Inbound::default();
        inbound.received();
        inbound.received();
        inbound.asked();
        inbound.received();
        assert_eq!(inbound.answer(), None);
        inbound.handled();
        assert_eq!(inbound.answer(), None);
        inbound.handled();
        assert_eq!(inbound.answer().as_ref().and_then(h), Some(2));
        assert_eq!(inbound.answer(), None);
        assert_eq!(inbound.waiting(), 1);
    }

    /// One stanza is always under way, and each is asked about.
    #[test]
    fn who_asks_without_a_pause_is_answered() {
        let mut inbound = Inbound::default();
        inbound.received();
        inbound.asked();
        for n in 1..=3 {
            inbound.received();
            inbound.asked();
            inbound.handled();
            assert_eq!(inbound.answer().as_ref().and_then(h), Some(n));
            assert_eq!(inbound.answer(), None);
        }
        inbound.handled();
        assert_eq!(inbound.answer().as_ref().and_then(h), Some(4));
        // Two questions at one place have one answer.
        inbound.received();
        inbound.asked();
        inbound.asked();
        inbound.handled();
        assert_eq!(inbound.answer().as_ref().and_then(h), Some(5));
        assert!(!inbound.due());
    }

    #[test]
    fn an_answer_may_count_more_than_was_asked_for() {
        let mut inbound = Inbound::default();
        inbound.received();
        inbound.asked();
        inbound.received();
        inbound.handled();
        inbound.handled();
        assert_eq!(inbound.answer().as_ref().and_then(h), Some(2));
    }

    #[test]
    fn nothing_received_is_an_answer_too() {
        let mut inbound = Inbound::default();
        inbound.handled();
        inbound.asked();
        assert_eq!(inbound.answer().as_ref().and_then(h), Some(0));
    }

    #[test]
    fn what_needs_no_handling_is_counted_behind_what_does() {
        let mut inbound = Inbound::default();
        inbound.received();
        inbound.received_and_handled();
        assert_eq!(h(&inbound.acknowledgement()), Some(0));
        inbound.handled();
        assert_eq!(h(&inbound.acknowledgement()), Some(2));
    }

    #[test]
    fn what_the_oldest_will_be_counted_as() {
        let mut inbound = Inbound::default();
        assert_eq!(inbound.after(1), None);
        inbound.received();
        inbound.begin();
        inbound.received();
        inbound.received_and_handled();
        inbound.received();
        let counts = [1, 2, 3].map(|oldest| inbound.after(oldest));
        assert_eq!(counts, [None, Some(1), Some(3)]);
        for count in [0, 2, 3] {
            inbound.handled();
            assert_eq!(inbound.count(), count);
        }
    }

    #[test]
    fn what_came_before_counting_began_is_not_counted() {
        let mut inbound = Inbound::default();
        inbound.received();
        inbound.begin();
        inbound.received();
        inbound.handled();
        assert_eq!(h(&inbound.acknowledgement()), Some(0));
        inbound.handled();
        assert_eq!(h(&inbound.acknowledgement()), Some(1));
    }

    #[test]
    fn counters_wrap() {
        let mut inbound = Inbound {
            handled: u32::MAX,
            ..Inbound::default()
        };
        inbound.received();
        inbound.handled();
        assert_eq!(h(&inbound.acknowledgement()), Some(0));

        let mut outbound = Outbound {
            acknowledged: u32::MAX,
            ..Outbound::default()
        };
        outbound.sent('a');
        outbound.sent('b');
        assert_eq!(outbound.acknowledged(1), Ok(vec!['a', 'b']));
    }

    #[test]
    fn one_question_at_a_time() {
        let mut outbound = Outbound::default();
        assert_eq!(outbound.request(), None);
        outbound.sent(1);
        assert!(outbound.request().is_some());
        outbound.sent(2);
        assert_eq!(outbound.request(), None);
        assert_eq!(outbound.acknowledged(1), Ok(vec![1]));
        assert!(outbound.request().is_some());
        assert_eq!(outbound.into_unacked(), [2]);
    }

    #[test]
    fn a_count_too_high_ends_the_stream() {
        let mut outbound = Outbound::default();
        outbound.sent(());
        let error = outbound.acknowledged(2).unwrap_err();
        assert_eq!(error.condition, StreamCondition::UndefinedCondition);
        let told = error.application.unwrap();
        assert_eq!(told.attr("send-count"), Some("1"));
    }
}
