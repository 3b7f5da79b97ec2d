//! IQ requests of the server itself: who waits for which answer.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::Jid;
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, Stanza};
use tokio::sync::oneshot;

use crate::deliver::{self, Deliveries};
use crate::home::Home;

/// How long an answer is waited for; longer than a peer takes to be reached.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many requests may wait at a time.
const OPEN_REQUESTS: usize = 4096;

/// The requests of this server that wait for an answer.
#[derive(Default)]
pub struct Requests {
    open: Mutex<HashMap<String, Waiting>>,
}

struct Waiting {
    /// Who was asked: an answer from anyone else is none.
    asked: Jid,
    answer: oneshot::Sender<Result<Stanza, StanzaError>>,
}

impl Requests {
    /// Hands an answer to whoever waits for it; false if nobody does.
    pub(crate) fn answered(&self, stanza: &Stanza) -> bool {
        let (Some(id), Some(from)) = (stanza.id.as_deref(), stanza.from.as_ref()) else {
            return false;
        };
        let waiting = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            match open.get(id) {
                Some(waiting) if waiting.asked == *from => open.remove(id),
                _ => None,
            }
        };
        let Some(waiting) = waiting else { return false };
        let answer = match stanza.kind {
            Kind::Iq(IqType::Error) => Err(stanza.child(ns::CLIENT, "error").map_or_else(
                || StanzaError::new(ErrorType::Cancel, StanzaCondition::UndefinedCondition),
                |error| StanzaError::from_element(&error),
            )),
            _ => Ok(stanza.clone()),
        };
        // Whoever asked may have given up.
        let _ = waiting.answer.send(answer);
        true
    }

    fn open(
        &self,
        id: String,
        asked: Jid,
    ) -> Result<oneshot::Receiver<Result<Stanza, StanzaError>>, StanzaError> {
        let (answer, receiver) = oneshot::channel();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= OPEN_REQUESTS {
            return Err(
                StanzaError::new(ErrorType::Wait, StanzaCondition::ResourceConstraint)
                    .with_text("too many requests of this server are unanswered: try again later"),
            );
        }
        open.insert(id, Waiting { asked, answer });
        Ok(receiver)
    }

    fn close(&self, id: &str) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
    }
}

/// Sends a request and waits for its answer.
pub(crate) async fn ask(
    home: &Home,
    from: Jid,
    to: Jid,
    kind: IqType,
    payload: &Element,
) -> Result<Stanza, StanzaError> {
    let id = unguessable()?;
    let answer = home.requests.open(id.clone(), to.clone())?;
    let request = Stanza::new(Kind::Iq(kind))
        .with_from(from)
        .with_to(to.clone())
        .with_id(id.as_str())
        .with(payload);
    deliver::deliver(home, Deliveries::answer(request)).await;
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    home.requests.close(&id);
    match answer {
        Ok(Ok(answer)) => answer,
        _ => Err(
            StanzaError::new(ErrorType::Wait, StanzaCondition::RemoteServerTimeout).with_text(
                format!("{to} did not answer within {} s", PATIENCE.as_secs()),
            ),
        ),
    }
}

/// An id that only who has received the request can know.
fn unguessable() -> Result<String, StanzaError> {
    let mut bytes = [0; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).map_err(|_| {
        StanzaError::new(ErrorType::Wait, StanzaCondition::InternalServerError)
            .with_text("the system gives no randomness")
    })?;
    Ok(uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .to_string())
}
