//! Opening a database: one connection for writing, one for checkpoints, a few for reading.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::Error;
use crate::checkpoint::WORTHWHILE_BYTES;
use crate::migrate;

/// A database up to this size is looked through when it is opened, in a tenth of a second, so that
/// nothing is built upon damage; larger ones by `comity check`.
const EXAMINED_BYTES: u64 = 64 << 20;
/// How long a statement waits for another process's lock.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Readers at a time; more wait, at most [`READ_WAIT`].
const READERS: u32 = 8;
const READ_WAIT: Duration = Duration::from_secs(30);

/// Of pages that one transaction has touched.
const WRITER_CACHE_KIB: u32 = 16 * 1024;
/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 512;

pub(crate) struct Opened {
    pub(crate) writer: SqliteConnection,
    pub(crate) checkpointer: SqliteConnection,
    pub(crate) readers: SqlitePool,
    pub(crate) path: PathBuf,
    pub(crate) scratch: Option<Scratch>,
}

pub(crate) async fn open(path: &Path) -> Result<Opened, Error> {
    let scratch = match path.to_str() {
        Some(":memory:") => Some(Scratch::create().map_err(sqlx::Error::Io)?),
        _ => None,
    };
    let path = match &scratch {
        Some(scratch) => scratch.0.join("scratch.db"),
        None => path.to_owned(),
    };
    create_private(&path).map_err(sqlx::Error::Io)?;
    // What is acknowledged survives a power cut: FULL. Scratch is gone by then anyway.
    let synchronous = match scratch {
        Some(_) => SqliteSynchronous::Off,
        None => SqliteSynchronous::Full,
    };
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(BUSY_TIMEOUT)
        // Checkpoints are made on a connection of their own, so that no commit waits for one.
        .pragma("wal_autocheckpoint", "0")
        // Else the log keeps the greatest size it ever had, and looks worth checkpointing for good.
        .pragma("journal_size_limit", (WORTHWHILE_BYTES / 4).to_string())
        // Each is prepared once; statements of many rows come in some lengths.
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging();
    let mut writer = options
        .clone()
        // What one transaction changes stays in memory until it is committed: what does not fit is
        // written twice. Pages take memory as they are used.
        .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"))
        .pragma("temp_store", "memory")
        .connect()
        .await?;
    if fs::metadata(&path).is_ok_and(|file| (1..=EXAMINED_BYTES).contains(&file.len())) {
        whole(&mut writer).await?;
    }
    migrate::migrate(&mut writer, &path).await?;
    let checkpointer = options.connect().await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(READ_WAIT)
        // A file does not go away like a server: asking costs as much as what is then read.
        .test_before_acquire(false)
        .connect_with(options.pragma("query_only", "1"))
        .await?;
    Ok(Opened {
        writer,
        checkpointer,
        readers,
        path,
        scratch,
    })
}

/// What SQLite finds wrong with a database that is not to be changed.
pub(crate) async fn examine(path: &Path) -> Result<Vec<String>, Error> {
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("query_only", "1")
        .disable_statement_logging()
        .connect()
        .await?;
    migrate::examine(&mut connection).await?;
    let found: Vec<String> = sqlx::query_scalar("PRAGMA quick_check(10)")
        .fetch_all(&mut connection)
        .await?;
    connection.close().await?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}

async fn whole(connection: &mut SqliteConnection) -> Result<(), Error> {
    let found: Vec<String> = sqlx::query_scalar("PRAGMA quick_check(10)")
        .fetch_all(connection)
        .await?;
    let broken: Vec<String> = found.into_iter().filter(|line| line != "ok").collect();
    match broken.is_empty() {
        true => Ok(()),
        false => Err(Error::Damaged(broken.join("; "))),
    }
}

/// The database holds what a password can be tried against: nobody but the server may read it.
/// SQLite gives its `-wal` and `-shm` files the mode of the database.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

/// A directory of our own that vanishes with the storage. Readers and the writer are several
/// connections, which SQLite's own `:memory:` does not let see each other without locking each
/// other's tables.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn create() -> io::Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let name = format!("comity-storage-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                // Left over from a killed process that had our number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: what stays is an empty test database.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_whole_database_is_told_from_a_damaged_one_and_from_none() {
        let scratch = Scratch::create().unwrap();
        let path = scratch.0.join("a.db");
        examine(&path).await.unwrap_err();
        assert!(!path.exists(), "looking makes nothing");
        let opened = open(&path).await.unwrap();
        assert!(examine(&path).await.unwrap().is_empty());
        opened.readers.close().await;
        opened.checkpointer.close().await.unwrap();
        opened.writer.close().await.unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 8192].fill(0x55);
        fs::write(&path, bytes).unwrap();
        let damaged = examine(&path).await;
        assert!(damaged.is_err() || !damaged.unwrap().is_empty());
        let refused = open(&path).await.err().unwrap();
        assert_eq!(refused.trouble(), crate::Trouble::Damaged, "{refused}");
    }
}
