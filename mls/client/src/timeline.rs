//! The messages of a room as they stand now: corrected, reacted to, taken back. Only who said something
//! may change or take back what it said, from whichever of its devices.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use comity_mls_engine::{Message, MessageId};
use comity_xmpp::jid::BareJid;

use crate::act::Act;
use crate::content::open_message;
use crate::files::attachment::Attachment;

/// Messages of one room that can still be changed before the person's eyes.
pub const MAX_MESSAGES: usize = 5_000;
/// People whose reactions to one message are shown.
const MAX_REACTING: usize = 100;

/// One message as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    pub id: MessageId,
    pub by: String,
    pub text: String,
    pub reply: Option<MessageId>,
    /// What was sent, if it is a file and was not taken back.
    pub file: Option<Box<Attachment>>,
    pub corrected: bool,
    pub retracted: bool,
    /// Emoji, and who feels so.
    pub reactions: BTreeMap<String, BTreeSet<String>>,
}

/// What a message did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// It is a new one.
    Said,
    /// This one stands otherwise now.
    Changed(MessageId),
    /// It is about a message that is not here: too long ago, or never said.
    Unknown(MessageId),
    /// It would change what somebody else said, and does not.
    NotTheirs { of: MessageId, whose: String },
    /// It cannot be shown: why.
    Unreadable(String),
    /// Nothing that this version knows.
    Other,
}

/// The messages of one room, oldest first.
#[derive(Debug, Default)]
pub struct Timeline {
    messages: HashMap<MessageId, Standing>,
    order: VecDeque<MessageId>,
}

impl Timeline {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn get(&self, id: MessageId) -> Option<&Standing> {
        self.messages.get(&id)
    }

    /// The newest that satisfies this and has not been taken back.
    pub fn newest(&self, wanted: impl Fn(&Standing) -> bool) -> Option<&Standing> {
        let newest = self
            .order
            .iter()
            .rev()
            .filter_map(|id| self.messages.get(id));
        newest
            .into_iter()
            .find(|standing| !standing.retracted && wanted(standing))
    }

    /// The next message of the room's log.
    pub fn take(&mut self, room: &BareJid, message: &Message) -> Effect {
        let content = match open_message(room, message) {
            Ok(content) => content,
            Err(why) => return Effect::Unreadable(why),
        };
        let by = message.sender.account.clone();
        let id = message.message_id();
        let act = Act::of(&content.elements);
        let new = match &act {
            Act::Text { body, reply } => Some((body.clone(), *reply, None)),
            Act::File(file) => Some((file_words(file), None, Some(file.clone()))),
            _ => None,
        };
        if let Some((text, reply, file)) = new {
            self.push(Standing {
                id,
                by,
                text,
                reply,
                file,
                corrected: false,
                retracted: false,
                reactions: BTreeMap::new(),
            });
            return Effect::Said;
        }
        let Some(of) = act.changes() else {
            return Effect::Other;
        };
        let Some(standing) = self.messages.get_mut(&of) else {
            return Effect::Unknown(of);
        };
        let theirs = standing.by == by;
        match act {
            Act::Reactions { emoji, .. } => standing.react(&by, emoji),
            _ if !theirs => {
                let whose = standing.by.clone();
                return Effect::NotTheirs { of, whose };
            }
            // What was taken back is not said again by correcting it.
            Act::Correction { body, .. } if !standing.retracted => {
                standing.text = body;
                standing.corrected = true;
            }
            Act::Retraction { .. } => {
                standing.text.clear();
                standing.file = None;
                standing.reactions.clear();
                standing.retracted = true;
            }
            _ => {}
        }
        Effect::Changed(of)
    }

    fn push(&mut self, standing: Standing) {
        if self.order.len() >= MAX_MESSAGES
            && let Some(oldest) = self.order.pop_front()
        {
            self.messages.remove(&oldest);
        }
        self.order.push_back(standing.id);
        self.messages.insert(standing.id, standing);
    }
}

/// A line for a file.
#[must_use]
pub fn file_words(file: &Attachment) -> String {
    format!("[file: {}]", file.words())
}

impl Standing {
    /// XEP-0444 §3.2: the set takes the place of the one before.
    fn react(&mut self, by: &str, emoji: BTreeSet<String>) {
        if self.retracted {
            return;
        }
        for who in self.reactions.values_mut() {
            who.remove(by);
        }
        for one in emoji {
            let reacting = self.reactions.len();
            let known = self.reactions.contains_key(&one);
            if known || reacting < MAX_REACTING {
                let who = self.reactions.entry(one).or_default();
                if who.len() < MAX_REACTING {
                    who.insert(by.to_owned());
                }
            }
        }
        self.reactions.retain(|_, who| !who.is_empty());
    }

    /// The text with what became of it.
    #[must_use]
    pub fn words(&self) -> String {
        if self.retracted {
            return "(taken back)".to_owned();
        }
        let corrected = if self.corrected { " (corrected)" } else { "" };
        let reactions: Vec<String> = self
            .reactions
            .iter()
            .map(|(emoji, who)| match who.len() {
                1 => emoji.clone(),
                count => format!("{emoji}×{count}"),
            })
            .collect();
        match reactions.is_empty() {
            true => format!("{}{corrected}", self.text),
            false => format!("{}{corrected} [{}]", self.text, reactions.join(" ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use comity_mls_engine::Device;
    use uuid::Uuid;

    use super::*;
    use crate::content::{CONTENT_TYPE, Content};

    const ALICE: &str = "alice@a.example";
    const BOB: &str = "bob@b.example";

    fn room() -> BareJid {
        BareJid::parse("~aaaaaaaaaaaaaaaaaaaaaaaaaa@a.example").unwrap()
    }

    fn id(n: u128) -> MessageId {
        MessageId(Uuid::from_u128(n))
    }

    fn said(n: u128, by: &str, act: &Act) -> Message {
        let from = BareJid::parse(by).unwrap();
        let content = Content::of(from, room(), SystemTime::UNIX_EPOCH, act.elements(None));
        Message {
            sender: Device {
                account: by.to_owned(),
                device: [1; 16],
            },
            id: id(n).0.into_bytes(),
            content_type: CONTENT_TYPE.to_owned(),
            content: content.seal(&[]),
        }
    }

    fn text(body: &str) -> Act {
        Act::Text {
            body: body.to_owned(),
            reply: None,
        }
    }

    fn correction(n: u128, body: &str) -> Act {
        Act::Correction {
            of: id(n),
            body: body.to_owned(),
        }
    }

    fn reactions(n: u128, emoji: &[&str]) -> Act {
        Act::Reactions {
            to: id(n),
            emoji: emoji.iter().map(|&one| one.to_owned()).collect(),
        }
    }

    /// Alice has said something; then what follows is said. Gives what came of the last of it, and
    /// how her message stands.
    fn after(what: &[(&str, Act)]) -> (Effect, String) {
        let mut timeline = Timeline::new();
        timeline.take(&room(), &said(1, ALICE, &text("Tea at four?")));
        let mut last = Effect::Other;
        for (n, (by, act)) in (2..).zip(what) {
            last = timeline.take(&room(), &said(n, by, act));
        }
        (last, timeline.get(id(1)).unwrap().words())
    }

    #[test]
    fn who_said_it_changes_it_and_nobody_else() {
        let retraction = || Act::Retraction { of: id(1) };
        let whose = ALICE.to_owned();
        let not_theirs = Effect::NotTheirs { of: id(1), whose };
        let changed = Effect::Changed(id(1));
        for (what, effect, words) in [
            (
                vec![(ALICE, correction(1, "At five?"))],
                &changed,
                "At five? (corrected)",
            ),
            (
                vec![
                    (ALICE, correction(1, "At five?")),
                    (ALICE, correction(1, "At six?")),
                ],
                &changed,
                "At six? (corrected)",
            ),
            (
                vec![(BOB, correction(1, "Never"))],
                &not_theirs,
                "Tea at four?",
            ),
            (vec![(ALICE, retraction())], &changed, "(taken back)"),
            (vec![(BOB, retraction())], &not_theirs, "Tea at four?"),
            (
                vec![(ALICE, retraction()), (ALICE, correction(1, "So?"))],
                &changed,
                "(taken back)",
            ),
            (
                vec![(BOB, reactions(1, &["👍"]))],
                &changed,
                "Tea at four? [👍]",
            ),
            (
                vec![
                    (BOB, reactions(1, &["👍"])),
                    (ALICE, reactions(1, &["👍", "🫖"])),
                ],
                &changed,
                "Tea at four? [👍×2 🫖]",
            ),
            (
                vec![(BOB, reactions(1, &["👍"])), (BOB, reactions(1, &["👎"]))],
                &changed,
                "Tea at four? [👎]",
            ),
            (
                vec![(BOB, reactions(1, &["👍"])), (BOB, reactions(1, &[]))],
                &changed,
                "Tea at four?",
            ),
        ] {
            let (found, stands) = after(&what);
            assert_eq!((&found, stands.as_str()), (effect, words), "{what:?}");
        }
        let (effect, words) = after(&[(BOB, correction(9, "Never"))]);
        assert_eq!(
            (effect, words.as_str()),
            (Effect::Unknown(id(9)), "Tea at four?")
        );
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut timeline = Timeline::new();
        for n in 0..=MAX_MESSAGES as u128 {
            timeline.take(&room(), &said(n, BOB, &text("again")));
        }
        assert_eq!(timeline.order.len(), MAX_MESSAGES);
        assert!(timeline.get(id(0)).is_none());
        let newest = timeline.newest(|standing| standing.by == BOB).unwrap();
        assert_eq!(newest.id, id(MAX_MESSAGES as u128));
    }
}
