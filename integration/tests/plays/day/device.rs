//! A device as a program holds it: what it shows is written down as it is shown, across its restarts.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use comity_client::agent::{Chat, Opening, Update};
use comity_client::connection::Options;
use comity_client::content;
use comity_client::stream::Login;
use comity_mls_engine::{Engine, Error, Event, Item, What};
use comity_xmpp::jid::BareJid;
use integration::Home;
use integration::stage::PASSWORD;
use uuid::Uuid;

/// For each thing that is awaited.
const PATIENCE: Duration = Duration::from_secs(90);
const GLANCE: Duration = Duration::from_millis(50);

/// One message: its place in the log, who said it, what was said.
pub(super) type Line = (u64, String, String);

/// What the person has seen.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) lines: Vec<Line>,
    /// Entries that were said to be unreadable.
    pub(super) unreadable: Vec<u64>,
    /// What the person was warned of, or refused.
    pub(super) warned: Vec<String>,
    enrolled: bool,
    joined: usize,
    sent: usize,
    added: Vec<Uuid>,
    removed: Vec<Uuid>,
    /// How many messages each return says it missed.
    pub(super) missed: Vec<u64>,
}

pub(super) struct Device {
    pub(super) name: &'static str,
    account: BareJid,
    folder: PathBuf,
    seen: Arc<Mutex<Seen>>,
    running: Option<(Chat, tokio::task::JoinHandle<()>)>,
    /// From where, and to where, it may read: places in what was said in the room.
    pub(super) entitled: Vec<(usize, Option<usize>)>,
}

impl Device {
    pub(super) fn new(name: &'static str, account: &str, folder: &Path) -> Self {
        Self {
            name,
            account: BareJid::parse(account).unwrap(),
            folder: folder.join(name),
            seen: Arc::default(),
            running: None,
            entitled: Vec::new(),
        }
    }

    /// The program is started; it shows first what came while it was not.
    pub(super) async fn start(&mut self, home: &Home) {
        let opening = Opening {
            connection: Options {
                login: Login {
                    account: self.account.clone(),
                    password: PASSWORD.to_owned(),
                    resource: None,
                },
                endpoint: Some(home.c2s().into()),
                extra_roots: home.roots(),
                proxy: None,
            },
            folder: self.folder.clone(),
            passphrase: PASSWORD.to_owned(),
            device_name: self.name.to_owned(),
            token: None,
            keep_history: None,
        };
        let (chat, mut updates) = Chat::open(opening).await.unwrap();
        for (room, item) in chat.unread().await.unwrap() {
            self.seen.lock().unwrap().item(&room, &item);
        }
        let seen = Arc::clone(&self.seen);
        let listening = tokio::spawn(async move {
            while let Some(update) = updates.recv().await {
                if let Update::Engine(event) = update {
                    seen.lock().unwrap().event(event);
                }
            }
        });
        self.running = Some((chat, listening));
        self.until("enrolment", |seen| seen.enrolled).await;
    }

    /// The program ends, when all that was shown has been said to be read.
    pub(super) async fn stop(&mut self, room: &BareJid) {
        let at = room.clone();
        let read = move |engine: &mut Engine, now| {
            let rooms = engine.rooms()?;
            let last = rooms.iter().find(|info| info.room == at);
            let Some(last) = last.map(|info| info.seq) else {
                return Ok(());
            };
            engine.mark_read(&at, last, now)
        };
        self.verb(read).await;
        let (chat, listening) = self.running.take().unwrap();
        chat.close().await;
        listening.await.unwrap();
        // The store is closed on the engine's own thread; a copy made before is none.
        let closed = async {
            while self.folder.join("device.db-wal").exists() {
                tokio::time::sleep(GLANCE).await;
            }
        };
        tokio::time::timeout(PATIENCE, closed).await.unwrap();
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn account(&self) -> &BareJid {
        &self.account
    }

    pub(super) async fn verb<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&mut Engine, u64) -> Result<T, Error> + Send + 'static,
    ) -> T {
        let (chat, _) = self.running.as_ref().unwrap();
        let answered = chat.with(verb).await.unwrap();
        answered.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    pub(super) async fn id(&self) -> Option<Uuid> {
        self.verb(|engine, _| engine.device()).await
    }

    pub(super) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }

    /// Waits until the person has seen that.
    pub(super) async fn until(&self, what: &str, look: impl Fn(&Seen) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.seen(&look) {
            // A clock that was moved is looked at when something happens.
            self.verb(|engine, _| engine.device()).await;
            let seen = self.seen(|seen| format!("{:?}\n{:?}", seen.lines, seen.warned));
            let now = tokio::time::Instant::now();
            assert!(now < deadline, "{}: no {what}; {seen}", self.name);
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Says it, and waits until it has its place.
    pub(super) async fn say(&self, room: &BareJid, words: &str) {
        let before = self.seen(|seen| seen.sent);
        let (chat, _) = self.running.as_ref().unwrap();
        chat.say(room, words).await.unwrap();
        self.until("place in the log", |seen| seen.sent > before)
            .await;
    }

    pub(super) async fn joins(&self, times: usize) {
        self.until("Welcome", |seen| seen.joined >= times).await;
    }

    pub(super) async fn sees_added(&self, device: Uuid) {
        self.until("newcomer", |seen| seen.added.contains(&device))
            .await;
    }

    pub(super) async fn sees_removed(&self, device: Uuid) {
        self.until("removal", |seen| seen.removed.contains(&device))
            .await;
    }
}

impl Seen {
    fn event(&mut self, event: Event) {
        match event {
            Event::Item { room, item } => self.item(&room, &item),
            Event::Enrolled { .. } => self.enrolled = true,
            Event::RoomJoined { .. } => self.joined += 1,
            Event::Sent { .. } => self.sent += 1,
            Event::RoomResynced { missed, .. } => self.missed.push(missed),
            Event::Warning { warning, .. } => self.warned.push(format!("{warning:?}")),
            Event::Refused { .. } | Event::RoomStopped { .. } | Event::NotInvited { .. } => {
                self.warned.push(format!("{event:?}"));
            }
            _ => {}
        }
    }

    fn item(&mut self, room: &BareJid, item: &Item) {
        match &item.what {
            What::Message(message) => {
                let text = content::text_of(room, message).unwrap_or_default();
                let account = message.sender.account.clone();
                self.lines.push((item.seq, account, text));
            }
            What::Unreadable(_) => self.unreadable.push(item.seq),
            What::Added(change) => self.added.push(change.who.id()),
            What::Removed(change) => self.removed.push(change.who.id()),
            What::RemovedByHub(removal) => self.removed.push(removal.who.id()),
            _ => {}
        }
    }
}
