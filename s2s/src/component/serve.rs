//! The sockets of components: one connection for each domain, the latest. Without TLS, so for this
//! machine or a network of one's own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use comity_net::drive::{Ended, Pump, Step, now};
use comity_net::listener::{Accepted, Listener};
use comity_net::random;
use comity_net::stop::Stop;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError, StreamCondition, StreamError};
use comity_xmpp::frame::Limits;
use comity_xmpp::stanza::Stanza;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tracing::info;

use super::{Command, Component, Event, Secrets};
use crate::EARLY_LIMITS;
use crate::link::{Received, Server};

/// Stanzas in memory for a component that reads slowly.
const QUEUE: usize = 256;
/// Rows of the outbox on their way to a component at once.
const ROWS: usize = 64;
const LAST_WORDS: Duration = Duration::from_secs(2);

/// All components that may come. Cheap to clone.
#[derive(Clone)]
pub struct Components(Arc<Shared>);

struct Shared {
    secrets: HashMap<String, Arc<str>>,
    /// Bytes of a stanza.
    stanza_bytes: usize,
    /// Those that are here.
    links: Mutex<HashMap<String, Link>>,
}

struct Link {
    /// Tells one connection from the next.
    number: u64,
    orders: mpsc::Sender<Order>,
}

enum Order {
    /// There are rows in the outbox.
    Wake,
    Send(Box<Stanza>),
    /// Another connection of the same component has come.
    GiveWay,
}

impl Components {
    /// With the secret of each domain.
    #[must_use]
    pub fn new(secrets: HashMap<String, Arc<str>>, stanza_bytes: usize) -> Self {
        Self(Arc::new(Shared {
            secrets,
            stanza_bytes,
            links: Mutex::default(),
        }))
    }

    /// Is this domain one of a component, here or not?
    #[must_use]
    pub fn has(&self, domain: &str) -> bool {
        self.0.secrets.contains_key(domain)
    }

    /// There are rows in the outbox for it; it asks for them itself when it comes.
    pub fn wake(&self, domain: &str) {
        if let Some(link) = self.links().get(domain) {
            // A full queue will be followed by a look at the outbox.
            let _ = link.orders.try_send(Order::Wake);
        }
    }

    /// Hands on what is not worth keeping, if the component is here and reads.
    ///
    /// # Errors
    /// Gives it back.
    pub fn send(&self, domain: &str, stanza: Stanza) -> Result<(), Box<(Stanza, StanzaError)>> {
        let refused = match self.links().get(domain) {
            None => stanza,
            Some(link) => match link.orders.try_send(Order::Send(Box::new(stanza))) {
                Ok(()) => return Ok(()),
                Err(refused) => match refused.into_inner() {
                    Order::Send(stanza) => *stanza,
                    Order::Wake | Order::GiveWay => return Ok(()),
                },
            },
        };
        Err(Box::new((refused, away(domain))))
    }

    fn links(&self) -> MutexGuard<'_, HashMap<String, Link>> {
        self.0.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection has proved to be this domain; the one before gives way.
    fn come(&self, domain: &str) -> (u64, mpsc::Receiver<Order>) {
        let (orders, receiver) = mpsc::channel(QUEUE);
        // What was committed while it was away.
        let _ = orders.try_send(Order::Wake);
        let mut links = self.links();
        let number = links.get(domain).map_or(0, |link| link.number + 1);
        let before = links.insert(domain.to_owned(), Link { number, orders });
        if let Some(before) = before {
            let _ = before.orders.try_send(Order::GiveWay);
        }
        (number, receiver)
    }

    fn gone(&self, domain: &str, number: u64) {
        let mut links = self.links();
        if links.get(domain).is_some_and(|link| link.number == number) {
            links.remove(domain);
        }
    }
}

fn away(domain: &str) -> StanzaError {
    StanzaError::new(ErrorType::Wait, StanzaCondition::RemoteServerTimeout)
        .with_text(format!("{domain} is not connected, or reads too slowly"))
}

/// Serves a listener until told to stop.
pub async fn serve(
    listener: Listener,
    components: Components,
    server: Arc<dyn Server>,
    mut stop: Stop,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.wait() => return,
            accepted = listener.accept() => accepted,
        };
        let (components, server) = (components.clone(), Arc::clone(&server));
        let stop = stop.clone();
        tokio::spawn(async move {
            let Accepted {
                stream,
                peer,
                permit,
                ..
            } = accepted;
            run(stream, peer, &components, &*server, stop).await;
            drop(permit);
        });
    }
}

type Stream = Pump<TcpStream, Component>;

async fn run(
    socket: TcpStream,
    address: SocketAddr,
    components: &Components,
    server: &dyn Server,
    mut stop: Stop,
) {
    let shared = Arc::clone(&components.0);
    let secrets: Secrets = Arc::new(move |domain| shared.secrets.get(domain).cloned());
    let machine = Component::new(secrets, random::id(), now());
    let mut pump = Pump::new(socket, machine, EARLY_LIMITS);
    let domain = loop {
        let step = tokio::select! {
            step = pump.step() => step,
            () = stop.wait() => return,
        };
        match step {
            Ok(Step::Event(Event::Opened(domain))) => break domain,
            Ok(Step::Event(Event::Closed(why))) => {
                let why = why.map(|error| error.to_string()).unwrap_or_default();
                info!(%address, %why, "no component came of a connection");
                pump.shutdown(LAST_WORDS).await;
                return;
            }
            Ok(_) => {}
            Err(_) => return,
        }
    };
    pump.set_limits(Limits {
        element_bytes: components.0.stanza_bytes,
        depth: 64,
        attributes: 64,
        name_bytes: 1024,
    });
    info!(%domain, %address, "a component has come");
    let (number, orders) = components.come(&domain);
    let mut carried = Carried {
        pump,
        domain: &domain,
        server,
        orders,
        after: 0,
        pull: false,
        rows: Vec::new(),
    };
    let ended = carried.carry(&mut stop).await;
    components.gone(&domain, number);
    let Carried {
        pump, mut orders, ..
    } = carried;
    info!(%domain, %address, ?ended, "a component has gone");
    pump.shutdown(LAST_WORDS).await;
    orders.close();
    while let Ok(order) = orders.try_recv() {
        if let Order::Send(stanza) = order {
            server.undeliverable(&domain, *stanza, away(&domain)).await;
        }
    }
}

/// A component's stream, while it lasts.
struct Carried<'a> {
    pump: Stream,
    domain: &'a str,
    server: &'a dyn Server,
    orders: mpsc::Receiver<Order>,
    /// The last row of the outbox that was written.
    after: i64,
    /// There may be more of them.
    pull: bool,
    /// Those on their way: forgotten once they are on the wire, since the protocol has no
    /// acknowledgements.
    rows: Vec<i64>,
}

impl Carried<'_> {
    async fn carry(&mut self, stop: &mut Stop) -> Result<Option<StreamError>, Ended> {
        let mut stopping = false;
        loop {
            self.rows().await;
            tokio::select! {
                step = self.pump.step() => match step? {
                    Step::Event(Event::Stanza(stanza)) => {
                        let received = vec![Received { stanza, place: None }];
                        self.server.stanzas(self.domain, received).await;
                    }
                    Step::Event(Event::Closed(why)) => return Ok(why),
                    Step::Event(Event::Opened(_)) | Step::Written => {}
                },
                order = self.orders.recv(), if self.pump.writable() => match order {
                    Some(Order::Wake) => self.pull = true,
                    Some(Order::Send(stanza)) => {
                        self.pump.command(Command::Deliver(stanza.to_bytes(None)));
                    }
                    Some(Order::GiveWay) | None => self.close(
                        StreamCondition::Conflict,
                        "another connection of this component has come",
                    ),
                },
                () = stop.wait(), if !stopping => {
                    stopping = true;
                    self.close(StreamCondition::SystemShutdown, "the server is stopping");
                }
            }
        }
    }

    fn close(&mut self, condition: StreamCondition, text: &str) {
        self.pump
            .command(Command::Close(StreamError::new(condition, text)));
    }

    /// Forgets rows that are written, and writes the next.
    async fn rows(&mut self) {
        let written = self.pump.machine().all_said() && self.pump.drained();
        if !self.rows.is_empty() && written {
            let rows = std::mem::take(&mut self.rows);
            self.server.delivered(self.domain, rows).await;
        }
        if !self.pull || !self.rows.is_empty() {
            return;
        }
        let found = self.server.queued(self.domain, self.after, ROWS).await;
        self.pull = found.len() == ROWS;
        for row in found {
            self.after = self.after.max(row.id);
            self.rows.push(row.id);
            self.pump.command(Command::Deliver(row.stanza));
        }
    }
}
