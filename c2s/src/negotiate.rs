//! From the first byte to a session: header, STARTTLS, SASL, binding (RFC 6120 §4 to §7). What
//! the machine cannot decide it asks for with an event, and reads nothing until it is answered.

mod auth;
mod bind;
mod extended;
mod fast;
mod register;
mod resume;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use comity_net::tls::EndPoint;
use comity_xmpp::ack;
use comity_xmpp::element::Element;
use comity_xmpp::error::{StanzaError, StreamCondition, StreamError};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::machine::{Frame, Machine, Now};
use comity_xmpp::ns;
use comity_xmpp::sasl::{Condition, Failure, Hash};
use comity_xmpp::speaker::Speaker;
use comity_xmpp::stanza::Stanza;
use comity_xmpp::stream::{Features, Header};
use comity_xmpp::xml;

use crate::link::{Credentials, FastAccepted, FastAttempt, FastToken, FastWanted, Registration};
pub use auth::PasswordCheck;
use auth::{Auth, Outcome};
use extended::Extended;

/// How often a client may fail to authenticate, or to bind, on one connection.
pub const ATTEMPTS: u8 = 5;

/// What is given at the start, since the machine has neither configuration nor randomness.
pub struct Settings {
    /// Is this domain ours?
    pub serves: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Gives identifiers nobody can guess, for stream headers and as nonces: printable ASCII
    /// without a comma.
    pub random: Box<dyn FnMut() -> String + Send>,
    pub plain: bool,
    pub scram: Vec<Hash>,
    /// Let people make accounts (XEP-0077 §3.1).
    pub register: bool,
    pub negotiation: Duration,
    /// How long a session waits for its client to come back; none: it does not.
    pub resumption: Option<Duration>,
    /// Give tokens to clients, and take them instead of passwords (XEP-0484).
    pub fast: bool,
    /// Bytes of an element before the client has logged in, and after.
    pub early_bytes: usize,
    pub bytes: usize,
    /// How long a client may be silent.
    pub idle: Duration,
}

/// What TLS has brought: its bindings, if the connection has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Secured {
    /// tls-exporter (RFC 9266).
    pub exporter: Option<[u8; 32]>,
    /// tls-server-end-point (RFC 5929).
    pub end_point: Option<EndPoint>,
}

#[derive(Debug)]
pub enum Event {
    /// `<proceed/>` is said: flush, discard what was read, start TLS.
    StartTls,
    /// The client is authenticated and begins a new stream: the framing expects a header.
    Restart,
    /// What is known of this account? Answer with [`Command::Credentials`].
    Credentials(BareJid),
    /// Is the password right? Slow; answer with [`Command::Checked`].
    Check(PasswordCheck),
    /// Is this token right? Answer with [`Command::Fast`].
    Fast(FastAttempt),
    /// Make a token. Answer with [`Command::Token`].
    Token(FastWanted),
    /// Make an account. Answer with [`Command::Registered`].
    Register(Registration),
    /// The client has not proved that it is this account, or anybody. Nothing is awaited.
    Failed(Option<BareJid>),
    /// Make a session. Answer with [`Command::Bound`].
    Bind {
        account: BareJid,
        resource: Option<String>,
        options: BindOptions,
    },
    /// The client wants its session back. Answer with [`Command::Resumed`].
    Resume {
        account: BareJid,
        id: String,
        h: u32,
    },
    /// The session stands, and its machine takes over ([`crate::session::Session::begin`]).
    Done,
    /// The stream is over. Flush and leave. `Some`: because of this error, ours or theirs.
    Closed(Option<StreamError>),
}

pub enum Command {
    TlsStarted(Secured),
    Credentials(Credentials),
    Checked(bool),
    Fast(Option<FastAccepted>),
    Token(Option<FastToken>),
    Registered(Result<(), StanzaError>),
    Bound(Result<NewSession, StanzaError>),
    Resumed(Result<Resumed, NotResumed>),
    /// End the stream with an error.
    Close(StreamError),
}

/// How a client authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// The mechanism it has used last.
    pub mechanism: &'static str,
    /// It asks for its session together with that (XEP-0388, with XEP-0386 or XEP-0198).
    pub inline: bool,
}

/// What a client asks for together with its session (XEP-0386).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindOptions {
    /// XEP-0280.
    pub carbons: bool,
    /// Stream management is on from the first stanza (XEP-0198).
    pub acking: bool,
    /// And the client may come back.
    pub resumable: bool,
}

/// A session made.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub session: Jid,
    /// By what its client finds it again, where it has asked for that.
    pub id: Option<Box<str>>,
    /// What else it is told, where it has asked in the way of XEP-0386.
    pub welcome: Vec<Element>,
}

/// A session found again: whose, and how many of its client's stanzas were handled.
#[derive(Clone, Debug)]
pub struct Resumed {
    pub session: Jid,
    pub h: u32,
}

/// It is not there; how many of its client's stanzas were handled, where that is still known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotResumed {
    pub h: Option<u32>,
}

/// What a session goes on with.
pub(crate) struct Negotiated {
    pub(crate) speaker: Speaker,
    pub(crate) header: Header,
    pub(crate) session: Jid,
    /// Stream management was asked for with the session.
    pub(crate) acking: bool,
    /// Nobody looks at the client (XEP-0352).
    pub(crate) inactive: bool,
}

pub struct Negotiate {
    settings: Settings,
    speaker: Speaker,
    state: State,
    secured: Option<Secured>,
    /// Which of our domains the client came to.
    host: String,
    header: Header,
    /// How the client has tried to prove who it is.
    mechanism: &'static str,
    /// What the client wants done as soon as it is authenticated (XEP-0388).
    extended: Option<Extended>,
    /// Stream management that was asked for with the session.
    acking: bool,
    inactive: bool,
    resumption: Option<Duration>,
    failures: u8,
    /// Whom the client tries to be.
    tried: Option<BareJid>,
    deadline: Instant,
    events: VecDeque<Event>,
}

/// Named for what is awaited. A state that holds an account holds it as proof.
enum State {
    Header,
    StartTls,
    Tls,
    Auth(Auth),
    /// Whether an account could be made, as this stanza asks.
    Registering(Box<Stanza>),
    HeaderOfAuthenticated(BareJid),
    Bind(BareJid),
    /// The server's answer to a request to bind.
    Session {
        account: BareJid,
        id: Box<str>,
    },
    /// Whether a token is right, and a new one.
    Fast(BareJid),
    Token(BareJid),
    /// Whether there is such a session.
    Resuming {
        account: BareJid,
        id: String,
    },
    Done(Jid),
    Over,
}

impl Negotiate {
    /// `secured` where TLS came first (XEP-0368).
    #[must_use]
    pub fn new(settings: Settings, secured: Option<Secured>, now: Now) -> Self {
        let deadline = now.instant + settings.negotiation;
        Self {
            mechanism: "",
            extended: None,
            acking: false,
            inactive: false,
            resumption: settings.resumption,
            settings,
            speaker: Speaker::new(ns::CLIENT),
            state: State::Header,
            secured,
            host: String::new(),
            header: Header::default(),
            failures: 0,
            tried: None,
            deadline,
            events: VecDeque::new(),
        }
    }

    /// How the client authenticates: for logs.
    #[must_use]
    pub fn manner(&self) -> Manner {
        Manner {
            mechanism: self.mechanism,
            inline: self.extended.is_some(),
        }
    }

    /// The parts of a stream that is bound; None before [`Event::Done`].
    pub(crate) fn finish(self) -> Option<Negotiated> {
        match self.state {
            State::Done(session) => Some(Negotiated {
                speaker: self.speaker,
                header: self.header,
                session,
                acking: self.acking,
                inactive: self.inactive,
            }),
            _ => None,
        }
    }

    fn open(&mut self, header: Header) -> Result<(), StreamError> {
        let authenticated = match &self.state {
            State::Header => None,
            State::HeaderOfAuthenticated(account) => Some(account.clone()),
            _ => {
                return Err(StreamError::new(
                    StreamCondition::PolicyViolation,
                    "a second stream header was not expected here",
                ));
            }
        };
        check(&header)?;
        self.host = self.host_of(&header, authenticated.as_ref())?;
        let answer = Header {
            from: Jid::parse(&self.host).ok(),
            // RFC 6120 §4.7.2: whom we answer, but not in clear.
            to: header.from.clone().filter(|_| self.secured.is_some()),
            id: Some((self.settings.random)()),
            lang: Some("en".to_owned()),
            ..Header::of(ns::CLIENT)
        };
        self.speaker.open(answer);
        self.header = header;
        let (features, state) = self.next_step(authenticated);
        self.speaker.say(&features.to_element());
        self.state = state;
        Ok(())
    }

    /// RFC 6120 §4.7.2, §4.9.3.6: the domain the client wants has to be ours, and after
    /// authentication the one it has authenticated at.
    fn host_of(
        &self,
        header: &Header,
        authenticated: Option<&BareJid>,
    ) -> Result<String, StreamError> {
        let unknown = |text: String| StreamError::new(StreamCondition::HostUnknown, text);
        let Some(to) = &header.to else {
            return Err(unknown("say with 'to' which domain you want".to_owned()));
        };
        if to.local().is_some() || !to.is_bare() || !(self.settings.serves)(to.domain()) {
            return Err(unknown(format!("{to} is not served here")));
        }
        if let Some(account) = authenticated
            && account.domain() != to.domain()
        {
            return Err(unknown(format!(
                "you have authenticated at {}: stay there",
                account.domain()
            )));
        }
        Ok(to.domain().to_owned())
    }

    /// TLS before anything else, then SASL, then binding.
    fn next_step(&self, authenticated: Option<BareJid>) -> (Features, State) {
        let mut features = Features::default();
        let state = match (self.secured, authenticated) {
            (None, _) => {
                features.starttls = Some(true);
                State::StartTls
            }
            (Some(secured), None) => {
                let auth = Auth::new(
                    &self.host,
                    self.settings.plain,
                    &self.settings.scram,
                    secured,
                );
                auth.offer(&mut features);
                let limits = stream_limits(self.settings.early_bytes, None);
                features.others.push(limits);
                extended::offer(&mut features, fast::mechanisms(secured, self.settings.fast));
                if self.settings.register {
                    let register = Element::new(ns::REGISTER_FEATURE, "register");
                    features.others.push(register);
                }
                State::Auth(auth)
            }
            (Some(_), Some(account)) => {
                session_features(&mut features);
                features.others.push(self.limits());
                State::Bind(account)
            }
        };
        (features, state)
    }

    fn limits(&self) -> Element {
        stream_limits(self.settings.bytes, Some(self.settings.idle))
    }

    /// A login has failed, and another may follow.
    fn back_to_authentication(&mut self) {
        if let Some(secured) = self.secured {
            self.state = State::Auth(Auth::new(
                &self.host,
                self.settings.plain,
                &self.settings.scram,
                secured,
            ));
        }
    }

    fn element(&mut self, bytes: &Bytes) -> Result<(), StreamError> {
        let element = xml::parse(bytes, &self.header)?;
        if let Some(error) = StreamError::from_element(&element) {
            self.end(Some(error));
            return Ok(());
        }
        match &mut self.state {
            State::StartTls if element.is(ns::TLS, "starttls") => {
                self.speaker.say(&Element::new(ns::TLS, "proceed"));
                self.speaker.restart();
                self.state = State::Tls;
                self.events.push_back(Event::StartTls);
                Ok(())
            }
            State::StartTls => Err(StreamError::new(
                StreamCondition::PolicyViolation,
                "start TLS before anything else",
            )),
            State::Auth(auth) if element.ns == ns::SASL => {
                self.extended = None;
                let outcome = auth.receive(&element, &mut self.settings.random);
                self.mechanism = auth.chosen();
                self.authentication(outcome)
            }
            State::Auth(_) if element.ns == ns::SASL2 => self.extended(&element),
            State::Auth(_) if self.settings.register && element.is(ns::CLIENT, "iq") => {
                self.register(bytes)
            }
            State::Bind(_) if element.ns == ns::SM => {
                if element.name == "resume" {
                    return self.resume(&element);
                }
                // XEP-0198 §3: there is no session yet.
                self.speaker.say(&ack::failed("unexpected-request"));
                Ok(())
            }
            State::Bind(_) => self.bind(bytes),
            // RFC 6120 §4.9.3.12.
            _ => Err(StreamError::new(
                StreamCondition::NotAuthorized,
                format!("authenticate before you send <{}/>", element.name),
            )),
        }
    }

    fn authentication(&mut self, outcome: Outcome) -> Result<(), StreamError> {
        if self.extended.is_some() {
            return self.extended_authentication(outcome);
        }
        match outcome {
            Outcome::Say(element) => self.speaker.say(&element),
            Outcome::Ask(account) => self.ask(account),
            Outcome::Check(check) => self.events.push_back(Event::Check(check)),
            Outcome::Success(account, success) => {
                self.speaker.say(&success);
                self.speaker.restart();
                self.state = State::HeaderOfAuthenticated(account);
                self.events.push_back(Event::Restart);
            }
            Outcome::Failure(failure) => {
                self.speaker.say(&failure.to_element());
                self.tell_failure(&failure);
                self.failed("to authenticate")?;
            }
        }
        Ok(())
    }

    fn ask(&mut self, account: BareJid) {
        self.tried = Some(account.clone());
        self.events.push_back(Event::Credentials(account));
    }

    /// Who gives up by himself has not guessed.
    fn tell_failure(&mut self, failure: &Failure) {
        let tried = self.tried.take();
        if failure.condition != Condition::Aborted {
            self.events.push_back(Event::Failed(tried));
        }
    }

    /// RFC 6120 §6.4.5: a few retries, so that a typing error costs no new connection.
    fn failed(&mut self, what: &str) -> Result<(), StreamError> {
        self.failures += 1;
        if self.failures < ATTEMPTS {
            return Ok(());
        }
        Err(StreamError::new(
            StreamCondition::PolicyViolation,
            format!("too many failures {what}"),
        ))
    }

    fn fail(&mut self, error: StreamError) {
        let header = Header {
            from: Jid::parse(&self.host).ok(),
            id: Some((self.settings.random)()),
            lang: Some("en".to_owned()),
            ..Header::of(ns::CLIENT)
        };
        self.speaker.fail(&error, || header);
        self.end(Some(error));
    }

    fn end(&mut self, error: Option<StreamError>) {
        self.speaker.close();
        self.state = State::Over;
        self.events.push_back(Event::Closed(error));
    }
}

/// What there is for whoever is authenticated.
fn session_features(features: &mut Features) {
    features.bind = true;
    features.session = true;
    features.stream_management = true;
    features.roster_versioning = true;
    features.pre_approval = true;
    features.others.push(Element::new(ns::CSI, "csi"));
}

/// XEP-0478: what the client may send, and how long it may be silent.
fn stream_limits(bytes: usize, idle: Option<Duration>) -> Element {
    let number = |name, value: String| Element::new(ns::STREAM_LIMITS, name).with_text(value);
    let mut limits = Element::new(ns::STREAM_LIMITS, "limits")
        .with_child(number("max-bytes", bytes.to_string()));
    if let Some(idle) = idle {
        limits.push(number("idle-seconds", idle.as_secs().to_string()));
    }
    limits
}

/// RFC 6120 §4.8.2, §4.7.5.
fn check(header: &Header) -> Result<(), StreamError> {
    if header.content_ns != ns::CLIENT {
        return Err(StreamError::new(
            StreamCondition::InvalidNamespace,
            format!(
                "a client's stream carries {}, not {:?}",
                ns::CLIENT,
                header.content_ns
            ),
        ));
    }
    if header.version.is_none_or(|(major, _)| major < 1) {
        return Err(StreamError::new(
            StreamCondition::UnsupportedVersion,
            "we speak version 1.0: send version='1.0' in the stream header",
        ));
    }
    Ok(())
}

impl Machine for Negotiate {
    type Command = Command;
    type Event = Event;

    fn receive(&mut self, frame: Frame, _: Now) {
        if matches!(self.state, State::Over) {
            return;
        }
        let outcome = match frame {
            Frame::Open(header) => self.open(header),
            Frame::Element(bytes) => self.element(&bytes),
            Frame::Close => return self.end(None),
            Frame::Fault(error) => Err(error),
        };
        if let Err(error) = outcome {
            self.fail(error);
        }
    }

    fn command(&mut self, command: Command, _: Now) {
        let outcome = match (command, &mut self.state) {
            (Command::TlsStarted(secured), State::Tls) => {
                self.secured = Some(secured);
                self.state = State::Header;
                Ok(())
            }
            (Command::Credentials(credentials), State::Auth(auth)) => {
                let outcome = auth.credentials(credentials, &mut self.settings.random);
                self.authentication(outcome)
            }
            (Command::Checked(right), State::Auth(auth)) => {
                let outcome = auth.checked(right);
                self.authentication(outcome)
            }
            (Command::Registered(answer), State::Registering(_)) => self.registered(answer),
            (Command::Bound(answer), State::Session { .. }) => self.bound(answer),
            (Command::Fast(answer), State::Fast(_)) => self.fast_checked(answer),
            (Command::Token(answer), State::Token(_)) => self.fast_token(answer),
            (Command::Resumed(answer), State::Resuming { .. }) => self.resumed(answer),
            (Command::Close(error), State::Header | State::StartTls | State::Auth(_))
            | (
                Command::Close(error),
                State::HeaderOfAuthenticated(_)
                | State::Bind(_)
                | State::Fast(_)
                | State::Resuming { .. },
            ) => Err(error),
            // An answer that nobody waits for any more.
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            self.fail(error);
        }
    }

    fn ready(&self) -> bool {
        match &self.state {
            State::Tls
            | State::Registering(_)
            | State::Session { .. }
            | State::Resuming { .. }
            | State::Fast(_)
            | State::Token(_)
            | State::Done(_)
            | State::Over => false,
            State::Auth(auth) => !auth.asks(),
            State::Header | State::StartTls | State::HeaderOfAuthenticated(_) | State::Bind(_) => {
                true
            }
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_transmit(&mut self) -> Option<Frame> {
        self.speaker.poll()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (!matches!(self.state, State::Over | State::Done(_))).then_some(self.deadline)
    }

    fn timeout(&mut self, now: Now) {
        if self.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.fail(StreamError::new(
                StreamCondition::ConnectionTimeout,
                "the negotiation has taken too long",
            ));
        }
    }
}
