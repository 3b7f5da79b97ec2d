//! The commands of the operator, over a Unix socket in the data directory that nobody else may
//! open: a JSON object a line, an answer a line. [`protocol`] has both; `comity user` speaks it
//! through [`client`].

pub mod client;
mod device;
pub mod house;
pub mod peer;
pub mod protocol;
mod room;
mod root;
mod session;
pub(crate) mod stats;
mod user;

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use comity_mls_wire::refusal::Refusal;
use comity_net::stop::Stop;
use comity_storage::Storage;
use comity_xmpp::jid::BareJid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::home::Clock;
use crate::passwords::Passwords;
use crate::services::closed::ClosedRooms;
use protocol::{Answer, LINE_LIMIT, Request};

/// Connections at a time; more wait in the kernel.
const CONNECTIONS: usize = 8;
/// For a line to arrive, and for an answer to be read.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the commands act upon. Cheap to clone.
#[derive(Clone)]
pub struct State {
    pub storage: Storage,
    /// The domains served here.
    pub domains: Arc<[String]>,
    pub passwords: Passwords,
    pub clock: Arc<dyn Clock>,
    pub peers: Arc<dyn peer::Streams>,
    pub house: Arc<dyn house::House>,
    /// As requests to rooms are judged.
    pub closed: ClosedRooms,
    pub kick: Arc<Kick>,
    pub leave: Arc<Leave>,
    pub revoke: Arc<Revoke>,
    pub revoked: Arc<Revoked>,
    pub withdrawn: Arc<Withdrawn>,
    pub trust: Arc<Trust>,
    pub ca_reload: Arc<CaReload>,
    pub ca_refused: Arc<CaRefused>,
    pub reload: Arc<Reload>,
}

/// Takes up the configuration again: what came of it, or why the old one stays.
pub type Reload = dyn Fn() -> Result<String, String> + Send + Sync;

/// Ends the sessions of an account, for the reason given; how many there were.
pub type Kick = dyn Fn(&BareJid, &str) -> usize + Send + Sync;

/// Ends the subscriptions of an account that is about to be deleted.
pub type Leave = dyn Fn(BareJid) -> Leaving + Send + Sync;
pub type Leaving = Pin<Box<dyn Future<Output = Result<(), comity_storage::Error>> + Send>>;

/// Has the Authentication Service end a device; whether it was not ended before, or why not.
pub type Revoke = dyn Fn(BareJid, Uuid) -> Revoking + Send + Sync;
pub type Revoking = Pin<Box<dyn Future<Output = Result<bool, Refusal>> + Send>>;

/// Takes the rights of a device that has been revoked from its sessions, and tells the others.
pub type Revoked = dyn Fn(BareJid, Uuid) -> Done + Send + Sync;
/// Publishes that certificates of an account have been taken back.
pub type Withdrawn = dyn Fn(BareJid) -> Done + Send + Sync;
pub type Done = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Looks at the certificate authorities' directories again, and publishes what is new.
pub type CaReload = dyn Fn() -> Trusting + Send + Sync;

/// How many requests for certificates a domain of ours has refused.
pub type CaRefused = dyn Fn(&str) -> Option<u64> + Send + Sync;

/// Asks a domain for its anchors and believes the root given; else why not.
pub type Trust = dyn Fn(String, [u8; 32]) -> Trusting + Send + Sync;
pub type Trusting = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Where the socket of a data directory is.
#[must_use]
pub fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.sock")
}

/// Opens the socket of a data directory. One left over by a killed server is replaced.
///
/// # Errors
/// `AddrInUse` when a server answers there: it has this data directory.
pub async fn bind(data_dir: &Path) -> io::Result<UnixListener> {
    let path = socket(data_dir);
    if UnixStream::connect(&path).await.is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("another server is running on {}", data_dir.display()),
        ));
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    // The data directory is closed to others already, so that nobody got in meanwhile.
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until told to stop.
pub async fn serve(listener: UnixListener, state: State, mut stop: Stop) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.wait() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (state, mut stop) = (state.clone(), stop.clone());
                tokio::spawn(async move {
                    let _permit = permit;
                    tokio::select! {
                        result = converse(stream, &state) => if let Err(error) = result {
                            tracing::debug!(%error, "an admin connection broke");
                        },
                        () = stop.wait() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin socket accepts nobody");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, state: &State) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(LINE_LIMIT);
        let read = tokio::time::timeout(PATIENCE, limited.read_until(b'\n', &mut line));
        if read.await?? == 0 {
            return Ok(());
        }
        let answer = match protocol::read::<Request>(&line) {
            Ok(request) => carry_out(request, state).await,
            Err(why) => Answer::Refused { why },
        };
        let broken = !line.ends_with(b"\n");
        let written = protocol::write(&answer);
        tokio::time::timeout(PATIENCE, writer.write_all(&written)).await??;
        if broken {
            return Ok(());
        }
    }
}

async fn carry_out(request: Request, state: &State) -> Answer {
    let result = match request {
        Request::UserAdd { jid, password } => user::add(state, &jid, &password).await,
        Request::UserPassword { jid, password } => user::password(state, &jid, &password).await,
        Request::UserEnable { jid, enabled } => user::enable(state, &jid, enabled).await,
        Request::UserDelete { jid } => user::delete(state, &jid).await,
        Request::UserList { domain, after } => user::list(state, domain, &after).await,
        Request::UserShow { jid } => user::show(state, &jid).await,
        Request::SessionList { of, after } => session::list(state, of.as_deref(), &after),
        Request::SessionKill { jid, reason } => session::kill(state, &jid, &reason),
        Request::RoomList { after } => room::list(state, &after).await,
        Request::RoomShow { room } => room::show(state, &room).await,
        Request::RoomClose { room, reason } => room::close(state, &room, &reason).await,
        Request::RoomOpen { room } => room::open(state, &room).await,
        Request::RoomReports { after } => room::reports(state, after).await,
        Request::RoomReportDiscard { id } => room::discard_report(state, id).await,
        Request::Stats => stats::stats(state).await,
        Request::DeviceList { jid } => device::list(state, &jid).await,
        Request::DeviceRevoke { jid, id } => device::revoke(state, &jid, &id).await,
        Request::Reload => (state.reload)().map(|what| Answer::Done { what }),
        Request::CaReload => match (state.ca_reload)().await {
            Ok(()) => Ok(Answer::Done {
                what: "The server has published it.".to_owned(),
            }),
            Err(why) => Err(why),
        },
        Request::CaRefused { domain } => match (state.ca_refused)(&domain) {
            Some(count) => Ok(Answer::Done {
                what: format!(
                    "refused  {count} requests for certificates since the server's start"
                ),
            }),
            None => Err(format!("{domain} is not served here")),
        },
        Request::PeerList { after } => peer::list(state, &after).await,
        Request::PeerShow { domain } => peer::show(state, &domain).await,
        Request::PeerFlush { domain } => peer::flush(state, &domain).await,
        Request::PeerDiscard { domain } => peer::discard(state, &domain).await,
        Request::PeerBlock { domain, reason } => peer::block(state, &domain, reason).await,
        Request::PeerUnblock { domain } => peer::unblock(state, &domain).await,
        Request::PeerProbe { domain } => peer::probe(state, &domain).await,
        Request::PeerRoots => root::list(state).await,
        Request::PeerTrust { domain, root } => root::trust(state, &domain, &root).await,
    };
    result.unwrap_or_else(|why| Answer::Refused { why })
}

#[cfg(test)]
mod tests;
