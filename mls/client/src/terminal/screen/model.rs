//! What the screen shows, without a terminal: rooms and their lines, who is in them, what was typed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use comity_mls_engine::MessageId;
use comity_xmpp::jid::BareJid;

use crate::search::Hit;
use crate::terminal::clean::clean;
use crate::timeline::Timeline;

/// Behind one's own words that everybody has read.
const SEEN: &str = " ✓";

/// Lines of one room that can be scrolled back to.
pub(super) const MAX_LINES: usize = 5_000;
/// Alerts kept.
const MAX_ALERTS: usize = 200;
/// Characters that can be typed.
const MAX_INPUT: usize = 16 * 1024;
/// Lines that were sent, to be fetched back.
const MAX_RECALLED: usize = 100;

/// Lines that are shown below one that was looked for.
const CONTEXT: usize = 5;

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Said,
    Own,
    /// Who came, went, changed keys.
    Change,
    /// A sign of a lying server or an intruder.
    Alert,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) tone: Tone,
    pub(super) text: String,
    /// What stands before the words of a message, and which it is.
    message: Option<(MessageId, String)>,
    /// Its entry, while not everybody is known to hold it.
    pub(super) awaits: Option<u64>,
}

impl Line {
    pub(super) fn new(tone: Tone, text: &str) -> Self {
        Self {
            tone,
            text: clean(text),
            message: None,
            awaits: None,
        }
    }

    /// A message: its words may change.
    pub(super) fn message(tone: Tone, id: MessageId, before: &str, words: &str) -> Self {
        Self {
            tone,
            text: clean(&format!("{before}{words}")),
            message: Some((id, before.to_owned())),
            awaits: None,
        }
    }
}

impl Line {
    pub(super) fn is(&self, id: MessageId) -> bool {
        self.message.as_ref().is_some_and(|(of, _)| *of == id)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) mark: char,
    pub(super) name: String,
    pub(super) words: String,
    pub(super) changed: bool,
    pub(super) account: String,
}

#[derive(Debug)]
pub(super) struct Room {
    pub(super) address: BareJid,
    pub(super) title: String,
    /// Its standing, if it is not simply usable.
    pub(super) standing: &'static str,
    pub(super) unread: usize,
    pub(super) lines: VecDeque<Line>,
    pub(super) members: Vec<Member>,
    /// The last entry of the log among the lines.
    pub(super) last: u64,
    pub(super) timeline: Timeline,
    /// The entry up to which an account's devices have said that they hold the log.
    held: BTreeMap<String, u64>,
    /// Lines between the end and the lowest that is shown.
    pub(super) back: usize,
    /// Who types there now, in words.
    pub(super) typing: String,
    /// Between two.
    pub(super) direct: bool,
    /// The lines are of long ago, up to this entry: newer ones are not among them.
    pub(super) until: Option<u64>,
    /// The message that was looked for.
    pub(super) marked: Option<MessageId>,
}

impl Room {
    pub(super) fn new(address: BareJid) -> Self {
        Self {
            title: address.to_string(),
            address,
            standing: "",
            unread: 0,
            lines: VecDeque::new(),
            members: Vec::new(),
            last: 0,
            timeline: Timeline::new(),
            held: BTreeMap::new(),
            back: 0,
            typing: String::new(),
            direct: false,
            until: None,
            marked: None,
        }
    }

    /// Without lines, for others.
    pub(super) fn empty(&mut self) {
        self.lines.clear();
        self.timeline = Timeline::new();
        self.back = 0;
        self.until = None;
        self.marked = None;
    }

    /// Scrolls to a message and marks it. False: it is not among the lines.
    pub(super) fn show_message(&mut self, id: MessageId) -> bool {
        let Some(place) = self.lines.iter().position(|line| line.is(id)) else {
            return false;
        };
        let below = self.lines.len() - 1 - place;
        self.back = below.saturating_sub(CONTEXT);
        self.marked = Some(id);
        true
    }

    /// A message stands otherwise now: for others to read again, if it was changed by one's own
    /// entry `awaits`.
    pub(super) fn restate(&mut self, id: MessageId, words: &str, awaits: Option<u64>) {
        let same = |line: &&mut Line| line.message.as_ref().is_some_and(|(of, _)| *of == id);
        let Some(line) = self.lines.iter_mut().rev().find(same) else {
            return;
        };
        let was_seen = line.awaits.is_none() && line.text.ends_with(SEEN);
        line.awaits = awaits.or(line.awaits);
        let seen = if was_seen && awaits.is_none() {
            SEEN
        } else {
            ""
        };
        if let Some((_, before)) = &line.message {
            line.text = clean(&format!("{before}{words}{seen}"));
        }
    }

    /// An account says how far it has read. Own messages that all others hold are marked.
    pub(super) fn held(&mut self, by: &str, seq: u64, others: &BTreeSet<String>) {
        let held = self.held.entry(by.to_owned()).or_default();
        *held = seq.max(*held);
        let of = |account| self.held.get(account).copied().unwrap_or(0);
        let all = others.iter().map(of).min().unwrap_or(0);
        for line in &mut self.lines {
            if line.awaits.is_some_and(|seq| seq <= all) {
                line.awaits = None;
                line.text.push_str(SEEN);
            }
        }
    }

    pub(super) fn push(&mut self, line: Line) {
        if self.lines.len() >= MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
        // Who reads further up is not moved.
        if self.back > 0 {
            self.back += 1;
        }
    }
}

/// Something over the rooms: help, codes, devices, what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Overlay {
    pub(super) title: String,
    pub(super) lines: Vec<String>,
    pub(super) top: usize,
    /// Where each line leads, and which is picked.
    pub(super) hits: Vec<Hit>,
    pub(super) picked: usize,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) account: String,
    pub(super) connection: String,
    /// Long work, and how far it is.
    pub(super) working: String,
    pub(super) rooms: Vec<Room>,
    pub(super) selected: usize,
    pub(super) show_members: bool,
    pub(super) input: Vec<char>,
    pub(super) cursor: usize,
    recalled: VecDeque<String>,
    recall: usize,
    pub(super) overlay: Option<Overlay>,
    pub(super) notice: Option<Line>,
    pub(super) alerts: VecDeque<String>,
    /// Alerts the person has not looked at.
    pub(super) unseen_alerts: usize,
}

impl Model {
    pub(super) fn new(account: &BareJid) -> Self {
        Self {
            account: account.to_string(),
            connection: "connecting".to_owned(),
            working: String::new(),
            rooms: Vec::new(),
            selected: 0,
            show_members: true,
            input: Vec::new(),
            cursor: 0,
            recalled: VecDeque::new(),
            recall: 0,
            overlay: None,
            notice: None,
            alerts: VecDeque::new(),
            unseen_alerts: 0,
        }
    }

    pub(super) fn current(&self) -> Option<&Room> {
        self.rooms.get(self.selected)
    }

    pub(super) fn current_mut(&mut self) -> Option<&mut Room> {
        self.rooms.get_mut(self.selected)
    }

    /// The room of that address, made if it is not there.
    pub(super) fn room(&mut self, address: &BareJid) -> &mut Room {
        let place = self.rooms.iter().position(|room| room.address == *address);
        let place = place.unwrap_or_else(|| {
            self.rooms.push(Room::new(address.clone()));
            self.rooms.len() - 1
        });
        &mut self.rooms[place]
    }

    pub(super) fn is_current(&self, address: &BareJid) -> bool {
        self.current().is_some_and(|room| room.address == *address)
    }

    pub(super) fn select(&mut self, address: &BareJid) {
        if let Some(place) = self.rooms.iter().position(|room| room.address == *address) {
            self.selected = place;
            self.rooms[place].unread = 0;
        }
    }

    /// The next room, or the one before.
    pub(super) fn turn(&mut self, forward: bool) {
        let count = self.rooms.len();
        if count == 0 {
            return;
        }
        let step = if forward { 1 } else { count - 1 };
        self.selected = (self.selected + step) % count;
        self.rooms[self.selected].unread = 0;
    }

    pub(super) fn scroll(&mut self, up: bool, by: usize) {
        if let Some(overlay) = &mut self.overlay {
            let last = overlay.lines.len().saturating_sub(1);
            overlay.top = match up {
                true => overlay.top.saturating_sub(by),
                false => (overlay.top + by).min(last),
            };
        } else if let Some(room) = self.current_mut() {
            let last = room.lines.len().saturating_sub(1);
            room.back = match up {
                true => (room.back + by).min(last),
                false => room.back.saturating_sub(by),
            };
        }
    }

    pub(super) fn show(&mut self, title: &str, lines: Vec<String>) {
        self.overlay = Some(Overlay {
            title: title.to_owned(),
            lines: lines.iter().map(|line| clean(line)).collect(),
            top: 0,
            hits: Vec::new(),
            picked: 0,
        });
    }

    /// What was found, the newest first and picked.
    pub(super) fn show_hits(&mut self, text: &str, mut hits: Vec<Hit>, lines: Vec<String>) {
        if hits.is_empty() {
            let words = "nobody has said that in what is kept here".to_owned();
            return self.show(&format!("“{text}”"), vec![words]);
        }
        hits.reverse();
        let lines: Vec<String> = lines.into_iter().rev().collect();
        self.show(&format!("“{text}”: Up, Down and Enter"), lines);
        if let Some(overlay) = &mut self.overlay {
            overlay.hits = hits;
        }
    }

    /// Another of what was found. False: nothing was.
    pub(super) fn pick(&mut self, up: bool) -> bool {
        let Some(overlay) = self.overlay.as_mut().filter(|o| !o.hits.is_empty()) else {
            return false;
        };
        overlay.picked = match up {
            true => overlay.picked.saturating_sub(1),
            false => (overlay.picked + 1).min(overlay.hits.len() - 1),
        };
        overlay.top = overlay.picked.saturating_sub(CONTEXT);
        true
    }

    /// What is picked, unless something was typed.
    pub(super) fn picked(&self) -> Option<Hit> {
        let overlay = self.overlay.as_ref().filter(|_| self.input.is_empty())?;
        overlay.hits.get(overlay.picked).cloned()
    }

    pub(super) fn say(&mut self, tone: Tone, text: &str) {
        self.notice = Some(Line::new(tone, text));
    }

    /// Something a person must not miss.
    pub(super) fn alert(&mut self, text: &str) {
        let line = Line::new(Tone::Alert, text);
        if self.alerts.len() >= MAX_ALERTS {
            self.alerts.pop_front();
        }
        self.alerts.push_back(line.text.clone());
        self.unseen_alerts += 1;
        self.notice = Some(line);
    }

    pub(super) fn show_alerts(&mut self) {
        self.unseen_alerts = 0;
        let lines = match self.alerts.is_empty() {
            true => vec!["nothing to warn of".to_owned()],
            false => self.alerts.iter().rev().cloned().collect(),
        };
        self.show("alerts, newest first", lines);
    }

    pub(super) fn type_char(&mut self, c: char) {
        if self.input.len() < MAX_INPUT && !c.is_control() {
            self.input.insert(self.cursor, c);
            self.cursor += 1;
        }
    }

    pub(super) fn erase(&mut self, before: bool) {
        if before && self.cursor > 0 {
            self.cursor -= 1;
            self.input.remove(self.cursor);
        } else if !before && self.cursor < self.input.len() {
            self.input.remove(self.cursor);
        }
    }

    /// What was typed, which is gone from the input then.
    pub(super) fn take_input(&mut self) -> String {
        let text: String = std::mem::take(&mut self.input).into_iter().collect();
        self.cursor = 0;
        if !text.is_empty() {
            if self.recalled.len() >= MAX_RECALLED {
                self.recalled.pop_front();
            }
            self.recalled.push_back(text.clone());
        }
        self.recall = self.recalled.len();
        text
    }

    /// What was sent before, or after that.
    pub(super) fn recall(&mut self, back: bool) {
        self.recall = match back {
            true => self.recall.saturating_sub(1),
            false => (self.recall + 1).min(self.recalled.len()),
        };
        let text = self.recalled.get(self.recall).cloned().unwrap_or_default();
        self.input = text.chars().collect();
        self.cursor = self.input.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        let jid = |text: &str| BareJid::parse(text).unwrap();
        let mut model = Model::new(&jid("alice@a.example"));
        model.room(&jid("~one@a.example"));
        model.room(&jid("~two@a.example"));
        model
    }

    #[test]
    fn rooms_are_turned_through_and_nobody_who_reads_above_is_moved() {
        let mut model = model();
        model.turn(false);
        assert_eq!(model.selected, 1);
        model.rooms[0].unread = 3;
        model.turn(true);
        assert_eq!((model.selected, model.rooms[0].unread), (0, 0));
        for n in 0..10 {
            let line = Line::new(Tone::Said, &format!("{n}\u{1b}[2J"));
            assert!(!line.text.contains('\u{1b}'));
            model.rooms[0].push(line);
        }
        model.scroll(true, 4);
        model.rooms[0].push(Line::new(Tone::Said, "more"));
        assert_eq!(model.rooms[0].back, 5);
        model.scroll(false, 100);
        assert_eq!(model.rooms[0].back, 0);
        for _ in 0..MAX_LINES {
            model.rooms[0].push(Line::new(Tone::Said, "many"));
        }
        assert_eq!(model.rooms[0].lines.len(), MAX_LINES);
    }

    #[test]
    fn what_is_typed_can_be_mended_and_fetched_back() {
        let mut model = model();
        "hallo".chars().for_each(|c| model.type_char(c));
        model.erase(true);
        model.cursor = 1;
        model.erase(false);
        model.type_char('e');
        model.type_char('\u{1b}');
        assert_eq!(model.take_input(), "hell");
        assert_eq!(model.take_input(), "");
        model.recall(true);
        assert_eq!(model.input.iter().collect::<String>(), "hell");
        model.recall(false);
        assert!(model.input.is_empty());
    }

    #[test]
    fn own_words_are_marked_once_all_others_hold_them() {
        let mut model = model();
        let room = &mut model.rooms[0];
        let id = MessageId(uuid::Uuid::from_u128(1));
        let mut line = Line::message(Tone::Own, id, "alice: ", "Tea?");
        line.awaits = Some(7);
        room.push(line);
        let others = BTreeSet::from(["bob".to_owned(), "carol".to_owned()]);
        room.held("bob", 7, &others);
        assert_eq!(room.lines[0].text, "alice: Tea?");
        room.held("carol", 6, &others);
        assert_eq!(room.lines[0].text, "alice: Tea?");
        room.held("carol", 8, &others);
        assert_eq!(room.lines[0].text, "alice: Tea? ✓");
        room.restate(id, "Tea? [👍]", None);
        assert_eq!(room.lines[0].text, "alice: Tea? [👍] ✓");
        room.restate(MessageId(uuid::Uuid::from_u128(2)), "Coffee?", None);
        assert_eq!(room.lines[0].text, "alice: Tea? [👍] ✓");
        room.restate(id, "Tea at five?", Some(9));
        assert_eq!(room.lines[0].text, "alice: Tea at five?");
        room.held("bob", 9, &others);
        room.held("carol", 9, &others);
        assert_eq!(room.lines[0].text, "alice: Tea at five? ✓");
    }

    #[test]
    fn what_was_found_is_picked_and_gone_to() {
        let mut model = model();
        let id = |n: u128| MessageId(uuid::Uuid::from_u128(n));
        for n in 0..100 {
            let line = Line::message(Tone::Said, id(n), "bob: ", &format!("tea {n}"));
            model.rooms[0].push(line);
        }
        let hit = |n: u64| Hit {
            room: model.rooms[0].address.clone(),
            seq: n,
            id: id(n.into()),
            time: n,
            by: "bob".to_owned(),
            text: format!("tea {n}"),
        };
        let hits = vec![hit(3), hit(50)];
        model.show_hits("tea", hits, vec!["three".to_owned(), "fifty".to_owned()]);
        assert_eq!(model.picked().unwrap().seq, 50);
        assert!(model.pick(false) && model.pick(false));
        let picked = model.picked().unwrap();
        assert_eq!(picked.seq, 3);
        assert!(model.rooms[0].show_message(picked.id));
        assert_eq!(model.rooms[0].back, 99 - 3 - CONTEXT);
        assert!(!model.rooms[0].show_message(id(1_000)));
        model.type_char('x');
        assert_eq!(model.picked(), None, "what is typed is meant");
        model.show_hits("coffee", Vec::new(), Vec::new());
        assert!(!model.pick(true));
        model.alert("the server lies");
        assert_eq!(model.unseen_alerts, 1);
        model.show_alerts();
        assert_eq!(model.unseen_alerts, 0);
        assert_eq!(model.overlay.unwrap().lines, ["the server lies"]);
    }
}
