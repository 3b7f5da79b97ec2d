//! The one writer of a process: groups many callers' changes into one durable transaction.
//!
//! A disk forces one write at a time to its platter, and takes as long for two hundred changes as
//! for one. So whatever is waiting goes into one `BEGIN IMMEDIATE … COMMIT`; neighbours of the same
//! kind are handed to [`Write::run_many`] together. Callers hear of their outcome after the commit,
//! never before. If anything in the batch fails unexpectedly, all of it is undone and run again
//! change by change, so that only the one at fault hears of an error.

mod group;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::task::Poll;
use std::time::Duration;

use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use crate::checkpoint::Checkpoints;
use crate::health::Health;
use crate::{Trouble, migrate};
use group::{Group, Running, join_neighbours};

/// Changes that may wait for the writer; [`crate::Storage::write`] waits for room.
pub const QUEUE_LIMIT: usize = 4096;
/// Changes of one transaction: larger ones hardly gain (a commit costs less than a millisecond of
/// each change by then) and make the first caller wait for the last.
const BATCH_LIMIT: usize = 256;
/// While nothing can be written, this long after the last attempt comes another.
const TRIAL: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the database was written by a newer version ({found} > {known}): upgrade comity")]
    NewerSchema { found: i64, known: i64 },
    #[error("the database is damaged: {0}")]
    Damaged(String),
    #[error("the database is not upgraded, since no copy of it can be made as {}: {source}", copy.display())]
    NoCopy { copy: PathBuf, source: Box<Self> },
    #[error("the storage is closing: nothing was changed")]
    Closed,
    #[error("the disk is full: nothing was changed; it works again by itself once there is room")]
    NoRoom,
    #[error("{QUEUE_LIMIT} changes are waiting for the disk: nothing was changed, try again later")]
    Full,
    #[error("a change panicked and was undone: this is a bug in comity")]
    Panicked,
}

/// One caller's change: data, never a closure, with its precondition in its SQL (`ON CONFLICT`,
/// `WHERE epoch = ?`, `RETURNING`). A precondition that fails is an `Outcome`, found before
/// anything was written: outcomes of any kind are committed together with their neighbours. An
/// `Err` undoes the whole batch, which is then run change by change; so `run` may be called again
/// and must not have effects beside its SQL.
pub trait Write: Send + Sync + 'static {
    type Outcome: Send + 'static;

    fn run(
        &self,
        connection: &mut SqliteConnection,
    ) -> impl Future<Output = Result<Self::Outcome, sqlx::Error>> + Send;

    /// Runs neighbours of the same kind together; kinds that come in floods do it in multi-row
    /// statements. One outcome each, in order.
    fn run_many(
        changes: &[&Self],
        connection: &mut SqliteConnection,
    ) -> impl Future<Output = Result<Vec<Self::Outcome>, sqlx::Error>> + Send {
        async move {
            let mut outcomes = Vec::with_capacity(changes.len());
            for change in changes {
                outcomes.push(change.run(connection).await?);
            }
            Ok(outcomes)
        }
    }
}

/// The way to the writer.
pub(crate) struct Handle {
    queue: mpsc::Sender<Job>,
}

enum Job {
    Change(Box<dyn Group>),
    Close(oneshot::Sender<()>),
}

pub(crate) fn start(
    connection: SqliteConnection,
    checkpoints: Checkpoints,
    health: Health,
) -> Handle {
    let (queue, jobs) = mpsc::channel(QUEUE_LIMIT);
    tokio::spawn(run(connection, checkpoints, health, jobs));
    Handle { queue }
}

impl Handle {
    pub(crate) async fn write<W: Write>(&self, change: W) -> Result<W::Outcome, Error> {
        let (job, answer) = group::single(change);
        self.queue
            .send(Job::Change(job))
            .await
            .map_err(|_| Error::Closed)?;
        answer.await.unwrap_or(Err(Error::Closed))
    }

    pub(crate) fn submit<W: Write>(
        &self,
        change: W,
    ) -> impl Future<Output = Result<W::Outcome, Error>> + Send + 'static {
        let (job, answer) = group::single(change);
        let refused = match self.queue.try_send(Job::Change(job)) {
            Ok(()) => None,
            Err(mpsc::error::TrySendError::Full(_)) => Some(Error::Full),
            Err(mpsc::error::TrySendError::Closed(_)) => Some(Error::Closed),
        };
        async move {
            match refused {
                Some(error) => Err(error),
                None => answer.await.unwrap_or(Err(Error::Closed)),
            }
        }
    }

    /// Returns when everything handed in before is on disk and the connection is closed.
    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Job::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
        self.queue.closed().await;
    }
}

async fn run(
    mut connection: SqliteConnection,
    checkpoints: Checkpoints,
    health: Health,
    mut jobs: mpsc::Receiver<Job>,
) {
    let mut waiting = Vec::with_capacity(BATCH_LIMIT);
    let mut closers = Vec::new();
    loop {
        let next = jobs.recv_many(&mut waiting, BATCH_LIMIT);
        let count = match health.trouble() {
            None => next.await,
            // Somebody has to try, or a server that refuses everything would do so for ever.
            Some(_) => match tokio::time::timeout(TRIAL, next).await {
                Ok(count) => count,
                Err(_) => {
                    attempt(&mut connection, &health).await;
                    continue;
                }
            },
        };
        if count == 0 {
            break;
        }
        gather(&mut jobs, &mut waiting).await;
        let mut changes = Vec::with_capacity(waiting.len());
        for job in waiting.drain(..) {
            match job {
                Job::Change(change) => changes.push(change),
                Job::Close(done) => {
                    // Refuses new changes; what is in the queue still comes.
                    jobs.close();
                    closers.push(done);
                }
            }
        }
        if !changes.is_empty() {
            carry_out(&mut connection, join_neighbours(changes), &health).await;
            checkpoints.committed();
        }
    }
    // Of two that close at once neither is the last, and the log would stay behind.
    checkpoints.end().await;
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "the database did not close cleanly; it will recover when opened");
    }
    for done in closers {
        let _ = done.send(());
    }
}

/// Who is ready to hand something in does so first: a transaction costs as much as many changes, and
/// one that waits for nobody keeps nobody waiting.
async fn gather(jobs: &mut mpsc::Receiver<Job>, waiting: &mut Vec<Job>) {
    loop {
        let before = waiting.len();
        // All tasks that can go on now do, and sockets are looked at.
        tokio::task::yield_now().await;
        while waiting.len() < BATCH_LIMIT
            && let Ok(job) = jobs.try_recv()
        {
            waiting.push(job);
        }
        if waiting.len() == before || waiting.len() >= BATCH_LIMIT {
            return;
        }
    }
}

/// Runs a batch in one transaction and tells everybody; on failure, change by change.
async fn carry_out(
    connection: &mut SqliteConnection,
    mut batch: Vec<Box<dyn Group>>,
    health: &Health,
) {
    let Err(error) = commit(connection, &mut batch).await else {
        if health.trouble().is_some() {
            // It may have been one that changes nothing: those succeed on a full disk too.
            attempt(connection, health).await;
        }
        batch.into_iter().for_each(|group| group.tell());
        return;
    };
    let changes = batch.iter().map(|group| group.len()).sum::<usize>();
    if !health.failed(&error) {
        tracing::warn!(%error, changes, "a transaction failed and was undone");
    }
    if changes == 1 {
        if let Some(change) = batch.pop() {
            change.fail(refusal(error));
        }
        return;
    }
    let mut full = false;
    for single in batch.into_iter().flat_map(|group| group.split()) {
        // Where one finds no room the next hardly does: hundreds of them are not tried in vain.
        if full {
            single.fail(Error::NoRoom);
            continue;
        }
        let mut single = [single];
        let result = commit(connection, &mut single).await;
        let [change] = single;
        match result {
            Ok(()) => change.tell(),
            Err(error) => {
                if !health.failed(&error) {
                    tracing::error!(%error, "a change failed");
                }
                full = error.trouble() == Trouble::Full;
                change.fail(refusal(error));
            }
        }
    }
}

fn refusal(error: Error) -> Error {
    match error.trouble() {
        Trouble::Full => Error::NoRoom,
        _ => error,
    }
}

/// Writes a page that is as it was, to see whether that is possible again.
async fn attempt(connection: &mut SqliteConnection, health: &Health) {
    let written = async {
        let version = migrate::version(&mut *connection).await?;
        // A PRAGMA takes no parameters; the number is SQLite's own.
        let same = format!("BEGIN IMMEDIATE; PRAGMA user_version = {version}; COMMIT");
        let same = sqlx::AssertSqlSafe(same);
        sqlx::raw_sql(same).execute(&mut *connection).await
    };
    match written.await {
        Ok(_) => health.succeeded(),
        Err(error) => {
            let _ = sqlx::query("ROLLBACK").execute(connection).await;
            health.failed(&error.into());
        }
    }
}

/// One transaction. Its statements are written out, since sqlx counts transactions by itself and
/// miscounts where SQLite has ended one on its own, as it does when the disk is full.
async fn commit(
    connection: &mut SqliteConnection,
    batch: &mut [Box<dyn Group>],
) -> Result<(), Error> {
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *connection)
        .await?;
    let result = fill(connection, batch).await;
    if result.is_err() {
        // That there is nothing to roll back any more is fine.
        let _ = sqlx::query("ROLLBACK").execute(connection).await;
    }
    result
}

async fn fill(
    connection: &mut SqliteConnection,
    batch: &mut [Box<dyn Group>],
) -> Result<(), Error> {
    for group in batch {
        caught(group.run(connection)).await?;
    }
    sqlx::query("COMMIT").execute(connection).await?;
    Ok(())
}

/// A bug in one change must not take the writer, and with it everybody, down.
async fn caught(mut running: Running<'_>) -> Result<(), Error> {
    std::future::poll_fn(move |context| {
        let poll = AssertUnwindSafe(|| running.as_mut().poll(context));
        match catch_unwind(poll) {
            Ok(poll) => poll.map(|result| result.map_err(Error::Database)),
            Err(_) => Poll::Ready(Err(Error::Panicked)),
        }
    })
    .await
}

#[cfg(test)]
mod tests;
