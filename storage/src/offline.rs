//! Messages that wait for their recipient to come online (RFC 6121 §8.5.2.2, XEP-0160).

use std::collections::HashMap;

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::integer::{rows, signed, unsigned};
use crate::pieces::pieces;
use crate::{Error, Storage, Write};

/// Values in one statement; SQLite takes 32,766.
const ROWS_OF_A_STATEMENT: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfflineMessage {
    /// Grows in the order of arrival.
    pub id: i64,
    pub stanza: Vec<u8>,
    pub received: u64,
}

impl Storage {
    /// What waits for an account, oldest first, from the first with an id above `after` (0 for the
    /// very first) on, at most `limit`.
    pub async fn offline(
        &self,
        account: &str,
        after: i64,
        limit: usize,
    ) -> Result<Vec<OfflineMessage>, Error> {
        let found = sqlx::query(
            "SELECT id, stanza, received FROM offline WHERE account = ? AND id > ?
             ORDER BY id LIMIT ?",
        )
        .bind(account)
        .bind(after)
        .bind(rows(limit))
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found.iter().map(read).collect())
    }

    pub async fn offline_count(&self, account: &str) -> Result<u64, Error> {
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM offline WHERE account = ?")
            .bind(account)
            .fetch_one(&mut *self.read().await?)
            .await?;
        Ok(unsigned(count))
    }
}

fn read(row: &sqlx::sqlite::SqliteRow) -> OfflineMessage {
    OfflineMessage {
        id: row.get("id"),
        stanza: row.get("stanza"),
        received: unsigned(row.get("received")),
    }
}

/// Keeps a message for an account.
pub struct StoreOffline {
    pub account: String,
    pub stanza: Vec<u8>,
    pub received: u64,
    /// No more than this many wait for one account.
    pub limit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredOffline {
    Stored,
    NoAccount,
    /// `limit` messages are waiting.
    Full,
}

impl Write for StoreOffline {
    type Outcome = StoredOffline;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<StoredOffline, sqlx::Error> {
        let outcomes = Self::run_many(&[self], connection).await?;
        Ok(outcomes
            .into_iter()
            .next()
            .unwrap_or(StoredOffline::NoAccount))
    }

    async fn run_many(
        changes: &[&Self],
        connection: &mut SqliteConnection,
    ) -> Result<Vec<StoredOffline>, sqlx::Error> {
        insert(connection, changes.iter().copied()).await
    }
}

/// Keeps messages inside another noun's change, in order; for each, what has become of it.
pub(crate) async fn insert<'a>(
    connection: &mut SqliteConnection,
    messages: impl IntoIterator<Item = &'a StoreOffline>,
) -> Result<Vec<StoredOffline>, sqlx::Error> {
    let messages: Vec<&'a StoreOffline> = messages.into_iter().collect();
    let mut waiting = lengths(connection, &messages).await?;
    let mut outcomes = Vec::with_capacity(messages.len());
    let mut accepted = Vec::with_capacity(messages.len());
    for message in messages {
        outcomes.push(match waiting.get_mut(message.account.as_str()) {
            None => StoredOffline::NoAccount,
            Some(length) if *length >= message.limit => StoredOffline::Full,
            Some(length) => {
                *length += 1;
                accepted.push(message);
                StoredOffline::Stored
            }
        });
    }
    for accepted in pieces(&accepted) {
        QueryBuilder::<Sqlite>::new("INSERT INTO offline (account, stanza, received) ")
            .push_values(accepted, |mut row, message| {
                row.push_bind(&message.account)
                    .push_bind(&message.stanza)
                    .push_bind(signed(message.received));
            })
            .build()
            .execute(&mut *connection)
            .await?;
    }
    Ok(outcomes)
}

/// How much waits already, for the accounts that exist.
async fn lengths<'a>(
    connection: &mut SqliteConnection,
    changes: &[&'a StoreOffline],
) -> Result<HashMap<&'a str, usize>, sqlx::Error> {
    let mut accounts: Vec<&'a str> = changes.iter().map(|change| &change.account[..]).collect();
    accounts.sort_unstable();
    accounts.dedup();
    let mut lengths = HashMap::with_capacity(accounts.len());
    // One row for all of them: what costs most of a short query is handing rows on.
    for accounts in pieces(&accounts) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT group_concat(column1 || ':' || (SELECT COUNT(*) FROM offline WHERE account = column2))
             FROM (",
        );
        query.push_values(accounts.iter().zip(0_i64..), |mut row, (account, at)| {
            row.push_bind(at).push_bind(*account);
        });
        query.push(") WHERE EXISTS (SELECT 1 FROM accounts WHERE account = column2)");
        let found: Option<String> = query
            .build_query_scalar()
            .fetch_one(&mut *connection)
            .await?;
        for found in found.iter().flat_map(|found| found.split(',')) {
            let found = found.split_once(':');
            let found = found.and_then(|(at, length)| Some((at.parse::<usize>().ok()?, length)));
            if let Some((at, length)) = found
                && let Some(account) = accounts.get(at)
            {
                lengths.insert(*account, length.parse().unwrap_or(usize::MAX));
            }
        }
    }
    Ok(lengths)
}

/// Gives the oldest messages of an account, at most `limit`, and forgets them.
pub struct TakeOffline {
    pub account: String,
    pub limit: usize,
}

impl Write for TakeOffline {
    type Outcome = Vec<OfflineMessage>;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Self::Outcome, sqlx::Error> {
        let found = sqlx::query(
            "DELETE FROM offline WHERE id IN
             (SELECT id FROM offline WHERE account = ? ORDER BY id LIMIT ?)
             RETURNING id, stanza, received",
        )
        .bind(&self.account)
        .bind(rows(self.limit))
        .fetch_all(connection)
        .await?;
        // RETURNING promises no order.
        let mut taken: Vec<_> = found.iter().map(read).collect();
        taken.sort_unstable_by_key(|message| message.id);
        Ok(taken)
    }
}

/// Forgets messages of an account that have reached it; how many there were.
pub struct DeleteOffline {
    pub account: String,
    pub ids: Vec<i64>,
}

impl Write for DeleteOffline {
    type Outcome = u64;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let mut deleted = 0;
        for ids in self.ids.chunks(ROWS_OF_A_STATEMENT) {
            let mut query = QueryBuilder::<Sqlite>::new("DELETE FROM offline WHERE account = ");
            query.push_bind(&self.account).push(" AND id IN (");
            let mut list = query.separated(", ");
            for id in ids {
                list.push_bind(*id);
            }
            list.push_unseparated(")");
            deleted += query
                .build()
                .execute(&mut *connection)
                .await?
                .rows_affected();
        }
        Ok(deleted)
    }
}
