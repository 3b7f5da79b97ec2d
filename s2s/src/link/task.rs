//! The task of one remote domain: does what its [`Peer`] asks for, and tells it what came of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use comity_net::drive::{Ended, Step};
use comity_net::random;
use comity_net::stop::Stop;
use comity_xmpp::error::{StreamCondition, StreamError};
use comity_xmpp::jid::Jid;
use comity_xmpp::ns;
use comity_xmpp::stanza::Stanza;
use comity_xmpp::stream::Header;
use tokio::sync::mpsc;

use super::MAILBOX;
use super::{Desk, Later, Peers, Queued, Server, Shared, Status, ToPeer, Way};
use crate::Options;
use crate::intake::{Intake, Taken, failing};
use crate::line::{Line, News, Order};
use crate::outgoing::{Command, Event, Over};
use crate::peer::{Action, Failure, Peer, Read, Settings, State};
use crate::reach::{self, Carrier, Stream};

/// How long a peer may take to read our last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub(super) fn start(ours: &str, domain: &str, peers: &Peers, stop: Stop) -> Desk {
    let (mailbox, words) = mpsc::channel(MAILBOX);
    let woken = Arc::new(AtomicBool::new(false));
    let status = Arc::new(Mutex::new(Status {
        ours: ours.to_owned(),
        domain: domain.to_owned(),
        state: State::Idle,
        waiting: 0,
        last_failure: None,
        way: None,
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
    connecting: Option<Later<'a, Result<Carrier, Failure>>>,
    fetching: Option<(Later<'a, Vec<Queued>>, usize)>,
    going: Going,
}

/// What takes along what we have for the peer.
#[derive(Default)]
enum Going {
    #[default]
    Nothing,
    /// Our own stream, and what comes on it where it carries both directions.
    Own(Box<Stream>, Option<Intake>),
    /// A stream that the peer has opened.
    Lent(Arc<Line>),
}

impl Going {
    fn way(&self) -> Option<Way> {
        match self {
            Self::Nothing => None,
            Self::Own(_, None) => Some(Way::OneWay),
            Self::Own(_, Some(_)) => Some(Way::BothWays),
            Self::Lent(_) => Some(Way::Theirs),
        }
    }
}

/// What comes of it.
enum Came {
    Step(Result<Step<Event>, Ended>),
    Taken(Taken),
    News(News),
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
            self.report(doing.going.way());
            if let Going::Own(stream, intake) = &mut doing.going {
                self.peer.congested(!stream.writable(), instant());
                if stream.drained() {
                    stream.command(Command::Flushed);
                }
                intake.iter_mut().for_each(Intake::go_on);
            }
            let timeout = self.peer.poll_timeout();
            tokio::select! {
                word = self.words.recv() => self.hear(word),
                ended = connected(&mut doing.connecting) => match ended {
                    Ok(carrier) => self.connected(carrier, &shared, &mut doing.going),
                    Err(failure) => self.lost(Some(failure), Vec::new()),
                },
                (rows, limit) = fetched(&mut doing.fetching) => self.rows(&shared.options, rows, limit),
                came = came(&mut doing.going) => self.came(came, &mut doing.going).await,
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
                Action::Write(parcel, bytes) => match &mut doing.going {
                    Going::Own(stream, _) => stream.command(Command::Send(parcel, bytes)),
                    Going::Lent(line) => line.order(Order::Send(parcel, bytes)),
                    Going::Nothing => {}
                },
                Action::Delivered(rows) => server.delivered(domain, rows).await,
                Action::Bounce(stanza, why) => server.undeliverable(domain, stanza, why).await,
                Action::Close => self.close(&mut doing.going),
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
            Some(ToPeer::Seen(false)) => self.peer.seen(instant()),
            Some(ToPeer::Seen(true)) => self.peer.reachable(instant()),
            Some(ToPeer::Flush) => self.peer.flush(instant()),
            Some(ToPeer::Forbidden) => self.peer.forbidden(instant()),
            Some(ToPeer::Send(stanza)) => self.peer.send(stanza, instant()),
            None => {}
        }
    }

    fn connected(&mut self, carrier: Carrier, shared: &Arc<Shared>, going: &mut Going) {
        let held = match &carrier {
            Carrier::Own(stream) => stream.machine().held(),
            Carrier::Lent(_, held) => *held,
        };
        *going = match carrier {
            Carrier::Own(stream) => {
                let intake = Intake::new(Arc::clone(shared), &self.ours, &self.domain);
                let intake = stream.machine().is_bidi().then_some(intake);
                Going::Own(stream, intake)
            }
            Carrier::Lent(line, _) => Going::Lent(line),
        };
        self.peer.connected(held, instant());
    }

    async fn came(&mut self, came: Came, going: &mut Going) {
        match (came, &mut *going) {
            (Came::Step(Ok(Step::Event(Event::Closed(over)))), _) => {
                let why = (over != Over::Orderly).then(|| over.to_string());
                self.over(why, going).await;
            }
            (Came::Step(Ok(Step::Event(event))), Going::Own(stream, intake)) => {
                self.step(event, stream, intake.as_mut()).await;
            }
            (Came::Step(Err(ended)), _) => self.over(Some(ended.to_string()), going).await,
            (Came::Taken(taken), Going::Own(stream, _)) => {
                for _ in 0..taken.count {
                    stream.command(Command::Committed);
                }
                if let Some(error) = taken.error {
                    stream.command(Command::Close(Some(error)));
                }
            }
            (Came::News(News::Delivered(parcels)), _) => self.peer.delivered(parcels, instant()),
            (Came::News(News::Congested(congested)), _) => {
                self.peer.congested(congested, instant());
            }
            (Came::News(News::Ended(why, unacked)), _) => {
                *going = Going::Nothing;
                self.lost(why.map(failure), unacked);
            }
            (Came::Step(_) | Came::Taken(_) | Came::News(News::Ready(_)), _) => {}
        }
    }

    async fn step(&mut self, event: Event, stream: &mut Stream, intake: Option<&mut Intake>) {
        match (event, intake) {
            (Event::Delivered(parcels), _) => self.peer.delivered(parcels, instant()),
            (Event::Stanza(stanza, number), Some(intake)) => {
                self.peer.heard(instant());
                intake.stanza(stanza, number);
            }
            (Event::Opened(name), Some(intake)) => {
                stream.command(match intake.open(name).await {
                    Some(held) => Command::Held(held),
                    None => Command::Close(Some(failing())),
                });
            }
            (Event::Answer(error), _) => self.peer.send(error, instant()),
            _ => {}
        }
    }

    /// The stream that we had is over.
    async fn over(&mut self, why: Option<String>, going: &mut Going) {
        let Going::Own(stream, intake) = std::mem::take(going) else {
            return;
        };
        // What the peer believes that we have taken in is taken in, though it may be too late to
        // tell it so.
        let all = !stream.machine().is_acking();
        if let Some(intake) = intake {
            intake.finish(all).await;
        }
        let machine = stream.shutdown(LAST_WORDS).await;
        self.lost(why.map(failure), machine.into_unacked());
    }

    /// In good order. A stream that is lent is given back: its owner closes it. Unless something is
    /// on its way, which comes back when the stream is over.
    fn close(&mut self, going: &mut Going) {
        match going {
            Going::Own(stream, _) => stream.command(Command::Close(None)),
            Going::Lent(line) if self.peer.waiting() > 0 => line.order(Order::Close),
            Going::Lent(line) => {
                line.release();
                *going = Going::Nothing;
                self.lost(None, Vec::new());
            }
            Going::Nothing => {}
        }
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

    fn report(&self, way: Option<Way>) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.state = self.peer.state();
        status.way = way;
        status.waiting = self.peer.waiting();
        status.last_failure = self.peer.last_failure().cloned();
    }
}

/// Each of these never returns while there is nothing to wait for, and is cancel-safe.
async fn connected(
    connecting: &mut Option<Later<'_, Result<Carrier, Failure>>>,
) -> Result<Carrier, Failure> {
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

async fn came(going: &mut Going) -> Came {
    match going {
        Going::Own(stream, None) => Came::Step(stream.step().await),
        Going::Own(stream, Some(intake)) => tokio::select! {
            step = stream.step() => Came::Step(step),
            taken = intake.taken() => Came::Taken(taken),
        },
        Going::Lent(line) => Came::News(line.news().await),
        Going::Nothing => std::future::pending().await,
    }
}

fn failure(text: String) -> Failure {
    Failure {
        not_found: false,
        text,
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
    let Going::Own(mut stream, intake) = doing.going else {
        return;
    };
    if let Some(mut intake) = intake {
        // What has come by now is still taken in, and counted.
        for _ in 0..2 {
            intake.go_on();
            if intake.is_taking() {
                let taken = intake.taken().await;
                (0..taken.count).for_each(|_| stream.command(Command::Committed));
            }
        }
    }
    let text = "the server is stopping";
    let error = StreamError::new(StreamCondition::SystemShutdown, text);
    stream.command(Command::Close(Some(error)));
    stream.shutdown(LAST_WORDS).await;
}

fn instant() -> Instant {
    comity_net::drive::now().instant
}
