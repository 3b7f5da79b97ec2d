//! The task of one remote domain: does what its [`Peer`] asks for, and tells it what came of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use comity_net::drive::{Ended, Pump, Step};
use comity_net::random;
use comity_net::stop::Stop;
use comity_net::transport::Transport;
use comity_xmpp::error::{StreamCondition, StreamError};
use comity_xmpp::jid::Jid;
use comity_xmpp::ns;
use comity_xmpp::stanza::Stanza;
use comity_xmpp::stream::Header;
use tokio::sync::mpsc;

use super::MAILBOX;
use super::{Desk, Later, Peers, Queued, Server, Shared, Status, ToPeer};
use crate::Options;
use crate::outgoing::{Command, Event, Outgoing, Over};
use crate::peer::{Action, Failure, Peer, Read, Settings, State};
use crate::reach;

/// How long a peer may take to read our last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

type Stream = Pump<Transport, Outgoing>;

pub(super) fn start(ours: &str, domain: &str, peers: &Peers, stop: Stop) -> Desk {
    let (mailbox, words) = mpsc::channel(MAILBOX);
    let woken = Arc::new(AtomicBool::new(false));
    let status = Arc::new(Mutex::new(Status {
        ours: ours.to_owned(),
        domain: domain.to_owned(),
        state: State::Idle,
        waiting: 0,
        last_failure: None,
    }));
    let options = &peers.0.options;
    let settings = Settings {
        retry_first: options.retry_first,
        retry_most: options.retry_most,
        idle: options.idle,
        queue: options.queue,
    };
    let task = Task {
        ours: ours.to_owned(),
        domain: domain.to_owned(),
        peers: peers.clone(),
        words,
        woken: Arc::clone(&woken),
        status: Arc::clone(&status),
        peer: Peer::new(settings, Box::new(random::up_to), instant()),
    };
    tokio::spawn(task.run(stop));
    Desk {
        mailbox,
        woken,
        status,
    }
}

struct Task {
    ours: String,
    domain: String,
    peers: Peers,
    words: mpsc::Receiver<ToPeer>,
    woken: Arc<AtomicBool>,
    status: Arc<Mutex<Status>>,
    peer: Peer,
}

/// What is under way for the peer, each at most once.
#[derive(Default)]
struct Doing<'a> {
    connecting: Option<Later<'a, Result<Stream, Failure>>>,
    fetching: Option<(Later<'a, Vec<Queued>>, usize)>,
    stream: Option<Stream>,
}

impl Task {
    async fn run(mut self, mut stop: Stop) {
        let shared = Arc::clone(&self.peers.0);
        let (ours, domain) = (self.ours.clone(), self.domain.clone());
        let mut doing = Doing::default();
        loop {
            if self.act(&shared, &ours, &domain, &mut doing).await {
                return;
            }
            self.report();
            if let Some(stream) = &mut doing.stream {
                self.peer.congested(!stream.writable(), instant());
                if stream.drained() {
                    stream.command(Command::Flushed);
                }
            }
            let timeout = self.peer.poll_timeout();
            tokio::select! {
                word = self.words.recv() => self.hear(word),
                ended = connected(&mut doing.connecting) => match ended {
                    Ok(stream) => {
                        let held = stream.machine().held();
                        doing.stream = Some(stream);
                        self.peer.connected(held, instant());
                    }
                    Err(failure) => self.lost(Some(failure), Vec::new()),
                },
                (rows, limit) = fetched(&mut doing.fetching) => self.rows(&shared.options, rows, limit),
                step = step(&mut doing.stream) => self.step(step, &mut doing).await,
                () = until(timeout) => self.peer.timeout(instant()),
                () = stop.wait() => return farewell(doing).await,
            }
            if self.woken.swap(false, Ordering::AcqRel) {
                self.peer.wake(instant());
            }
        }
    }

    /// Carries out what the peer wants. True: it wants to be gone.
    async fn act<'a>(
        &mut self,
        shared: &'a Arc<Shared>,
        ours: &'a str,
        domain: &'a str,
        doing: &mut Doing<'a>,
    ) -> bool {
        let server: &dyn Server = &*shared.server;
        while let Some(action) = self.peer.poll() {
            match action {
                Action::Connect => {
                    doing.connecting = Some(Box::pin(reach::reach(shared, ours, domain)));
                }
                Action::Fetch { after, limit } => {
                    doing.fetching = Some((server.queued(domain, after, limit), limit));
                }
                Action::Write(parcel, bytes) => {
                    if let Some(stream) = &mut doing.stream {
                        stream.command(Command::Send(parcel, bytes));
                    }
                }
                Action::Delivered(rows) => server.delivered(domain, rows).await,
                Action::Bounce(stanza, why) => server.undeliverable(domain, stanza, why).await,
                Action::Close => {
                    if let Some(stream) = &mut doing.stream {
                        stream.command(Command::Close(None));
                    }
                }
                Action::Rest => {
                    if self.leave() {
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Keeps of the rows those that are ours to send.
    fn rows(&mut self, options: &Options, mut rows: Vec<Queued>, limit: usize) {
        let read = Read {
            last: rows.last().map(|row| row.id),
            full: rows.len() >= limit,
        };
        if options.domains.len() > 1 {
            rows.retain(|row| {
                let stanza = Stanza::parse(&row.stanza, &Header::of(ns::SERVER)).ok();
                let from = stanza.and_then(|stanza| stanza.from);
                options.ours(from.as_ref().map(Jid::domain)) == self.ours
            });
        }
        self.peer.rows(rows, read, instant());
    }

    fn hear(&mut self, word: Option<ToPeer>) {
        match word {
            Some(ToPeer::Wake) => self.peer.wake(instant()),
            Some(ToPeer::Seen) => self.peer.seen(instant()),
            Some(ToPeer::Flush) => self.peer.flush(instant()),
            Some(ToPeer::Forbidden) => self.peer.forbidden(instant()),
            Some(ToPeer::Send(stanza)) => self.peer.send(stanza, instant()),
            None => {}
        }
    }

    async fn step(&mut self, step: Result<Step<Event>, Ended>, doing: &mut Doing<'_>) {
        let failure = match step {
            Ok(Step::Event(Event::Delivered(parcels))) => {
                return self.peer.delivered(parcels, instant());
            }
            Ok(Step::Event(Event::Closed(Over::Orderly))) => None,
            Ok(Step::Event(Event::Closed(over))) => Some(over.to_string()),
            Ok(Step::Written | Step::Event(_)) => return,
            Err(ended) => Some(ended.to_string()),
        };
        let Some(stream) = doing.stream.take() else {
            return;
        };
        let machine = stream.shutdown(LAST_WORDS).await;
        let failure = failure.map(|text| Failure {
            not_found: false,
            text,
        });
        self.lost(failure, machine.into_unacked());
    }

    fn lost(&mut self, failure: Option<Failure>, unacked: Vec<crate::outgoing::Parcel>) {
        if let Some(failure) = &failure {
            tracing::info!(peer = %self.domain, why = %failure.text, "no stream to the peer");
        }
        self.peer.ended(failure, unacked, instant());
    }

    /// Leaves for good, unless something has come meanwhile. Whoever wants the domain again
    /// finds no desk and starts a new task.
    fn leave(&mut self) -> bool {
        let mut peers = self.peers.lock();
        if !self.words.is_empty() || self.woken.load(Ordering::Acquire) {
            return false;
        }
        peers.remove(&(self.ours.clone(), self.domain.clone()));
        true
    }

    fn report(&self) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.state = self.peer.state();
        status.waiting = self.peer.waiting();
        status.last_failure = self.peer.last_failure().map(|failure| failure.text.clone());
    }
}

/// Each of these never returns while there is nothing to wait for, and is cancel-safe.
async fn connected(
    connecting: &mut Option<Later<'_, Result<Stream, Failure>>>,
) -> Result<Stream, Failure> {
    let Some(future) = connecting else {
        return std::future::pending().await;
    };
    let ended = future.await;
    *connecting = None;
    ended
}

async fn fetched(fetching: &mut Option<(Later<'_, Vec<Queued>>, usize)>) -> (Vec<Queued>, usize) {
    let Some((future, limit)) = fetching else {
        return std::future::pending().await;
    };
    let fetched = (future.await, *limit);
    *fetching = None;
    fetched
}

async fn step(stream: &mut Option<Stream>) -> Result<Step<Event>, Ended> {
    match stream {
        Some(stream) => stream.step().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// The server stops: what is on its way stays in the outbox, and the peer is told.
async fn farewell(doing: Doing<'_>) {
    if let Some(mut stream) = doing.stream {
        let text = "the server is stopping";
        let error = StreamError::new(StreamCondition::SystemShutdown, text);
        stream.command(Command::Close(Some(error)));
        stream.shutdown(LAST_WORDS).await;
    }
}

fn instant() -> Instant {
    comity_net::drive::now().instant
}
