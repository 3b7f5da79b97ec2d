//! What the peer has for us, on the stream that we have opened (XEP-0288). The peer's certificate
//! proved its domain before a word was said, so what comes is from there, or an error.

use bytes::Bytes;
use comity_xmpp::ack;
use comity_xmpp::element::Element;
use comity_xmpp::error::{StanzaCondition, StreamCondition, StreamError};
use comity_xmpp::ns;

use super::{Event, Outgoing, State};
use crate::dialback::{self, Verdict};
use crate::incoming::WINDOW;
use crate::receiving::{Heard, Receiving};
use crate::words;

/// Stanzas that may come before we are ready for them: some begin as soon as they believe us.
const EARLY: usize = 4 * WINDOW;

impl Outgoing {
    /// Before we prove who we are (XEP-0288 §2.2).
    pub(super) fn ask_for_both(&mut self) {
        let Some(domains) = &self.settings.bidi else {
            return;
        };
        let offered = |feature: &Element| *feature == words::bidi_feature();
        if self.receiving.is_none() && self.features.others.iter().any(offered) {
            self.speaker.say(&Element::new(ns::BIDI, "bidi"));
            let (ours, theirs) = (&self.settings.ours, &self.settings.theirs);
            self.receiving = Some(Receiving::new(domains.clone(), ours, theirs));
        }
    }

    /// Stanzas may come as soon as the peer believes us, before it counts them.
    pub(super) fn takes_stanzas(&self) -> bool {
        self.is_bidi() && matches!(self.state, State::Held | State::Enabled | State::Stanzas)
    }

    /// Not while the server is asked, and no more than it can take in.
    pub(super) fn has_room(&self) -> bool {
        self.receiving.as_ref().is_none_or(|receiving| {
            // Until we are ready, what we wait for is behind what comes.
            let ready = !matches!(self.state, State::Held | State::Enabled);
            !ready || !receiving.is_opening() && receiving.waiting() < WINDOW
        })
    }

    pub(super) fn stanza(&mut self, bytes: &Bytes) -> Result<(), StreamError> {
        let Some(receiving) = &mut self.receiving else {
            return Ok(());
        };
        let event = match receiving.stanza(bytes, &self.header, &|_, _| false)? {
            Heard::Stanza(stanza, number) => Event::Stanza(stanza, number),
            Heard::Answer(error) => Event::Answer(error),
            Heard::Nothing => return Ok(()),
        };
        self.heard(event);
        if self.early.len() > EARLY {
            return Err(StreamError::new(
                StreamCondition::ResourceConstraint,
                "answer <enable/> before you go on",
            ));
        }
        Ok(())
    }

    /// After our own close: see [`crate::incoming`].
    pub(super) fn late(&mut self, bytes: &Bytes) -> Result<(), StreamError> {
        if self.is_bidi() && !self.is_acking() {
            return self.stanza(bytes);
        }
        Ok(())
    }

    fn heard(&mut self, event: Event) {
        match self.state {
            State::Held | State::Enabled => self.early.push_back(event),
            _ => self.events.push_back(event),
        }
    }

    pub(super) fn opened(&mut self, element: &Element) -> Result<(), StreamError> {
        let takes = self.takes_stanzas();
        // Our close and what the peer had begun to say may cross.
        let Some(receiving) = self.receiving.as_mut().filter(|_| takes) else {
            return Ok(());
        };
        if let Some(name) = receiving.queue(element)? {
            self.heard(Event::Opened(name));
        }
        Ok(())
    }

    pub(super) fn hold(&mut self, number: i64) {
        let held = self.receiving.as_mut();
        let held = held.and_then(|receiving| receiving.held(number));
        self.answer(held);
    }

    pub(super) fn committed(&mut self) {
        let answer = self.receiving.as_mut().and_then(Receiving::committed);
        self.answer(answer);
    }

    /// `<r/>` of XEP-0198.
    pub(super) fn asked(&mut self) {
        let answer = match &mut self.receiving {
            Some(receiving) => receiving.asked(),
            // Nothing comes in on this stream, and so much is acknowledged.
            None => Some(ack::Inbound::default().acknowledgement()),
        };
        self.answer(answer);
    }

    /// What is committed by now is said before the end, so that it need not come again.
    pub(super) fn last_count(&mut self) {
        if self.state == State::Stanzas {
            let count = self.receiving.as_ref().and_then(Receiving::last_count);
            self.answer(count);
        }
    }

    fn answer(&mut self, answer: Option<Element>) {
        if let Some(answer) = answer {
            self.speaker.say(&answer);
        }
    }

    /// Dialback that is no answer to us. XEP-0220 §2.4: verdicts nobody has asked for are nothing.
    /// Keys come where we take them: on streams that peers open.
    pub(super) fn not_asked(&mut self, element: &Element) {
        let name = element.name.as_str();
        let asks = Verdict::read(element).is_none() && matches!(name, "result" | "verify");
        if let (true, true, Some((theirs, ours))) = (asks, self.is_bidi(), dialback::pair(element))
        {
            let verdict = Verdict::Error(StanzaCondition::FeatureNotImplemented);
            let said = verdict.said(name, &ours, &theirs, element.attr("id"));
            self.speaker.say_bytes(dialback::written(&said));
        }
    }
}
