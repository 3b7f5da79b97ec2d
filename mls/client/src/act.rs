//! What a message does: says something, answers, corrects, reacts, takes back. The elements are those
//! of XMPP, inside the envelope; a message is named by its id in the room.

use std::collections::BTreeSet;

use comity_mls_engine::MessageId;
use comity_xmpp::element::Element;
use comity_xmpp::jid::BareJid;
use comity_xmpp::ns;
use uuid::Uuid;

use crate::files::attachment::Attachment;

/// Emoji of one person to one message.
pub const MAX_REACTIONS: usize = 20;
/// Octets of one: families with skin tones are long.
pub const MAX_REACTION: usize = 64;

/// What a message does in its room.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Act {
    Text {
        body: String,
        /// The message it answers (XEP-0461).
        reply: Option<MessageId>,
    },
    /// A file, sealed, and the key that opens it (XEP-0447, XEP-0448).
    File(Box<Attachment>),
    /// Another text in place of an earlier one (XEP-0308).
    Correction { of: MessageId, body: String },
    /// All that its sender feels about a message, in place of what it felt before (XEP-0444).
    Reactions {
        to: MessageId,
        emoji: BTreeSet<String>,
    },
    /// An earlier message is taken back (XEP-0424): whoever has read it has read it.
    Retraction { of: MessageId },
    /// Nothing that this version knows.
    Other,
}

impl Act {
    /// What the elements of an envelope say. A correction or retraction of what is no id says
    /// nothing of any message, and is the text that stands beside it.
    #[must_use]
    pub fn of(elements: &[Element]) -> Self {
        let find = |ns: &str, name: &str| elements.iter().find(|e| e.is(ns, name));
        let body = find(ns::CLIENT, "body").map(Element::text);
        let id = |ns: &str, name: &str| find(ns, name).and_then(|e| id(e.attr("id")?));
        if let Some(of) = id(ns::RETRACT, "retract") {
            return Self::Retraction { of };
        }
        if let Some((to, element)) =
            id(ns::REACTIONS, "reactions").zip(find(ns::REACTIONS, "reactions"))
        {
            let emoji = element.children_named(ns::REACTIONS, "reaction");
            let emoji = emoji.map(|one| one.text().trim().to_owned());
            return Self::Reactions {
                to,
                emoji: emoji
                    .filter(|one| is_emoji(one))
                    .take(MAX_REACTIONS)
                    .collect(),
            };
        }
        if let Some(file) = Attachment::of(elements) {
            return Self::File(Box::new(file));
        }
        match (body, id(ns::CORRECT, "replace")) {
            (Some(body), Some(of)) => Self::Correction { of, body },
            (Some(body), None) => Self::Text {
                body,
                reply: id(ns::REPLY, "reply"),
            },
            (None, _) => Self::Other,
        }
    }

    /// The elements that say it. `author` is who wrote the message that is answered.
    #[must_use]
    pub fn elements(&self, author: Option<&BareJid>) -> Vec<Element> {
        let named = |ns: &str, name: &str, id: &MessageId| {
            Element::new(ns, name).with_attr("id", id.0.to_string())
        };
        let text = |body: &str| Element::new(ns::CLIENT, "body").with_text(body);
        match self {
            Self::Text { body, reply } => {
                let reply = reply.iter().map(|id| {
                    named(ns::REPLY, "reply", id).with_attr_opt("to", author.map(BareJid::as_str))
                });
                std::iter::once(text(body)).chain(reply).collect()
            }
            // What clients say that do not know files.
            Self::File(file) => {
                let words = format!("(sends {})", file.words());
                vec![file.to_element(), text(&words)]
            }
            Self::Correction { of, body } => {
                vec![text(body), named(ns::CORRECT, "replace", of)]
            }
            Self::Reactions { to, emoji } => {
                let one = |emoji: &String| Element::new(ns::REACTIONS, "reaction").with_text(emoji);
                vec![named(ns::REACTIONS, "reactions", to).with_children(emoji.iter().map(one))]
            }
            Self::Retraction { of } => vec![named(ns::RETRACT, "retract", of)],
            Self::Other => Vec::new(),
        }
    }

    /// The message it is about, if it does something to an earlier one.
    #[must_use]
    pub fn changes(&self) -> Option<MessageId> {
        match self {
            Self::Correction { of, .. } | Self::Retraction { of } => Some(*of),
            Self::Reactions { to, .. } => Some(*to),
            Self::Text { .. } | Self::File(_) | Self::Other => None,
        }
    }
}

fn id(text: &str) -> Option<MessageId> {
    Uuid::parse_str(text).ok().map(MessageId)
}

/// One line of something to see; whether it is an emoji nobody can say for good (XEP-0444 §4.2).
#[must_use]
pub fn is_emoji(text: &str) -> bool {
    let fits = (1..=MAX_REACTION).contains(&text.len());
    fits && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: MessageId = MessageId(Uuid::from_u128(7));

    fn check(act: Act) {
        assert_eq!(Act::of(&act.elements(None)), act);
    }

    #[test]
    fn every_kind_is_read_as_it_was_written() {
        let body = || "Wherefore?".to_owned();
        check(Act::Text {
            body: body(),
            reply: None,
        });
        check(Act::Text {
            body: body(),
            reply: Some(ID),
        });
        check(Act::Correction {
            of: ID,
            body: body(),
        });
        check(Act::Reactions {
            to: ID,
            emoji: ["👍".to_owned(), "🌹".to_owned()].into(),
        });
        check(Act::Reactions {
            to: ID,
            emoji: BTreeSet::new(),
        });
        check(Act::Retraction { of: ID });
        check(Act::Other);
    }

    #[test]
    fn what_names_no_message_changes_none() {
        let body = Element::new(ns::CLIENT, "body").with_text("Wherefore?");
        for (ns, name) in [
            (ns::CORRECT, "replace"),
            (ns::RETRACT, "retract"),
            (ns::REACTIONS, "reactions"),
            (ns::REPLY, "reply"),
        ] {
            for id in ["", "1", "\u{1b}[2J", "00000000-0000-0000-0000-00000000000g"] {
                let odd = Element::new(ns, name).with_attr("id", id);
                let act = Act::of(&[body.clone(), odd]);
                let body = "Wherefore?".to_owned();
                assert_eq!(act, Act::Text { body, reply: None }, "{name} {id:?}");
            }
        }
        let many =
            (0..99).map(|n| Element::new(ns::REACTIONS, "reaction").with_text(n.to_string()));
        let many = Element::new(ns::REACTIONS, "reactions")
            .with_attr("id", ID.0.to_string())
            .with_children(many);
        let Act::Reactions { emoji, .. } = Act::of(&[many]) else {
            panic!("no reactions")
        };
        assert_eq!(emoji.len(), MAX_REACTIONS);
        for odd in ["", " ", "a b", "\u{9b}2J", "a\n", &"x".repeat(65)] {
            assert!(!is_emoji(odd), "{odd:?}");
        }
    }
}
