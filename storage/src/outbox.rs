//! Stanzas on their way to other domains: one ordered queue for each, the only one there is.
//!
//! Rows are written in the transaction that causes them, by [`Enqueue`] or by changes of other
//! nouns through `insert`; sending is only a wake-up. They are deleted when the peer has
//! them, or when they expire.

use std::collections::HashMap;

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::integer::{rows, signed, unsigned};
use crate::pieces::pieces;
use crate::{Error, Storage, Write};

/// Stanzas that may wait for one domain, so that a dead or hostile one costs bounded disk.
pub const OUTBOX_LIMIT: usize = 100_000;
const ROWS_OF_A_STATEMENT: usize = 256;

/// A stanza for another domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The remote domain.
    pub destination: String,
    /// The stanza without a declaration of its content namespace.
    pub stanza: Vec<u8>,
    pub created: u64,
    /// Until then it is worth sending.
    pub expires: u64,
}

/// An [`Outgoing`] in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Grows in the order of the transactions; never used twice.
    pub id: i64,
    pub destination: String,
    pub stanza: Vec<u8>,
    pub created: u64,
    pub expires: u64,
}

/// What waits for one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    pub destination: String,
    pub length: u64,
    /// When the oldest stanza came.
    pub oldest: u64,
}

impl Storage {
    /// The next rows for a domain with ids above `after` (0 for the very first), oldest first, at
    /// most `limit`.
    pub async fn outbox(
        &self,
        destination: &str,
        after: i64,
        limit: usize,
    ) -> Result<Vec<OutboxRow>, Error> {
        let found = sqlx::query(
            "SELECT id, destination, stanza, created, expires FROM outbox
             WHERE destination = ? AND id > ? ORDER BY id LIMIT ?",
        )
        .bind(destination)
        .bind(after)
        .bind(rows(limit))
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found.iter().map(read).collect())
    }

    /// Rows that expired before `now`, oldest first, at most `limit`, of all domains. They are
    /// [`RemoveOutgoing`]'s once their senders have been told.
    pub async fn outbox_expired(&self, now: u64, limit: usize) -> Result<Vec<OutboxRow>, Error> {
        let found = sqlx::query(
            "SELECT id, destination, stanza, created, expires FROM outbox
             WHERE expires < ? ORDER BY expires, id LIMIT ?",
        )
        .bind(signed(now))
        .bind(rows(limit))
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found.iter().map(read).collect())
    }

    /// The domains something is waiting for: whom to wake at start.
    pub async fn outbox_destinations(&self) -> Result<Vec<String>, Error> {
        let found =
            sqlx::query_scalar("SELECT destination FROM outbox_queues ORDER BY destination")
                .fetch_all(&mut *self.read().await?)
                .await?;
        Ok(found)
    }

    /// The queues that are not empty, by domain, at most `limit` after `after`.
    pub async fn outbox_queues(&self, after: &str, limit: usize) -> Result<Vec<Queue>, Error> {
        let found = sqlx::query(
            "SELECT destination, length,
                (SELECT created FROM outbox WHERE outbox.destination = outbox_queues.destination
                 ORDER BY id LIMIT 1) AS oldest
             FROM outbox_queues WHERE destination > ? ORDER BY destination LIMIT ?",
        )
        .bind(after)
        .bind(rows(limit))
        .fetch_all(&mut *self.read().await?)
        .await?;
        let queue = |row: &sqlx::sqlite::SqliteRow| Queue {
            destination: row.get("destination"),
            length: unsigned(row.get("length")),
            oldest: unsigned(row.get::<Option<i64>, _>("oldest").unwrap_or(0)),
        };
        Ok(found.iter().map(queue).collect())
    }

    /// The id of the newest row for a domain.
    pub async fn outbox_newest(&self, destination: &str) -> Result<Option<i64>, Error> {
        let newest = sqlx::query_scalar("SELECT max(id) FROM outbox WHERE destination = ?")
            .bind(destination)
            .fetch_one(&mut *self.read().await?)
            .await?;
        Ok(newest)
    }

    pub async fn outbox_length(&self, destination: &str) -> Result<u64, Error> {
        let length = sqlx::query_scalar("SELECT length FROM outbox_queues WHERE destination = ?")
            .bind(destination)
            .fetch_optional(&mut *self.read().await?)
            .await?;
        Ok(unsigned(length.unwrap_or(0)))
    }
}

fn read(row: &sqlx::sqlite::SqliteRow) -> OutboxRow {
    OutboxRow {
        id: row.get("id"),
        destination: row.get("destination"),
        stanza: row.get("stanza"),
        created: unsigned(row.get("created")),
        expires: unsigned(row.get("expires")),
    }
}

/// Queues one stanza.
pub struct Enqueue(pub Outgoing);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    Queued,
    /// [`OUTBOX_LIMIT`] stanzas are waiting for that domain.
    Full,
}

impl Write for Enqueue {
    type Outcome = Enqueued;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Enqueued, sqlx::Error> {
        let outcomes = Self::run_many(&[self], connection).await?;
        Ok(outcomes.into_iter().next().unwrap_or(Enqueued::Full))
    }

    async fn run_many(
        changes: &[&Self],
        connection: &mut SqliteConnection,
    ) -> Result<Vec<Enqueued>, sqlx::Error> {
        insert(connection, changes.iter().map(|change| &change.0)).await
    }
}

/// Queues stanzas inside another noun's change, in order; for each, whether its queue had room. A
/// change that cannot do without a row that found none has to judge that itself.
pub(crate) async fn insert<'a>(
    connection: &mut SqliteConnection,
    stanzas: impl IntoIterator<Item = &'a Outgoing>,
) -> Result<Vec<Enqueued>, sqlx::Error> {
    let stanzas: Vec<&'a Outgoing> = stanzas.into_iter().collect();
    let mut lengths = lengths(connection, &stanzas).await?;
    let mut outcomes = Vec::with_capacity(stanzas.len());
    let mut accepted = Vec::with_capacity(stanzas.len());
    for stanza in stanzas {
        let length = lengths.entry(stanza.destination.as_str()).or_default();
        outcomes.push(if *length < OUTBOX_LIMIT {
            *length += 1;
            accepted.push(stanza);
            Enqueued::Queued
        } else {
            Enqueued::Full
        });
    }
    for accepted in pieces(&accepted) {
        QueryBuilder::<Sqlite>::new("INSERT INTO outbox (destination, stanza, created, expires) ")
            .push_values(accepted, |mut row, stanza| {
                row.push_bind(&stanza.destination)
                    .push_bind(&stanza.stanza)
                    .push_bind(signed(stanza.created))
                    .push_bind(signed(stanza.expires));
            })
            .build()
            .execute(&mut *connection)
            .await?;
    }
    Ok(outcomes)
}

async fn lengths<'a>(
    connection: &mut SqliteConnection,
    stanzas: &[&'a Outgoing],
) -> Result<HashMap<&'a str, usize>, sqlx::Error> {
    let mut lengths = HashMap::new();
    for stanza in stanzas {
        if lengths.contains_key(stanza.destination.as_str()) {
            continue;
        }
        let length: Option<i64> =
            sqlx::query_scalar("SELECT length FROM outbox_queues WHERE destination = ?")
                .bind(&stanza.destination)
                .fetch_optional(&mut *connection)
                .await?;
        let length = usize::try_from(length.unwrap_or(0)).unwrap_or(usize::MAX);
        lengths.insert(&stanza.destination[..], length);
    }
    Ok(lengths)
}

/// The peer has these rows and all before them: forgets them. How many there were.
pub struct Delivered {
    pub destination: String,
    pub through: i64,
}

impl Write for Delivered {
    type Outcome = u64;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let gone = sqlx::query("DELETE FROM outbox WHERE destination = ? AND id <= ?")
            .bind(&self.destination)
            .bind(self.through)
            .execute(connection)
            .await?;
        Ok(gone.rows_affected())
    }
}

/// Forgets single rows, because they expired. How many there were.
pub struct RemoveOutgoing {
    pub ids: Vec<i64>,
}

impl Write for RemoveOutgoing {
    type Outcome = u64;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let mut removed = 0;
        for ids in self.ids.chunks(ROWS_OF_A_STATEMENT) {
            let mut query = QueryBuilder::<Sqlite>::new("DELETE FROM outbox WHERE id IN (");
            let mut list = query.separated(", ");
            for id in ids {
                list.push_bind(*id);
            }
            list.push_unseparated(")");
            removed += query
                .build()
                .execute(&mut *connection)
                .await?
                .rows_affected();
        }
        Ok(removed)
    }
}
