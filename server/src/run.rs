//! From a configuration to a running homeserver, and back to nothing.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use comity_conf::Loaded;
use comity_net::stop;
use comity_net::tls::TlsError;
use comity_storage::Storage;

use crate::home::Clock;
use crate::lock::{Lock, LockError};
use crate::notify::Manager;
use crate::offers::OffersError;
use crate::run::reload::{Reloading, Source};
use crate::services::ServicesError;
use crate::{admin, backup, mishap};

pub(crate) mod acme;
mod clients;
mod clock;
mod components;
pub(crate) mod domains;
mod expiry;
mod home;
mod operator;
mod peers;
mod probe;
pub(crate) mod reload;
mod ticks;
pub(crate) mod tls;
mod web;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{key}: {domain}: {why}")]
    Domain {
        key: &'static str,
        domain: String,
        why: String,
    },
    #[error(
        "the data directory {} cannot be used: {source}; {}", path.display(), mishap::of_io(source)
    )]
    DataDir { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(
        "{} holds a restoration that was not finished: empty the directory, then restore again",
        .0.display()
    )]
    Restoring(PathBuf),
    #[error(
        "the database {} cannot be used: {source}; {}", path.display(), source.trouble().todo()
    )]
    Storage {
        path: PathBuf,
        source: comity_storage::Error,
    },
    #[error(transparent)]
    Offers(#[from] OffersError),
    #[error("the sessions of the last run cannot be read: {0}")]
    Sessions(comity_storage::Error),
    #[error(transparent)]
    Services(#[from] ServicesError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{key}: cannot listen on {address}: {source}; {}", mishap::of_listening(source, *address))]
    Listen {
        /// As in `c2s.listen`.
        key: &'static str,
        address: SocketAddr,
        source: io::Error,
    },
}

/// Serves until `shutdown` completes; then closes what is open, within `server.drain`.
///
/// # Errors
/// Why it could not start.
pub async fn run(
    loaded: Loaded,
    source: Source,
    clock: Arc<dyn Clock>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let conf = loaded.conf.clone();
    let domains = domains::domains(&conf)?;
    let data_dir = &conf.server.data_dir;
    create_private(data_dir).map_err(|source| unusable(data_dir, source))?;
    if backup::unfinished(data_dir) {
        return Err(RunError::Restoring(data_dir.clone()));
    }
    let lock = Lock::take(data_dir)?;
    let listener = admin::bind(data_dir)
        .await
        .map_err(|source| unusable(data_dir, source))?;
    let storage = open(&conf.database()).await?;
    let certificates = tls::certificates(&conf, &domains, clock.wall())?;
    let remote = Arc::new(peers::Streams::default());
    let home = home::home(
        &conf,
        &domains,
        storage.clone(),
        clock.clone(),
        remote.clone(),
    )
    .await?;
    let (stopper, stop) = stop::channel();
    let manager = Manager::of_environment();
    let reloading = Reloading::new(source, loaded, &home, &certificates, &remote, &manager);
    let state = operator::state(&domains, &home, &remote, &reloading);
    tokio::spawn(admin::serve(listener, state, stop.clone()));
    tokio::spawn(Arc::clone(&certificates).watch(stop.clone()));
    tokio::spawn(reloading.at_hangup(stop.clone()));
    let watching = Arc::clone(&certificates);
    tokio::spawn(expiry::watch(watching, home.clone(), stop.clone()));
    let clients = clients::start(&conf, &home, Arc::clone(&certificates), &stop).await?;
    components::start(&conf, &home, &remote, &stop).await?;
    peers::start(&conf, &home, &remote, &certificates, &stop).await?;
    web::start(&conf, &home, Arc::clone(&certificates), clients, &stop).await?;
    acme::start(&conf, &certificates, &stop)?;
    ticks::start(&home, &stop);
    tokio::spawn(clock::watch(Arc::clone(&home.clock), stop.clone()));
    tokio::spawn(manager.clone().keep_watch(stop.clone()));
    drop(stop);
    manager.ready(&format!("serving {}", domains.join(" ")));
    tracing::info!(domains = domains.join(" "), data_dir = %data_dir.display(), "serving");
    shutdown.await;
    tracing::info!("stopping");
    manager.stopping();
    // The streams hold what is being waited for.
    remote.close();
    if !stopper.stop(conf.server.drain).await {
        tracing::warn!("not everything closed within server.drain");
    }
    storage.close().await;
    // Best effort: one that stays is replaced by the next server.
    let _ = std::fs::remove_file(admin::socket(data_dir));
    drop(lock);
    Ok(())
}

/// Keys and password verifiers lie there: nobody else looks in.
fn create_private(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

async fn open(path: &Path) -> Result<Storage, RunError> {
    Storage::open(path)
        .await
        .map_err(|source| RunError::Storage {
            path: path.to_owned(),
            source,
        })
}

fn unusable(path: &Path, source: io::Error) -> RunError {
    RunError::DataDir {
        path: path.to_owned(),
        source,
    }
}
