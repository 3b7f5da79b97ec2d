//! Domains the operator has blocked while the server ran.

use sqlx::{Row, SqliteConnection};

use crate::integer::{rows, signed, unsigned};
use crate::{Error, Storage, Write};

/// Domains that may be blocked one by one; for more, `s2s.federation = "listed"` is the means.
pub const BLOCKED_LIMIT: usize = 10_000;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    pub domain: String,
    pub since: u64,
    /// What the operator noted; may be empty.
    pub reason: String,
}

impl Storage {
    /// All of them, by name.
    pub async fn blocked_peers(&self) -> Result<Vec<Blocked>, Error> {
        let found =
            sqlx::query("SELECT domain, since, reason FROM blocked_peers ORDER BY domain LIMIT ?")
                .bind(rows(BLOCKED_LIMIT))
                .fetch_all(&mut *self.read().await?)
                .await?;
        let read = |row: &sqlx::sqlite::SqliteRow| Blocked {
            domain: row.get("domain"),
            since: unsigned(row.get("since")),
            reason: row.get("reason"),
        };
        Ok(found.iter().map(read).collect())
    }
}

/// Blocks a domain, or notes another reason.
pub struct BlockPeer(pub Blocked);

impl Write for BlockPeer {
    /// Whether there was room for it.
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let Blocked {
            domain,
            since,
            reason,
        } = &self.0;
        let changed = sqlx::query(
            "INSERT INTO blocked_peers (domain, since, reason) SELECT ?1, ?2, ?3
             WHERE (SELECT count(*) FROM blocked_peers) < ?4
                OR EXISTS (SELECT 1 FROM blocked_peers WHERE domain = ?1)
             ON CONFLICT (domain) DO UPDATE SET reason = excluded.reason",
        )
        .bind(domain)
        .bind(signed(*since))
        .bind(reason)
        .bind(rows(BLOCKED_LIMIT))
        .execute(connection)
        .await?;
        Ok(changed.rows_affected() > 0)
    }
}

/// Blocks a domain no longer.
pub struct UnblockPeer {
    pub domain: String,
}

impl Write for UnblockPeer {
    /// Whether it was blocked.
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let gone = sqlx::query("DELETE FROM blocked_peers WHERE domain = ?")
            .bind(&self.domain)
            .execute(connection)
            .await?;
        Ok(gone.rows_affected() > 0)
    }
}
