//! `comity serve`

use std::sync::Arc;

use comity_conf::Loaded;
use tokio::signal::unix::{SignalKind, signal};

use crate::home::SystemClock;
use crate::open_files;
use crate::run::reload::Source;
use crate::run::{RunError, run};

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("signals cannot be received: {0}")]
    Signals(#[from] std::io::Error),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Runs the server until SIGTERM or Ctrl-C; a second one ends it at once.
///
/// # Errors
/// Why it could not start.
pub async fn serve(loaded: Loaded, source: Source) -> Result<(), ServeError> {
    open_files::raise();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (first, told) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut first = Some(first);
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            match first.take() {
                Some(first) => drop(first.send(())),
                None => {
                    tracing::warn!("told twice: leaving at once");
                    std::process::exit(130);
                }
            }
        }
    });
    let shutdown = async {
        // Told, or nobody is left who could tell.
        let _ = told.await;
    };
    Ok(run(loaded, source, Arc::new(SystemClock), shutdown).await?)
}
