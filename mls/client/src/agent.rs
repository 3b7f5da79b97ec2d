//! Engine and session together: [`Chat`] is what a program holds, one for each device.
//!
//! The engine is synchronous and waits for its store, so it has a thread of its own; a task carries
//! its requests over the session and brings back what the server says. When the session breaks, the
//! task makes another, with back-off; nothing is lost meanwhile, for the engine's store has it all.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use comity_mls_credential::anchors::TlsRoots;
use comity_mls_engine::Engine;
use comity_mls_engine::Error as EngineError;
use comity_mls_engine::{Answered, Destination, Notice, Outgoing, Request, RequestId};
use comity_mls_engine::{Event, Item, MAX_HISTORY, MessageId, SignatureKeys};
use comity_net::tls::roots;
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, MessageType, PresenceType, Stanza};
use tokio::sync::{mpsc, oneshot};

use crate::act::Act;
use crate::blobs::{self, Blobs};
use crate::connection::{ConnectError, Connection, Inbound, Options};
use crate::content::{CONTENT_TYPE, Content};
use crate::progress::Progress;
use crate::speech;
use crate::store::{OpenError, SqliteStore};
use crate::stream::Login;
use crate::token;
use crate::typing::ChatState;

/// Inputs waiting for the engine: the session's task waits beyond that.
const INPUTS: usize = 256;
/// The pause before a new session, doubled with each failure up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long the end of a session may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// Lines that [`Chat::unread`] gives, or a page more; what lies beyond comes with the next call.
const MAX_UNREAD: usize = 10_000;
/// The engine's thread wakes at least this often, in case a clock was set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How long an answer to a request of the program may take.
const ANSWER: Duration = Duration::from_secs(60);
/// Requests of the program that wait for their answers.
const MAX_ASKED: usize = 64;

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

/// A verb for the engine, with its answer's way back inside.
type Verb = Box<dyn FnOnce(&mut Engine, u64) + Send>;

enum Input {
    Stop,
    Verb(Verb),
    Online { exporter: Option<[u8; 32]> },
    Offline,
    Answer(RequestId, Answered),
    Notice(Notice),
}

/// What the program has for the server beside the engine.
enum Word {
    Stanza(Stanza),
    /// A request, and where its answer goes.
    Request(Stanza, oneshot::Sender<Stanza>),
}

enum Output {
    Request(Outgoing),
    Event(Event),
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

/// The way of verbs to the engine's thread.
#[derive(Clone)]
pub(crate) struct Verbs(std::sync::mpsc::SyncSender<Input>);

impl Verbs {
    /// Runs a verb there and gives what it returned.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&mut Engine, u64) -> T + Send + 'static,
    ) -> Result<T, ChatError> {
        let (answer, answered) = oneshot::channel();
        let verb: Verb = Box::new(move |engine, now| {
            // Who asked may have gone; the verb is done all the same.
            let _ = answer.send(verb(engine, now));
        });
        let inputs = self.0.clone();
        // A full queue blocks: that must not happen to a thread of the runtime. An engine that has
        // ended drops the verb, and with it the way of the answer.
        drop(tokio::task::spawn_blocking(move || {
            drop(inputs.send(Input::Verb(verb)))
        }));
        answered.await.map_err(|_| ChatError::Ended)
    }
}

/// The engine's thread.
fn run_engine(
    opening: &Opening,
    inputs: &std::sync::mpsc::Receiver<Input>,
    outputs: &mpsc::UnboundedSender<Output>,
    opened: oneshot::Sender<Result<(), ChatError>>,
) {
    let mut engine = match open_engine(opening) {
        Ok(engine) => engine,
        Err(error) => {
            let _ = opened.send(Err(error));
            return;
        }
    };
    let _ = opened.send(Ok(()));
    while hand_out(&mut engine, outputs).is_ok() {
        let sleep = engine.poll_timeout().map_or(LONGEST_SLEEP, |at| {
            Duration::from_millis(at.saturating_sub(now_ms())).min(LONGEST_SLEEP)
        });
        let outcome = match inputs.recv_timeout(sleep) {
            Ok(Input::Verb(verb)) => {
                verb(&mut engine, now_ms());
                Ok(())
            }
            Ok(Input::Online { exporter }) => engine.session_started(exporter, now_ms()),
            Ok(Input::Offline) => {
                engine.session_ended();
                Ok(())
            }
            Ok(Input::Answer(id, answered)) => engine.answer(id, answered, now_ms()),
            Ok(Input::Notice(notice)) => engine.notice(notice, now_ms()),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => engine.timeout(now_ms()),
            Ok(Input::Stop) | Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
        };
        match outcome {
            Ok(()) => {}
            // What is in memory may be ahead of the store: only a new start is safe.
            Err(error @ EngineError::Store(_)) => {
                tracing::error!(%error, "the engine stops");
                return;
            }
            Err(error) => tracing::warn!(%error, "the engine did not take something in"),
        }
    }
}

fn open_engine(opening: &Opening) -> Result<Engine, ChatError> {
    let store = SqliteStore::open(&opening.folder, opening.passphrase.as_bytes())?;
    let account = opening.connection.login.account.clone();
    let keys: Box<dyn SignatureKeys> = match &opening.token {
        Some(place) => {
            let opened = token::TokenKeys::open(place.clone());
            Box::new(opened.map_err(EngineError::Key)?)
        }
        None => Box::new(store.clone()),
    };
    // The session needs the same roots and names what is wrong with them.
    let roots = roots::certificates(true, &opening.connection.extra_roots).unwrap_or_default();
    let tls_roots = TlsRoots::new(roots.iter().map(AsRef::as_ref));
    let options = comity_mls_engine::Options {
        tls_roots,
        keep_history_ms: opening
            .keep_history
            .map(|kept| u64::try_from(kept.as_millis()).unwrap_or(u64::MAX)),
        ..Default::default()
    };
    let mut engine = Engine::open(account, Box::new(store), keys, options)?;
    if engine.device()?.is_none() {
        match engine.enrol(&opening.device_name, now_ms()) {
            Ok(()) | Err(EngineError::Enrolled) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(engine)
}

/// Everything the engine has to say, now that it is durable. `Err`: nobody listens any more.
fn hand_out(engine: &mut Engine, outputs: &mpsc::UnboundedSender<Output>) -> Result<(), ()> {
    while let Some(event) = engine.poll_event() {
        outputs.send(Output::Event(event)).map_err(|_| ())?;
    }
    while let Some(request) = engine.poll_request() {
        outputs.send(Output::Request(request)).map_err(|_| ())?;
    }
    Ok(())
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The task between engine and server.
struct Session {
    options: Options,
    inputs: std::sync::mpsc::SyncSender<Input>,
    updates: mpsc::UnboundedSender<Update>,
    pending: HashMap<String, (RequestId, Destination, Request)>,
    next_id: u64,
    blobs: Blobs,
    /// What the program has asked, by id.
    asked: HashMap<String, (Jid, oneshot::Sender<Stanza>)>,
}

/// Why a session's turn is over.
enum Over {
    /// The connection broke: another one.
    Broken(String),
    /// Nobody needs a session any more.
    Done,
}

impl Session {
    async fn run(
        mut self,
        mut from_engine: mpsc::UnboundedReceiver<Output>,
        mut from_program: mpsc::Receiver<Word>,
    ) {
        let mut pause = FIRST_PAUSE;
        loop {
            let fault = match self.connect(&mut from_engine).await {
                Err(()) => return,
                Ok(Err(fault)) => {
                    let last = fault.is_final();
                    self.tell(Update::Offline {
                        why: fault.to_string(),
                        last,
                    });
                    if last {
                        return self.hear_out(from_engine).await;
                    }
                    fault.to_string()
                }
                Ok(Ok(connection)) => {
                    pause = FIRST_PAUSE;
                    match self
                        .carry(connection, &mut from_engine, &mut from_program)
                        .await
                    {
                        Over::Done => return,
                        Over::Broken(why) => {
                            self.tell(Update::Offline {
                                why: why.clone(),
                                last: false,
                            });
                            why
                        }
                    }
                }
            };
            tracing::debug!(fault, ?pause, "another session after a pause");
            let jitter = Duration::from_millis(u64::from(comity_net::random::up_to(250)));
            tokio::time::sleep(pause + jitter).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Connects, passing on meanwhile what the engine has to tell. `Err`: the engine has ended.
    async fn connect(
        &self,
        from_engine: &mut mpsc::UnboundedReceiver<Output>,
    ) -> Result<Result<Connection, ConnectError>, ()> {
        let mut opening = std::pin::pin!(Connection::open(&self.options));
        loop {
            tokio::select! {
                opened = &mut opening => return Ok(opened),
                output = from_engine.recv() => match output {
                    Some(Output::Event(event)) => self.tell(Update::Engine(event)),
                    // Without a session there is no way out: the engine asks again in the next.
                    Some(Output::Request(_)) => {}
                    None => return Err(()),
                },
            }
        }
    }

    /// After the last attempt the engine still answers the program's questions.
    async fn hear_out(&self, mut from_engine: mpsc::UnboundedReceiver<Output>) {
        while let Some(output) = from_engine.recv().await {
            if let Output::Event(event) = output {
                self.tell(Update::Engine(event));
            }
        }
    }

    /// One session, from binding to its end.
    async fn carry(
        &mut self,
        mut connection: Connection,
        from_engine: &mut mpsc::UnboundedReceiver<Output>,
        from_program: &mut mpsc::Receiver<Word>,
    ) -> Over {
        // RFC 6121 §4.2: initial presence makes this session one that messages come to.
        connection
            .send(Stanza::new(Kind::Presence(PresenceType::Available)))
            .await;
        self.tell(Update::Online(connection.jid.clone()));
        if self
            .input(Input::Online {
                exporter: connection.exporter,
            })
            .await
            .is_err()
        {
            return Over::Done;
        }
        let over = loop {
            tokio::select! {
                output = from_engine.recv() => match output {
                    Some(Output::Event(event)) => self.tell(Update::Engine(event)),
                    Some(Output::Request(outgoing)) => {
                        if self.ask(&connection, outgoing).await.is_err() {
                            break Over::Done;
                        }
                    }
                    None => break Over::Done,
                },
                Some(word) = from_program.recv() => {
                    connection.send(self.said(word)).await;
                }
                inbound = connection.receive() => match inbound {
                    Inbound::Stanza(stanza) => {
                        let next = self.blobs.take(&self.options.login.account, *stanza);
                        if self.go_on(&connection, next).await.is_err() {
                            break Over::Done;
                        }
                    }
                    Inbound::Closed(why) => break Over::Broken(why),
                },
            }
        };
        self.pending.clear();
        // Whoever waits learns at once that nothing comes.
        self.asked.clear();
        self.blobs.clear();
        connection.close().await;
        match self.input(Input::Offline).await {
            Ok(()) => over,
            Err(()) => Over::Done,
        }
    }

    async fn ask(&mut self, connection: &Connection, outgoing: Outgoing) -> Result<(), ()> {
        self.next_id += 1;
        let id = format!("mls-{}", self.next_id);
        let Outgoing {
            id: request_id,
            to,
            request,
        } = outgoing;
        match speech::iq(&self.options.login.account, &to, &request, &id) {
            Some(stanza) => {
                self.pending.insert(id, (request_id, to, request));
                let next = self.blobs.send(&self.options.login.account, stanza);
                self.go_on(connection, next).await
            }
            None => {
                tracing::error!(?to, "a request cannot be addressed");
                Ok(())
            }
        }
    }

    /// What is to be done with stanzas, now that what they name is where it has to be.
    async fn go_on(&mut self, connection: &Connection, next: Vec<blobs::Next>) -> Result<(), ()> {
        for progress in self.blobs.moved() {
            self.tell(Update::Progress(progress));
        }
        for next in next {
            match next {
                blobs::Next::Send(stanza) => {
                    connection.send(stanza).await;
                }
                blobs::Next::Take(stanza) => self.take(connection, &stanza).await?,
                blobs::Next::Refused(id, answer) => {
                    if let Some((id, to, request)) = self.pending.remove(&id) {
                        let answered = speech::answer(&to, &request, &answer);
                        self.input(Input::Answer(id, answered)).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn take(&mut self, connection: &Connection, stanza: &Stanza) -> Result<(), ()> {
        match stanza.kind {
            Kind::Iq(IqType::Result | IqType::Error) => {
                if self.answer_program(stanza) {
                    return Ok(());
                }
                let pending = stanza.id.as_deref().and_then(|id| self.pending.get(id));
                let Some((_, to, _)) = pending else {
                    return Ok(());
                };
                if !self.may_answer(to, stanza.from.as_ref()) {
                    return Ok(());
                }
                let id = stanza.id.as_deref().unwrap_or_default();
                let Some((id, to, request)) = self.pending.remove(id) else {
                    return Ok(());
                };
                let answered = speech::answer(&to, &request, stanza);
                self.input(Input::Answer(id, answered)).await
            }
            Kind::Iq(_) => {
                self.answer_stranger(connection, stanza).await;
                Ok(())
            }
            Kind::Message(kind) => match speech::notice(&self.options.login.account, stanza) {
                Some(notice) => self.input(Input::Notice(notice)).await,
                None => {
                    self.take_plain(kind, stanza);
                    Ok(())
                }
            },
            Kind::Presence(_) => Ok(()),
        }
    }

    /// What the program says goes out; what it asks is remembered.
    fn said(&mut self, word: Word) -> Stanza {
        match word {
            Word::Stanza(stanza) => stanza,
            Word::Request(stanza, tell) => {
                self.asked.retain(|_, (_, tell)| !tell.is_closed());
                let named = stanza.to.clone().zip(stanza.id.as_deref());
                if let Some((to, id)) = named.filter(|_| self.asked.len() < MAX_ASKED) {
                    self.asked.insert(id.to_owned(), (to, tell));
                }
                stanza
            }
        }
    }

    /// Whether this is the answer to something the program has asked.
    fn answer_program(&mut self, stanza: &Stanza) -> bool {
        let id = stanza.id.as_deref().unwrap_or_default();
        let fits = |(to, _): &(Jid, _)| crate::files::slot::answers(stanza, to);
        if !self.asked.get(id).is_some_and(fits) {
            return false;
        }
        if let Some((_, tell)) = self.asked.remove(id) {
            // Who asked may have given up.
            let _ = tell.send(stanza.clone());
        }
        true
    }

    /// RFC 6120 §8.1.2.1: an answer comes from whom the request went to; one's own server may
    /// leave out its address.
    fn may_answer(&self, to: &Destination, from: Option<&Jid>) -> bool {
        let account = &self.options.login.account;
        match to {
            Destination::Own => from
                .is_none_or(|from| from.as_str() == account.domain() || from.to_bare() == *account),
            Destination::Account(jid) if jid == account => {
                from.is_none_or(|from| from.to_bare() == *account)
            }
            Destination::Account(jid) | Destination::Room(jid) => {
                from.is_some_and(|from| from == jid.as_jid())
            }
        }
    }

    /// The few requests every client answers: pings (XEP-0199); to others that it does not know
    /// them (RFC 6120 §8.4).
    async fn answer_stranger(&self, connection: &Connection, stanza: &Stanza) {
        let answer = if stanza.has(ns::PING, "ping") {
            Some(stanza.result(None))
        } else {
            let unknown = StanzaError::new(ErrorType::Cancel, StanzaCondition::ServiceUnavailable);
            stanza.error_reply(&unknown)
        };
        if let Some(answer) = answer {
            connection.send(answer).await;
        }
    }

    fn take_plain(&self, kind: MessageType, stanza: &Stanza) {
        if kind == MessageType::Error {
            return;
        }
        if let (Some(from), Some(body)) = (&stanza.from, stanza.child(ns::CLIENT, "body")) {
            self.tell(Update::Plain {
                from: from.clone(),
                body: body.text(),
            });
        }
    }

    fn tell(&self, update: Update) {
        // A program that has stopped listening still gets its messages from the store.
        let _ = self.updates.send(update);
    }

    /// Hands something to the engine's thread without blocking the runtime while it is busy.
    async fn input(&self, input: Input) -> Result<(), ()> {
        use std::sync::mpsc::TrySendError;
        let mut input = match self.inputs.try_send(input) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Disconnected(_)) => return Err(()),
            Err(TrySendError::Full(input)) => input,
        };
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            input = match self.inputs.try_send(input) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(()),
                Err(TrySendError::Full(input)) => input,
            };
        }
    }
}
