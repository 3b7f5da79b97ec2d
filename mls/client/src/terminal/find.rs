//! What a person looks for, and finds.

use std::collections::HashMap;

use comity_xmpp::jid::BareJid;
use serde_json::json;

use super::{Desk, Failed, Outcome, print_line};
use crate::content;
use crate::search::{Hit, Wanted, search};

impl Desk {
    /// In one room or all.
    pub(crate) async fn hits(&self, room: Option<BareJid>, text: &str) -> Outcome<Vec<Hit>> {
        let wanted = Wanted::of(text).ok_or_else(|| Failed::new("look for what?"))?;
        let rooms = match room {
            Some(room) => vec![room],
            None => {
                let all = self.ask(|engine, _| engine.rooms()).await?;
                all.into_iter().map(|info| info.room).collect()
            }
        };
        Ok(search(&self.chat, &rooms, &wanted).await?)
    }

    pub(crate) async fn search(&self, room: Option<BareJid>, text: &str, json: bool) -> Outcome {
        let hits = self.hits(room, text).await?;
        if json {
            for hit in &hits {
                print_line(&object(hit).to_string());
            }
            return Ok(());
        }
        let titles = self.titles().await?;
        if hits.is_empty() {
            self.print(&format!("nobody has said “{text}” in what is kept here"));
        }
        for hit in &hits {
            self.print(&line(hit, &titles));
        }
        Ok(())
    }

    /// What people call their rooms.
    pub(crate) async fn titles(&self) -> Outcome<HashMap<BareJid, String>> {
        let rooms = self.ask(|engine, _| engine.rooms()).await?;
        let title = |info: comity_mls_engine::RoomInfo| {
            let with = info.direct_with.as_ref().map(BareJid::to_string);
            let title = info.name.or(with).unwrap_or_else(|| info.room.to_string());
            (info.room, title)
        };
        Ok(rooms.into_iter().map(title).collect())
    }
}

/// `[2026-01-02T03:04:05Z] Tea bob@b.example: No tea for me  (1a2b3c4d)`
pub(crate) fn line(hit: &Hit, titles: &HashMap<BareJid, String>) -> String {
    let title = titles
        .get(&hit.room)
        .map_or(hit.room.as_str(), String::as_str);
    let time = content::stamp(hit.time / 1000);
    let id = hit.id.0.to_string();
    format!("[{time}] {title} {}: {}  ({})", hit.by, hit.text, &id[..8])
}

fn object(hit: &Hit) -> serde_json::Value {
    json!({
        "type": "hit",
        "room": hit.room.as_str(),
        "seq": hit.seq,
        "time": content::stamp(hit.time / 1000),
        "id": hit.id.0.to_string(),
        "from": hit.by,
        "text": hit.text,
    })
}
