//! Looks for what was said, in all that the device keeps: the store is sealed, so that there is no
//! index on the disk that would tell what is in it; rows are opened and looked at, a page at a time, so
//! that the engine does its work meanwhile.

use std::collections::HashMap;

use comity_mls_engine::{Engine, Item, MAX_HISTORY, MessageId, What};
use comity_xmpp::jid::BareJid;

use crate::act::Act;
use crate::agent::{Chat, ChatError};
use crate::content::open_message;
use crate::timeline::file_words;

/// Hits that are given, the newest.
pub const MAX_HITS: usize = 500;
/// Octets of what is looked for.
const MAX_WANTED: usize = 1_000;

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hit {
    pub room: BareJid,
    /// Its entry in the room's log.
    pub seq: u64,
    pub id: MessageId,
    /// Milliseconds since 1970.
    pub time: u64,
    pub by: String,
    /// As it stands now.
    pub text: String,
}

/// What is looked for: all of these words, in any order, whatever their case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted(Vec<String>);

impl Wanted {
    /// `None`: nothing to look for.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text.len() > MAX_WANTED {
            return None;
        }
        let words = text.to_lowercase();
        Some(Self(words.split_whitespace().map(str::to_owned).collect()))
    }

    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.0.iter().all(|word| text.contains(word.as_str()))
    }
}

/// The hits in these rooms, oldest first in each; what was corrected is found as it stands, and what was
/// taken back is not.
pub async fn search(
    chat: &Chat,
    rooms: &[BareJid],
    wanted: &Wanted,
) -> Result<Vec<Hit>, ChatError> {
    let mut hits = Vec::new();
    for room in rooms {
        let mut found = Found::default();
        let mut after = 0;
        loop {
            let at = room.clone();
            let page = move |engine: &mut Engine, _| engine.history(&at, after, MAX_HISTORY);
            let page = chat.with(page).await??;
            let Some(last) = page.last() else { break };
            after = last.seq;
            for item in &page {
                found.take(room, item, wanted);
            }
        }
        hits.extend(found.hits());
    }
    hits.sort_by_key(|hit| hit.time);
    let more = hits.len().saturating_sub(MAX_HITS);
    hits.drain(..more);
    Ok(hits)
}

/// What of one room fits, and what might be changed so that it does.
#[derive(Default)]
struct Found {
    /// Who said what, for corrections are by the same.
    said: HashMap<MessageId, Said>,
    hits: HashMap<MessageId, Hit>,
}

struct Said {
    by: String,
    seq: u64,
    time: u64,
}

impl Found {
    fn take(&mut self, room: &BareJid, item: &Item, wanted: &Wanted) {
        let What::Message(message) = &item.what else {
            return;
        };
        let Ok(content) = open_message(room, message) else {
            return;
        };
        let by = message.sender.account.clone();
        let id = message.message_id();
        let new = |text: &str, found: &mut Self| {
            let said = Said {
                by: by.clone(),
                seq: item.seq,
                time: item.time,
            };
            found.said.insert(id, said);
            found.stands(room, id, text, wanted);
        };
        match Act::of(&content.elements) {
            Act::Text { body, .. } => new(&body, self),
            Act::File(file) => new(&file_words(&file), self),
            Act::Correction { of, body } if self.is_by(of, &by) => {
                self.stands(room, of, &body, wanted);
            }
            Act::Retraction { of } if self.is_by(of, &by) => {
                self.said.remove(&of);
                self.hits.remove(&of);
            }
            _ => {}
        }
    }

    fn is_by(&self, id: MessageId, by: &str) -> bool {
        self.said.get(&id).is_some_and(|said| said.by == by)
    }

    fn stands(&mut self, room: &BareJid, id: MessageId, text: &str, wanted: &Wanted) {
        let Some(said) = self.said.get(&id) else {
            return;
        };
        if !wanted.is_in(&format!("{} {text}", said.by)) {
            self.hits.remove(&id);
            return;
        }
        let hit = Hit {
            room: room.clone(),
            seq: said.seq,
            id,
            time: said.time,
            by: said.by.clone(),
            text: text.to_owned(),
        };
        self.hits.insert(id, hit);
    }

    fn hits(self) -> Vec<Hit> {
        let mut hits: Vec<Hit> = self.hits.into_values().collect();
        hits.sort_by_key(|hit| hit.seq);
        hits
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use comity_mls_engine::{Device, Message};
    use uuid::Uuid;

    use super::*;
    use crate::content::{CONTENT_TYPE, Content};

    const ALICE: &str = "alice@a.example";
    const BOB: &str = "bob@b.example";

    fn room() -> BareJid {
        BareJid::parse("~aaaaaaaaaaaaaaaaaaaaaaaaaa@a.example").unwrap()
    }

    fn id(n: u64) -> MessageId {
        MessageId(Uuid::from_u128(n.into()))
    }

    fn item(n: u64, by: &str, act: &Act) -> Item {
        let from = BareJid::parse(by).unwrap();
        let content = Content::of(from, room(), SystemTime::UNIX_EPOCH, act.elements(None));
        let message = Message {
            sender: Device {
                account: by.to_owned(),
                device: [1; 16],
            },
            id: id(n).0.into_bytes(),
            content_type: CONTENT_TYPE.to_owned(),
            content: content.seal(&[]),
        };
        Item {
            seq: n,
            time: n * 1000,
            what: What::Message(message),
        }
    }

    fn text(body: &str) -> Act {
        Act::Text {
            body: body.to_owned(),
            reply: None,
        }
    }

    fn found(wanted: &str) -> Vec<(u64, String)> {
        let correction = |of: u64, body: &str| Act::Correction {
            of: id(of),
            body: body.to_owned(),
        };
        let all = [
            item(1, ALICE, &text("Tea at four?")),
            item(2, BOB, &text("No tea for me")),
            item(3, ALICE, &text("Coffee then")),
            item(4, ALICE, &correction(1, "Cake at five?")),
            item(5, BOB, &correction(3, "Tea, I insist")),
            item(6, BOB, &text("Tea was a mistake")),
            item(7, BOB, &Act::Retraction { of: id(6) }),
            item(8, BOB, &correction(6, "Tea again")),
            item(9, BOB, &Act::Retraction { of: id(3) }),
        ];
        let wanted = Wanted::of(wanted).unwrap();
        let mut found = Found::default();
        for item in &all {
            found.take(&room(), item, &wanted);
        }
        let hits = found.hits().into_iter();
        hits.map(|hit| (hit.seq, hit.text)).collect()
    }

    #[test]
    fn what_stands_is_found_and_what_does_not_is_not() {
        let hit = |seq: u64, text: &str| (seq, text.to_owned());
        for (wanted, expected) in [
            ("TEA", vec![hit(2, "No tea for me")]),
            ("cake five", vec![hit(1, "Cake at five?")]),
            ("five cake", vec![hit(1, "Cake at five?")]),
            ("coffee", vec![hit(3, "Coffee then")]),
            ("four", vec![]),
            ("mistake", vec![]),
            (
                "alice",
                vec![hit(1, "Cake at five?"), hit(3, "Coffee then")],
            ),
            ("bob tea", vec![hit(2, "No tea for me")]),
        ] {
            assert_eq!(found(wanted), expected, "{wanted}");
        }
        assert_eq!(Wanted::of("  "), None);
        assert_eq!(Wanted::of(&"x".repeat(MAX_WANTED + 1)), None);
    }
}
