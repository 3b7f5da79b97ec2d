//! What was looked for on the screen, and how one gets there; and who is told of what is new.

use comity_mls_engine::{Item, What};
use comity_xmpp::jid::BareJid;

use super::model::Tone;
use super::{Desk, Outcome, Screen};
use crate::act::Act;
use crate::content::open_message;
use crate::terminal::find;
use crate::terminal::notify::News;

/// Entries before what was found, and behind it, that are shown with it.
const AROUND: u64 = 300;

impl Screen {
    /// Looks in everything that is kept.
    pub(super) async fn find(&mut self, desk: &Desk, text: &str) -> Outcome {
        match desk.hits(None, text).await {
            Ok(hits) => {
                let titles = desk.titles().await?;
                let lines = hits.iter().map(|hit| find::line(hit, &titles)).collect();
                self.model.show_hits(text, hits, lines);
            }
            Err(error) => self.model.say(Tone::Alert, &format!("not done: {error}")),
        }
        Ok(())
    }

    pub(super) async fn go_to_picked(&mut self, desk: &Desk) -> Outcome {
        let Some(hit) = self.model.picked() else {
            return Ok(());
        };
        self.model.overlay = None;
        self.model.select(&hit.room);
        if self.model.room(&hit.room).show_message(hit.id) {
            return Ok(());
        }
        // Longer ago than what is held for scrolling.
        let view = self.model.room(&hit.room);
        view.empty();
        view.until = Some(hit.seq.saturating_add(AROUND));
        let after = hit.seq.saturating_sub(AROUND);
        let until = Some(hit.seq.saturating_add(AROUND));
        self.load_room(desk, &hit.room, after, until).await?;
        if !self.model.room(&hit.room).show_message(hit.id) {
            self.model.say(Tone::Alert, "it is not kept any more");
        }
        Ok(())
    }

    /// Back from what was found.
    pub(super) async fn newest(&mut self, desk: &Desk) -> Outcome {
        let Some(room) = self.model.current_mut() else {
            return Ok(());
        };
        let address = room.address.clone();
        room.marked = None;
        room.back = 0;
        if room.until.is_some() {
            room.empty();
            self.load_room(desk, &address, 0, None).await?;
        }
        self.seen(desk).await
    }

    /// Tells somebody who looks elsewhere.
    pub(super) fn tell(&self, desk: &mut Desk, room: &BareJid, item: &Item) {
        let What::Message(message) = &item.what else {
            return;
        };
        let own = desk.chat.account().clone();
        let looking = self.focused == Some(true) && self.model.is_current(room);
        if looking || message.sender.account == own.as_str() {
            return;
        }
        let Some(view) = self.model.rooms.iter().find(|view| view.address == *room) else {
            return;
        };
        let Ok(content) = open_message(room, message) else {
            return;
        };
        let (text, answers) = match Act::of(&content.elements) {
            Act::Text { body, reply } => (body, reply),
            Act::File(file) => (crate::timeline::file_words(&file), None),
            _ => return,
        };
        let answered = answers.and_then(|id| view.timeline.get(id));
        let to_me = answered.is_some_and(|standing| standing.by == own.as_str());
        let news = News {
            room: &view.title,
            from: &message.sender.account,
            text: &text,
            personal: view.direct || to_me,
        };
        desk.notifier.tell(&own, news);
    }
}
