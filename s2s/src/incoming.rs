//! A peer comes to us: TLS, then EXTERNAL by the certificate it has shown (or dialback, where that
//! is allowed), then stanzas, each of which must come from a domain that was proved and go to one
//! of ours. Where the peer asks for it and its certificate proves it, what we have for it goes back
//! on the same stream (XEP-0288); else the stream is unidirectional (RFC 6120 §10.3), and nothing
//! but the stream's own words goes back on it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use comity_net::tls::verdict::Unproven;
use comity_xmpp::ack;
use comity_xmpp::element::Element;
use comity_xmpp::error::{StreamCondition, StreamError};
use comity_xmpp::jid::Jid;
use comity_xmpp::machine::{Frame, Machine, Now};
use comity_xmpp::ns;
use comity_xmpp::sasl::{self, Condition, Failure};
use comity_xmpp::speaker::Speaker;
use comity_xmpp::stanza::Stanza;
use comity_xmpp::stream::{Features, Header};
use comity_xmpp::xml;

use crate::certificate::Proof;
use crate::dialback::{Query, Secret, Verdict};
use crate::outgoing::Parcel;
use crate::receiving::{Heard, Receiving};
use crate::words::{self, BACKLOG, FAREWELL};

mod bidi;
mod dialback;

/// Stanzas read while earlier ones are being committed.
pub const WINDOW: usize = 64;
/// How often a peer may fail to authenticate on one connection.
const ATTEMPTS: u8 = 3;

type Judge = Arc<dyn Fn(&str) -> bool + Send + Sync>;
/// Of one of our domains and another.
type PairJudge = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// What a stream may be for.
#[derive(Clone)]
pub struct Domains {
    /// Is this domain ours?
    pub serves: Judge,
    /// May there be streams between the two?
    pub federates: PairJudge,
    /// Is there dialback between the two, where a certificate is missing?
    pub dials_back: PairJudge,
}

/// What is given at the start, since the machine has neither configuration nor randomness.
pub struct Settings {
    pub domains: Domains,
    /// Identifiers nobody can guess: one for each stream header (RFC 6120 §4.7.3).
    pub ids: [String; 3],
    /// None: no peer proves itself by dialback, nor do we, whatever `domains` says.
    pub dialback: Option<Secret>,
    /// May peers have what we have for them on their streams (XEP-0288)?
    pub bidi: bool,
    pub negotiation: Duration,
    pub idle: Duration,
}

#[derive(Debug, PartialEq)]
pub enum Event {
    /// `<proceed/>` is said: flush, discard what was read, start TLS.
    StartTls,
    /// A new stream begins: the framing expects a header.
    Restart,
    /// The peer has proved to be this domain.
    Trusted(String),
    /// A stanza, with its number in the peer's queue where it has one.
    Stanza(Stanza, Option<i64>),
    /// The peer opens a queue of this name: how far do we hold it?
    Opened(String),
    /// An error for the peer, to be sent on a stream of ours.
    Answer(Stanza),
    /// A key was shown: what does the server of the domain say of it?
    Verify(Query),
    /// After [`Command::Begin`]: what we have for the peer may be sent.
    Ready,
    /// The peer has these: acknowledged, or without acknowledgements, written.
    Delivered(Vec<Parcel>),
    /// The stream is over. Flush and leave. `Some`: because of this error, ours or theirs.
    Closed(Option<StreamError>),
}

pub enum Command {
    /// TLS is up, and this is what the peer has shown.
    TlsStarted(Box<dyn Proof>),
    /// The oldest stanza not yet committed now is.
    Committed,
    /// So far we hold the queue that the peer has opened.
    Held(i64),
    /// What has come of a key.
    Verified(Query, Verdict),
    /// We have something for the peer of a stream that [is bidirectional](Incoming::is_bidi); this
    /// is the name of our queue.
    Begin(Option<String>),
    Send(Parcel, Bytes),
    /// All that was transmitted so far has been written.
    Flushed,
    /// End the stream: orderly, or with an error.
    Close(Option<StreamError>),
}

pub struct Incoming {
    settings: Settings,
    ids: std::vec::IntoIter<String>,
    speaker: Speaker,
    state: State,
    proof: Option<Box<dyn Proof>>,
    /// Which of our domains the peer asked for, and who it says it is.
    ours: String,
    claimed: String,
    header: Header,
    attempts: u8,
    /// Why the certificate does not prove the domain.
    unproven: Option<Unproven>,
    /// The id of our latest header: what dialback keys are made for.
    id: String,
    /// Keys that are being verified.
    verifying: Vec<Query>,
    receiving: Receiving,
    /// The other direction, where the peer has asked for it.
    back: Option<bidi::Back>,
    deadline: Option<Instant>,
    events: VecDeque<Event>,
}

/// Named for what is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    StartTls,
    Tls,
    Auth,
    /// The answer to our empty challenge (RFC 6120 §6.4.3).
    AuthResponse,
    HeaderOfTrusted,
    Stanzas,
    Farewell,
    Over,
}

impl Incoming {
    /// `proof` where TLS came first (XEP-0368).
    #[must_use]
    pub fn new(settings: Settings, proof: Option<Box<dyn Proof>>, now: Now) -> Self {
        let ids = settings.ids.clone().to_vec().into_iter();
        let deadline = Some(now.instant + settings.negotiation);
        let receiving = Receiving::new(settings.domains.clone(), "", "");
        Self {
            settings,
            ids,
            speaker: Speaker::new(ns::SERVER),
            state: State::Header,
            proof,
            ours: String::new(),
            claimed: String::new(),
            header: Header::default(),
            attempts: 0,
            unproven: None,
            id: String::new(),
            verifying: Vec::new(),
            receiving,
            back: None,
            deadline,
            events: VecDeque::new(),
        }
    }

    /// Does the peer learn what is committed?
    #[must_use]
    pub fn is_acking(&self) -> bool {
        self.receiving.is_acking()
    }

    /// Which of our domains the peer has come for.
    #[must_use]
    pub fn ours(&self) -> &str {
        &self.ours
    }

    /// The domain the peer has proved to be.
    #[must_use]
    pub fn trusted(&self) -> Option<&str> {
        matches!(self.state, State::Stanzas).then_some(&*self.claimed)
    }

    /// Does what we have for the peer go on this stream?
    #[must_use]
    pub fn is_bidi(&self) -> bool {
        self.back.is_some()
    }

    /// Up to where the peer holds our queue; None where it keeps no count of it.
    #[must_use]
    pub fn held(&self) -> Option<i64> {
        self.back.as_ref().and_then(bidi::Back::held)
    }

    /// What was sent and has not been acknowledged, oldest first.
    #[must_use]
    pub fn into_unacked(self) -> Vec<Parcel> {
        self.back.map_or_else(Vec::new, bidi::Back::into_unacked)
    }

    fn open(&mut self, header: Header, now: Now) -> Result<(), StreamError> {
        let trusted = match self.state {
            State::Header => false,
            State::HeaderOfTrusted => true,
            _ => return Err(unexpected("a second stream header")),
        };
        words::check(&header)?;
        self.address(&header, trusted)?;
        let id = self.ids.next();
        self.id = id.clone().unwrap_or_default();
        let answer = words::header(&self.ours, Some(&self.claimed), id);
        self.speaker.open(answer);
        self.header = header;
        if trusted {
            self.begin(now);
            return Ok(());
        }
        self.offer(now)
    }

    /// Is there dialback for the two that the stream is for?
    fn dials_back(&self) -> bool {
        let (ours, claimed) = (&self.ours, &self.claimed);
        self.settings.dialback.is_some() && (self.settings.domains.dials_back)(ours, claimed)
    }

    /// The peer is who it says: stanzas may come.
    fn begin(&mut self, now: Now) {
        self.speaker.say(
            &Features {
                stream_management: true,
                dialback: self.dials_back(),
                others: vec![Element::new(ns::QUEUE, "queue")],
                ..Features::default()
            }
            .to_element(),
        );
        self.trust(now);
    }

    fn trust(&mut self, now: Now) {
        self.state = State::Stanzas;
        self.deadline = Some(now.instant + self.settings.idle);
        if let Some(back) = &mut self.back {
            back.trusted(now.instant);
        }
        let domains = self.settings.domains.clone();
        self.receiving = Receiving::new(domains, &self.ours, &self.claimed);
        self.events.push_back(Event::Trusted(self.claimed.clone()));
    }

    /// Who is asked for, and by whom (RFC 6120 §4.7.1, §4.7.2).
    fn address(&mut self, header: &Header, trusted: bool) -> Result<(), StreamError> {
        let to = header.to.as_ref().and_then(words::domain);
        let Some(to) = to.filter(|to| (self.settings.domains.serves)(to)) else {
            return Err(StreamError::new(
                StreamCondition::HostUnknown,
                match to {
                    Some(to) => format!("{to} is not served here"),
                    None => "say with 'to' which domain you want".to_owned(),
                },
            ));
        };
        let Some(from) = header.from.as_ref().and_then(words::domain) else {
            return Err(StreamError::new(
                StreamCondition::ImproperAddressing,
                "say with 'from' which domain you are",
            ));
        };
        if trusted && from != self.claimed {
            return Err(StreamError::new(
                StreamCondition::InvalidFrom,
                format!("you have authenticated as {}, not as {from}", self.claimed),
            ));
        }
        if !(self.settings.domains.federates)(to, from) || (self.settings.domains.serves)(from) {
            return Err(StreamError::new(
                StreamCondition::PolicyViolation,
                format!("{to} has no streams with {from}"),
            ));
        }
        to.clone_into(&mut self.ours);
        from.clone_into(&mut self.claimed);
        Ok(())
    }

    /// TLS first; then EXTERNAL, where the certificate speaks for the domain.
    fn offer(&mut self, now: Now) -> Result<(), StreamError> {
        let mut features = Features::default();
        let dialback = self.dials_back();
        match &self.proof {
            None => {
                features.starttls = Some(true);
                self.state = State::StartTls;
            }
            Some(proof) => {
                features.dialback = dialback;
                if features.dialback {
                    // No features follow on dialback: what the stream can once it is trusted is
                    // said here.
                    features.stream_management = true;
                    features.others.push(Element::new(ns::QUEUE, "queue"));
                }
                match proof.speaks_for(&self.ours, &self.claimed, now.wall) {
                    Ok(()) => {
                        features.mechanisms = vec!["EXTERNAL".to_owned()];
                        features.others.extend(self.bidi_feature());
                    }
                    Err(why) if !features.dialback => {
                        return Err(unproven(&self.claimed, &why));
                    }
                    // It may have come only to ask about a key of ours.
                    Err(why) => self.unproven = Some(why),
                }
                self.state = State::Auth;
            }
        }
        self.speaker.say(&features.to_element());
        Ok(())
    }

    fn element(&mut self, bytes: &Bytes, now: Now) -> Result<(), StreamError> {
        if self.state == State::Stanzas {
            self.deadline = Some(now.instant + self.settings.idle);
            if words::looks_like_stanza(bytes) {
                return self.stanza(bytes, now);
            }
        }
        let element = xml::parse(bytes, &self.header)?;
        match (self.state, element.ns.as_str(), element.name.as_str()) {
            (_, ns::STREAM, "error") => {
                self.end(StreamError::from_element(&element), now);
                Ok(())
            }
            (State::StartTls, ns::TLS, "starttls") => {
                self.speaker.say(&Element::new(ns::TLS, "proceed"));
                self.speaker.restart();
                self.state = State::Tls;
                self.events.push_back(Event::StartTls);
                Ok(())
            }
            (State::Auth | State::AuthResponse | State::Stanzas, ns::DIALBACK, _)
                if self.settings.dialback.is_some() =>
            {
                self.dialback(&element, now)
            }
            (State::Auth, ns::BIDI, "bidi") if self.settings.bidi && self.unproven.is_none() => {
                self.back.get_or_insert_default();
                Ok(())
            }
            (State::Auth, ns::SASL, "auth") => match &self.unproven {
                Some(why) => Err(unproven(&self.claimed, why)),
                None => self.auth(&element),
            },
            (State::AuthResponse, ns::SASL, "response") => self.external(&element.text()),
            (State::Auth | State::AuthResponse, ns::SASL, "abort") => {
                self.refuse(&Failure::new(Condition::Aborted))
            }
            (State::Stanzas, ns::SM, _) => self.management(&element, now),
            (State::Stanzas, ns::QUEUE, "held") => self.opened(&element),
            (State::Stanzas, ns::QUEUE, _) => {
                let opened = self.receiving.queue(&element)?;
                self.events.extend(opened.map(Event::Opened));
                Ok(())
            }
            (State::Stanzas, ns::SERVER, "message" | "presence" | "iq") => self.stanza(bytes, now),
            (State::StartTls, ..) => Err(StreamError::new(
                StreamCondition::PolicyViolation,
                "start TLS before anything else",
            )),
            (State::Auth | State::AuthResponse, ..) => Err(StreamError::new(
                StreamCondition::NotAuthorized,
                "authenticate before anything else",
            )),
            _ => Err(StreamError::new(
                StreamCondition::UnsupportedStanzaType,
                format!("nobody here understands <{}/>", element.name),
            )),
        }
    }

    fn auth(&mut self, auth: &Element) -> Result<(), StreamError> {
        if auth.attr("mechanism") != Some("EXTERNAL") {
            let failure = Failure::new(Condition::InvalidMechanism);
            return self.refuse(&failure.with_text("only EXTERNAL is offered"));
        }
        let initial = auth.text();
        if initial.trim().is_empty() {
            // RFC 6120 §6.4.2: no initial response, so it is asked for with an empty challenge.
            self.speaker.say(&Element::new(ns::SASL, "challenge"));
            self.state = State::AuthResponse;
            return Ok(());
        }
        self.external(&initial)
    }

    /// XEP-0178 §3: the authorization identity is the domain, or empty for the one in `from`.
    fn external(&mut self, response: &str) -> Result<(), StreamError> {
        let identity =
            sasl::decode(response.trim()).and_then(|message| sasl::external_authzid(&message));
        let identity = match identity {
            Ok(identity) => identity,
            Err(failure) => return self.refuse(&failure),
        };
        if let Some(identity) = identity {
            let same = Jid::parse(&identity)
                .is_ok_and(|jid| words::domain(&jid) == Some(self.claimed.as_str()));
            if !same {
                let text = "authorize as the domain in 'from' of your stream header";
                return self.refuse(&Failure::new(Condition::InvalidAuthzid).with_text(text));
            }
        }
        self.speaker.say(&Element::new(ns::SASL, "success"));
        self.speaker.restart();
        self.state = State::HeaderOfTrusted;
        self.events.push_back(Event::Restart);
        Ok(())
    }

    fn refuse(&mut self, failure: &Failure) -> Result<(), StreamError> {
        self.attempts += 1;
        self.state = State::Auth;
        self.speaker.say(&failure.to_element());
        if self.attempts < ATTEMPTS {
            return Ok(());
        }
        // RFC 6120 §6.4.5.
        Err(StreamError::new(
            StreamCondition::PolicyViolation,
            "too many failures to authenticate",
        ))
    }

    fn stanza(&mut self, bytes: &Bytes, now: Now) -> Result<(), StreamError> {
        // A certificate proves its domain to all of ours that believe it.
        let (proof, domains) = (&self.proof, &self.settings.domains);
        let proves = |theirs: &str, ours: &str| {
            let proof = proof.as_ref();
            (domains.federates)(ours, theirs)
                && proof.is_some_and(|proof| proof.speaks_for(ours, theirs, now.wall).is_ok())
        };
        match self.receiving.stanza(bytes, &self.header, &proves)? {
            Heard::Stanza(stanza, number) => {
                self.events.push_back(Event::Stanza(stanza, number));
            }
            Heard::Answer(error) => self.events.push_back(Event::Answer(error)),
            Heard::Nothing => {}
        }
        Ok(())
    }

    /// After our own close the peer may still be saying what it had begun to say. A peer that
    /// counts acknowledgements will say it again elsewhere; another believes that it was heard.
    fn late(&mut self, bytes: &Bytes, now: Now) -> Result<(), StreamError> {
        if words::looks_like_stanza(bytes) {
            return match self.receiving.is_acking() {
                true => Ok(()),
                false => self.stanza(bytes, now),
            };
        }
        let element = xml::parse(bytes, &self.header)?;
        if self.receiving.is_acking() && element.is(ns::SM, "a") {
            self.acknowledged(&element, now.instant)?;
        }
        Ok(())
    }

    fn management(&mut self, element: &Element, now: Now) -> Result<(), StreamError> {
        let acking = self.receiving.is_acking();
        let answer = match element.name.as_str() {
            "enable" if !acking && self.may_count() => {
                self.receiving.begin();
                self.speaker.say(&Element::new(ns::SM, "enabled"));
                self.counted(now.instant);
                None
            }
            "enable" => Some(ack::failed("unexpected-request")),
            "resume" => Some(ack::failed("item-not-found")),
            "r" if acking => self.receiving.asked(),
            "a" if acking => {
                self.acknowledged(element, now.instant)?;
                None
            }
            _ => return Err(unexpected("stream management that was not enabled")),
        };
        self.say(answer);
        Ok(())
    }

    fn say(&mut self, answer: Option<Element>) {
        if let Some(answer) = answer {
            self.speaker.say(&answer);
        }
    }

    fn fail(&mut self, error: StreamError, now: Now) {
        self.last_count();
        let id = self.ids.next();
        let ours = self.ours.clone();
        self.speaker.fail(&error, || words::header(&ours, None, id));
        self.end(Some(error), now);
    }

    /// What is committed by now is said before the end, so that it need not come again.
    fn last_count(&mut self) {
        if self.state == State::Stanzas {
            self.say(self.receiving.last_count());
        }
    }

    /// Our side is done: the last words are queued and the driver may leave.
    fn end(&mut self, error: Option<StreamError>, _: Now) {
        self.speaker.close();
        self.state = State::Over;
        self.deadline = None;
        self.events.push_back(Event::Closed(error));
    }
}

/// RFC 6120 §13.7.2.3: the peer learns why, since its operator can mend it.
fn unproven(domain: &str, why: &Unproven) -> StreamError {
    StreamError::new(
        StreamCondition::NotAuthorized,
        format!("your certificate does not prove {domain}: {why}"),
    )
}

fn unexpected(what: &str) -> StreamError {
    StreamError::new(
        StreamCondition::PolicyViolation,
        format!("{what} was not expected here"),
    )
}

impl Machine for Incoming {
    type Command = Command;
    type Event = Event;

    fn receive(&mut self, frame: Frame, now: Now) {
        if self.state == State::Over {
            return;
        }
        let outcome = match frame {
            Frame::Close => return self.end(None, now),
            Frame::Fault(error) => Err(error),
            Frame::Element(bytes) if self.state == State::Farewell => self.late(&bytes, now),
            Frame::Element(bytes) => self.element(&bytes, now),
            Frame::Open(header) => self.open(header, now),
        };
        if let Err(error) = outcome {
            self.fail(error, now);
        }
    }

    fn command(&mut self, command: Command, now: Now) {
        match command {
            Command::TlsStarted(proof) if self.state == State::Tls => {
                self.proof = Some(proof);
                self.state = State::Header;
            }
            Command::TlsStarted(_) => {}
            Command::Committed => {
                let answer = self.receiving.committed();
                self.say(answer);
            }
            Command::Verified(query, verdict) => self.verified(&query, verdict, now),
            Command::Held(number) => {
                let answer = self.receiving.held(number);
                self.say(answer);
            }
            Command::Begin(queue) => self.begin_back(queue, now.instant),
            Command::Send(parcel, bytes) => self.send(parcel, bytes, now.instant),
            Command::Flushed => self.flushed(),
            Command::Close(_) if matches!(self.state, State::Over | State::Farewell) => {}
            Command::Close(Some(error)) => self.fail(error, now),
            Command::Close(None) => {
                self.last_count();
                self.speaker.close();
                self.state = State::Farewell;
                self.deadline = Some(now.instant + FAREWELL);
            }
        }
    }

    fn ready(&self) -> bool {
        !matches!(self.state, State::Tls | State::Over)
            && !self.receiving.is_opening()
            && self.receiving.waiting() < WINDOW
    }

    fn hears_while_congested(&self) -> bool {
        self.back.is_some() && self.speaker.waiting() < BACKLOG
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
            && let Some(request) = self.back.as_mut().and_then(bidi::Back::request)
        {
            self.speaker.say(&request);
        }
        self.speaker.poll()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let back = self.back.as_ref().filter(|_| self.state == State::Stanzas);
        let back = back.and_then(bidi::Back::deadline);
        self.deadline.into_iter().chain(back).min()
    }

    fn timeout(&mut self, now: Now) {
        self.back_timeout(now);
        if self.deadline.is_none_or(|deadline| deadline > now.instant) {
            return;
        }
        match self.state {
            State::Over => {}
            State::Farewell => self.end(None, now),
            // Whoever has nothing to say comes back when it has: no error, only an end.
            State::Stanzas => self.command(Command::Close(None), now),
            _ => self.fail(
                StreamError::new(
                    StreamCondition::ConnectionTimeout,
                    "the negotiation has taken too long",
                ),
                now,
            ),
        }
    }
}
