//! Somebody with a device: the client library as a play uses it.

use std::path::Path;
use std::time::Duration;

use comity_client::agent::{Chat, Opening, Update};
use comity_client::connection::Options;
use comity_client::content::{CONTENT_TYPE, Content};
use comity_client::stream::Login;
use comity_mls_engine::{Event, Item, What};
use comity_xmpp::jid::{BareJid, Jid};
use tokio::sync::mpsc::UnboundedReceiver;
use uuid::Uuid;

use crate::home::Home;

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);

pub type Outcome<T = ()> = Result<T, Fault>;

/// What a play ends with when something does not happen.
#[derive(Debug, thiserror::Error)]
#[error("{who}: {what}")]
pub struct Fault {
    pub who: String,
    pub what: String,
}

pub struct Person {
    chat: Chat,
    updates: UnboundedReceiver<Update>,
    /// What came while something else was awaited.
    earlier: Vec<Update>,
}

impl Person {
    /// Opens the device in `folder`, which logs in by itself.
    pub async fn login(
        home: &Home,
        local: &str,
        password: &str,
        device: &str,
        folder: &Path,
    ) -> Outcome<Self> {
        let account = format!("{local}@{}", home.domain());
        Self::login_as(home, &account, password, device, folder).await
    }

    /// The same for an account at any domain that the home serves.
    pub async fn login_as(
        home: &Home,
        account: &str,
        password: &str,
        device: &str,
        folder: &Path,
    ) -> Outcome<Self> {
        Self::login_by(home, account, password, device, folder, home.roots()).await
    }

    /// The same where the client believes these CAs and no others.
    pub async fn login_by(
        home: &Home,
        account: &str,
        password: &str,
        device: &str,
        folder: &Path,
        extra_roots: Vec<std::path::PathBuf>,
    ) -> Outcome<Self> {
        let account = account.to_owned();
        let fault = |what: String| Fault {
            who: account.clone(),
            what,
        };
        let opening = Opening {
            connection: Options {
                login: Login {
                    account: BareJid::parse(&account).map_err(|e| fault(e.to_string()))?,
                    password: password.to_owned(),
                    resource: None,
                },
                endpoint: Some(home.c2s().into()),
                extra_roots,
                proxy: None,
            },
            folder: folder.to_owned(),
            passphrase: password.to_owned(),
            device_name: device.to_owned(),
            token: None,
            keep_history: None,
        };
        let (chat, updates) = Chat::open(opening)
            .await
            .map_err(|e| fault(e.to_string()))?;
        Ok(Self {
            chat,
            updates,
            earlier: Vec::new(),
        })
    }

    #[must_use]
    pub fn account(&self) -> &BareJid {
        self.chat.account()
    }

    #[must_use]
    pub fn chat(&self) -> &Chat {
        &self.chat
    }

    fn fault(&self, what: impl ToString) -> Fault {
        Fault {
            who: self.account().to_string(),
            what: what.to_string(),
        }
    }

    /// Waits for an update; what it passes over stays for later.
    pub async fn until<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&Update) -> Option<T>,
    ) -> Outcome<T> {
        for index in 0..self.earlier.len() {
            if let Some(found) = wanted(&self.earlier[index]) {
                self.earlier.remove(index);
                return Ok(found);
            }
        }
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            let update = match tokio::time::timeout_at(deadline, self.updates.recv()).await {
                Ok(Some(update)) => update,
                Ok(None) => return Err(self.fault(format!("ended while waiting for {what}"))),
                Err(_) => {
                    let meanwhile = &self.earlier;
                    return Err(self.fault(format!("no {what}; meanwhile: {meanwhile:#?}")));
                }
            };
            if let Update::Engine(Event::Refused {
                what: refused, why, ..
            }) = &update
            {
                return Err(self.fault(format!("{refused:?} was refused: {why}")));
            }
            match wanted(&update) {
                Some(found) => return Ok(found),
                None => self.earlier.push(update),
            }
        }
    }

    async fn until_event<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> Outcome<T> {
        self.until(what, |update| match update {
            Update::Engine(event) => wanted(event),
            _ => None,
        })
        .await
    }

    async fn until_item<T>(
        &mut self,
        what: &str,
        room: &BareJid,
        mut wanted: impl FnMut(&Item) -> Option<T>,
    ) -> Outcome<T> {
        self.until_event(what, |event| match event {
            Event::Item { room: at, item } if at == room => wanted(item),
            _ => None,
        })
        .await
    }

    /// The device's id, once others can invite it.
    pub async fn enrolled(&mut self) -> Outcome<Uuid> {
        self.until_event("enrolment", |event| match event {
            Event::Enrolled { device } => Some(*device),
            _ => None,
        })
        .await
    }

    pub async fn create_room(&mut self, name: &str) -> Outcome<BareJid> {
        let name = name.to_owned();
        let room = self
            .verb(move |engine, now| engine.create_room(Some(&name), now))
            .await?;
        let wanted = room.clone();
        self.until_event("room", |event| match event {
            Event::RoomCreated { room } => (*room == wanted).then_some(()),
            _ => None,
        })
        .await?;
        Ok(room)
    }

    pub async fn invite(&mut self, room: &BareJid, account: &BareJid) -> Outcome {
        let (at, accounts) = (room.clone(), vec![account.clone()]);
        self.verb(move |engine, now| engine.invite(&at, &accounts, now))
            .await?;
        let account = account.to_string();
        self.until_item("addition", room, |item| match &item.what {
            What::Added(change) => (change.who.account == account).then_some(()),
            _ => None,
        })
        .await
    }

    pub async fn joined(&mut self, room: &BareJid) -> Outcome {
        let wanted = room.clone();
        self.until_event("Welcome", |event| match event {
            Event::RoomJoined { room, .. } => (*room == wanted).then_some(()),
            _ => None,
        })
        .await
    }

    /// Sends a message and waits for its place in the log.
    pub async fn send(&mut self, room: &BareJid, text: &str) -> Outcome<u64> {
        let id = self.post(room, text).await?;
        self.until_event("place in the log", |event| match event {
            Event::Sent { id: sent, seq, .. } => (*sent == id).then_some(*seq),
            _ => None,
        })
        .await
    }

    /// Queues a message.
    pub async fn post(&self, room: &BareJid, text: &str) -> Outcome<comity_mls_engine::MessageId> {
        let own = self.account().clone();
        let content = Content::text(own, room.clone(), std::time::SystemTime::now(), text);
        let (at, bytes) = (room.clone(), content.seal(&[]));
        self.verb(move |engine, now| engine.send(&at, CONTENT_TYPE, &bytes, now))
            .await
    }

    /// Waits for a message with this text from somebody else.
    pub async fn hears(&mut self, room: &BareJid, text: &str) -> Outcome<String> {
        let (own, at) = (self.account().to_string(), room.clone());
        self.until_item("message", room, |item| {
            let What::Message(message) = &item.what else {
                return None;
            };
            if message.sender.account == own {
                return None;
            }
            let sender = BareJid::parse(&message.sender.account).ok()?;
            let body = Content::open(&message.content, &sender, &at).ok()?.body()?;
            (body == text).then_some(body)
        })
        .await
    }

    /// What has come of the room's log and was not asked for, in the order in which it came: what
    /// others say as `name: text`, who came as `+name` and who went as `-name`.
    pub fn overheard(&mut self, room: &BareJid) -> Vec<String> {
        while let Ok(update) = self.updates.try_recv() {
            self.earlier.push(update);
        }
        let own = self.account().clone();
        let (here, other) = std::mem::take(&mut self.earlier)
            .into_iter()
            .partition::<Vec<_>, _>(|update| {
                matches!(update, Update::Engine(Event::Item { room: at, .. }) if at == room)
            });
        self.earlier = other;
        let items = here.iter().filter_map(|update| match update {
            Update::Engine(Event::Item { item, .. }) => Some(item),
            _ => None,
        });
        items.filter_map(|item| line(item, &own, room)).collect()
    }

    pub async fn update(&mut self, room: &BareJid) -> Outcome {
        let at = room.clone();
        self.verb(move |engine, now| engine.update(&at, now))
            .await?;
        self.updated(room).await
    }

    /// Waits until this device's keys are renewed in the room.
    pub async fn updated(&mut self, room: &BareJid) -> Outcome {
        let own = self.account().to_string();
        self.until_item("renewal of keys", room, |item| match &item.what {
            What::Updated(device) => (device.account == own).then_some(()),
            _ => None,
        })
        .await
    }

    /// Puts somebody out, with all devices.
    pub async fn remove(&mut self, room: &BareJid, account: &BareJid) -> Outcome {
        let (at, whom) = (room.clone(), account.clone());
        self.verb(move |engine, now| engine.remove(&at, &whom, None, now))
            .await?;
        let account = account.to_string();
        self.until_item("removal", room, |item| match &item.what {
            What::Removed(change) => (change.who.account == account).then_some(()),
            _ => None,
        })
        .await
    }

    /// Leaves, and waits until it is out.
    pub async fn leave(&mut self, room: &BareJid) -> Outcome {
        self.asks_to_leave(room).await?;
        self.left(room).await
    }

    /// Somebody else commits that it leaves.
    pub async fn asks_to_leave(&self, room: &BareJid) -> Outcome {
        let at = room.clone();
        self.verb(move |engine, now| engine.leave(&at, now)).await
    }

    /// Waits until this device is out of the room.
    pub async fn left(&mut self, room: &BareJid) -> Outcome {
        let wanted = room.clone();
        self.until_event("end of membership", |event| match event {
            Event::RoomLeft { room, .. } => (*room == wanted).then_some(()),
            _ => None,
        })
        .await
    }

    pub async fn members(&self, room: &BareJid) -> Outcome<Vec<comity_mls_wire::room::Member>> {
        let at = room.clone();
        self.verb(move |engine, _| engine.members(&at)).await
    }

    /// How often another's commit came first, as far as was passed over.
    #[must_use]
    pub fn retried(&self) -> usize {
        let retrying = |u: &&Update| matches!(u, Update::Engine(Event::Retrying { .. }));
        self.earlier.iter().filter(retrying).count()
    }

    pub async fn epoch(&self, room: &BareJid) -> Outcome<u64> {
        let rooms = self.verb(|engine, _| engine.rooms()).await?;
        let found = rooms.into_iter().find(|known| known.room == *room);
        found
            .map(|known| known.epoch)
            .ok_or_else(|| self.fault("is not in the room"))
    }

    pub async fn authenticator(&self, room: &BareJid) -> Outcome<Vec<u8>> {
        let at = room.clone();
        self.verb(move |engine, _| engine.epoch_authenticator(&at))
            .await
    }

    /// Waits until the room is in this epoch, or a later one, here.
    pub async fn reaches(&self, room: &BareJid, epoch: u64) -> Outcome {
        let deadline = tokio::time::Instant::now() + LIMIT;
        while self.epoch(room).await? < epoch {
            if tokio::time::Instant::now() > deadline {
                return Err(self.fault(format!("does not reach epoch {epoch}")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub async fn verb<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&mut comity_mls_engine::Engine, u64) -> Result<T, comity_mls_engine::Error>
        + Send
        + 'static,
    ) -> Outcome<T> {
        let answered = self.chat.with(verb).await.map_err(|e| self.fault(e))?;
        answered.map_err(|e| self.fault(e))
    }

    /// Ends the program; the device stays.
    pub async fn quit(self) {
        self.chat.close().await;
    }

    /// Answers whoever writes, for ever: `you said: …`.
    pub async fn keep_company(&mut self) {
        while let Some(update) = self.updates.recv().await {
            let answered = match update {
                Update::Plain { from, body } => self.answer_plain(&from, &body).await,
                Update::Engine(Event::Item { room, item }) => self.answer(&room, &item).await,
                _ => Ok(()),
            };
            if let Err(fault) = answered {
                eprintln!("{fault}");
            }
        }
    }

    async fn answer_plain(&self, from: &Jid, body: &str) -> Outcome {
        println!(
            "{} hears from {from}, not encrypted: “{body}”",
            self.account()
        );
        let sent = self
            .chat
            .send_plain(from.clone(), &format!("you said: {body}"))
            .await;
        sent.map_err(|e| self.fault(e))
    }

    async fn answer(&self, room: &BareJid, item: &Item) -> Outcome {
        let What::Message(message) = &item.what else {
            return Ok(());
        };
        let Ok(sender) = BareJid::parse(&message.sender.account) else {
            return Ok(());
        };
        let opened = Content::open(&message.content, &sender, room);
        let Some(body) = opened.ok().and_then(|content| content.body()) else {
            return Ok(());
        };
        // An answer is not answered, or two of them would talk for ever.
        if sender == *self.account() || body.starts_with("you said: ") {
            return Ok(());
        }
        println!(
            "{} hears from {sender} in {room}, encrypted: “{body}”",
            self.account()
        );
        self.post(room, &format!("you said: {body}"))
            .await
            .map(drop)
    }
}

fn line(item: &Item, own: &BareJid, room: &BareJid) -> Option<String> {
    let name = |account: &str| account.split('@').next().unwrap_or_default().to_owned();
    match &item.what {
        What::Message(message) if message.sender.account != own.as_str() => {
            let sender = BareJid::parse(&message.sender.account).ok()?;
            let text = Content::open(&message.content, &sender, room)
                .ok()?
                .body()?;
            Some(format!("{}: {text}", name(sender.as_str())))
        }
        What::Added(change) => Some(format!("+{}", name(&change.who.account))),
        What::Removed(change) => Some(format!("-{}", name(&change.who.account))),
        What::Unreadable(unreadable) => {
            Some(format!("? {}: {}", unreadable.sender, unreadable.why))
        }
        _ => None,
    }
}
