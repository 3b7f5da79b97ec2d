//! What a program has to deal with, each once and in the order of each room: first what came while it
//! was not running, then what comes.

use std::collections::{HashMap, VecDeque};

use comity_mls_engine::{Device, Engine, Error as EngineError};
use comity_mls_engine::{Event, Item, MAX_HISTORY, Message, MessageId, What};
use comity_xmpp::jid::BareJid;
use tokio::sync::mpsc;

use crate::act::Act;
use crate::agent::{Chat, ChatError, Update, Verbs};
use crate::content;

/// What [`Inbox::next`] gives.
#[derive(Debug)]
#[non_exhaustive]
pub enum News {
    /// A message of a room that can be read.
    Said(Said),
    /// Everything else: who came and went, the session, warnings, what cannot be read.
    Update(Update),
}

/// A message of a room, opened. Its words are what its sender wrote: clean them before they come
/// near a terminal or a page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Said {
    pub room: BareJid,
    /// Whose it is, as MLS proves and the envelope says as well.
    pub sender: BareJid,
    /// It is of this account: of this device or another of it.
    pub mine: bool,
    pub device: Device,
    pub id: MessageId,
    /// Its place in the room's log.
    pub seq: u64,
    /// When the hub accepted it, in milliseconds since 1970.
    pub time: u64,
    pub act: Act,
}

impl Said {
    fn open(account: &BareJid, room: &BareJid, item: &Item, message: &Message) -> Option<Self> {
        let opened = content::open_message(room, message).ok()?;
        Some(Self {
            room: room.clone(),
            mine: opened.from == *account,
            sender: opened.from,
            device: message.sender.clone(),
            id: message.message_id(),
            seq: item.seq,
            time: item.time,
            act: Act::of(&opened.elements),
        })
    }

    /// The text, if it says something new: no reaction, no correction.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.act {
            Act::Text { body, .. } => Some(body),
            _ => None,
        }
    }
}

/// The receiving side of a [`Chat`].
///
/// What [`Self::next`] gave is taken to be dealt with when it is called again. A program that dies in
/// between is given it once more, and nothing else twice.
pub struct Inbox {
    account: BareJid,
    verbs: Verbs,
    updates: mpsc::UnboundedReceiver<Update>,
    /// A page of what came before this start; none once there is no other.
    earlier: Option<VecDeque<(BareJid, Item)>>,
    /// How far those pages reach in each room: what the engine tells of again is left out.
    reached: HashMap<BareJid, u64>,
    /// What was given last: up to where its room is dealt with.
    given: Option<(BareJid, u64)>,
}

impl Inbox {
    /// Over what [`Chat::open`] gave.
    #[must_use]
    pub fn new(chat: &Chat, updates: mpsc::UnboundedReceiver<Update>) -> Self {
        Self {
            account: chat.account().clone(),
            verbs: chat.verbs(),
            updates,
            earlier: Some(VecDeque::new()),
            reached: HashMap::new(),
            given: None,
        }
    }

    /// Waits for the next; `None` when the chat has ended. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<News>, ChatError> {
        self.settle().await?;
        while self.earlier.is_some() {
            if let Some((room, item)) = self.earlier().await? {
                return Ok(Some(self.give(room, item)));
            }
        }
        loop {
            match self.updates.recv().await {
                Some(Update::Engine(Event::Item { room, item })) => {
                    if self.reached.get(&room).is_none_or(|seq| *seq < item.seq) {
                        return Ok(Some(self.give(room, item)));
                    }
                }
                Some(other) => return Ok(Some(News::Update(other))),
                None => return Ok(None),
            }
        }
    }

    /// What was given last has been dealt with.
    async fn settle(&mut self) -> Result<(), ChatError> {
        let Some((room, seq)) = self.given.clone() else {
            return Ok(());
        };
        let read = move |engine: &mut Engine, now| engine.mark_read(&room, seq, now);
        self.verbs.with(read).await??;
        self.given = None;
        Ok(())
    }

    /// The next of what came before, or a page more of it.
    async fn earlier(&mut self) -> Result<Option<(BareJid, Item)>, ChatError> {
        if let Some(next) = self.earlier.as_mut().and_then(VecDeque::pop_front) {
            return Ok(Some(next));
        }
        let after = self.reached.clone();
        let page = self.verbs.with(move |engine, _| unread(engine, &after));
        let page = page.await??;
        if let Some((room, last)) = page.back() {
            self.reached.insert(room.clone(), last.seq);
        }
        self.earlier = (!page.is_empty()).then_some(page);
        Ok(None)
    }

    fn give(&mut self, room: BareJid, item: Item) -> News {
        // A commit has several lines: it is dealt with when something later is.
        let dealt_with = match item.what {
            What::Message(_) => item.seq,
            _ => item.seq.saturating_sub(1),
        };
        self.given = Some((room.clone(), dealt_with));
        if let What::Message(message) = &item.what
            && let Some(said) = Said::open(&self.account, &room, &item, message)
        {
            return News::Said(said);
        }
        News::Update(Update::Engine(Event::Item { room, item }))
    }
}

/// What the rooms' histories hold beyond what was given or marked as read: a page of the first room
/// that has any.
fn unread(
    engine: &mut Engine,
    reached: &HashMap<BareJid, u64>,
) -> Result<VecDeque<(BareJid, Item)>, EngineError> {
    for info in engine.rooms()? {
        let reached = reached.get(&info.room).copied().unwrap_or(0);
        let page = engine.history(&info.room, info.read.max(reached), MAX_HISTORY)?;
        if !page.is_empty() {
            let of_room = |item| (info.room.clone(), item);
            return Ok(page.into_iter().map(of_room).collect());
        }
    }
    Ok(VecDeque::new())
}
