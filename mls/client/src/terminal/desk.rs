//! The program at work: a chat, what comes from it, and where its output goes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use comity_mls_engine::{Engine, Event, What};
use comity_xmpp::jid::BareJid;
use tokio::sync::mpsc::UnboundedReceiver;

use super::notify::Notifier;
use super::{Failed, Outcome, print_line, say, shown};
use crate::agent::{Chat, Update};
use crate::connection::Options;

/// How long a command may wait for its outcome.
const OUTCOME: Duration = Duration::from_secs(120);

/// A chat with what comes from it.
pub(crate) struct Desk {
    pub(crate) chat: Chat,
    pub(crate) updates: UnboundedReceiver<Update>,
    /// How files travel.
    pub(super) connection: Options,
    pub(super) quiet: bool,
    pub(super) json: bool,
    /// Others may learn what was read on the whole screen.
    pub(super) receipts: bool,
    pub(crate) notifier: Notifier,
    /// What is printed while the whole screen is somebody else's.
    pub(super) held: Mutex<Option<Vec<String>>>,
}

impl Desk {
    /// One line of output, wherever it goes.
    pub(crate) fn print(&self, line: &str) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *held {
            Some(lines) => lines.push(line.to_owned()),
            None => print_line(line),
        }
    }

    /// Keeps what is printed, until it is taken, or prints it again.
    pub(crate) fn hold_output(&self, hold: bool) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held = hold.then(Vec::new);
    }

    /// What was printed since it was last taken.
    pub(crate) fn take_output(&self) -> Vec<String> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Runs a verb of the engine.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&mut Engine, u64) -> Result<T, comity_mls_engine::Error> + Send + 'static,
    ) -> Outcome<T> {
        self.chat.with(verb).await?.map_err(Failed::new)
    }

    /// The next update; shown unless somebody asked for silence.
    pub(super) async fn next(&mut self) -> Outcome<Update> {
        let Some(update) = self.updates.recv().await else {
            return Err(Failed::new("the chat has ended: see above"));
        };
        let line = match &update {
            _ if self.quiet => None,
            Update::Engine(event) if self.json => say::event_json(event).map(|o| o.to_string()),
            Update::Progress(progress) if self.json => {
                Some(say::progress_json(progress).to_string())
            }
            _ if self.json => None,
            update => shown(update),
        };
        if let Some(line) = line {
            print_line(&line);
        }
        match update {
            Update::Offline { why, last: true } => Err(Failed::new(why)),
            update => Ok(update),
        }
    }

    /// Waits until `done` has an outcome for an update.
    pub(super) async fn until<T>(
        &mut self,
        mut done: impl FnMut(&Event) -> Option<Outcome<T>>,
    ) -> Outcome<T> {
        let waiting = async {
            loop {
                if let Update::Engine(event) = self.next().await?
                    && let Some(outcome) = done(&event)
                {
                    return outcome;
                }
            }
        };
        tokio::time::timeout(OUTCOME, waiting)
            .await
            .unwrap_or_else(|_| {
                Err(Failed::new(
                    "no outcome yet; it goes on at the next start of comity-chat",
                ))
            })
    }

    /// Waits for an outcome in a room; a refusal there is one.
    pub(super) async fn until_in<T>(
        &mut self,
        room: &BareJid,
        mut done: impl FnMut(&Event) -> Option<Outcome<T>>,
    ) -> Outcome<T> {
        self.until(|event| match event {
            Event::Refused {
                room: Some(at),
                why,
                ..
            } if at == room => Some(Err(Failed::new(why))),
            event => done(event),
        })
        .await
    }

    /// Waits for such a line in a room.
    pub(super) async fn until_line(
        &mut self,
        room: &BareJid,
        mut is_it: impl FnMut(&What) -> bool,
    ) -> Outcome {
        self.until_in(room, |event| match event {
            Event::Item { room: at, item } if at == room => is_it(&item.what).then_some(Ok(())),
            _ => None,
        })
        .await
    }

    /// Waits for a session, whether or not its server knows devices.
    pub(super) async fn online(&mut self) -> Outcome {
        let online = async {
            while !matches!(self.next().await?, Update::Online(_)) {}
            Ok(())
        };
        tokio::time::timeout(OUTCOME, online)
            .await
            .unwrap_or_else(|_| Err(Failed::new("there is no session yet: nothing was sent")))
    }

    /// Waits until the device may act: enrolled, and in a session.
    pub(super) async fn enrolled(&mut self) -> Outcome {
        let device = self.ask(|engine, _| engine.device()).await?;
        let (mut known, mut online) = (device.is_some(), false);
        self.until(move |event| {
            match event {
                Event::Online => online = true,
                Event::Enrolled { .. } => known = true,
                Event::Refused {
                    room: None, why, ..
                } => return Some(Err(Failed::new(why))),
                _ => {}
            }
            (known && online).then_some(Ok(()))
        })
        .await
    }
}
