//! A person makes an account before there is one to log in to (XEP-0077 §3.1), where the operator
//! has opened that.

use bytes::Bytes;
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError, StreamCondition, StreamError};
use comity_xmpp::jid::BareJid;
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, Stanza, Unacceptable};

use super::{Event, Negotiate, State};
use crate::link::Registration;

impl Negotiate {
    pub(super) fn register(&mut self, bytes: &Bytes) -> Result<(), StreamError> {
        let stanza = match Stanza::parse(bytes, &self.header) {
            Ok(stanza) => stanza,
            Err(Unacceptable::Stream(error)) => return Err(error),
            Err(Unacceptable::Stanza(refused)) => {
                return self.not_registered(&refused.stanza, &refused.error);
            }
        };
        let ours = stanza.to.as_ref().is_none_or(|to| to.as_str() == self.host);
        let query = stanza.child(ns::REGISTER, "query").filter(|_| ours);
        match (stanza.kind, query) {
            (Kind::Iq(IqType::Get), Some(_)) => {
                let answer = stanza.result(Some(&form()));
                self.speaker.say_bytes(answer.to_bytes(None));
                Ok(())
            }
            (Kind::Iq(IqType::Set), Some(query)) => match registration(&query, &self.host) {
                Ok(registration) => {
                    self.events.push_back(Event::Register(registration));
                    self.state = State::Registering(Box::new(stanza));
                    Ok(())
                }
                Err(error) => self.not_registered(&stanza, &error),
            },
            // RFC 6120 §4.9.3.12.
            _ => Err(StreamError::new(
                StreamCondition::NotAuthorized,
                "authenticate, or register, before you send anything else",
            )),
        }
    }

    /// The server's answer to the request; authentication follows in any case.
    pub(super) fn registered(
        &mut self,
        answer: Result<(), StanzaError>,
    ) -> Result<(), StreamError> {
        let State::Registering(request) = &self.state else {
            return Ok(());
        };
        let request = request.clone();
        self.back_to_authentication();
        match answer {
            Ok(()) => {
                self.speaker.say_bytes(request.result(None).to_bytes(None));
                Ok(())
            }
            Err(error) => self.not_registered(&request, &error),
        }
    }

    fn not_registered(&mut self, request: &Stanza, error: &StanzaError) -> Result<(), StreamError> {
        if let Some(reply) = request.error_reply(error) {
            self.speaker.say_bytes(reply.to_bytes(None));
        }
        self.failed("to register")
    }
}

/// What is asked of who has no account.
fn form() -> Element {
    let instructions = "Choose a name and a password for your account here.";
    Element::new(ns::REGISTER, "query")
        .with_child(Element::new(ns::REGISTER, "instructions").with_text(instructions))
        .with_child(Element::new(ns::REGISTER, "username"))
        .with_child(Element::new(ns::REGISTER, "password"))
}

fn registration(query: &Element, host: &str) -> Result<Registration, StanzaError> {
    if query.child(ns::REGISTER, "remove").is_some() {
        // XEP-0077 §3.2.1: who has not logged in has nothing to remove.
        let refusal = StanzaError::new(ErrorType::Cancel, StanzaCondition::NotAllowed);
        return Err(refusal.with_text("log in to remove an account"));
    }
    let text = |name| query.child(ns::REGISTER, name).map(Element::text);
    let (Some(username), Some(password)) = (text("username"), text("password")) else {
        return Err(not_acceptable("say a name and a password"));
    };
    let account = BareJid::parse(&format!("{username}@{host}"));
    let account = account.ok().filter(|account| account.domain() == host);
    match account {
        Some(account) if account.local().is_some() => Ok(Registration { account, password }),
        _ => Err(not_acceptable("this cannot be the name of an account")),
    }
}

/// XEP-0077 §3.1.1: what is required is not there.
fn not_acceptable(text: &str) -> StanzaError {
    StanzaError::new(ErrorType::Modify, StanzaCondition::NotAcceptable).with_text(text)
}
