//! A client that comes back to its session (XEP-0198 §5).

use comity_xmpp::ack;
use comity_xmpp::element::Element;
use comity_xmpp::error::{StreamCondition, StreamError};
use comity_xmpp::ns;

use super::{Event, Negotiate, NotResumed, Resumed, State};

/// Longer names are none of ours.
pub(super) const ID_BYTES: usize = 128;

impl Negotiate {
    pub(super) fn resume(&mut self, request: &Element) -> Result<(), StreamError> {
        let State::Bind(account) = &self.state else {
            return Ok(());
        };
        let account = account.clone();
        let (Some(id), Some(h)) = (request.attr("previd"), ack::h(request)) else {
            return Err(StreamError::new(
                StreamCondition::BadFormat,
                "<resume/> needs 'previd', and a number in 'h'",
            ));
        };
        if id.is_empty() || id.len() > ID_BYTES {
            self.speaker.say(&ack::not_resumed(None));
            return self.failed("to resume");
        }
        let id = id.to_owned();
        self.events.push_back(Event::Resume {
            account: account.clone(),
            id: id.clone(),
            h,
        });
        self.state = State::Resuming { account, id };
        Ok(())
    }

    /// The server's answer to the request.
    pub(super) fn resumed(
        &mut self,
        answer: Result<Resumed, NotResumed>,
    ) -> Result<(), StreamError> {
        if self.extended.is_some() {
            return self.extended_resumed(answer);
        }
        let State::Resuming { account, id } = &self.state else {
            return Ok(());
        };
        match answer {
            Ok(Resumed { session, h }) => {
                let resumed = Element::new(ns::SM, "resumed")
                    .with_attr("previd", id)
                    .with_attr("h", h.to_string());
                self.speaker.say(&resumed);
                self.state = State::Done(session);
                self.events.push_back(Event::Done);
                Ok(())
            }
            Err(NotResumed { h }) => {
                // The client may bind a new session instead.
                self.state = State::Bind(account.clone());
                self.speaker.say(&ack::not_resumed(h));
                self.failed("to resume")
            }
        }
    }
}
