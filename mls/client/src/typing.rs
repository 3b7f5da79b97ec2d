//! That somebody types (XEP-0085), said inside the envelope to those who are there now: it has no place
//! in the room's log, and is over by itself.

use std::time::{Duration, Instant};

use comity_mls_engine::Device;
use comity_xmpp::element::Element;
use comity_xmpp::jid::BareJid;
use comity_xmpp::ns;

use crate::content::{CONTENT_TYPE, Content};

/// Who goes on typing says so again after this, and nobody says it more often.
pub const AGAIN: Duration = Duration::from_secs(10);
/// Who has not said so for this long has stopped, or is gone.
const OVER: Duration = Duration::from_secs(25);
/// Devices that are remembered as typing.
const MOST: usize = 256;

/// What a person does with what they are about to say (XEP-0085 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChatState {
    /// They type.
    Composing,
    /// They have begun, and stopped for now.
    Paused,
    /// They read along.
    Active,
    /// They look elsewhere.
    Inactive,
    /// They have closed the conversation.
    Gone,
}

impl ChatState {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Composing, "composing"),
        (Self::Paused, "paused"),
        (Self::Active, "active"),
        (Self::Inactive, "inactive"),
        (Self::Gone, "gone"),
    ];

    /// As XEP-0085 writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(state, _)| *state == self);
        found.map_or("active", |(_, name)| name)
    }

    #[must_use]
    pub fn element(self) -> Element {
        Element::new(ns::CHAT_STATES, self.name())
    }

    /// What an [`Event::Ephemeral`](comity_mls_engine::Event::Ephemeral) of a room says, if it is that.
    #[must_use]
    pub fn read(room: &BareJid, by: &Device, content_type: &str, content: &[u8]) -> Option<Self> {
        if content_type != CONTENT_TYPE {
            return None;
        }
        let sender = BareJid::parse(&by.account).ok()?;
        let opened = Content::open(content, &sender, room).ok()?;
        let named = |name: &&str| opened.elements.iter().any(|e| e.is(ns::CHAT_STATES, name));
        let found = Self::ALL.iter().find(|(_, name)| named(name));
        found.map(|(state, _)| *state)
    }
}

/// Who is typing, by room.
#[derive(Debug, Default)]
pub struct Typists(Vec<(BareJid, Device, Instant)>);

impl Typists {
    /// A device says what it does; true if that changes who types.
    pub fn heard(&mut self, room: &BareJid, by: &Device, state: ChatState, now: Instant) -> bool {
        let known = self.0.len();
        self.0.retain(|(r, device, _)| r != room || device != by);
        let was = self.0.len() < known;
        let is = state == ChatState::Composing && self.0.len() < MOST;
        if is {
            self.0.push((room.clone(), by.clone(), now + OVER));
        }
        was != is
    }

    /// A device has said something: it types no longer.
    pub fn said(&mut self, room: &BareJid, by: &Device) -> bool {
        let known = self.0.len();
        self.0.retain(|(r, device, _)| r != room || device != by);
        self.0.len() < known
    }

    /// The accounts that type in a room, each once, in the order of their beginning.
    #[must_use]
    pub fn here(&self, room: &BareJid, now: Instant) -> Vec<&str> {
        let mut accounts = Vec::new();
        for (r, device, until) in &self.0 {
            if r == room && now < *until && !accounts.contains(&device.account.as_str()) {
                accounts.push(device.account.as_str());
            }
        }
        accounts
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn device(account: &str) -> Device {
        Device {
            account: account.to_owned(),
            device: [1; 16],
        }
    }

    fn room() -> BareJid {
        BareJid::parse("~abc@a.example").unwrap()
    }

    fn sealed(elements: Vec<Element>) -> Vec<u8> {
        let from = BareJid::parse("alice@a.example").unwrap();
        Content::of(from, room(), SystemTime::now(), elements).seal(b"")
    }

    #[test]
    fn every_state_is_read_as_it_was_written_and_nothing_else_is_one() {
        let by = device("alice@a.example");
        for (state, _) in ChatState::ALL {
            let bytes = sealed(vec![state.element()]);
            let read = |by: &Device, kind| ChatState::read(&room(), by, kind, &bytes);
            assert_eq!(read(&by, CONTENT_TYPE), Some(state));
            assert_eq!(read(&by, "text"), None);
            // The envelope names another than wrote it.
            assert_eq!(read(&device("bob@b.example"), CONTENT_TYPE), None);
        }
        let text = Element::new(ns::CLIENT, "body").with_text("composing");
        let odd = Element::new(ns::CHAT_STATES, "dancing");
        let bytes = sealed(vec![text, odd]);
        assert_eq!(ChatState::read(&room(), &by, CONTENT_TYPE, &bytes), None);
    }

    #[test]
    fn who_types_stops_by_word_by_message_and_by_time() {
        let (alice, bob) = (device("alice@a.example"), device("bob@b.example"));
        let mut typists = Typists::default();
        let now = Instant::now();
        assert!(typists.heard(&room(), &alice, ChatState::Composing, now));
        assert!(!typists.heard(&room(), &alice, ChatState::Composing, now));
        assert!(typists.heard(&room(), &bob, ChatState::Composing, now));
        assert_eq!(
            typists.here(&room(), now),
            ["alice@a.example", "bob@b.example"]
        );
        assert!(
            typists
                .here(&BareJid::parse("~x@a.example").unwrap(), now)
                .is_empty()
        );
        assert!(typists.heard(&room(), &alice, ChatState::Paused, now));
        assert!(!typists.said(&room(), &alice));
        assert_eq!(typists.here(&room(), now), ["bob@b.example"]);
        assert!(typists.here(&room(), now + OVER).is_empty());
        assert!(typists.said(&room(), &bob));
        for number in 0..MOST + 9 {
            let one = device(&format!("u{number}@a.example"));
            typists.heard(&room(), &one, ChatState::Composing, now);
        }
        assert_eq!(typists.here(&room(), now).len(), MOST);
    }
}
