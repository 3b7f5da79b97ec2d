//! When an account was last there (XEP-0012).

use sqlx::{Row, SqliteConnection};

use crate::accounts::exists;
use crate::integer::{signed, unsigned};
use crate::{Error, Storage, Write};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastActivity {
    pub gone: u64,
    /// What its last presence said.
    pub status: String,
}

impl Storage {
    /// `None`: it has never been there.
    pub async fn last_activity(&self, account: &str) -> Result<Option<LastActivity>, Error> {
        let row = sqlx::query("SELECT gone, status FROM last_activity WHERE account = ?")
            .bind(account)
            .fetch_optional(&mut *self.read().await?)
            .await?;
        Ok(row.map(|row| LastActivity {
            gone: unsigned(row.get("gone")),
            status: row.get("status"),
        }))
    }
}

/// The account's last session has gone. Nothing happens where there is no such account.
pub struct NoteGone {
    pub account: String,
    pub last: LastActivity,
}

impl Write for NoteGone {
    type Outcome = ();

    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        if !exists(connection, &self.account).await? {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO last_activity (account, gone, status) VALUES (?, ?, ?)
             ON CONFLICT (account) DO UPDATE SET gone = excluded.gone, status = excluded.status",
        )
        .bind(&self.account)
        .bind(signed(self.last.gone))
        .bind(&self.last.status)
        .execute(connection)
        .await
        .map(drop)
    }
}
