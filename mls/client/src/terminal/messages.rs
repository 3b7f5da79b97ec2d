//! What a person does about messages that were said: answers, corrects, reacts, takes back.

use std::collections::BTreeSet;

use comity_mls_engine::{Event, MAX_HISTORY, MessageId, Refused, What};
use comity_xmpp::jid::BareJid;

use super::{Desk, Failed, Outcome};
use crate::act::{Act, is_emoji};
use crate::timeline::{Standing, Timeline};

/// So far back a message is looked for.
const REACH: u64 = 4_000;

impl Desk {
    /// The newest messages of a room as they stand now.
    pub(crate) async fn timeline(&self, room: &BareJid) -> Outcome<Timeline> {
        let at = room.clone();
        let items = self.ask(move |engine, _| {
            let rooms = engine.rooms()?;
            let last = rooms.iter().find(|info| info.room == at);
            let mut after = last.map_or(0, |info| info.seq).saturating_sub(REACH);
            let mut items = Vec::new();
            loop {
                let page = engine.history(&at, after, MAX_HISTORY)?;
                let Some(newest) = page.last() else {
                    return Ok(items);
                };
                after = newest.seq;
                items.extend(page);
            }
        });
        let mut timeline = Timeline::new();
        for item in items.await? {
            if let What::Message(message) = &item.what {
                timeline.take(room, message);
            }
        }
        Ok(timeline)
    }

    /// The message that is meant: by the beginning of its id, or the newest that is somebody else's or
    /// one's own.
    async fn meant(&self, room: &BareJid, id: Option<&str>, own: bool) -> Outcome<Standing> {
        let account = self.chat.account().as_str().to_owned();
        let timeline = self.timeline(room).await?;
        let found = timeline.newest(|standing| match id {
            Some(id) => standing.id.0.to_string().starts_with(id),
            None => (standing.by == account) == own,
        });
        found.cloned().ok_or_else(|| {
            Failed::new(match id {
                Some(id) => format!("no message {id} was said here lately"),
                None => "nothing was said here lately that could be meant".to_owned(),
            })
        })
    }

    pub(crate) async fn answer(
        &self,
        room: &BareJid,
        id: Option<&str>,
        text: &str,
    ) -> Outcome<MessageId> {
        let meant = self.meant(room, id, false).await?;
        let act = Act::Text {
            body: some(text)?,
            reply: Some(meant.id),
        };
        let author = BareJid::parse(&meant.by).ok();
        Ok(self.chat.send(room, &act, author.as_ref()).await?)
    }

    pub(crate) async fn correct(
        &self,
        room: &BareJid,
        id: Option<&str>,
        text: &str,
    ) -> Outcome<MessageId> {
        let of = self.own(room, id).await?;
        let body = some(text)?;
        let act = Act::Correction { of, body };
        Ok(self.chat.send(room, &act, None).await?)
    }

    pub(crate) async fn retract(&self, room: &BareJid, id: Option<&str>) -> Outcome<MessageId> {
        let of = self.own(room, id).await?;
        Ok(self.chat.send(room, &Act::Retraction { of }, None).await?)
    }

    /// Without emoji: nothing any more.
    pub(crate) async fn react(
        &self,
        room: &BareJid,
        id: Option<&str>,
        emoji: &[String],
    ) -> Outcome<MessageId> {
        if let Some(odd) = emoji.iter().find(|one| !is_emoji(one)) {
            return Err(Failed::new(format!("{odd:?} is too long for an emoji")));
        }
        let to = self.meant(room, id, false).await?.id;
        let emoji: BTreeSet<String> = emoji.iter().cloned().collect();
        let act = Act::Reactions { to, emoji };
        Ok(self.chat.send(room, &act, None).await?)
    }

    /// Shows a message to the operator of the room's server.
    pub(crate) async fn report(
        &self,
        room: &BareJid,
        id: Option<&str>,
        why: &str,
    ) -> Outcome<MessageId> {
        let id = self.meant(room, id, false).await?.id;
        let (room, why) = (room.clone(), why.to_owned());
        self.ask(move |engine, now| engine.report(&room, id, &why, now))
            .await?;
        Ok(id)
    }

    /// The same, until the server has answered.
    pub(crate) async fn report_and_wait(&mut self, room: BareJid, id: &str, why: &str) -> Outcome {
        let wanted = self.report(&room, Some(id), why).await?;
        self.until(move |event| match event {
            Event::Reported { id, .. } if *id == wanted => Some(Ok(())),
            Event::Refused {
                what: Refused::Report(id),
                why,
                ..
            } if *id == wanted => Some(Err(Failed::new(why))),
            _ => None,
        })
        .await
    }

    /// Others would not believe it of somebody else's message.
    async fn own(&self, room: &BareJid, id: Option<&str>) -> Outcome<MessageId> {
        let meant = self.meant(room, id, true).await?;
        match meant.by == self.chat.account().as_str() {
            true => Ok(meant.id),
            false => Err(Failed::new(format!("{} said that, not you", meant.by))),
        }
    }
}

fn some(text: &str) -> Outcome<String> {
    match text.trim() {
        "" => Err(Failed::new("say something")),
        text => Ok(text.to_owned()),
    }
}
