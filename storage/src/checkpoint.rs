//! Moves what was committed from the write-ahead log into the database, away from the writer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The log is left alone below this size.
pub(crate) const WORTHWHILE_BYTES: u64 = 4 << 20;
/// How long writers may be made to wait for readers, so that the log can start anew.
const PATIENCE: Duration = Duration::from_millis(100);
/// Above this size they wait longer: otherwise slow readers would let the log grow without end.
const PRESSING_BYTES: u64 = 256 << 20;
const PRESSED_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at the log.
const PAUSE: Duration = Duration::from_millis(250);

/// Tells the checkpointer that something was committed; dropped, it ends it.
pub(crate) struct Checkpoints {
    committed: mpsc::Sender<()>,
    ended: JoinHandle<()>,
}

impl Checkpoints {
    pub(crate) fn committed(&self) {
        // Where the channel is full it is about to look.
        let _ = self.committed.try_send(());
    }

    /// Returns when its connection is closed.
    pub(crate) async fn end(self) {
        drop(self.committed);
        let _ = self.ended.await;
    }
}

pub(crate) fn start(connection: SqliteConnection, database: PathBuf) -> Checkpoints {
    let (committed, heard) = mpsc::channel(1);
    let ended = tokio::spawn(run(connection, log_of(&database), heard));
    Checkpoints { committed, ended }
}

async fn run(mut connection: SqliteConnection, log: PathBuf, mut committed: mpsc::Receiver<()>) {
    let mut said = false;
    while committed.recv().await.is_some() {
        let size = std::fs::metadata(&log).map_or(0, |log| log.len());
        let patience = match size {
            PRESSING_BYTES.. => PRESSED_PATIENCE,
            WORTHWHILE_BYTES.. => PATIENCE,
            _ => continue,
        };
        match checkpoint(&mut connection, patience).await {
            Ok(()) => said = false,
            // Once, not four times a second: it comes again as often as somebody writes.
            Err(error) if !said => {
                said = true;
                tracing::warn!(%error, bytes = size, "the write-ahead log could not be checkpointed");
            }
            Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
    // The last connection to close checkpoints the rest, which is the writer's.
    let _ = connection.close().await;
}

/// First most of the log while nobody waits, then what was written meanwhile while writers do: only
/// a log of which nothing is left can start anew.
async fn checkpoint(
    connection: &mut SqliteConnection,
    patience: Duration,
) -> Result<(), sqlx::Error> {
    let patience = AssertSqlSafe(format!("PRAGMA busy_timeout = {}", patience.as_millis()));
    sqlx::raw_sql(patience).execute(&mut *connection).await?;
    for statement in [
        "PRAGMA wal_checkpoint(PASSIVE)",
        "PRAGMA wal_checkpoint(RESTART)",
    ] {
        // A reader in the way is an answer, not an error; next time it is gone.
        sqlx::query(statement).execute(&mut *connection).await?;
    }
    Ok(())
}

fn log_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}
