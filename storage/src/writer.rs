//! The one writer of a process: groups many callers' changes into one durable transaction.

use sqlx::SqliteConnection;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the database was written by a newer version ({found} > {known}): upgrade comity")]
    NewerSchema { found: i64, known: i64 },
    #[error("the storage is closing")]
    Closed,
}

/// One caller's change: data, never a closure, with its precondition in its SQL (`ON CONFLICT`,
/// `WHERE epoch = ?`, `RETURNING`). A precondition that fails is an `Outcome`, found before
/// anything was written; an `Err` undoes the whole batch, which is then run change by change.
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
