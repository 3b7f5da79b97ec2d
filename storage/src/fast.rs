//! What is known of the tokens that clients log in with again (XEP-0484): which generations of
//! them are valid, and since when. The tokens themselves are nowhere.

use sqlx::{Row, SqliteConnection};

use crate::integer::{rows, signed, unsigned};
use crate::{Error, Storage, Write};

/// Which token: one for each client and mechanism of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FastKey {
    pub account: String,
    pub agent: String,
    pub mechanism: String,
}

/// The valid generations, the newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastGenerations {
    pub generation: u64,
    pub expires: u64,
    pub previous: Option<(u64, u64)>,
    pub replays: u64,
}

impl Storage {
    pub async fn fast_token(&self, key: &FastKey) -> Result<Option<FastGenerations>, Error> {
        let row = sqlx::query(
            "SELECT generation, expires, previous, previous_expires, replays FROM fast_tokens
             WHERE account = ? AND agent = ? AND mechanism = ?",
        )
        .bind(&key.account)
        .bind(&key.agent)
        .bind(&key.mechanism)
        .fetch_optional(&mut *self.read().await?)
        .await?;
        Ok(row.map(|row| {
            let previous: Option<i64> = row.get("previous");
            let expires: Option<i64> = row.get("previous_expires");
            FastGenerations {
                generation: unsigned(row.get("generation")),
                expires: unsigned(row.get("expires")),
                previous: previous
                    .zip(expires)
                    .map(|(previous, expires)| (unsigned(previous), unsigned(expires))),
                replays: unsigned(row.get("replays")),
            }
        }))
    }
}

/// Makes a generation, beside the one there is.
pub struct IssueFastToken {
    pub key: FastKey,
    pub now: u64,
    pub expires: u64,
    /// An account has no more of them than this; the longest unused goes first.
    pub limit: usize,
}

impl Write for IssueFastToken {
    /// The generation; `None`: there is no such account.
    type Outcome = Option<u64>;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Option<u64>, sqlx::Error> {
        let made: Option<i64> = sqlx::query_scalar(
            "INSERT INTO fast_tokens
                 (account, agent, mechanism, generation, expires, replays, used)
             SELECT account, ?2, ?3, ?4, ?5, 0, ?4 FROM accounts WHERE account = ?1
             ON CONFLICT (account, agent, mechanism) DO UPDATE SET
                 previous = generation, previous_expires = expires,
                 generation = MAX(generation + 1, ?4), expires = ?5, used = ?4
             RETURNING generation",
        )
        .bind(&self.key.account)
        .bind(&self.key.agent)
        .bind(&self.key.mechanism)
        .bind(signed(self.now))
        .bind(signed(self.expires))
        .fetch_optional(&mut *connection)
        .await?;
        sqlx::query(
            "DELETE FROM fast_tokens WHERE account = ?1 AND (agent, mechanism) IN
                 (SELECT agent, mechanism FROM fast_tokens WHERE account = ?1
                  ORDER BY used DESC LIMIT -1 OFFSET ?2)",
        )
        .bind(&self.key.account)
        .bind(rows(self.limit))
        .execute(connection)
        .await?;
        Ok(made.map(unsigned))
    }
}

/// A client has shown this generation: older ones end.
pub struct UseFastToken {
    pub key: FastKey,
    pub generation: u64,
    /// Must be higher than before, where the client counts.
    pub count: Option<u64>,
    pub now: u64,
    /// This use is the last.
    pub invalidate: bool,
}

impl Write for UseFastToken {
    /// False: it was not valid any more, or has been counted before.
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let used = sqlx::query(
            "UPDATE fast_tokens SET
                 previous = CASE WHEN generation = ?4 THEN NULL ELSE previous END,
                 previous_expires = CASE WHEN generation = ?4 THEN NULL ELSE previous_expires END,
                 replays = COALESCE(?5, replays), used = ?6
             WHERE account = ?1 AND agent = ?2 AND mechanism = ?3
                 AND ((generation = ?4 AND expires > ?6)
                      OR (previous = ?4 AND previous_expires > ?6))
                 AND (?5 IS NULL OR replays < ?5)",
        )
        .bind(&self.key.account)
        .bind(&self.key.agent)
        .bind(&self.key.mechanism)
        .bind(signed(self.generation))
        .bind(self.count.map(signed))
        .bind(signed(self.now))
        .execute(&mut *connection)
        .await?
        .rows_affected();
        if used == 1 && self.invalidate {
            sqlx::query(
                "DELETE FROM fast_tokens WHERE account = ? AND agent = ? AND mechanism = ?",
            )
            .bind(&self.key.account)
            .bind(&self.key.agent)
            .bind(&self.key.mechanism)
            .execute(connection)
            .await?;
        }
        Ok(used == 1)
    }
}
