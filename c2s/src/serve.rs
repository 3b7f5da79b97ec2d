//! Takes clients' connections in and gives each its task.

use std::net::SocketAddr;
use std::sync::Arc;

use comity_net::dns::order::Start;
use comity_net::http::Upgrade;
use comity_net::listener::{Accepted, Listener};
use comity_net::stop::Stop;
use comity_net::tls::Acceptor;
use tokio::sync::Semaphore;

use crate::link::{Restored, Server};
use crate::negotiate::PasswordCheck;
use crate::resume::{Kept, Resumables, Waiting};
use crate::{Options, stream};

/// Passwords held against their keys at once: each takes a core for some milliseconds, and
/// strangers can ask for it.
const PASSWORD_CHECKS: usize = 2;

/// What every client's stream shares. Cheap to clone; one for all listeners.
#[derive(Clone)]
pub struct Clients(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) acceptor: Acceptor,
    pub(crate) server: Arc<dyn Server>,
    pub(crate) resumables: Resumables,
    checks: Semaphore,
}

impl Clients {
    #[must_use]
    pub fn new(options: Options, acceptor: Acceptor, server: Arc<dyn Server>) -> Self {
        Self(Arc::new(Shared {
            options,
            acceptor,
            server,
            resumables: Resumables::default(),
            checks: Semaphore::new(PASSWORD_CHECKS),
        }))
    }

    /// Takes over a session that an earlier life of the server has left: its client has as long to
    /// come back to it as if it had lost its connection now.
    pub fn restore(&self, restored: Restored, mut stop: Stop) {
        let account = restored.jid.to_bare();
        let (kept, inbox) = Kept::of(restored);
        let seat = self.0.resumables.open(&kept.key, account);
        let waiting = Waiting { kept, inbox, seat };
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move { stream::wait(waiting, &shared, &mut stop).await });
    }
}

/// Carries a client's stream over a WebSocket (RFC 7395) that the web listener has let through;
/// to be spawned when the handshake is answered.
pub async fn websocket(upgrade: Upgrade, peer: SocketAddr, clients: Clients, stop: Stop) {
    stream::run_websocket(upgrade, peer, clients.0, stop).await;
}

/// Serves a listener until told to stop; then its streams end with `system-shutdown`, each as
/// soon as what it had sent is committed. TLS begins on it as `start` says.
pub async fn serve(listener: Listener, start: Start, clients: Clients, mut stop: Stop) {
    loop {
        let accepted = tokio::select! {
            () = stop.wait() => return,
            accepted = listener.accept() => accepted,
        };
        let shared = Arc::clone(&clients.0);
        let stop = stop.clone();
        tokio::spawn(async move {
            let Some(accepted) = accepted.introduced().await else {
                return;
            };
            let Accepted {
                stream,
                peer,
                permit,
                ..
            } = accepted;
            stream::run(stream, peer, start, shared, stop).await;
            drop(permit);
        });
    }
}

impl Shared {
    /// Is the password right? Waits its turn, off the reactor.
    pub(crate) async fn check(&self, check: PasswordCheck) -> bool {
        let Ok(_turn) = self.checks.acquire().await else {
            return false;
        };
        let checked = tokio::task::spawn_blocking(move || check.run());
        checked.await.unwrap_or(false)
    }
}
