//! XEP-0114: Jabber Component Protocol: a service of another program that has a domain of its own
//! and proves itself by a secret. For the server it is another domain: what is for it waits in the
//! outbox, and what it sends is taken in as from a peer. [`serve`] has the sockets.

pub mod serve;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use comity_xmpp::element::Element;
use comity_xmpp::error::{StreamCondition, StreamError};
use comity_xmpp::machine::{Frame, Machine, Now};
use comity_xmpp::ns;
use comity_xmpp::sasl::Hash;
use comity_xmpp::speaker::Speaker;
use comity_xmpp::stanza::{Stanza, TopLevel, Unacceptable};
use comity_xmpp::stream::Header;
use comity_xmpp::xml;

/// From connecting to a handshake that is right.
const NEGOTIATION: Duration = Duration::from_secs(30);

/// The secret of a domain, if it is one of a component.
pub type Secrets = Arc<dyn Fn(&str) -> Option<Arc<str>> + Send + Sync>;

#[derive(Debug)]
pub enum Event {
    /// The component has proved to be this domain.
    Opened(String),
    /// From an address of its domain.
    Stanza(Stanza),
    Closed(Option<StreamError>),
}

pub enum Command {
    /// A stanza as it is to be written.
    Deliver(Bytes),
    Close(StreamError),
}

/// A component's stream, from our side.
pub struct Component {
    secrets: Secrets,
    /// Nobody can guess it: the proof is made of it.
    id: String,
    speaker: Speaker,
    header: Header,
    state: State,
    deadline: Instant,
    events: VecDeque<Event>,
}

/// Named for what is awaited.
enum State {
    Header,
    Handshake { domain: String, proof: String },
    Stanzas { domain: String },
    Over,
}

impl Component {
    #[must_use]
    pub fn new(secrets: Secrets, id: String, now: Now) -> Self {
        Self {
            secrets,
            id,
            speaker: Speaker::new(ns::COMPONENT),
            header: Header::default(),
            state: State::Header,
            deadline: now.instant + NEGOTIATION,
            events: VecDeque::new(),
        }
    }

    /// Everything we say has been taken for the wire.
    #[must_use]
    pub fn all_said(&self) -> bool {
        self.speaker.waiting() == 0
    }

    fn answer(&self) -> Header {
        Header {
            id: Some(self.id.clone()),
            from: self.header.to.clone(),
            version: None,
            ..Header::of(ns::COMPONENT)
        }
    }

    /// XEP-0114 §3, examples 1 and 2.
    fn open(&mut self, header: Header) -> Result<(), StreamError> {
        if !matches!(self.state, State::Header) {
            let text = "a second stream header was not expected here";
            return Err(StreamError::new(StreamCondition::PolicyViolation, text));
        }
        if header.content_ns != ns::COMPONENT {
            let text = format!("a component's stream carries {}", ns::COMPONENT);
            return Err(StreamError::new(StreamCondition::InvalidNamespace, text));
        }
        let domain = header.to.as_ref().map(ToString::to_string);
        let secret = domain.as_deref().and_then(|domain| (self.secrets)(domain));
        let (Some(domain), Some(secret)) = (domain, secret) else {
            let text = "no component of that name is configured";
            return Err(StreamError::new(StreamCondition::HostUnknown, text));
        };
        self.header = header;
        self.speaker.open(self.answer());
        let digest = Hash::Sha1.digest(format!("{}{secret}", self.id).as_bytes());
        let proof = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.state = State::Handshake { domain, proof };
        Ok(())
    }

    fn element(&mut self, bytes: &Bytes) -> Result<(), StreamError> {
        match &self.state {
            State::Handshake { domain, proof } => {
                let element = xml::parse(bytes, &self.header)?;
                let shown = element.text();
                let right = element.is(ns::COMPONENT, "handshake")
                    && same(
                        shown.trim().to_ascii_lowercase().as_bytes(),
                        proof.as_bytes(),
                    );
                if !right {
                    let text = "the handshake does not prove the secret";
                    return Err(StreamError::new(StreamCondition::NotAuthorized, text));
                }
                let domain = domain.clone();
                self.speaker.say(&Element::new(ns::COMPONENT, "handshake"));
                self.events.push_back(Event::Opened(domain.clone()));
                self.state = State::Stanzas { domain };
                Ok(())
            }
            State::Stanzas { domain } => {
                let domain = domain.clone();
                self.stanza(&domain, bytes)
            }
            State::Header | State::Over => Ok(()),
        }
    }

    fn stanza(&mut self, domain: &str, bytes: &Bytes) -> Result<(), StreamError> {
        let stanza = match TopLevel::parse(bytes, &self.header) {
            Ok(TopLevel::Stanza(stanza)) => *stanza,
            Ok(TopLevel::Other(other)) => {
                if let Some(error) = StreamError::from_element(&other) {
                    self.end(Some(error));
                    return Ok(());
                }
                let text = format!("<{}/> is no stanza", other.name);
                return Err(StreamError::new(
                    StreamCondition::UnsupportedStanzaType,
                    text,
                ));
            }
            Err(Unacceptable::Stream(error)) => return Err(error),
            Err(Unacceptable::Stanza(refused)) => {
                addressed(&refused.stanza, refused.to_malformed, domain)?;
                if let Some(reply) = refused.reply() {
                    self.speaker.say_bytes(reply.to_bytes(None));
                }
                return Ok(());
            }
        };
        addressed(&stanza, false, domain)?;
        self.events.push_back(Event::Stanza(stanza));
        Ok(())
    }

    fn fail(&mut self, error: StreamError) {
        let header = self.answer();
        self.speaker.fail(&error, || header);
        self.end(Some(error));
    }

    fn end(&mut self, error: Option<StreamError>) {
        self.speaker.close();
        self.state = State::Over;
        self.events.push_back(Event::Closed(error));
    }
}

/// In constant time for a given length, which is public.
/// A component speaks for its own domain only, and says to whom: what it cannot write, too.
fn addressed(stanza: &Stanza, to_malformed: bool, domain: &str) -> Result<(), StreamError> {
    let from = stanza.from.as_ref();
    let Some(from) = from.filter(|_| to_malformed || stanza.to.is_some()) else {
        let text = "a component says from whom and to whom";
        return Err(StreamError::new(StreamCondition::ImproperAddressing, text));
    };
    if from.domain() != domain {
        let text = format!("{from} is not of {domain}");
        return Err(StreamError::new(StreamCondition::InvalidFrom, text));
    }
    Ok(())
}

fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && difference == 0
}

impl Machine for Component {
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
        match command {
            Command::Deliver(bytes) => self.speaker.say_bytes(bytes),
            Command::Close(_) if matches!(self.state, State::Over) => {}
            Command::Close(error) => self.fail(error),
        }
    }

    /// One stanza after the other: the next is read when this one is committed.
    fn ready(&self) -> bool {
        !matches!(self.state, State::Over) && self.events.is_empty()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_transmit(&mut self) -> Option<Frame> {
        self.speaker.poll()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let waits = matches!(self.state, State::Header | State::Handshake { .. });
        waits.then_some(self.deadline)
    }

    fn timeout(&mut self, now: Now) {
        if self.poll_timeout().is_some_and(|at| at <= now.instant) {
            let text = "the handshake has taken too long";
            self.fail(StreamError::new(StreamCondition::ConnectionTimeout, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use comity_xmpp::frame::Limits;
    use comity_xmpp::transcript::Transcript;

    use super::*;
    use crate::EARLY_LIMITS;

    const LIMITS: Limits = EARLY_LIMITS;
    const OPEN: &str = "C: <stream:stream xmlns='jabber:component:accept' \
         xmlns:stream='http://etherx.jabber.org/streams' to='irc.a.example'>";

    fn stage() -> Transcript<Component> {
        let secrets: Secrets =
            Arc::new(|domain| (domain == "irc.a.example").then(|| Arc::from("s3cret")));
        Transcript::new(LIMITS, |now| {
            Component::new(secrets, "3BF96D32".to_owned(), now)
        })
    }

    fn play(stage: &mut Transcript<Component>, script: &str) {
        stage.play(script, |text| {
            Command::Deliver(Bytes::from(text.to_owned()))
        });
    }

    /// `printf 3BF96D32s3cret | sha1sum`.
    fn opened() -> Transcript<Component> {
        let mut stage = stage();
        let script = format!(
            "{OPEN}
            S: <stream:stream xmlns='jabber:component:accept' *from='irc.a.example' id='3BF96D32'>
            C: <handshake>a984b871214a298f0f743fcd25f99b10838ba12b</handshake>
            S: <handshake/>
            E: Opened(\"irc.a.example\")"
        );
        play(&mut stage, &script);
        stage
    }

    #[test]
    fn a_component_proves_its_secret_and_speaks_for_its_domain() {
        let mut stage = opened();
        play(
            &mut stage,
            "C: <message from='x@irc.a.example' to='alice@a.example'><body>hi</body></message>
            E: Stanza(*
            !: <message from='alice@a.example/1' to='x@irc.a.example'><body>ho</body></message>
            S: <message from='alice@a.example/1' to='x@irc.a.example'><body>ho</body></message>",
        );
        play(
            &mut stage,
            "C: </stream:stream>\nS: </stream:stream>\nE: Closed(None)",
        );
    }

    #[test]
    fn whoever_cannot_prove_it_is_sent_away() {
        for (header, handshake, condition) in [
            (
                OPEN.to_owned(),
                "<handshake>beef</handshake>",
                "not-authorized",
            ),
            (OPEN.to_owned(), "<handshake/>", "not-authorized"),
            (
                OPEN.to_owned(),
                "<message to='a@a.example'/>",
                "not-authorized",
            ),
            (OPEN.replace("irc.", "other."), "", "host-unknown"),
            (
                OPEN.replace("component:accept", "client"),
                "",
                "invalid-namespace",
            ),
        ] {
            let mut stage = stage();
            let mut script = header;
            if !handshake.is_empty() {
                script += &format!("\nS: <stream:stream *\nC: {handshake}");
            } else {
                script += "\nS: <stream:stream *";
            }
            script +=
                &format!("\nS: <stream:error*<{condition} *\nS: </stream:stream>\nE: Closed(*");
            play(&mut stage, &script);
        }
    }

    #[test]
    fn what_is_not_its_own_ends_the_stream() {
        for (stanza, condition) in [
            (
                "<message from='x@b.example' to='alice@a.example'/>",
                "invalid-from",
            ),
            (
                "<message from='alice@a.example' to='alice@a.example'/>",
                "invalid-from",
            ),
            ("<message from='x@irc.a.example'/>", "improper-addressing"),
            ("<message to='alice@a.example'/>", "improper-addressing"),
            ("<message to='@@'/>", "improper-addressing"),
            ("<message from='x@a.example' to='@@'/>", "invalid-from"),
            ("<anything/>", "unsupported-stanza-type"),
        ] {
            let mut stage = opened();
            let script = format!(
                "C: {stanza}\nS: <stream:error*<{condition} *\nS: </stream:stream>\nE: Closed(*"
            );
            play(&mut stage, &script);
        }
    }
}
