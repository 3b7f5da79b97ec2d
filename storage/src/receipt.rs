//! Which stanzas of another domain's queue have been taken in. A place in the queue is kept in the
//! transaction of what its stanza has caused, so that after any crash both are there or neither is.

use sqlx::{Row, SqliteConnection};

use crate::integer::signed;
use crate::offline::StoredOffline;
use crate::roster::SubscriptionChanged;
use crate::{Error, Storage, Write};

/// Our own queue, as other domains know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxQueue {
    pub queue: String,
    /// The highest number that was ever given to a row.
    pub highest: i64,
}

/// The place of a stanza in the queue of the domain it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub ours: String,
    pub peer: String,
    pub queue: String,
    pub number: i64,
    pub heard: u64,
}

impl Storage {
    /// Who we are as a sender, and how far we have come.
    pub async fn outbox_queue(&self) -> Result<OutboxQueue, Error> {
        let found = sqlx::query(
            "SELECT queue, (SELECT seq FROM sqlite_sequence WHERE name = 'outbox') AS highest
             FROM outbox_identity",
        )
        .fetch_one(&mut *self.read().await?)
        .await?;
        Ok(OutboxQueue {
            queue: found.get("queue"),
            highest: found.get::<Option<i64>, _>("highest").unwrap_or(0),
        })
    }

    /// Up to which number we hold this queue of a peer; 0 where we know nothing of it.
    pub async fn held(&self, ours: &str, peer: &str, queue: &str) -> Result<i64, Error> {
        let found = sqlx::query_scalar(
            "SELECT number FROM inbound_queues WHERE ours = ? AND peer = ? AND queue = ?",
        )
        .bind(ours)
        .bind(peer)
        .bind(queue)
        .fetch_optional(&mut *self.read().await?)
        .await?;
        Ok(found.unwrap_or(0))
    }
}

/// A peer holds our queue up to a number that we have not reached: our storage is older than that,
/// as after a backup was restored, and would give the same numbers again. The queue gets another
/// identity, unless the number is possible after all. True: it did.
pub struct RenewOutboxQueue {
    pub held: i64,
}

impl Write for RenewOutboxQueue {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let renewed = sqlx::query(
            "UPDATE outbox_identity SET queue = lower(hex(randomblob(16)))
             WHERE ? > coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0)",
        )
        .bind(self.held)
        .execute(connection)
        .await?;
        Ok(renewed.rows_affected() > 0)
    }
}

/// Keeps the place of a stanza that has no other lasting effect. The number that was held before:
/// if it is not lower, the stanza has been taken in already and nothing was changed.
pub struct Receive(pub Receipt);

impl Write for Receive {
    type Outcome = i64;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
        let before = before(&self.0, connection).await?;
        if before < self.0.number {
            keep(&self.0, connection).await?;
        }
        Ok(before)
    }
}

/// A change together with the place of the stanza that causes it.
pub struct Once<W> {
    /// `None`: the stanza has no place; the change is made in any case.
    pub receipt: Option<Receipt>,
    pub change: W,
}

/// An outcome that says whether the stanza is done with: a change that has to be decided anew does
/// not use up its place.
pub trait Settled {
    fn settled(&self) -> bool;
}

impl<W: Write> Write for Once<W>
where
    W::Outcome: Settled,
{
    /// `None`: the stanza has been taken in before, and nothing was changed.
    type Outcome = Option<W::Outcome>;

    async fn run(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Option<W::Outcome>, sqlx::Error> {
        let Some(receipt) = &self.receipt else {
            return Ok(Some(self.change.run(connection).await?));
        };
        if before(receipt, connection).await? >= receipt.number {
            return Ok(None);
        }
        let outcome = self.change.run(&mut *connection).await?;
        if outcome.settled() {
            keep(receipt, connection).await?;
        }
        Ok(Some(outcome))
    }
}

/// Up to which number the queue of this place is held.
pub(crate) async fn before(
    receipt: &Receipt,
    connection: &mut SqliteConnection,
) -> Result<i64, sqlx::Error> {
    let found = sqlx::query_scalar(
        "SELECT number FROM inbound_queues WHERE ours = ? AND peer = ? AND queue = ?",
    )
    .bind(&receipt.ours)
    .bind(&receipt.peer)
    .bind(&receipt.queue)
    .fetch_optional(connection)
    .await?;
    Ok(found.unwrap_or(0))
}

pub(crate) async fn keep(
    receipt: &Receipt,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO inbound_queues (ours, peer, queue, number, heard) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (ours, peer) DO UPDATE
         SET queue = excluded.queue, number = excluded.number, heard = excluded.heard",
    )
    .bind(&receipt.ours)
    .bind(&receipt.peer)
    .bind(&receipt.queue)
    .bind(receipt.number)
    .bind(signed(receipt.heard))
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets the queues of domains not heard of since `before`. How many there were.
pub struct ForgetQueues {
    pub before: u64,
}

impl Write for ForgetQueues {
    type Outcome = u64;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let gone = sqlx::query("DELETE FROM inbound_queues WHERE heard < ?")
            .bind(signed(self.before))
            .execute(connection)
            .await?;
        Ok(gone.rows_affected())
    }
}

impl Settled for StoredOffline {
    fn settled(&self) -> bool {
        true
    }
}

impl Settled for SubscriptionChanged {
    fn settled(&self) -> bool {
        !matches!(self, Self::Stale(_))
    }
}
