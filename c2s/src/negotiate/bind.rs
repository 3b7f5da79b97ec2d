//! Resource binding (RFC 6120 §7).

use bytes::Bytes;
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError, StreamCondition, StreamError};
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, Stanza, Unacceptable};

use super::{BindOptions, Event, Negotiate, NewSession, State};

impl Negotiate {
    /// The only stanza of a client without a session is its request for one.
    pub(super) fn bind(&mut self, bytes: &Bytes) -> Result<(), StreamError> {
        let stanza = match Stanza::parse(bytes, &self.header) {
            Ok(stanza) => stanza,
            Err(Unacceptable::Stream(error)) => return Err(error),
            Err(Unacceptable::Stanza(refused)) => {
                if let Some(reply) = refused.reply() {
                    self.speaker.say_bytes(reply.to_bytes(None));
                }
                return self.failed("to bind");
            }
        };
        let request = stanza.child(ns::BIND, "bind");
        let (Kind::Iq(IqType::Set), Some(request), State::Bind(account)) =
            (stanza.kind, request, &self.state)
        else {
            // RFC 6120 §7.1: nothing else is processed before.
            return Err(StreamError::new(
                StreamCondition::NotAuthorized,
                "bind a resource before you send stanzas",
            ));
        };
        let resource = request
            .child(ns::BIND, "resource")
            .map(Element::text)
            .filter(|resource| !resource.is_empty());
        let resource = match resource.map(|wanted| account.with_resource(&wanted)) {
            None => None,
            Some(Ok(jid)) => jid.resource().map(ToOwned::to_owned),
            Some(Err(error)) => {
                // RFC 6120 §7.7.2.1.
                let refusal = StanzaError::new(ErrorType::Modify, StanzaCondition::BadRequest)
                    .with_text(error.to_string());
                return self.refuse(&stanza, &refusal);
            }
        };
        let account = account.clone();
        self.events.push_back(Event::Bind {
            account: account.clone(),
            resource,
            options: BindOptions::default(),
        });
        self.state = State::Session {
            account,
            id: stanza.id.unwrap_or_default(),
        };
        Ok(())
    }

    /// The server's answer to the request.
    pub(super) fn bound(
        &mut self,
        answer: Result<NewSession, StanzaError>,
    ) -> Result<(), StreamError> {
        if self.extended.is_some() {
            return self.extended_bound(answer);
        }
        let State::Session { account, id } = &self.state else {
            return Ok(());
        };
        let (account, id) = (account.clone(), id.clone());
        match answer {
            Ok(NewSession { session, .. }) => {
                let jid = Element::new(ns::BIND, "jid").with_text(session.as_str());
                let bind = Element::new(ns::BIND, "bind").with_child(jid);
                let result = Stanza::new(Kind::Iq(IqType::Result))
                    .with_id(id)
                    .with(&bind);
                self.speaker.say_bytes(result.to_bytes(None));
                self.state = State::Done(session);
                self.events.push_back(Event::Done);
                Ok(())
            }
            Err(error) => {
                let request = Stanza::new(Kind::Iq(IqType::Set)).with_id(id);
                self.state = State::Bind(account);
                self.refuse(&request, &error)
            }
        }
    }

    fn refuse(&mut self, request: &Stanza, error: &StanzaError) -> Result<(), StreamError> {
        if let Some(mut reply) = request.error_reply(error) {
            (reply.to, reply.from) = (None, None);
            self.speaker.say_bytes(reply.to_bytes(None));
        }
        self.failed("to bind")
    }
}
