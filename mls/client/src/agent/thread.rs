//! The engine's thread: it takes one thing in at a time, and hands out what came of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use comity_mls_credential::anchors::TlsRoots;
use comity_mls_engine::Error as EngineError;
use comity_mls_engine::{Answered, Engine, Event, Notice, Outgoing, RequestId, SignatureKeys};
use comity_net::tls::roots;
use tokio::sync::{mpsc, oneshot};

use super::{ChatError, Opening};
use crate::store::SqliteStore;
use crate::token;

/// The thread wakes at least this often, in case a clock was set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// A verb for the engine, with its answer's way back inside.
pub(super) type Verb = Box<dyn FnOnce(&mut Engine, u64) + Send>;

pub(super) enum Input {
    Stop,
    Verb(Verb),
    Online { exporter: Option<[u8; 32]> },
    Offline,
    Answer(RequestId, Answered),
    Notice(Notice),
}

pub(super) enum Output {
    Request(Outgoing),
    Event(Event),
}

/// The way of verbs to the engine's thread.
#[derive(Clone)]
pub(crate) struct Verbs(pub(super) std::sync::mpsc::SyncSender<Input>);

impl Verbs {
    /// Runs a verb there and gives what it returned.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&mut Engine, u64) -> T + Send + 'static,
    ) -> Result<T, ChatError> {
        let (answer, answered) = oneshot::channel();
        let verb: Verb = Box::new(move |engine, now| {
            // Who asked may have gone; the verb is done all the same.
            let _ = answer.send(verb(engine, now));
        });
        let inputs = self.0.clone();
        // A full queue blocks: that must not happen to a thread of the runtime. An engine that has
        // ended drops the verb, and with it the way of the answer.
        drop(tokio::task::spawn_blocking(move || {
            drop(inputs.send(Input::Verb(verb)))
        }));
        answered.await.map_err(|_| ChatError::Ended)
    }
}

/// The engine's thread.
pub(super) fn run_engine(
    opening: &Opening,
    inputs: &std::sync::mpsc::Receiver<Input>,
    outputs: &mpsc::UnboundedSender<Output>,
    opened: oneshot::Sender<Result<(), ChatError>>,
) {
    let mut engine = match open_engine(opening) {
        Ok(engine) => engine,
        Err(error) => {
            let _ = opened.send(Err(error));
            return;
        }
    };
    let _ = opened.send(Ok(()));
    while hand_out(&mut engine, outputs).is_ok() {
        let sleep = engine.poll_timeout().map_or(LONGEST_SLEEP, |at| {
            Duration::from_millis(at.saturating_sub(now_ms())).min(LONGEST_SLEEP)
        });
        let outcome = match inputs.recv_timeout(sleep) {
            Ok(Input::Verb(verb)) => {
                verb(&mut engine, now_ms());
                Ok(())
            }
            Ok(Input::Online { exporter }) => engine.session_started(exporter, now_ms()),
            Ok(Input::Offline) => {
                engine.session_ended();
                Ok(())
            }
            Ok(Input::Answer(id, answered)) => engine.answer(id, answered, now_ms()),
            Ok(Input::Notice(notice)) => engine.notice(notice, now_ms()),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => engine.timeout(now_ms()),
            Ok(Input::Stop) | Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
        };
        match outcome {
            Ok(()) => {}
            // What is in memory may be ahead of the store: only a new start is safe.
            Err(error @ EngineError::Store(_)) => {
                tracing::error!(%error, "the engine stops");
                return;
            }
            Err(error) => tracing::warn!(%error, "the engine did not take something in"),
        }
    }
}

fn open_engine(opening: &Opening) -> Result<Engine, ChatError> {
    let store = SqliteStore::open(&opening.folder, opening.passphrase.as_bytes())?;
    let account = opening.connection.login.account.clone();
    let keys: Box<dyn SignatureKeys> = match &opening.token {
        Some(place) => {
            let opened = token::TokenKeys::open(place.clone());
            Box::new(opened.map_err(EngineError::Key)?)
        }
        None => Box::new(store.clone()),
    };
    // The session needs the same roots and names what is wrong with them.
    let roots = roots::certificates(true, &opening.connection.extra_roots).unwrap_or_default();
    let tls_roots = TlsRoots::new(roots.iter().map(AsRef::as_ref));
    let options = comity_mls_engine::Options {
        tls_roots,
        keep_history_ms: opening
            .keep_history
            .map(|kept| u64::try_from(kept.as_millis()).unwrap_or(u64::MAX)),
        ..Default::default()
    };
    let mut engine = Engine::open(account, Box::new(store), keys, options)?;
    if engine.device()?.is_none() {
        match engine.enrol(&opening.device_name, now_ms()) {
            Ok(()) | Err(EngineError::Enrolled) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(engine)
}

/// Everything the engine has to say, now that it is durable. `Err`: nobody listens any more.
fn hand_out(engine: &mut Engine, outputs: &mpsc::UnboundedSender<Output>) -> Result<(), ()> {
    while let Some(event) = engine.poll_event() {
        outputs.send(Output::Event(event)).map_err(|_| ())?;
    }
    while let Some(request) = engine.poll_request() {
        outputs.send(Output::Request(request)).map_err(|_| ())?;
    }
    Ok(())
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
