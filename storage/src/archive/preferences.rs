//! Whose messages an account wants kept (XEP-0441).

use sqlx::{Row, SqliteConnection};

use crate::{Error, Storage, Write};

/// What becomes of messages with addresses that no exception names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArchivePolicy {
    #[default]
    Always,
    Never,
    /// Those with contacts are kept.
    Roster,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchivePreferences {
    pub policy: ArchivePolicy,
    /// Addresses, bare or full, whose messages are kept or not, whatever the policy says.
    pub exceptions: Vec<(String, bool)>,
}

impl Storage {
    /// What an account has said; `None`: nothing.
    pub async fn archive_preferences(
        &self,
        account: &str,
    ) -> Result<Option<ArchivePreferences>, Error> {
        let mut connection = self.read().await?;
        let found = sqlx::query_scalar("SELECT policy FROM archive_preferences WHERE account = ?")
            .bind(account)
            .fetch_optional(&mut *connection)
            .await?;
        let Some(policy) = found else {
            return Ok(None);
        };
        let exceptions = sqlx::query(
            "SELECT address, keep FROM archive_exceptions WHERE account = ? ORDER BY address",
        )
        .bind(account)
        .fetch_all(&mut *connection)
        .await?;
        Ok(Some(ArchivePreferences {
            policy: read(policy),
            exceptions: exceptions
                .iter()
                .map(|row| (row.get("address"), row.get("keep")))
                .collect(),
        }))
    }
}

fn read(policy: i64) -> ArchivePolicy {
    match policy {
        0 => ArchivePolicy::Always,
        2 => ArchivePolicy::Roster,
        // Rather too little is kept than what nobody wanted kept.
        _ => ArchivePolicy::Never,
    }
}

/// Replaces what an account has said. False: there is no such account.
pub struct SetArchivePreferences {
    pub account: String,
    pub preferences: ArchivePreferences,
}

impl Write for SetArchivePreferences {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let policy: i64 = match self.preferences.policy {
            ArchivePolicy::Always => 0,
            ArchivePolicy::Never => 1,
            ArchivePolicy::Roster => 2,
        };
        let set = sqlx::query(
            "INSERT INTO archive_preferences (account, policy)
             SELECT account, ?2 FROM accounts WHERE account = ?1
             ON CONFLICT (account) DO UPDATE SET policy = excluded.policy",
        )
        .bind(&self.account)
        .bind(policy)
        .execute(&mut *connection)
        .await?;
        if set.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query("DELETE FROM archive_exceptions WHERE account = ?")
            .bind(&self.account)
            .execute(&mut *connection)
            .await?;
        for (address, keep) in &self.preferences.exceptions {
            sqlx::query(
                "INSERT INTO archive_exceptions (account, address, keep) VALUES (?, ?, ?)
                 ON CONFLICT (account, address) DO UPDATE SET keep = excluded.keep",
            )
            .bind(&self.account)
            .bind(address)
            .bind(keep)
            .execute(&mut *connection)
            .await?;
        }
        Ok(true)
    }
}
