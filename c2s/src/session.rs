//! A bound client: what it sends is stamped with its address and counted, what it is sent is
//! kept until acknowledged (XEP-0198), and its silence does not last for ever (RFC 6120 §4.6).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use comity_xmpp::ack::{self, Inbound, Outbound};
use comity_xmpp::element::Element;
use comity_xmpp::error::{StreamCondition, StreamError};
use comity_xmpp::jid::Jid;
use comity_xmpp::machine::{Frame, Machine, Now};
use comity_xmpp::ns;
use comity_xmpp::speaker::Speaker;
use comity_xmpp::stanza::{IqType, Kind, Stanza, TopLevel, Unacceptable};
use comity_xmpp::stream::Header;

use crate::link::Count;
use crate::negotiate::{Negotiate, Negotiated};
use crate::resume::Kept;

/// Stanzas read while earlier ones are being committed.
pub const WINDOW: usize = 64;
/// How long the client may take to close its direction after we closed ours (RFC 6120 §4.4).
const FAREWELL: Duration = Duration::from_secs(5);
/// The id of the pings we send; their answers go no further.
const PING_ID: &str = "comity-ping";

/// What the operator decides about sessions.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// A client silent for this long is asked for a sign of life, and has `sign_of_life` for it.
    pub silence: Duration,
    pub sign_of_life: Duration,
    /// Stanzas that may be unacknowledged; a client with more is dropped.
    pub unacked: usize,
    /// How long a session waits for its client to come back; none: it does not.
    pub resumption: Option<Duration>,
}

#[derive(Debug, PartialEq)]
pub enum Event {
    /// A stanza of the client, with `from` stamped. Answer with [`Command::Committed`].
    Stanza(Stanza),
    /// The client wants stanzas counted, and perhaps to be able to come back to this session.
    /// Answer with [`Command::Managed`].
    Manage { resume: bool },
    /// This count is to be kept before it is told. Answer with [`Command::Kept`].
    Keep(u32),
    /// The client has so many more of what it was sent.
    Acknowledged(usize),
    /// Nobody looks at the client, or somebody does again (XEP-0352).
    Idle(bool),
    /// The client is to be given this, in its turn. Answer with [`Command::Deliver`].
    Answer(Arc<Stanza>),
    /// The stream is over. Flush and leave. `Some`: because of this error, ours or theirs.
    Closed(Option<StreamError>),
}

pub enum Command {
    /// Send this to the client.
    Deliver(Arc<Stanza>),
    /// Nothing has come of a stanza that was counted.
    Void,
    /// So many of the oldest stanzas not yet committed now are; with the count that was kept with
    /// them.
    Committed { stanzas: usize, kept: Option<u32> },
    /// What the session is kept by; none: it is not.
    Managed(Option<Managed>),
    /// What count is kept; none: it could not be.
    Kept(Option<u32>),
    /// All that was transmitted so far has been written.
    Flushed,
    /// End the stream: orderly, or with an error.
    Close(Option<StreamError>),
}

/// A session that outlives the server.
#[derive(Clone, Debug)]
pub struct Managed {
    /// What it is kept by.
    pub key: Arc<str>,
    /// By what name its client finds it again; none: it cannot.
    pub id: Option<Box<str>>,
}

pub struct Session {
    settings: Settings,
    jid: Jid,
    header: Header,
    speaker: Speaker,
    state: State,
    inbound: Inbound,
    outbound: Outbound<Arc<Stanza>>,
    acking: bool,
    /// What the session is kept by, and whether its client can come back.
    key: Option<Arc<str>>,
    resumable: bool,
    /// What of the count is kept.
    kept: u32,
    /// An answer to [`Event::Keep`] is awaited.
    keeping: bool,
    /// An answer to `<enable/>` is awaited.
    enabling: bool,
    /// Without acknowledgements: what was said and may not have been written.
    unwritten: VecDeque<Arc<Stanza>>,
    deadline: Instant,
    events: VecDeque<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Stanzas,
    /// Asked for a sign of life.
    SignOfLife,
    /// We have closed; the client has not.
    Farewell,
    Over,
}

impl Session {
    /// Goes on where negotiation has ended; None where it has not ([`crate::negotiate::Event::Done`]).
    #[must_use]
    pub fn begin(
        negotiate: Negotiate,
        managed: Option<Managed>,
        settings: Settings,
        now: Now,
    ) -> Option<Self> {
        let Negotiated {
            speaker,
            header,
            session,
            acking,
            inactive,
        } = negotiate.finish()?;
        let resumable = managed.as_ref().is_some_and(|managed| managed.id.is_some());
        Some(Self {
            settings,
            jid: session,
            header,
            speaker,
            state: State::Stanzas,
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            acking,
            key: managed.map(|managed| managed.key),
            resumable,
            kept: 0,
            keeping: false,
            enabling: false,
            unwritten: VecDeque::new(),
            deadline: now.instant + settings.silence,
            events: inactive.then_some(Event::Idle(true)).into_iter().collect(),
        })
    }

    /// The same session on a new stream: what its client has not acknowledged is said again
    /// (XEP-0198 §5). None where negotiation has not ended.
    #[must_use]
    pub fn resume(negotiate: Negotiate, kept: Kept, settings: Settings, now: Now) -> Option<Self> {
        let mut session = Self::begin(negotiate, None, settings, now)?;
        session.acking = true;
        session.key = Some(kept.key);
        session.resumable = true;
        session.kept = kept.kept;
        session.inbound = kept.inbound;
        session.outbound = kept.outbound;
        session.outbound.carry_on();
        for stanza in session.outbound.unacked() {
            session.speaker.say_bytes(stanza.to_bytes(None));
        }
        for stanza in kept.unwritten {
            session.say(stanza);
        }
        Some(session)
    }

    /// What of the session outlives its stream; an error gives it back, where its client cannot
    /// come back.
    pub fn keep(self) -> Result<Kept, Box<Self>> {
        match self.key {
            Some(key) if self.resumable => Ok(Kept {
                key,
                jid: self.jid,
                inbound: self.inbound,
                kept: self.kept,
                outbound: self.outbound,
                unwritten: self.unwritten,
                restored: None,
            }),
            _ => Err(Box::new(self)),
        }
    }

    /// What the session is kept by.
    #[must_use]
    pub fn key(&self) -> Option<&Arc<str>> {
        self.key.as_ref()
    }

    /// What the last of the `oldest` stanzas not yet committed is to be kept with.
    #[must_use]
    pub fn count_after(&self, oldest: usize) -> Option<Count> {
        let key = Arc::clone(self.key.as_ref()?);
        let h = self.inbound.after(oldest)?;
        Some(Count { key, h })
    }

    #[must_use]
    pub fn jid(&self) -> &Jid {
        &self.jid
    }

    /// How many of the client's stanzas are handled, as `h` counts them.
    #[must_use]
    pub fn handled(&self) -> u32 {
        self.inbound.count()
    }

    /// Bytes said that nobody has taken yet.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.speaker.waiting_bytes()
    }

    /// What the client was sent and never acknowledged, or what was never written; oldest first.
    #[must_use]
    pub fn into_unacked(self) -> Vec<Arc<Stanza>> {
        let unacked = self.outbound.into_unacked();
        unacked.into_iter().chain(self.unwritten).collect()
    }

    fn element(&mut self, bytes: &Bytes) -> Result<(), StreamError> {
        let element = match TopLevel::parse(bytes, &self.header) {
            Ok(TopLevel::Stanza(stanza)) => return self.stanza(*stanza),
            Ok(TopLevel::Other(element)) => element,
            Err(Unacceptable::Stream(error)) => return Err(error),
            Err(Unacceptable::Stanza(refused)) => {
                self.speaks_for_itself(&refused.stanza)?;
                if let Some(mut reply) = refused.reply() {
                    reply.to = Some(self.jid.clone());
                    self.events.push_back(Event::Answer(Arc::new(reply)));
                }
                self.handled_here();
                return Ok(());
            }
        };
        if let Some(error) = StreamError::from_element(&element) {
            self.end(Some(error));
            return Ok(());
        }
        if element.ns == ns::SM {
            return self.management(&element);
        }
        if element.is(ns::CSI, "inactive") {
            self.events.push_back(Event::Idle(true));
            return Ok(());
        }
        if element.is(ns::CSI, "active") {
            self.events.push_back(Event::Idle(false));
            return Ok(());
        }
        Err(StreamError::new(
            StreamCondition::UnsupportedStanzaType,
            format!("nobody here understands <{}/>", element.name),
        ))
    }

    fn stanza(&mut self, mut stanza: Stanza) -> Result<(), StreamError> {
        self.speaks_for_itself(&stanza)?;
        if is_pong(&stanza) {
            self.handled_here();
            return Ok(());
        }
        if is_session_request(&stanza) {
            // RFC 3921 §3, as RFC 6120 appendix leaves it: there is nothing to be done any more.
            let answer = Arc::new(stanza.result(None));
            self.events.push_back(Event::Answer(answer));
            self.handled_here();
            return Ok(());
        }
        self.inbound.received();
        stanza.from = Some(self.jid.clone());
        self.events.push_back(Event::Stanza(stanza));
        Ok(())
    }

    /// RFC 6120 §8.1.2.1: a client speaks for itself only.
    fn speaks_for_itself(&self, stanza: &Stanza) -> Result<(), StreamError> {
        match &stanza.from {
            Some(from) if *from != self.jid && *from != *self.jid.to_bare().as_jid() => {
                Err(StreamError::new(
                    StreamCondition::InvalidFrom,
                    format!("you are {}, not {from}", self.jid),
                ))
            }
            _ => Ok(()),
        }
    }

    fn management(&mut self, element: &Element) -> Result<(), StreamError> {
        match element.name.as_str() {
            "enable" if !self.acking && !self.enabling => {
                let wanted = matches!(element.attr("resume"), Some("true" | "1"));
                let resume = wanted && self.settings.resumption.is_some();
                self.enabling = true;
                self.events.push_back(Event::Manage { resume });
            }
            "enable" | "resume" => self.speaker.say(&ack::failed("unexpected-request")),
            "r" if self.acking => {
                self.inbound.asked();
                self.acknowledge();
            }
            "a" if self.acking => {
                let h = ack::h(element).ok_or_else(|| {
                    StreamError::new(StreamCondition::BadFormat, "<a/> needs a number in 'h'")
                })?;
                let more = self.outbound.acknowledged(h)?.len();
                if more > 0 && self.key.is_some() {
                    self.events.push_back(Event::Acknowledged(more));
                }
            }
            _ => {
                return Err(StreamError::new(
                    StreamCondition::PolicyViolation,
                    "enable stream management before you use it",
                ));
            }
        }
        Ok(())
    }

    /// XEP-0198 §3.
    fn enable(&mut self, managed: Option<Managed>) {
        self.enabling = false;
        self.acking = true;
        self.inbound.begin();
        self.kept = 0;
        self.unwritten.clear();
        let id = managed.as_ref().and_then(|managed| managed.id.as_deref());
        let enabled = ack::enabled(id, self.settings.resumption);
        self.speaker.say(&enabled);
        self.resumable = id.is_some();
        self.key = managed.map(|managed| managed.key);
    }

    fn say(&mut self, stanza: Arc<Stanza>) {
        if !self.speaker.is_open() {
            // Too late to be said: it comes back with what was never acknowledged.
            self.unwritten.push_back(stanza);
            return;
        }
        self.speaker.say_bytes(stanza.to_bytes(None));
        if self.acking {
            self.outbound.sent(stanza);
        } else {
            self.unwritten.push_back(stanza);
        }
    }

    fn committed(&mut self, stanzas: usize, kept: Option<u32>) {
        for _ in 0..stanzas {
            self.inbound.handled();
        }
        self.kept = kept.unwrap_or(self.kept);
        self.acknowledge();
    }

    fn count_kept(&mut self, kept: Option<u32>) {
        self.keeping = false;
        let Some(h) = kept else {
            // Whoever is not answered asks again.
            return;
        };
        self.kept = h;
        if self.inbound.due() && h != self.inbound.count() {
            // It was enough for the question; what was handled since follows.
            self.speaker.say(&Inbound::acknowledgement_of(h));
        }
        self.acknowledge();
    }

    /// Something was counted, and so has to be said.
    fn fill(&mut self) {
        if self.acking {
            self.say(Arc::new(self.ping()));
        }
    }

    fn ping(&self) -> Stanza {
        let mut ping = Stanza::new(Kind::Iq(IqType::Get))
            .with_id(PING_ID)
            .with_to(self.jid.clone())
            .with(&Element::new(ns::PING, "ping"));
        ping.from = Jid::parse(self.jid.domain()).ok();
        ping
    }

    /// Nobody else has to see this stanza.
    fn handled_here(&mut self) {
        self.inbound.received_and_handled();
        self.acknowledge();
    }

    fn acknowledge(&mut self) {
        if !self.acking || !self.inbound.due() {
            return;
        }
        if self.key.is_some() && self.kept != self.inbound.count() {
            if !self.keeping {
                self.keeping = true;
                self.events.push_back(Event::Keep(self.inbound.count()));
            }
            return;
        }
        if let Some(answer) = self.inbound.answer() {
            self.speaker.say(&answer);
        }
    }

    /// What is committed by now is said before the end, so that it need not come again.
    fn last_count(&mut self) {
        if self.acking {
            let h = match &self.key {
                Some(_) => self.kept,
                None => self.inbound.count(),
            };
            self.speaker.say(&Inbound::acknowledgement_of(h));
        }
    }

    fn fail(&mut self, error: StreamError) {
        self.last_count();
        self.speaker.fail(&error, Header::default);
        self.end(Some(error));
    }

    fn end(&mut self, error: Option<StreamError>) {
        if self.state == State::Over {
            return;
        }
        self.last_count();
        self.speaker.close();
        self.state = State::Over;
        self.events.push_back(Event::Closed(error));
    }
}

fn is_pong(stanza: &Stanza) -> bool {
    matches!(stanza.kind, Kind::Iq(IqType::Result | IqType::Error))
        && stanza.id.as_deref() == Some(PING_ID)
}

fn is_session_request(stanza: &Stanza) -> bool {
    stanza.kind == Kind::Iq(IqType::Set) && stanza.has(ns::SESSION, "session")
}

impl Machine for Session {
    type Command = Command;
    type Event = Event;

    fn receive(&mut self, frame: Frame, now: Now) {
        if self.state == State::Over {
            return;
        }
        if self.state != State::Farewell {
            self.state = State::Stanzas;
            self.deadline = now.instant + self.settings.silence;
        }
        let outcome = match frame {
            // What was on its way when we closed is still taken: its sender cannot know.
            Frame::Element(bytes) => self.element(&bytes),
            Frame::Close => return self.end(None),
            Frame::Fault(error) => Err(error),
            Frame::Open(_) => Err(StreamError::new(
                StreamCondition::PolicyViolation,
                "a second stream header was not expected here",
            )),
        };
        if let Err(error) = outcome {
            self.fail(error);
        }
    }

    fn command(&mut self, command: Command, now: Now) {
        match command {
            Command::Deliver(stanza) => {
                self.say(stanza);
                if self.outbound.len() > self.settings.unacked && self.state != State::Over {
                    self.fail(StreamError::new(
                        StreamCondition::PolicyViolation,
                        format!(
                            "you have left {} stanzas unacknowledged",
                            self.outbound.len()
                        ),
                    ));
                }
            }
            Command::Void => self.fill(),
            Command::Committed { stanzas, kept } => self.committed(stanzas, kept),
            Command::Managed(managed) if self.enabling => self.enable(managed),
            Command::Managed(_) => {}
            Command::Kept(kept) => self.count_kept(kept),
            Command::Flushed if self.speaker.is_open() && self.speaker.waiting() == 0 => {
                self.unwritten.clear();
            }
            Command::Flushed => {}
            Command::Close(_) if matches!(self.state, State::Over | State::Farewell) => {}
            Command::Close(Some(error)) => self.fail(error),
            Command::Close(None) => {
                self.last_count();
                self.speaker.close();
                self.state = State::Farewell;
                self.deadline = now.instant + FAREWELL;
            }
        }
    }

    fn ready(&self) -> bool {
        self.state != State::Over && self.inbound.waiting() < WINDOW && !self.enabling
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_transmit(&mut self) -> Option<Frame> {
        if let Some(frame) = self.speaker.poll() {
            return Some(frame);
        }
        // Asked for behind the last of a burst, not after each of it.
        if self.acking
            && self.speaker.is_open()
            && let Some(request) = self.outbound.request()
        {
            self.speaker.say(&request);
        }
        self.speaker.poll()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (self.state != State::Over).then_some(self.deadline)
    }

    fn timeout(&mut self, now: Now) {
        if self.deadline > now.instant {
            return;
        }
        match self.state {
            State::Over => {}
            State::Farewell => self.end(None),
            State::Stanzas => {
                // XEP-0198 §7 where it is in use, else XEP-0199: both must be answered.
                if self.acking {
                    let request = self.outbound.probe();
                    self.speaker.say(&request);
                } else {
                    self.speaker.say_bytes(self.ping().to_bytes(None));
                }
                self.state = State::SignOfLife;
                self.deadline = now.instant + self.settings.sign_of_life;
            }
            State::SignOfLife => self.fail(StreamError::new(
                StreamCondition::ConnectionTimeout,
                "no sign of life from you",
            )),
        }
    }
}
