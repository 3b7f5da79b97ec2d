//! We go to a peer: TLS, its certificate judged for the domain we mean, EXTERNAL with our own,
//! acknowledgements where it offers them, then stanzas. What the peer has for us comes on the same
//! stream where it knows how (XEP-0288), else on one of its own (RFC 6120 §10.3).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use comity_net::tls::verdict::Unproven;
use comity_xmpp::element::Element;
use comity_xmpp::error::{StreamCondition, StreamError};
use comity_xmpp::machine::{Frame, Machine, Now};
use comity_xmpp::ns;
use comity_xmpp::sasl::{self, Failure};
use comity_xmpp::speaker::Speaker;
use comity_xmpp::stanza::Stanza;
use comity_xmpp::stream::{Features, Header};
use comity_xmpp::xml;

use crate::certificate::Proof;
use crate::dialback::{self, Query, Secret, Verdict};
use crate::incoming::Domains;
use crate::receiving::{self, Receiving};
use crate::sending::Sending;
use crate::words::{self, BACKLOG, FAREWELL};

mod bidi;

/// What is given at the start, since the machine has no configuration.
#[derive(Clone)]
pub struct Settings {
    /// The domain we speak as, and the one we mean.
    pub ours: String,
    pub theirs: String,
    /// The name of our queue: with peers that keep count of it.
    pub queue: Option<String>,
    /// To prove ourselves where our certificate is not wanted or not believed.
    pub dialback: Option<Secret>,
    /// We have come only to ask about this key.
    pub verify: Option<Query>,
    /// The peer may send on this stream too (XEP-0288), to these domains.
    pub bidi: Option<Domains>,
    pub negotiation: Duration,
}

/// Something to be delivered, remembered until it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Parcel {
    /// A row of the outbox.
    Row(i64),
    /// A stanza that nobody else remembers.
    Volatile(Box<Stanza>),
}

/// How one proves to a peer who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// With a certificate (XEP-0178).
    External,
    /// XEP-0220.
    Dialback,
}

impl Way {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::External => "EXTERNAL",
            Self::Dialback => "dialback",
        }
    }
}

/// The ways there were on a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// The one that led to the end.
    pub taken: Option<Way>,
    /// The peer takes dialback.
    pub dialback: bool,
}

/// Why a stream is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Over {
    #[error("it was closed in good order")]
    Orderly,
    #[error("{0} offers no TLS")]
    NoTls(String),
    #[error("the certificate of {domain}: {why}")]
    Unproven { domain: String, why: Unproven },
    #[error("{0} does not offer EXTERNAL: perhaps it does not believe our certificate")]
    NoExternal(String),
    #[error("{domain} does not believe our certificate: {failure}")]
    Refused { domain: String, failure: Failure },
    #[error("{domain} does not believe our key: {why:?}")]
    Dialback { domain: String, why: Verdict },
    #[error("a stream error, {0}")]
    Stream(StreamError),
}

#[derive(Debug, PartialEq)]
pub enum Event {
    /// `<proceed/>` has come: discard what was read, start TLS.
    StartTls,
    /// A new stream begins: the framing expects a header.
    Restart,
    /// Stanzas may be sent.
    Ready,
    /// The peer has these: acknowledged, or without acknowledgements, written.
    Delivered(Vec<Parcel>),
    /// The answer to [`Settings::verify`].
    Verdict(Verdict),
    /// A stanza of the peer's, with its number in the peer's queue where it has one.
    Stanza(Stanza, Option<i64>),
    /// The peer opens a queue of this name: how far do we hold it?
    Opened(String),
    /// An error for the peer.
    Answer(Stanza),
    Closed(Over),
}

pub enum Command {
    /// TLS is up, and this is what the peer has shown.
    TlsStarted(Box<dyn Proof>),
    Send(Parcel, Bytes),
    /// The oldest stanza of the peer's that was not yet committed now is.
    Committed,
    /// So far we hold the queue that the peer has opened.
    Held(i64),
    /// All that was transmitted so far has been written.
    Flushed,
    Close(Option<StreamError>),
}

pub struct Outgoing {
    settings: Settings,
    speaker: Speaker,
    state: State,
    secured: bool,
    authenticated: bool,
    header: Header,
    features: Features,
    sending: Sending,
    /// What comes from the peer, where we have asked for it.
    receiving: Option<Receiving>,
    /// Of that, what came before we were ready.
    early: VecDeque<Event>,
    ways: Ways,
    /// For the negotiation, and after our close.
    deadline: Option<Instant>,
    events: VecDeque<Event>,
}

/// Named for what is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Features,
    Proceed,
    Tls,
    Success,
    /// What is said of the key that we have shown.
    Dialback,
    /// What is said of the key that we have asked about.
    Verdict,
    Held,
    Enabled,
    Stanzas,
    Farewell,
    Over,
}

impl Outgoing {
    /// `proof` where TLS came first (XEP-0368).
    #[must_use]
    pub fn new(settings: Settings, proof: Option<Box<dyn Proof>>, now: Now) -> Self {
        let mut this = Self {
            deadline: Some(now.instant + settings.negotiation),
            settings,
            speaker: Speaker::new(ns::SERVER),
            state: State::Header,
            secured: false,
            authenticated: false,
            header: Header::default(),
            features: Features::default(),
            sending: Sending::default(),
            receiving: None,
            early: VecDeque::new(),
            ways: Ways::default(),
            events: VecDeque::new(),
        };
        match proof {
            Some(proof) => this.secured_by(&*proof, now),
            None => this.open(),
        }
        this
    }

    /// What was sent and has not been acknowledged, oldest first.
    #[must_use]
    pub fn into_unacked(self) -> Vec<Parcel> {
        self.sending.into_unacked()
    }

    /// Up to where the peer holds our queue; None where it keeps no count of it.
    #[must_use]
    pub fn held(&self) -> Option<i64> {
        self.sending.held()
    }

    /// Does what the peer has for us come on this stream?
    #[must_use]
    pub fn is_bidi(&self) -> bool {
        self.receiving.is_some()
    }

    /// Does the peer learn what we have committed?
    #[must_use]
    pub fn is_acking(&self) -> bool {
        self.receiving.as_ref().is_some_and(Receiving::is_acking)
    }

    /// How we could prove ourselves there, and have.
    #[must_use]
    pub fn ways(&self) -> Ways {
        self.ways
    }

    fn open(&mut self) {
        let header = words::header(&self.settings.ours, Some(&self.settings.theirs), None);
        self.speaker.open(header);
        self.state = State::Header;
    }

    /// RFC 6120 §13.7.2: whoever cannot prove to be the domain gets nothing that is meant for it.
    fn secured_by(&mut self, proof: &dyn Proof, now: Now) {
        let Settings { ours, theirs, .. } = &self.settings;
        if let Err(why) = proof.speaks_for(ours, theirs, now.wall) {
            let domain = self.settings.theirs.clone();
            return self.end(Over::Unproven { domain, why });
        }
        self.secured = true;
        self.open();
    }

    fn element(&mut self, bytes: &Bytes, now: Now) -> Result<(), StreamError> {
        if self.takes_stanzas() && words::looks_like_stanza(bytes) {
            return self.stanza(bytes);
        }
        let element = xml::parse(bytes, &self.header)?;
        if let Some(error) = StreamError::from_element(&element) {
            self.end(Over::Stream(error));
            return Ok(());
        }
        match (self.state, element.ns.as_str(), element.name.as_str()) {
            (State::Features, ..) => {
                let features = Features::from_element(&element).ok_or_else(|| {
                    unexpected(&element, "the features of the stream were expected")
                })?;
                self.features = features;
                self.offered();
            }
            (State::Proceed, ns::TLS, "proceed") => {
                self.state = State::Tls;
                self.speaker.restart();
                self.events.push_back(Event::StartTls);
            }
            (State::Proceed, ns::TLS, "failure") => {
                self.end(Over::NoTls(self.settings.theirs.clone()));
            }
            (State::Success, ns::SASL, "success") => {
                self.authenticated = true;
                self.ways.taken = Some(Way::External);
                self.speaker.restart();
                self.events.push_back(Event::Restart);
                self.open();
            }
            (State::Success, ns::SASL, "challenge") => {
                // XEP-0178 §3, example 16: an empty challenge asks for what was said already.
                let response = Element::new(ns::SASL, "response");
                self.speaker.say(&response.with_text(self.identity()));
            }
            (State::Success, ns::SASL, "failure") => {
                let failure = Failure::from_element(&element)
                    .ok_or_else(|| unexpected(&element, "a failure without a reason is none"))?;
                if self.show_key() {
                    return Ok(());
                }
                let domain = self.settings.theirs.clone();
                self.end(Over::Refused { domain, failure });
            }
            (State::Dialback, ns::DIALBACK, "result")
            | (State::Verdict, ns::DIALBACK, "verify") => self.answered(&element),
            (_, ns::DIALBACK, _) if self.secured => self.not_asked(&element),
            (State::Held, ns::QUEUE, "held") => {
                self.sending.open(receiving::held_up_to(&element)?);
                self.enable();
            }
            (State::Enabled, ns::SM, "enabled") => self.count(),
            (_, ns::QUEUE, _) if self.is_bidi() => self.opened(&element)?,
            (_, ns::SERVER, "message" | "presence" | "iq") if self.takes_stanzas() => {
                return self.stanza(bytes);
            }
            // Acknowledgements are a comfort; a peer that fails to count still takes stanzas.
            (State::Enabled, ns::SM, "failed") => self.begin(),
            (State::Stanzas | State::Farewell, ns::SM, _) => self.management(&element, now)?,
            _ => {
                return Err(unexpected(
                    &element,
                    "what you have for us comes on your own stream",
                ));
            }
        }
        Ok(())
    }

    fn offered(&mut self) {
        if !self.secured {
            if self.features.starttls.is_none() {
                return self.end(Over::NoTls(self.settings.theirs.clone()));
            }
            self.speaker.say(&Element::new(ns::TLS, "starttls"));
            self.state = State::Proceed;
        } else if let Some(query) = &self.settings.verify {
            let id = Some(query.id.as_str());
            let asked = dialback::shown("verify", &query.ours, &query.theirs, id, &query.key);
            self.speaker.say_bytes(dialback::written(&asked));
            self.state = State::Verdict;
        } else if !self.authenticated {
            self.ask_for_both();
            self.authenticate();
        } else {
            self.manage();
        }
    }

    fn authenticate(&mut self) {
        self.ways.dialback = self.features.dialback;
        if self
            .features
            .mechanisms
            .iter()
            .any(|name| name == "EXTERNAL")
        {
            let auth = Element::new(ns::SASL, "auth")
                .with_attr("mechanism", "EXTERNAL")
                .with_text(self.identity());
            self.speaker.say(&auth);
            self.state = State::Success;
        } else if !self.show_key() {
            self.end(Over::NoExternal(self.settings.theirs.clone()));
        }
    }

    /// Proves us by dialback, where the peer takes that and we do.
    fn show_key(&mut self) -> bool {
        let (Some(secret), Some(id)) = (&self.settings.dialback, &self.header.id) else {
            return false;
        };
        if !self.features.dialback {
            return false;
        }
        let (ours, theirs) = (&self.settings.ours, &self.settings.theirs);
        let key = secret.key(theirs, ours, id);
        self.speaker.say_bytes(dialback::written(&dialback::shown(
            "result", ours, theirs, None, &key,
        )));
        self.state = State::Dialback;
        true
    }

    /// A verdict on the key that we have shown, or asked about.
    fn answered(&mut self, element: &Element) {
        let Some(verdict) = Verdict::read(element) else {
            return;
        };
        let ours = (self.settings.theirs.clone(), self.settings.ours.clone());
        if dialback::pair(element) != Some(ours) {
            // Of another pair: nobody has asked.
            return;
        }
        match (&self.settings.verify, verdict) {
            (Some(query), verdict) if element.attr("id") == Some(query.id.as_str()) => {
                self.events.push_back(Event::Verdict(verdict));
            }
            (Some(_), _) => {}
            (None, Verdict::Valid) => {
                self.authenticated = true;
                self.ways.taken = Some(Way::Dialback);
                self.manage();
            }
            (None, why) => {
                let domain = self.settings.theirs.clone();
                self.end(Over::Dialback { domain, why });
            }
        }
    }

    fn manage(&mut self) {
        if !self.features.stream_management {
            return self.begin();
        }
        let counts = |feature: &Element| feature.is(ns::QUEUE, "queue");
        match &self.settings.queue {
            Some(queue) if self.features.others.iter().any(counts) => {
                let open = Element::new(ns::QUEUE, "open").with_attr("queue", queue);
                self.speaker.say(&open);
                self.state = State::Held;
            }
            _ => self.enable(),
        }
    }

    fn enable(&mut self) {
        self.speaker.say(&Element::new(ns::SM, "enable"));
        self.state = State::Enabled;
    }

    fn identity(&self) -> String {
        sasl::encode(self.settings.ours.as_bytes())
    }

    /// XEP-0198 §3: in both directions, where there are two.
    fn count(&mut self) {
        self.sending.begin();
        if let Some(receiving) = &mut self.receiving {
            receiving.begin();
        }
        self.begin();
    }

    fn begin(&mut self) {
        self.state = State::Stanzas;
        self.deadline = None;
        self.events.push_back(Event::Ready);
        self.events.append(&mut self.early);
    }

    fn management(&mut self, element: &Element, now: Now) -> Result<(), StreamError> {
        match element.name.as_str() {
            "a" if self.sending.is_acking() => {
                let h = receiving::count(element)?;
                let delivered = self.sending.acknowledged(h, now.instant)?;
                if !delivered.is_empty() {
                    self.events.push_back(Event::Delivered(delivered));
                }
            }
            "r" => self.asked(),
            _ => return Err(unexpected(element, "it has no meaning here")),
        }
        Ok(())
    }

    fn flushed(&mut self) {
        let delivered = self.sending.flushed(&self.speaker);
        if !delivered.is_empty() {
            self.events.push_back(Event::Delivered(delivered));
        }
    }

    fn fail(&mut self, error: StreamError) {
        self.last_count();
        let ours = self.settings.ours.clone();
        self.speaker
            .fail(&error, || words::header(&ours, None, None));
        self.end(Over::Stream(error));
    }

    fn end(&mut self, over: Over) {
        self.speaker.close();
        self.state = State::Over;
        self.deadline = None;
        self.events.push_back(Event::Closed(over));
    }
}

fn unexpected(element: &Element, why: &str) -> StreamError {
    StreamError::new(
        StreamCondition::PolicyViolation,
        format!("<{}/> was not expected here: {why}", element.name),
    )
}

impl Machine for Outgoing {
    type Command = Command;
    type Event = Event;

    fn receive(&mut self, frame: Frame, now: Now) {
        let outcome = match (frame, self.state) {
            (_, State::Over) => Ok(()),
            (Frame::Close, _) => return self.end(Over::Orderly),
            (Frame::Fault(error), _) => Err(error),
            (Frame::Open(header), State::Header) => words::check(&header).map(|()| {
                self.header = header;
                self.state = State::Features;
            }),
            (Frame::Open(_), _) => Err(StreamError::new(
                StreamCondition::PolicyViolation,
                "a second stream header was not expected here",
            )),
            (Frame::Element(bytes), State::Farewell) if words::looks_like_stanza(&bytes) => {
                self.late(&bytes)
            }
            (Frame::Element(bytes), _) => self.element(&bytes, now),
        };
        if let Err(error) = outcome {
            self.fail(error);
        }
    }

    fn command(&mut self, command: Command, now: Now) {
        match command {
            Command::TlsStarted(proof) if self.state == State::Tls => {
                self.secured_by(&*proof, now);
            }
            Command::TlsStarted(_) => {}
            Command::Send(parcel, bytes) => {
                let instant = now.instant;
                self.sending.send(parcel, bytes, &mut self.speaker, instant);
            }
            Command::Committed => self.committed(),
            Command::Held(number) => self.hold(number),
            Command::Flushed if self.state == State::Stanzas => self.flushed(),
            Command::Flushed => {}
            Command::Close(_) if matches!(self.state, State::Over | State::Farewell) => {}
            Command::Close(Some(error)) => self.fail(error),
            Command::Close(None) => {
                self.last_count();
                self.speaker.close();
                self.state = State::Farewell;
                self.deadline = Some(now.instant + FAREWELL);
            }
        }
    }

    fn ready(&self) -> bool {
        !matches!(self.state, State::Tls | State::Over) && self.has_room()
    }

    fn hears_while_congested(&self) -> bool {
        self.is_bidi() && self.speaker.waiting() < BACKLOG
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_transmit(&mut self) -> Option<Frame> {
        if let Some(frame) = self.speaker.poll() {
            return Some(frame);
        }
        // Asked for behind the last of a burst, not after each of it.
        if self.speaker.is_open()
            && let Some(request) = self.sending.request()
        {
            self.speaker.say(&request);
        }
        self.speaker.poll()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Stanzas => self.sending.deadline(),
            _ => self.deadline,
        }
    }

    fn timeout(&mut self, now: Now) {
        if self.poll_timeout().is_none_or(|at| at > now.instant) {
            return;
        }
        match self.state {
            State::Over => {}
            State::Farewell => self.end(Over::Orderly),
            State::Stanzas => self.fail(StreamError::new(
                StreamCondition::ConnectionTimeout,
                "you have acknowledged nothing for too long",
            )),
            _ => self.fail(StreamError::new(
                StreamCondition::ConnectionTimeout,
                "the negotiation has taken too long",
            )),
        }
    }
}
