//! What comes over a session: answers, notices, and the few things others ask a client.

use comity_mls_engine::Destination;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::Jid;
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, MessageType, Stanza};

use super::session::Session;
use super::thread::Input;
use super::{Update, Word};
use crate::connection::Connection;
use crate::speech;

/// Requests of the program that wait for their answers.
const MAX_ASKED: usize = 64;

impl Session {
    pub(super) async fn take(
        &mut self,
        connection: &Connection,
        stanza: &Stanza,
    ) -> Result<(), ()> {
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
    pub(super) fn said(&mut self, word: Word) -> Stanza {
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
}
