//! Engine and session together: [`Chat`] is what a program holds, one for each device.
//!
//! The engine is synchronous and waits for its store, so it has a thread of its own; a task carries
//! its requests over the session and brings back what the server says. When the session breaks, the
//! task makes another, with back-off; nothing is lost meanwhile, for the engine's store has it all.

mod session;
mod take;
mod thread;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use comity_mls_engine::Error as EngineError;
use comity_mls_engine::{Engine, Event, Item, MAX_HISTORY, MessageId};
use comity_xmpp::element::Element;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, MessageType, Stanza};
use tokio::sync::{mpsc, oneshot};

use crate::act::Act;
use crate::blobs::Blobs;
use crate::connection::Options;
use crate::content::{CONTENT_TYPE, Content};
use crate::progress::Progress;
use crate::store::OpenError;
use crate::stream::Login;
use crate::token;
use crate::typing::ChatState;

use session::Session;
use thread::{Input, run_engine};

pub(crate) use thread::Verbs;

/// Inputs waiting for the engine: the session's task waits beyond that.
const INPUTS: usize = 256;
/// How long the end of a session may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// Lines that [`Chat::unread`] gives, or a page more; what lies beyond comes with the next call.
const MAX_UNREAD: usize = 10_000;
/// How long an answer to a request of the program may take.
const ANSWER: Duration = Duration::from_secs(60);

/// What a program tells of itself to open a [`Chat`].
#[derive(Clone)]
pub struct Opening {
    pub connection: Options,
    /// Where the device's store lies.
    pub folder: PathBuf,
    pub passphrase: String,
    pub device_name: String,
    /// Where the device's signature keys are, if they are not in its store.
    pub token: Option<token::Place>,
    /// How long what was said is kept on the device; None: for good.
    pub keep_history: Option<Duration>,
}

impl Opening {
    /// A device that finds its server by the DNS, believes the machine's CAs, and seals its store
    /// under the account's password.
    #[must_use]
    pub fn new(account: BareJid, password: &str, folder: PathBuf, device_name: &str) -> Self {
        Self {
            connection: Options {
                login: Login {
                    account,
                    password: password.to_owned(),
                    resource: None,
                },
                endpoint: None,
                extra_roots: Vec::new(),
                proxy: None,
            },
            folder,
            passphrase: password.to_owned(),
            device_name: device_name.to_owned(),
            token: None,
            keep_history: None,
        }
    }
}

/// Why a [`Chat`] does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error("the device's state cannot be used: {0}")]
    Engine(#[from] EngineError),
    #[error("the engine's thread has ended")]
    Ended,
    #[error("there is no session with the server, or it does not answer")]
    NoAnswer,
}

/// What a program learns.
#[derive(Debug)]
#[non_exhaustive]
pub enum Update {
    /// There is a session, under this address.
    Online(Jid),
    /// There is none for the moment; `last` says that there will be no other attempt.
    Offline { why: String, last: bool },
    /// Of rooms and devices.
    Engine(Event),
    /// Something large is on its way.
    Progress(Progress),
    /// An ordinary message, not encrypted end to end.
    Plain { from: Jid, body: String },
}

/// What the program has for the server beside the engine.
enum Word {
    Stanza(Stanza),
    /// A request, and where its answer goes.
    Request(Stanza, oneshot::Sender<Stanza>),
}

/// One device of one account. Dropping it ends the session; what was asked and not yet done goes
/// on when it is opened again.
pub struct Chat {
    account: BareJid,
    inputs: std::sync::mpsc::SyncSender<Input>,
    plain: mpsc::Sender<Word>,
    session: tokio::task::JoinHandle<()>,
}

impl Drop for Chat {
    fn drop(&mut self) {
        // An engine busy to the last place in its queue ends when the session's task does.
        let _ = self.inputs.try_send(Input::Stop);
    }
}

impl Chat {
    /// Opens the store and starts; the first session follows by itself.
    pub async fn open(
        opening: Opening,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Update>), ChatError> {
        let account = opening.connection.login.account.clone();
        let (inputs, from_task) = std::sync::mpsc::sync_channel(INPUTS);
        // Bounded by what the engine has asked for: a request is answered before the next.
        let (outputs, from_engine) = mpsc::unbounded_channel();
        let (opened, ready) = oneshot::channel();
        let mine = opening.clone();
        std::thread::Builder::new()
            .name("mls-engine".to_owned())
            .spawn(move || run_engine(&mine, &from_task, &outputs, opened))
            .map_err(|_| ChatError::Ended)?;
        ready.await.map_err(|_| ChatError::Ended)??;
        let (plain, from_program) = mpsc::channel(64);
        let (updates, to_program) = mpsc::unbounded_channel();
        let session = Session {
            options: opening.connection,
            inputs: inputs.clone(),
            updates,
            pending: HashMap::new(),
            next_id: 0,
            asked: HashMap::new(),
            blobs: Blobs::default(),
        };
        let session = tokio::spawn(session.run(from_engine, from_program));
        Ok((
            Self {
                account,
                inputs,
                plain,
                session,
            },
            to_program,
        ))
    }

    #[must_use]
    pub fn account(&self) -> &BareJid {
        &self.account
    }

    /// Ends the session as RFC 6120 §4.4 asks, and the engine with it.
    pub async fn close(mut self) {
        let _ = self.inputs.try_send(Input::Stop);
        let _ = tokio::time::timeout(FAREWELL, &mut self.session).await;
    }

    /// Runs a verb on the engine's thread and gives what it returned.
    pub async fn with<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&mut Engine, u64) -> T + Send + 'static,
    ) -> Result<T, ChatError> {
        self.verbs().with(verb).await
    }

    pub(crate) fn verbs(&self) -> Verbs {
        Verbs(self.inputs.clone())
    }

    /// Queues a text for a room, encrypted; it is kept until it has its place in the room's log,
    /// which [`Event::Sent`] tells.
    pub async fn say(&self, room: &BareJid, text: &str) -> Result<MessageId, ChatError> {
        let act = Act::Text {
            body: text.to_owned(),
            reply: None,
        };
        self.send(room, &act, None).await
    }

    /// The same for whatever a message does; `author` is who wrote what it answers.
    pub async fn send(
        &self,
        room: &BareJid,
        act: &Act,
        author: Option<&BareJid>,
    ) -> Result<MessageId, ChatError> {
        let bytes = self.sealed(room, act.elements(author));
        let room = room.clone();
        let sent = self.with(move |engine, now| engine.send(&room, CONTENT_TYPE, &bytes, now));
        Ok(sent.await??)
    }

    /// Tells those who are in the room now what its person does, such as that they type. Nothing comes
    /// of it where that cannot be said at this moment (`false`).
    pub async fn typing(&self, room: &BareJid, state: ChatState) -> Result<bool, ChatError> {
        let bytes = self.sealed(room, vec![state.element()]);
        let room = room.clone();
        let said =
            self.with(move |engine, now| engine.send_ephemeral(&room, CONTENT_TYPE, &bytes, now));
        Ok(said.await??)
    }

    fn sealed(&self, room: &BareJid, elements: Vec<Element>) -> Vec<u8> {
        let (from, to) = (self.account.clone(), room.clone());
        let content = Content::of(from, to, SystemTime::now(), elements);
        let padding: [u8; 32] = comity_net::random::bytes();
        content.seal(&padding[..usize::from(padding[0] % 32)])
    }

    /// What the rooms' histories hold beyond what [`Engine::mark_read`] was told: what came while
    /// nobody looked, oldest first in each room.
    pub async fn unread(&self) -> Result<Vec<(BareJid, Item)>, ChatError> {
        let unread = self.with(|engine, _| {
            let mut unread = Vec::new();
            for info in engine.rooms()? {
                let mut after = info.read;
                while unread.len() < MAX_UNREAD {
                    let page = engine.history(&info.room, after, MAX_HISTORY)?;
                    let Some(last) = page.last() else { break };
                    after = last.seq;
                    unread.extend(page.into_iter().map(|item| (info.room.clone(), item)));
                }
            }
            Ok::<_, EngineError>(unread)
        });
        Ok(unread.await??)
    }

    /// Sends an ordinary message, not encrypted end to end, over the next session.
    pub async fn send_plain(&self, to: Jid, body: &str) -> Result<(), ChatError> {
        let message = Stanza::new(Kind::Message(MessageType::Chat))
            .with_to(to)
            .with_id(comity_net::random::id())
            .with(&Element::new(ns::CLIENT, "body").with_text(body));
        self.say_word(Word::Stanza(message)).await
    }

    /// Sends a link likewise (XEP-0066), which clients show as what it leads to.
    pub async fn send_link(&self, to: Jid, url: &str) -> Result<(), ChatError> {
        let link =
            Element::new(ns::OOB, "x").with_child(Element::new(ns::OOB, "url").with_text(url));
        let message = Stanza::new(Kind::Message(MessageType::Chat))
            .with_to(to)
            .with_id(comity_net::random::id())
            .with(&Element::new(ns::CLIENT, "body").with_text(url))
            .with(&link);
        self.say_word(Word::Stanza(message)).await
    }

    async fn say_word(&self, word: Word) -> Result<(), ChatError> {
        self.plain.send(word).await.map_err(|_| ChatError::Ended)
    }

    /// Asks somebody something over the session, and gives the answer, an error or not.
    pub async fn ask(&self, to: Jid, kind: IqType, payload: &Element) -> Result<Stanza, ChatError> {
        let request = Stanza::new(Kind::Iq(kind))
            .with_to(to)
            .with_id(format!("asked-{}", comity_net::random::id()))
            .with(payload);
        let (tell, answer) = oneshot::channel();
        self.say_word(Word::Request(request, tell)).await?;
        match tokio::time::timeout(ANSWER, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(ChatError::NoAnswer),
        }
    }
}
