//! The task between engine and server: sessions, one after the other, and what goes out over them.

use std::collections::HashMap;
use std::time::Duration;

use comity_mls_engine::{Destination, Outgoing, Request, RequestId};
use comity_xmpp::jid::Jid;
use comity_xmpp::stanza::{Kind, PresenceType, Stanza};
use tokio::sync::{mpsc, oneshot};

use super::thread::{Input, Output};
use super::{Update, Word};
use crate::blobs::{self, Blobs};
use crate::connection::{ConnectError, Connection, Inbound, Options};
use crate::speech;

/// The pause before a new session, doubled with each failure up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The task between engine and server.
pub(super) struct Session {
    pub(super) options: Options,
    pub(super) inputs: std::sync::mpsc::SyncSender<Input>,
    pub(super) updates: mpsc::UnboundedSender<Update>,
    pub(super) pending: HashMap<String, (RequestId, Destination, Request)>,
    pub(super) next_id: u64,
    pub(super) blobs: Blobs,
    /// What the program has asked, by id.
    pub(super) asked: HashMap<String, (Jid, oneshot::Sender<Stanza>)>,
}

/// Why a session's turn is over.
enum Over {
    /// The connection broke: another one.
    Broken(String),
    /// Nobody needs a session any more.
    Done,
}

impl Session {
    pub(super) async fn run(
        mut self,
        mut from_engine: mpsc::UnboundedReceiver<Output>,
        mut from_program: mpsc::Receiver<Word>,
    ) {
        let mut pause = FIRST_PAUSE;
        loop {
            let fault = match self.connect(&mut from_engine).await {
                Err(()) => return,
                Ok(Err(fault)) => {
                    let last = fault.is_final();
                    self.tell(Update::Offline {
                        why: fault.to_string(),
                        last,
                    });
                    if last {
                        return self.hear_out(from_engine).await;
                    }
                    fault.to_string()
                }
                Ok(Ok(connection)) => {
                    pause = FIRST_PAUSE;
                    match self
                        .carry(connection, &mut from_engine, &mut from_program)
                        .await
                    {
                        Over::Done => return,
                        Over::Broken(why) => {
                            self.tell(Update::Offline {
                                why: why.clone(),
                                last: false,
                            });
                            why
                        }
                    }
                }
            };
            tracing::debug!(fault, ?pause, "another session after a pause");
            let jitter = Duration::from_millis(u64::from(comity_net::random::up_to(250)));
            tokio::time::sleep(pause + jitter).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Connects, passing on meanwhile what the engine has to tell. `Err`: the engine has ended.
    async fn connect(
        &self,
        from_engine: &mut mpsc::UnboundedReceiver<Output>,
    ) -> Result<Result<Connection, ConnectError>, ()> {
        let mut opening = std::pin::pin!(Connection::open(&self.options));
        loop {
            tokio::select! {
                opened = &mut opening => return Ok(opened),
                output = from_engine.recv() => match output {
                    Some(Output::Event(event)) => self.tell(Update::Engine(event)),
                    // Without a session there is no way out: the engine asks again in the next.
                    Some(Output::Request(_)) => {}
                    None => return Err(()),
                },
            }
        }
    }

    /// After the last attempt the engine still answers the program's questions.
    async fn hear_out(&self, mut from_engine: mpsc::UnboundedReceiver<Output>) {
        while let Some(output) = from_engine.recv().await {
            if let Output::Event(event) = output {
                self.tell(Update::Engine(event));
            }
        }
    }

    /// One session, from binding to its end.
    async fn carry(
        &mut self,
        mut connection: Connection,
        from_engine: &mut mpsc::UnboundedReceiver<Output>,
        from_program: &mut mpsc::Receiver<Word>,
    ) -> Over {
        // RFC 6121 §4.2: initial presence makes this session one that messages come to.
        connection
            .send(Stanza::new(Kind::Presence(PresenceType::Available)))
            .await;
        self.tell(Update::Online(connection.jid.clone()));
        if self
            .input(Input::Online {
                exporter: connection.exporter,
            })
            .await
            .is_err()
        {
            return Over::Done;
        }
        let over = loop {
            tokio::select! {
                output = from_engine.recv() => match output {
                    Some(Output::Event(event)) => self.tell(Update::Engine(event)),
                    Some(Output::Request(outgoing)) => {
                        if self.ask(&connection, outgoing).await.is_err() {
                            break Over::Done;
                        }
                    }
                    None => break Over::Done,
                },
                Some(word) = from_program.recv() => {
                    connection.send(self.said(word)).await;
                }
                inbound = connection.receive() => match inbound {
                    Inbound::Stanza(stanza) => {
                        let next = self.blobs.take(&self.options.login.account, *stanza);
                        if self.go_on(&connection, next).await.is_err() {
                            break Over::Done;
                        }
                    }
                    Inbound::Closed(why) => break Over::Broken(why),
                },
            }
        };
        self.pending.clear();
        // Whoever waits learns at once that nothing comes.
        self.asked.clear();
        self.blobs.clear();
        connection.close().await;
        match self.input(Input::Offline).await {
            Ok(()) => over,
            Err(()) => Over::Done,
        }
    }

    async fn ask(&mut self, connection: &Connection, outgoing: Outgoing) -> Result<(), ()> {
        self.next_id += 1;
        let id = format!("mls-{}", self.next_id);
        let Outgoing {
            id: request_id,
            to,
            request,
        } = outgoing;
        match speech::iq(&self.options.login.account, &to, &request, &id) {
            Some(stanza) => {
                self.pending.insert(id, (request_id, to, request));
                let next = self.blobs.send(&self.options.login.account, stanza);
                self.go_on(connection, next).await
            }
            None => {
                tracing::error!(?to, "a request cannot be addressed");
                Ok(())
            }
        }
    }

    /// What is to be done with stanzas, now that what they name is where it has to be.
    async fn go_on(&mut self, connection: &Connection, next: Vec<blobs::Next>) -> Result<(), ()> {
        for progress in self.blobs.moved() {
            self.tell(Update::Progress(progress));
        }
        for next in next {
            match next {
                blobs::Next::Send(stanza) => {
                    connection.send(stanza).await;
                }
                blobs::Next::Take(stanza) => self.take(connection, &stanza).await?,
                blobs::Next::Refused(id, answer) => {
                    if let Some((id, to, request)) = self.pending.remove(&id) {
                        let answered = speech::answer(&to, &request, &answer);
                        self.input(Input::Answer(id, answered)).await?;
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn tell(&self, update: Update) {
        // A program that has stopped listening still gets its messages from the store.
        let _ = self.updates.send(update);
    }

    /// Hands something to the engine's thread without blocking the runtime while it is busy.
    pub(super) async fn input(&self, input: Input) -> Result<(), ()> {
        use std::sync::mpsc::TrySendError;
        let mut input = match self.inputs.try_send(input) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Disconnected(_)) => return Err(()),
            Err(TrySendError::Full(input)) => input,
        };
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            input = match self.inputs.try_send(input) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(()),
                Err(TrySendError::Full(input)) => input,
            };
        }
    }
}
