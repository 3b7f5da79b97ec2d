//! A client's side of its stream (RFC 6120 §4-7) as a machine: TLS, SASL, binding, then stanzas.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError, StreamCondition, StreamError};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::machine::{Frame, Machine, Now};
use comity_xmpp::sasl::client::{Expect, Requested, Scram};
use comity_xmpp::sasl::{self, Hash, Mechanism};
use comity_xmpp::stanza::{IqType, Kind, Stanza, TopLevel, Unacceptable};
use comity_xmpp::stream::Header;
use comity_xmpp::{ns, xml};

/// How long the server may take for each step until the session is bound.
const STEP: Duration = Duration::from_secs(30);
/// Without a word from the server for this long it is asked for one (XEP-0199) …
const QUIET: Duration = Duration::from_secs(60);
/// … and given up when there is still none.
const ANSWER: Duration = Duration::from_secs(30);
const BIND_ID: &str = "bind";
const PING_PREFIX: &str = "ping-";

/// Who logs in, and how.
#[derive(Clone)]
pub struct Login {
    pub account: BareJid,
    pub password: String,
    /// The resource asked for; the server may choose another.
    pub resource: Option<String>,
}

/// What the program asks of the stream.
#[derive(Debug)]
pub enum Command {
    /// The TLS handshake is done.
    Secured,
    Send(Stanza),
    Close,
}

#[derive(Debug)]
pub enum Event {
    /// Put TLS under the stream, then say [`Command::Secured`].
    StartTls,
    /// The next frame is a stream header.
    Restart,
    Bound(Jid),
    Stanza(Box<Stanza>),
    /// Nothing follows. `None`: closed as we asked.
    Closed(Option<Fault>),
}

/// Why a stream ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    #[error("the server ended the stream: {0}")]
    Server(StreamError),
    #[error("the server does not speak XMPP as expected: {0}")]
    Protocol(String),
    #[error("the server offers no TLS, and nothing is said without it")]
    NoTls,
    #[error("the server offers none of SCRAM-SHA-256 and SCRAM-SHA-1: {0}")]
    NoMechanism(String),
    #[error("the server does not accept the password: {0}")]
    NotAuthorized(String),
    #[error("the server has not proved that it knows the account: it may be another's")]
    ServerUnproved,
    #[error("the session was not bound: {0}")]
    NotBound(StanzaError),
    #[error("the server did not answer in time")]
    Silent,
}

impl Fault {
    /// Whether trying again without a change by the person cannot help.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::NoTls | Self::NoMechanism(_) | Self::NotAuthorized(_) | Self::ServerUnproved
        )
    }
}

/// What the stream waits for.
enum State {
    Header(Stage),
    Features(Stage),
    Proceed,
    Tls,
    Challenge(Scram),
    Success(Expect),
    Bind,
    Bound,
    Closing,
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Clear,
    Secured,
    Authenticated,
}

pub struct ClientStream {
    login: Login,
    nonce: String,
    state: State,
    header: Header,
    events: VecDeque<Event>,
    transmits: VecDeque<Frame>,
    deadline: Instant,
    pings: u64,
    /// A ping is out since the last word of the server.
    asked: bool,
}

impl ClientStream {
    /// `secured`: TLS is there from the first byte (XEP-0368). `nonce`: fresh randomness for SCRAM.
    #[must_use]
    pub fn new(login: Login, nonce: String, secured: bool, now: Now) -> Self {
        let stage = if secured {
            Stage::Secured
        } else {
            Stage::Clear
        };
        let mut stream = Self {
            login,
            nonce,
            state: State::Header(stage),
            header: Header::default(),
            events: VecDeque::new(),
            transmits: VecDeque::new(),
            deadline: now.instant + STEP,
            pings: 0,
            asked: false,
        };
        stream.open();
        stream
    }

    fn open(&mut self) {
        // RFC 6120 §4.7.1: `from` only once the stream is encrypted; we leave it to SASL.
        self.transmits.push_back(Frame::Open(Header {
            to: Jid::parse(self.login.account.domain()).ok(),
            version: Some((1, 0)),
            lang: Some("en".to_owned()),
            content_ns: ns::CLIENT.to_owned(),
            ..Header::default()
        }));
    }

    fn send(&mut self, element: &Element) {
        let mut out = BytesMut::new();
        xml::write(element, ns::CLIENT, &mut out);
        self.transmits.push_back(Frame::Element(out.freeze()));
    }

    fn fail(&mut self, fault: Fault) {
        if !matches!(self.state, State::Closed) {
            self.transmits.push_back(Frame::Close);
            self.state = State::Closed;
            self.events.push_back(Event::Closed(Some(fault)));
        }
    }

    fn unexpected(&mut self, what: &str) {
        self.fail(Fault::Protocol(format!("unexpected {what}")));
    }

    fn restart(&mut self, stage: Stage) {
        self.state = State::Header(stage);
        self.open();
    }

    fn take(&mut self, bytes: &bytes::Bytes) -> Result<(), StreamError> {
        if matches!(self.state, State::Bound) {
            match TopLevel::parse(bytes, &self.header) {
                Ok(TopLevel::Stanza(stanza)) => self.take_stanza(*stanza),
                Ok(TopLevel::Other(element)) => self.take_other(&element),
                // A stanza that is not right concerns nobody here; the stream goes on.
                Err(Unacceptable::Stanza(_)) => {}
                Err(Unacceptable::Stream(error)) => return Err(error),
            }
            return Ok(());
        }
        let element = xml::parse(bytes, &self.header)?;
        if element.is(ns::STREAM, "error") {
            self.take_other(&element);
            return Ok(());
        }
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Features(stage) if element.is(ns::STREAM, "features") => {
                self.take_features(stage, &element);
            }
            State::Proceed if element.is(ns::TLS, "proceed") => {
                self.state = State::Tls;
                self.events.push_back(Event::StartTls);
            }
            State::Challenge(scram) if element.ns == ns::SASL => {
                self.take_challenge(scram, &element);
            }
            State::Success(expect) if element.ns == ns::SASL => {
                self.take_success(expect, &element);
            }
            State::Bind => {
                self.state = State::Bind;
                match Stanza::parse(bytes, &self.header) {
                    Ok(stanza) => self.take_binding(&stanza),
                    Err(Unacceptable::Stream(error)) => return Err(error),
                    Err(Unacceptable::Stanza(_)) => self.unexpected("answer to the binding"),
                }
            }
            state => {
                self.state = state;
                self.unexpected(&format!("<{}/>", element.name));
            }
        }
        Ok(())
    }

    fn take_other(&mut self, element: &Element) {
        match StreamError::from_element(element) {
            Some(error) => self.fail(Fault::Server(error)),
            None => self.unexpected(&format!("<{}/>", element.name)),
        }
    }

    fn take_features(&mut self, stage: Stage, features: &Element) {
        match stage {
            Stage::Clear if features.child(ns::TLS, "starttls").is_some() => {
                self.state = State::Proceed;
                self.send(&Element::new(ns::TLS, "starttls"));
            }
            Stage::Clear => self.refuse(Fault::NoTls),
            Stage::Secured => self.authenticate(features),
            Stage::Authenticated => {
                self.state = State::Bind;
                let mut bind = Element::new(ns::BIND, "bind");
                if let Some(resource) = &self.login.resource {
                    bind = bind
                        .with_child(Element::new(ns::BIND, "resource").with_text(resource.clone()));
                }
                let request = Stanza::new(Kind::Iq(IqType::Set))
                    .with_id(BIND_ID)
                    .with(&bind);
                self.transmits
                    .push_back(Frame::Element(request.to_bytes(None)));
            }
        }
    }

    /// Like `fail`, from where the state has been taken out already.
    fn refuse(&mut self, fault: Fault) {
        self.state = State::Closing;
        self.fail(fault);
    }

    fn authenticate(&mut self, features: &Element) {
        let offered: Vec<String> = features
            .child(ns::SASL, "mechanisms")
            .map(|all| all.elements().map(Element::text).collect())
            .unwrap_or_default();
        let preferred =
            [Hash::Sha256, Hash::Sha1].map(|hash| Mechanism::Scram { hash, plus: false });
        let chosen = preferred
            .into_iter()
            .find(|m| offered.iter().any(|o| o == m.as_str()));
        let Some(mechanism @ Mechanism::Scram { hash, .. }) = chosen else {
            return self.refuse(Fault::NoMechanism(offered.join(", ")));
        };
        let user = self.login.account.local().unwrap_or_default();
        let password = &self.login.password;
        let begun = Scram::new(hash, user, password, &self.nonce, &Requested::Unsupported);
        let (waiting, first) = match begun {
            Ok(begun) => begun,
            Err(fault) => return self.refuse(Fault::NotAuthorized(fault.to_string())),
        };
        self.state = State::Challenge(waiting);
        let auth = Element::new(ns::SASL, "auth")
            .with_attr("mechanism", mechanism.as_str())
            .with_text(sasl::encode(&first));
        self.send(&auth);
    }

    fn take_challenge(&mut self, first: Scram, element: &Element) {
        if let Some(failure) = sasl::Failure::from_element(element) {
            return self.refuse(Fault::NotAuthorized(failure.to_string()));
        }
        if element.name != "challenge" {
            return self.refuse(Fault::Protocol(format!("<{}/> during SASL", element.name)));
        }
        let Ok(message) = sasl::decode(&element.text()) else {
            return self.refuse(Fault::Protocol(
                "a SASL challenge that is no base64".to_owned(),
            ));
        };
        match first.respond(&message) {
            Ok((last, response)) => {
                self.state = State::Success(last);
                let response =
                    Element::new(ns::SASL, "response").with_text(sasl::encode(&response));
                self.send(&response);
            }
            Err(error) => self.refuse(Fault::Protocol(error.to_string())),
        }
    }

    /// RFC 5802 §3: the server's signature shows that it knows the password's keys; a server that
    /// skips it is not believed.
    fn take_success(&mut self, last: Expect, element: &Element) {
        if let Some(failure) = sasl::Failure::from_element(element) {
            return self.refuse(Fault::NotAuthorized(failure.to_string()));
        }
        let proved = element.name == "success"
            && sasl::decode(&element.text()).is_ok_and(|message| last.verify(&message).is_ok());
        if !proved {
            return self.refuse(Fault::ServerUnproved);
        }
        self.events.push_back(Event::Restart);
        self.restart(Stage::Authenticated);
    }

    fn take_binding(&mut self, stanza: &Stanza) {
        let jid = stanza
            .child(ns::BIND, "bind")
            .and_then(|bind| bind.child(ns::BIND, "jid").map(Element::text))
            .and_then(|text| Jid::parse(&text).ok());
        match (stanza.kind, jid) {
            (Kind::Iq(IqType::Result), Some(jid)) if jid.to_bare() == self.login.account => {
                self.state = State::Bound;
                self.events.push_back(Event::Bound(jid));
            }
            (Kind::Iq(IqType::Error), _) => {
                let unsaid =
                    || StanzaError::new(ErrorType::Cancel, StanzaCondition::UndefinedCondition);
                self.fail(Fault::NotBound(stanza.error().unwrap_or_else(unsaid)));
            }
            _ => self.unexpected("answer to the binding"),
        }
    }

    fn take_stanza(&mut self, stanza: Stanza) {
        let pong = matches!(stanza.kind, Kind::Iq(IqType::Result | IqType::Error))
            && stanza
                .id
                .as_deref()
                .is_some_and(|id| id.starts_with(PING_PREFIX));
        if !pong {
            self.events.push_back(Event::Stanza(Box::new(stanza)));
        }
    }
}

impl Machine for ClientStream {
    type Command = Command;
    type Event = Event;

    fn receive(&mut self, frame: Frame, now: Now) {
        self.asked = false;
        self.deadline = now.instant
            + if matches!(self.state, State::Bound) {
                QUIET
            } else {
                STEP
            };
        match (frame, &self.state) {
            (_, State::Closed) => {}
            (Frame::Open(header), State::Header(stage)) => {
                self.state = State::Features(*stage);
                self.header = header;
            }
            (Frame::Open(_), _) => self.unexpected("stream header"),
            (Frame::Element(bytes), _) => {
                if let Err(error) = self.take(&bytes) {
                    self.state = State::Closing;
                    self.fail(Fault::Protocol(error.to_string()));
                }
            }
            (Frame::Fault(error), _) => self.fail(Fault::Protocol(error.to_string())),
            (Frame::Close, State::Closing) => {
                self.state = State::Closed;
                self.events.push_back(Event::Closed(None));
            }
            (Frame::Close, _) => {
                let text = "without a reason";
                let error = StreamError::new(StreamCondition::UndefinedCondition, text);
                self.fail(Fault::Server(error));
            }
        }
    }

    fn command(&mut self, command: Command, now: Now) {
        match (command, &self.state) {
            (Command::Secured, State::Tls) => {
                self.deadline = now.instant + STEP;
                self.restart(Stage::Secured);
            }
            (Command::Send(stanza), State::Bound) => {
                self.transmits
                    .push_back(Frame::Element(stanza.to_bytes(None)));
            }
            (Command::Close, State::Bound) => {
                self.transmits.push_back(Frame::Close);
                self.deadline = now.instant + STEP;
                self.state = State::Closing;
            }
            (Command::Close, State::Closed) => {}
            (Command::Close, _) => {
                self.transmits.push_back(Frame::Close);
                self.state = State::Closed;
                self.events.push_back(Event::Closed(None));
            }
            // Too late or too early: the caller learns the end from `Closed`.
            (Command::Send(_) | Command::Secured, _) => {}
        }
    }

    fn ready(&self) -> bool {
        !matches!(self.state, State::Tls | State::Closed)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_transmit(&mut self) -> Option<Frame> {
        self.transmits.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (!matches!(self.state, State::Closed)).then_some(self.deadline)
    }

    fn timeout(&mut self, now: Now) {
        if now.instant < self.deadline {
            return;
        }
        match self.state {
            State::Bound if !self.asked => {
                self.asked = true;
                self.deadline = now.instant + ANSWER;
                self.pings += 1;
                let id = format!("{PING_PREFIX}{}", self.pings);
                let ping = Stanza::new(Kind::Iq(IqType::Get))
                    .with_id(id)
                    .with(&Element::new(ns::PING, "ping"));
                self.transmits
                    .push_back(Frame::Element(ping.to_bytes(None)));
            }
            State::Closing => {
                self.state = State::Closed;
                self.events.push_back(Event::Closed(None));
            }
            _ => self.fail(Fault::Silent),
        }
    }
}
