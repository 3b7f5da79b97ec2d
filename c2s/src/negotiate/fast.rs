//! Logging in again with a token (XEP-0484), by the mechanisms of draft-schmaus-kitten-sasl-ht: one
//! message each way, inside XEP-0388. Tokens are the server's business; here are their words. They
//! are taken over what TLS protects after its handshake, so never as early data.

use comity_xmpp::element::Element;
use comity_xmpp::error::StreamError;
use comity_xmpp::jid::BareJid;
use comity_xmpp::ns;
use comity_xmpp::sasl::{self, Condition, Failure};

use super::{Event, Negotiate, Secured, State};
use crate::link::{FastAccepted, FastAttempt, FastToken, FastWanted};

/// With tls-exporter (RFC 9266).
const EXPORTER: &str = "HT-SHA-256-EXPR";
/// With tls-server-end-point (RFC 5929), for clients that know no other binding.
const END_POINT: &str = "HT-SHA-256-ENDP";
const NONE: &str = "HT-SHA-256-NONE";
/// Of HMAC-SHA-256.
const PROOF_BYTES: usize = 32;

/// What a connection can offer, the better first.
pub(super) fn mechanisms(secured: Secured, on: bool) -> &'static [&'static str] {
    match (on, secured.exporter, secured.end_point) {
        (false, ..) => &[],
        (true, None, None) => &[NONE],
        (true, Some(_), None) => &[EXPORTER, NONE],
        (true, None, Some(_)) => &[END_POINT, NONE],
        (true, Some(_), Some(_)) => &[EXPORTER, END_POINT, NONE],
    }
}

/// Is this the name of a mechanism for tokens, known or not?
pub(super) fn is_one(mechanism: &str) -> bool {
    mechanism.starts_with("HT-")
}

fn known(mechanism: &str) -> Option<&'static str> {
    [EXPORTER, END_POINT, NONE]
        .into_iter()
        .find(|name| *name == mechanism)
}

/// `<request-token/>`.
pub(super) fn wanted(authenticate: &Element) -> Option<&'static str> {
    let request = authenticate.child(ns::FAST, "request-token")?;
    known(request.attr("mechanism")?)
}

impl Negotiate {
    /// `<authenticate/>` with a token.
    pub(super) fn fast(&mut self, element: &Element) -> Result<(), StreamError> {
        match self.attempt(element) {
            Ok(attempt) => {
                self.mechanism = attempt.token.mechanism;
                self.tried = Some(attempt.token.account.clone());
                self.state = State::Fast(attempt.token.account.clone());
                self.events.push_back(Event::Fast(attempt));
                Ok(())
            }
            Err(failure) => self.refuse_authentication(&failure),
        }
    }

    fn attempt(&self, element: &Element) -> Result<FastAttempt, Failure> {
        let malformed = |text: &str| Failure::new(Condition::MalformedRequest).with_text(text);
        let secured = self.secured.unwrap_or_default();
        let mechanism = element.attr("mechanism").and_then(known);
        let mechanism = mechanism
            .filter(|name| mechanisms(secured, self.settings.fast).contains(name))
            .ok_or_else(|| {
                Failure::new(Condition::InvalidMechanism).with_text("choose one that is offered")
            })?;
        let fast = element
            .child(ns::FAST, "fast")
            .ok_or_else(|| malformed("a token is shown with <fast/> (XEP-0484)"))?;
        let agent = self.extended.as_ref().and_then(|e| e.user_agent.clone());
        let agent = agent.ok_or_else(|| malformed("say which <user-agent/> you are"))?;
        let initial = element.child(ns::SASL2, "initial-response");
        let message = sasl::decode(initial.map(Element::text).unwrap_or_default().trim())?;
        let split = message.iter().position(|byte| *byte == 0);
        let (name, proof) = message.split_at(split.unwrap_or_default());
        let name = std::str::from_utf8(name)
            .ok()
            .filter(|name| !name.is_empty());
        let proof = proof.get(1..).filter(|proof| proof.len() == PROOF_BYTES);
        let (Some(name), Some(proof)) = (name, proof) else {
            return Err(malformed("not a message of the HT mechanisms"));
        };
        let address = match name.contains('@') {
            true => name.to_owned(),
            false => format!("{name}@{}", self.host),
        };
        let account = BareJid::parse(&address)
            .ok()
            .filter(|account| account.local().is_some() && account.domain() == self.host)
            .ok_or_else(|| Failure::new(Condition::NotAuthorized))?;
        let binding = match mechanism {
            EXPORTER => secured.exporter.map(|data| data.to_vec()),
            END_POINT => secured.end_point.map(|data| data.as_bytes().to_vec()),
            _ => None,
        };
        Ok(FastAttempt {
            token: FastWanted {
                account,
                agent,
                mechanism,
            },
            proof: proof.to_vec(),
            binding: binding.unwrap_or_default(),
            count: fast.attr("count").and_then(|count| count.parse().ok()),
            invalidate: matches!(fast.attr("invalidate"), Some("true" | "1")),
        })
    }

    /// The server's answer.
    pub(super) fn fast_checked(&mut self, answer: Option<FastAccepted>) -> Result<(), StreamError> {
        let State::Fast(account) = &self.state else {
            return Ok(());
        };
        let account = account.clone();
        let Some(accepted) = answer else {
            // One answer for every way to be wrong; the client goes on with its password.
            self.back_to_authentication();
            return self.refuse_authentication(&Failure::new(Condition::NotAuthorized));
        };
        if let Some(extended) = &mut self.extended {
            extended.proof = Some(sasl::encode(&accepted.proof));
            extended.token = accepted.token;
        }
        self.go_on(account);
        Ok(())
    }

    /// The client has proved who it is by its password: now the token it wants, if it wants one.
    pub(super) fn after_password(&mut self, account: BareJid) {
        let wanted = self.extended.as_ref().filter(|_| self.settings.fast);
        let wanted = wanted.and_then(|e| e.token_wanted.zip(e.user_agent.clone()));
        match wanted {
            Some((mechanism, agent)) => {
                self.events.push_back(Event::Token(FastWanted {
                    account: account.clone(),
                    agent,
                    mechanism,
                }));
                self.state = State::Token(account);
            }
            None => self.go_on(account),
        }
    }

    pub(super) fn fast_token(&mut self, token: Option<FastToken>) -> Result<(), StreamError> {
        if let State::Token(account) = &self.state {
            let account = account.clone();
            if let Some(extended) = &mut self.extended {
                extended.token = token;
            }
            self.go_on(account);
        }
        Ok(())
    }
}
