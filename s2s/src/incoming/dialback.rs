//! The receiving and the authoritative side of dialback (XEP-0220 §2.2, §2.3).

use comity_xmpp::element::Element;
use comity_xmpp::error::{StanzaCondition, StreamCondition, StreamError};
use comity_xmpp::machine::Now;

use super::{Event, Incoming, State, unproven};
use crate::dialback::{self, Query, Verdict};

/// Keys of one stream that are verified at a time.
const VERIFICATIONS: usize = 8;
/// Octets of a key, and of a stream's id.
const KEY: usize = 512;

impl Incoming {
    pub(super) fn dialback(&mut self, element: &Element, now: Now) -> Result<(), StreamError> {
        if Verdict::read(element).is_some() {
            // XEP-0220 §2.4: nobody has asked. Perhaps somebody hopes to be believed for it.
            return Ok(());
        }
        let Some((from, to)) = dialback::pair(element) else {
            return Err(StreamError::new(
                StreamCondition::ImproperAddressing,
                "dialback needs the domains in 'from' and 'to'",
            ));
        };
        match element.name.as_str() {
            "result" => self.shown(from, to, element.text(), now),
            "verify" => {
                self.asked(&from, &to, element);
                Ok(())
            }
            other => Err(super::unexpected(&format!("<{other}/> of dialback"))),
        }
    }

    /// Did we make this key? `to` is who we would have said to be.
    fn asked(&mut self, from: &str, to: &str, element: &Element) {
        let id = element.attr("id").unwrap_or_default();
        let verdict = if !(self.settings.domains.serves)(to) {
            Verdict::Error(StanzaCondition::ItemNotFound)
        } else {
            let secret = self.settings.dialback.as_ref();
            let made = secret.is_some_and(|secret| secret.made(&element.text(), from, to, id));
            if made {
                Verdict::Valid
            } else {
                Verdict::Invalid
            }
        };
        self.speaker.say_bytes(dialback::written(&verdict.said(
            "verify",
            to,
            from,
            Some(id),
        )));
    }

    /// The peer shows a key for one of its domains and one of ours.
    fn shown(
        &mut self,
        theirs: String,
        ours: String,
        key: String,
        now: Now,
    ) -> Result<(), StreamError> {
        let domains = &self.settings.domains;
        if self.state != State::Stanzas && (theirs != self.claimed || ours != self.ours) {
            return Err(StreamError::new(
                StreamCondition::InvalidFrom,
                format!("prove {} first, as your stream header says", self.claimed),
            ));
        }
        if !(domains.serves)(&ours) {
            self.answer_key(
                &theirs,
                &ours,
                Verdict::Error(StanzaCondition::ItemNotFound),
            );
            return Ok(());
        }
        let federates = (domains.federates)(&ours, &theirs) && !(domains.serves)(&theirs);
        if self.state != State::Stanzas && !self.dials_back() {
            return Err(StreamError::new(
                StreamCondition::PolicyViolation,
                format!("{ours} asks for a certificate that proves {theirs}, and for no key"),
            ));
        }
        if !federates || !(domains.dials_back)(&ours, &theirs) {
            let verdict = Verdict::Error(StanzaCondition::PolicyViolation);
            self.answer_key(&theirs, &ours, verdict);
            return Ok(());
        }
        let Some(proof) = &self.proof else {
            return Err(super::unexpected("dialback before TLS"));
        };
        let query = Query {
            ours,
            theirs,
            id: self.id.clone(),
            key,
        };
        match proof.speaks_for(&query.ours, &query.theirs, now.wall) {
            // XEP-0178 §4 with XEP-0344: the certificate proves it, and nobody needs to be asked.
            Ok(()) => self.verified(&query, Verdict::Valid, now),
            Err(why) if !proof.may_dial_back(&query.ours, &query.theirs, now.wall) => {
                return Err(unproven(&query.theirs, &why));
            }
            Err(_) if self.verifying.len() >= VERIFICATIONS || query.key.len() > KEY => {
                let verdict = Verdict::Error(StanzaCondition::ResourceConstraint);
                self.answer_key(&query.theirs, &query.ours, verdict);
            }
            Err(_) => {
                self.verifying.push(query.clone());
                self.events.push_back(Event::Verify(query));
            }
        }
        Ok(())
    }

    /// What has come of a key.
    pub(super) fn verified(&mut self, query: &Query, verdict: Verdict, now: Now) {
        self.verifying.retain(|pending| pending != query);
        let (theirs, ours) = (&query.theirs, &query.ours);
        let first = match self.state {
            State::Auth | State::AuthResponse => true,
            State::Stanzas => false,
            _ => return,
        };
        let mut verdict = verdict;
        if verdict == Verdict::Valid && !first && !self.receiving.prove(theirs, ours) {
            verdict = Verdict::Error(StanzaCondition::ResourceConstraint);
        }
        self.answer_key(theirs, ours, verdict);
        match verdict {
            Verdict::Valid if first => self.trust(now),
            // XEP-0220 §2.2.2: who shows a key that is not his is not heard any further.
            Verdict::Invalid if first => self.fail(
                StreamError::new(
                    StreamCondition::NotAuthorized,
                    format!("the server of {theirs} does not know the key that you have shown"),
                ),
                now,
            ),
            _ => {}
        }
    }

    fn answer_key(&mut self, theirs: &str, ours: &str, verdict: Verdict) {
        self.speaker.say_bytes(dialback::written(
            &verdict.said("result", ours, theirs, None),
        ));
    }
}
