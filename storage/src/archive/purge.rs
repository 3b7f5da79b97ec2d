//! Messages are forgotten when they are too old, or when their account has too many.

use sqlx::{Row, SqliteConnection};

use super::sort::sort;
use crate::integer::{rows, signed};
use crate::{Error, Storage, Write};

impl Storage {
    /// The accounts with more than `most` messages.
    pub async fn archives_beyond(&self, most: usize) -> Result<Vec<String>, Error> {
        let found = sqlx::query(
            "SELECT account FROM archive_entries GROUP BY account HAVING COUNT(*) > ?1
             UNION
             SELECT account FROM (SELECT account, COUNT(*) AS newer FROM archive_tail
                                  GROUP BY account) AS tail
             WHERE newer + (SELECT COUNT(*) FROM archive_entries
                            WHERE archive_entries.account = tail.account) > ?1
             ORDER BY account",
        )
        .bind(rows(most))
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found.iter().map(|row| row.get("account")).collect())
    }
}

/// Forgets what was received before `before`, of the oldest `limit` messages: again, until there
/// were none. How many there were.
pub struct PurgeArchive {
    pub before: u64,
    pub limit: usize,
}

impl Write for PurgeArchive {
    type Outcome = u64;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let mut gone = 0;
        // Numbers grow with time, so that nothing but the oldest has to be looked at.
        for change in [
            "DELETE FROM archive_entries WHERE (account, number) IN
             (SELECT sender, number FROM
              (SELECT sender, number, received FROM archive_messages ORDER BY number LIMIT ?2)
              WHERE received < ?1)",
            "DELETE FROM archive_entries WHERE (account, number) IN
             (SELECT recipient, number FROM
              (SELECT recipient, number, received FROM archive_messages ORDER BY number LIMIT ?2)
              WHERE received < ?1)",
            "DELETE FROM archive_messages WHERE received < ?1 AND number IN
             (SELECT number FROM archive_messages ORDER BY number LIMIT ?2)",
        ] {
            let done = sqlx::query(change)
                .bind(signed(self.before))
                .bind(rows(self.limit))
                .execute(&mut *connection)
                .await?;
            gone = done.rows_affected();
        }
        Ok(gone)
    }
}

/// Forgets the oldest messages of an account beyond the newest `keep`, at most `limit` at a time.
/// How many there were.
pub struct TrimArchive {
    pub account: String,
    pub keep: usize,
    pub limit: usize,
}

impl Write for TrimArchive {
    type Outcome = u64;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        sort(connection).await?;
        let last: Option<i64> = sqlx::query_scalar(
            "SELECT max(number) FROM
             (SELECT number FROM archive_entries WHERE account = ?1 ORDER BY number
              LIMIT MIN(?3, MAX(0, (SELECT COUNT(*) FROM archive_entries WHERE account = ?1) - ?2)))",
        )
        .bind(&self.account)
        .bind(rows(self.keep))
        .bind(rows(self.limit))
        .fetch_one(&mut *connection)
        .await?;
        let mut gone = 0;
        for change in [
            // What the other side keeps stays for it.
            "UPDATE archive_messages
             SET kept_by = kept_by & ~((sender = ?1) + 2 * (recipient = ?1))
             WHERE number IN (SELECT number FROM archive_entries WHERE account = ?1 AND number <= ?2)",
            "DELETE FROM archive_messages WHERE kept_by = 0 AND number IN
             (SELECT number FROM archive_entries WHERE account = ?1 AND number <= ?2)",
            "DELETE FROM archive_entries WHERE account = ?1 AND number <= ?2",
        ] {
            let done = sqlx::query(change)
                .bind(&self.account)
                .bind(last)
                .execute(&mut *connection)
                .await?;
            gone = done.rows_affected();
        }
        Ok(gone)
    }
}
