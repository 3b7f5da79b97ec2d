//! Moves what was committed from the write-ahead log into the database, away from the writer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::Notify;

/// The log is left alone below this size.
const WORTHWHILE_BYTES: u64 = 4 << 20;
/// Above this size writers are made to wait until the log starts anew; otherwise a never-ending
/// stream of readers would let it grow without end.
const PRESSING_BYTES: u64 = 256 << 20;
/// Between two looks at the log.
const PAUSE: Duration = Duration::from_secs(1);

/// Tells the checkpointer that something was committed; dropped, it ends it.
pub(crate) struct Checkpoints(Arc<Notify>);

impl Checkpoints {
    pub(crate) fn committed(&self) {
        self.0.notify_one();
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

pub(crate) fn start(connection: SqliteConnection, database: PathBuf) -> Checkpoints {
    let committed = Arc::new(Notify::new());
    tokio::spawn(run(connection, log_of(&database), Arc::clone(&committed)));
    Checkpoints(committed)
}

async fn run(mut connection: SqliteConnection, log: PathBuf, committed: Arc<Notify>) {
    loop {
        committed.notified().await;
        // Ours is the last reference once the writer has dropped its own.
        if Arc::strong_count(&committed) == 1 {
            break;
        }
        let size = std::fs::metadata(&log).map_or(0, |log| log.len());
        let statement = match size {
            PRESSING_BYTES.. => "PRAGMA wal_checkpoint(RESTART)",
            WORTHWHILE_BYTES.. => "PRAGMA wal_checkpoint(PASSIVE)",
            _ => continue,
        };
        if let Err(error) = sqlx::query(statement).execute(&mut connection).await {
            tracing::warn!(%error, bytes = size, "the write-ahead log could not be checkpointed");
        }
        tokio::time::sleep(PAUSE).await;
    }
    // The last connection to close checkpoints the rest.
    let _ = connection.close().await;
}

fn log_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}
