//! What was said, who came and went, and what comes.

use comity_mls_engine::{Event, Item};
use comity_xmpp::jid::BareJid;

use super::{Desk, Outcome, print_line, remark_on, say, shown};
use crate::agent::Update;

/// Lines of history read at a time.
const PAGE: usize = 200;

impl Desk {
    pub(super) async fn read(&mut self, room: Option<String>, follow: bool, json: bool) -> Outcome {
        let room = match room {
            Some(room) => Some(self.room(&room).await?),
            None => None,
        };
        let rooms = match &room {
            Some(room) => vec![room.clone()],
            None => {
                let all = self.ask(|engine, _| engine.rooms()).await?;
                all.into_iter().map(|room| room.room).collect()
            }
        };
        for room in &rooms {
            self.read_history(room, json).await?;
        }
        if follow {
            self.follow(room.as_ref(), json).await
        } else {
            Ok(())
        }
    }

    /// Shows what comes, until the program is ended.
    pub(super) async fn follow(&mut self, room: Option<&BareJid>, json: bool) -> Outcome {
        loop {
            match self.next().await? {
                Update::Engine(Event::Item { room: at, item })
                    if room.is_none_or(|room| *room == at) =>
                {
                    print_item(&at, &item, json);
                }
                Update::Engine(event) => {
                    if matches!(event, Event::Item { .. }) {
                        continue;
                    }
                    match say::event_json(&event) {
                        Some(object) if json => print_line(&object.to_string()),
                        _ => say::event(&event)
                            .iter()
                            .for_each(|remark| remark_on(remark)),
                    }
                }
                Update::Progress(progress) if json => {
                    print_line(&say::progress_json(&progress).to_string());
                }
                Update::Plain { from, body } if room.is_none() && json => {
                    print_line(&say::plain_json(&from, &body).to_string());
                }
                update @ Update::Plain { .. } if room.is_none() => {
                    shown(&update).iter().for_each(|line| print_line(line));
                }
                _ => {}
            }
        }
    }

    pub(super) async fn read_history(&self, room: &BareJid, json: bool) -> Outcome {
        let mut after = 0;
        loop {
            let place = room.clone();
            let page = self
                .ask(move |engine, _| engine.history(&place, after, PAGE))
                .await?;
            for item in &page {
                print_item(room, item, json);
            }
            match page.last() {
                Some(item) => after = item.seq,
                None => return Ok(()),
            }
        }
    }
}

fn print_item(room: &BareJid, item: &Item, json: bool) {
    if json {
        print_line(&say::item_json(room, item).to_string());
    } else {
        print_line(&say::item(room, item));
    }
}
