//! Messages on their way, until they have their places in a room's log.

use std::io::BufRead as _;
use std::path::Path;

use comity_mls_engine::{Event, MessageId, Refused};
use comity_xmpp::element::Element;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::IqType;

use super::{Desk, Failed, Outcome};

impl Desk {
    /// Queues one message; it is kept until it has its place in the room's log.
    pub(crate) async fn post(&self, room: &BareJid, text: &str) -> Outcome<MessageId> {
        Ok(self.chat.say(room, text).await?)
    }

    pub(super) async fn send_all(&mut self, room: BareJid, text: Option<String>) -> Outcome {
        let mut waiting = Vec::new();
        match text {
            Some(text) => waiting.push(self.post(&room, &text).await?),
            None => {
                for line in std::io::stdin().lock().lines() {
                    let line = line.map_err(Failed::new)?;
                    if !line.is_empty() {
                        waiting.push(self.post(&room, &line).await?);
                    }
                }
            }
        }
        self.sent(waiting).await
    }

    /// Waits until these have their places in the log.
    pub(super) async fn sent(&mut self, mut waiting: Vec<MessageId>) -> Outcome {
        self.until(move |event| match event {
            Event::Sent { id, .. } => {
                waiting.retain(|message| message != id);
                waiting.is_empty().then_some(Ok(()))
            }
            Event::Refused {
                what: Refused::Message(id),
                why,
                ..
            } if waiting.contains(id) => Some(Err(Failed::new(why))),
            _ => None,
        })
        .await
    }

    pub(super) async fn plain(&mut self, to: Jid, text: &str) -> Outcome {
        self.online().await?;
        self.chat.send_plain(to, text).await?;
        self.taken_in().await
    }

    pub(super) async fn plain_file(&mut self, to: Jid, path: &Path) -> Outcome {
        self.online().await?;
        self.send_plain_file(to, path).await?;
        self.taken_in().await
    }

    /// The server has taken in what was said to it before: it answers a ping that comes behind
    /// (XEP-0199), well or not. That takes no device, nor a server with encrypted rooms.
    async fn taken_in(&self) -> Outcome {
        let server = BareJid::parse(self.chat.account().domain()).map_err(Failed::new)?;
        let ping = Element::new(ns::PING, "ping");
        self.chat.ask(server.into(), IqType::Get, &ping).await?;
        Ok(())
    }
}
