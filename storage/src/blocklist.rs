//! Whom an account does not want to hear of (XEP-0191).

use sqlx::{Row, SqliteConnection};

use crate::accounts::exists;
use crate::integer::rows;
use crate::{Error, Storage, Write};

impl Storage {
    /// What this account blocks, in the order of the addresses.
    pub async fn blocklist(&self, account: &str) -> Result<Vec<String>, Error> {
        let found = sqlx::query_scalar("SELECT jid FROM blocklists WHERE account = ? ORDER BY jid")
            .bind(account)
            .fetch_all(&mut *self.read().await?)
            .await?;
        Ok(found)
    }

    /// All lists, as pairs of the account and what it blocks.
    pub async fn blocklists(&self) -> Result<Vec<(String, String)>, Error> {
        let found = sqlx::query("SELECT account, jid FROM blocklists ORDER BY account")
            .fetch_all(&mut *self.read().await?)
            .await?;
        Ok(found
            .iter()
            .map(|row| (row.get("account"), row.get("jid")))
            .collect())
    }
}

/// Blocks these addresses, all or none.
pub struct BlockContacts {
    pub account: String,
    /// Each once.
    pub jids: Vec<String>,
    /// Addresses that the account may block.
    pub limit: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContactsBlocked {
    /// Those that were not blocked before.
    Blocked(Vec<String>),
    Full,
    NoAccount,
}

impl Write for BlockContacts {
    type Outcome = ContactsBlocked;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<ContactsBlocked, sqlx::Error> {
        if !exists(connection, &self.account).await? {
            return Ok(ContactsBlocked::NoAccount);
        }
        let before: Vec<String> =
            sqlx::query_scalar("SELECT jid FROM blocklists WHERE account = ?")
                .bind(&self.account)
                .fetch_all(&mut *connection)
                .await?;
        let new: Vec<String> = self
            .jids
            .iter()
            .filter(|jid| !before.contains(jid))
            .cloned()
            .collect();
        if rows(before.len() + new.len()) > rows(self.limit) {
            return Ok(ContactsBlocked::Full);
        }
        for jid in &new {
            sqlx::query("INSERT INTO blocklists (account, jid) VALUES (?, ?)")
                .bind(&self.account)
                .bind(jid)
                .execute(&mut *connection)
                .await?;
        }
        Ok(ContactsBlocked::Blocked(new))
    }
}

/// Blocks these addresses no longer; `None`: none at all.
pub struct UnblockContacts {
    pub account: String,
    pub jids: Option<Vec<String>>,
}

impl Write for UnblockContacts {
    /// Those that were blocked.
    type Outcome = Vec<String>;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
        let Some(jids) = &self.jids else {
            return sqlx::query_scalar("DELETE FROM blocklists WHERE account = ? RETURNING jid")
                .bind(&self.account)
                .fetch_all(connection)
                .await;
        };
        let mut gone = Vec::new();
        for jid in jids {
            let deleted = sqlx::query("DELETE FROM blocklists WHERE account = ? AND jid = ?")
                .bind(&self.account)
                .bind(jid)
                .execute(&mut *connection)
                .await?;
            if deleted.rows_affected() > 0 {
                gone.push(jid.clone());
            }
        }
        Ok(gone)
    }
}
