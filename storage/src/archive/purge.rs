//! Messages are forgotten when they are too old, or when their account has too many.

use sqlx::{Row, SqliteConnection};

use crate::integer::{rows, signed};
use crate::{Error, Storage, Write};

impl Storage {
    /// The accounts with more than `most` messages.
    pub async fn archives_beyond(&self, most: usize) -> Result<Vec<String>, Error> {
        let found = sqlx::query(
            "SELECT account FROM archive GROUP BY account HAVING COUNT(*) > ? ORDER BY account",
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
        // Numbers grow with time, so that nothing but the oldest has to be looked at.
        let gone = sqlx::query(
            "DELETE FROM archive WHERE received < ?1 AND number IN
             (SELECT number FROM archive ORDER BY number LIMIT ?2)",
        )
        .bind(signed(self.before))
        .bind(rows(self.limit))
        .execute(connection)
        .await?;
        Ok(gone.rows_affected())
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
        let gone = sqlx::query(
            "DELETE FROM archive WHERE number IN
             (SELECT number FROM archive WHERE account = ?1 ORDER BY number
              LIMIT MIN(?3, MAX(0, (SELECT COUNT(*) FROM archive WHERE account = ?1) - ?2)))",
        )
        .bind(&self.account)
        .bind(rows(self.keep))
        .bind(rows(self.limit))
        .execute(connection)
        .await?;
        Ok(gone.rows_affected())
    }
}
