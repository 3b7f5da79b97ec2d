//! Accounts: who may log in, and what their passwords are verified against.

use sqlx::{Row, SqliteConnection};

use crate::integer::{rows, signed, unsigned};
use crate::{Error, Storage, Write};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The bare JID.
    pub account: String,
    /// A disabled account keeps its data and cannot log in.
    pub enabled: bool,
    pub created: u64,
}

/// The hash function of SCRAM keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScramHash {
    Sha1,
    Sha256,
}

/// What is kept of a password for one hash function (RFC 5802 §3).
#[derive(Clone, PartialEq, Eq)]
pub struct KeptScramKeys {
    pub hash: ScramHash,
    pub salt: Vec<u8>,
    pub iterations: u32,
    pub stored_key: Vec<u8>,
    pub server_key: Vec<u8>,
}

impl Storage {
    /// `None`: there is no such account.
    pub async fn account(&self, account: &str) -> Result<Option<Account>, Error> {
        let row = sqlx::query("SELECT account, enabled, created FROM accounts WHERE account = ?")
            .bind(account)
            .fetch_optional(&mut *self.read().await?)
            .await?;
        Ok(row.map(|row| read_account(&row)))
    }

    /// Whether there is such an account, enabled or not.
    pub async fn account_exists(&self, account: &str) -> Result<bool, Error> {
        Ok(self.account(account).await?.is_some())
    }

    /// Accounts of a domain in order of their names, from the first after `after` (`""` for the
    /// very first) on, at most `limit`.
    pub async fn accounts(
        &self,
        domain: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Account>, Error> {
        let found = sqlx::query(
            "SELECT account, enabled, created FROM accounts
             WHERE domain = ? AND account > ? ORDER BY account LIMIT ?",
        )
        .bind(domain)
        .bind(after)
        .bind(rows(limit))
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found.iter().map(read_account).collect())
    }

    /// The keys of an account, one for each hash function it has; empty for an unknown account.
    pub async fn scram_keys(&self, account: &str) -> Result<Vec<KeptScramKeys>, Error> {
        Ok(self.login_keys(account).await?.1)
    }

    /// May the account log in, and with which keys?
    pub async fn login_keys(&self, account: &str) -> Result<(bool, Vec<KeptScramKeys>), Error> {
        let found = sqlx::query(
            "SELECT enabled, hash, salt, iterations, stored_key, server_key FROM accounts
             LEFT JOIN scram_keys USING (account) WHERE account = ?",
        )
        .bind(account)
        .fetch_all(&mut *self.read().await?)
        .await?;
        let usable = found.first().is_some_and(|row| row.get("enabled"));
        let keys = found
            .iter()
            .filter_map(|row| {
                Some(KeptScramKeys {
                    hash: ScramHash::from_column(row.get::<Option<&str>, _>("hash")?)?,
                    salt: row.get("salt"),
                    iterations: row.get("iterations"),
                    stored_key: row.get("stored_key"),
                    server_key: row.get("server_key"),
                })
            })
            .collect();
        Ok((usable, keys))
    }
}

fn read_account(row: &sqlx::sqlite::SqliteRow) -> Account {
    Account {
        account: row.get("account"),
        enabled: row.get("enabled"),
        created: unsigned(row.get("created")),
    }
}

/// Makes an account, enabled.
pub struct CreateAccount {
    pub account: String,
    pub domain: String,
    pub created: u64,
    pub keys: Vec<KeptScramKeys>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    Created,
    /// The name is taken; the account that has it is unchanged.
    Exists,
}

impl Write for CreateAccount {
    type Outcome = Created;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Created, sqlx::Error> {
        let made = sqlx::query(
            "INSERT INTO accounts (account, domain, enabled, created) VALUES (?, ?, 1, ?)
             ON CONFLICT DO NOTHING",
        )
        .bind(&self.account)
        .bind(&self.domain)
        .bind(signed(self.created))
        .execute(&mut *connection)
        .await?;
        if made.rows_affected() == 0 {
            return Ok(Created::Exists);
        }
        insert_keys(connection, &self.account, &self.keys).await?;
        Ok(Created::Created)
    }
}

/// The same for somebody who is not the operator: a name that an account had once is taken.
pub struct RegisterAccount(pub CreateAccount);

impl Write for RegisterAccount {
    type Outcome = Created;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Created, sqlx::Error> {
        let former = "SELECT EXISTS (SELECT 1 FROM former_accounts WHERE account = ?)";
        let former = sqlx::query_scalar(former).bind(&self.0.account);
        if former.fetch_one(&mut *connection).await? {
            return Ok(Created::Exists);
        }
        self.0.run(connection).await
    }
}

/// Replaces all keys of an account: its password is another from now on. False: no such account.
pub struct SetScramKeys {
    pub account: String,
    pub keys: Vec<KeptScramKeys>,
}

impl Write for SetScramKeys {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        if !exists(connection, &self.account).await? {
            return Ok(false);
        }
        sqlx::query("DELETE FROM scram_keys WHERE account = ?")
            .bind(&self.account)
            .execute(&mut *connection)
            .await?;
        insert_keys(connection, &self.account, &self.keys).await?;
        Ok(true)
    }
}

/// Lets an account log in, or no longer. False: no such account.
pub struct EnableAccount {
    pub account: String,
    pub enabled: bool,
}

impl Write for EnableAccount {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let changed = sqlx::query("UPDATE accounts SET enabled = ? WHERE account = ?")
            .bind(self.enabled)
            .bind(&self.account)
            .execute(connection)
            .await?;
        Ok(changed.rows_affected() == 1)
    }
}

/// Removes an account with everything that belongs to it alone. False: no such account.
pub struct DeleteAccount {
    pub account: String,
}

impl Write for DeleteAccount {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        // Tables with an account's data refer to it with ON DELETE CASCADE.
        let deleted = sqlx::query("DELETE FROM accounts WHERE account = ?")
            .bind(&self.account)
            .execute(&mut *connection)
            .await?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query("INSERT INTO former_accounts (account) VALUES (?) ON CONFLICT DO NOTHING")
            .bind(&self.account)
            .execute(connection)
            .await?;
        Ok(true)
    }
}

/// The secret of a domain: the one kept, or else `proposed`, which is kept from now on.
pub struct HostSecret {
    pub domain: String,
    /// Fresh random bytes.
    pub proposed: [u8; 32],
}

impl Write for HostSecret {
    type Outcome = Vec<u8>;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Vec<u8>, sqlx::Error> {
        sqlx::query(
            "INSERT INTO host_secrets (domain, secret) VALUES (?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(&self.domain)
        .bind(&self.proposed[..])
        .execute(&mut *connection)
        .await?;
        sqlx::query_scalar("SELECT secret FROM host_secrets WHERE domain = ?")
            .bind(&self.domain)
            .fetch_one(connection)
            .await
    }
}

/// A guard for changes of other nouns.
pub(crate) async fn exists(
    connection: &mut SqliteConnection,
    account: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM accounts WHERE account = ?)")
        .bind(account)
        .fetch_one(connection)
        .await
}

async fn insert_keys(
    connection: &mut SqliteConnection,
    account: &str,
    keys: &[KeptScramKeys],
) -> Result<(), sqlx::Error> {
    for keys in keys {
        sqlx::query(
            "INSERT INTO scram_keys (account, hash, salt, iterations, stored_key, server_key)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(account)
        .bind(keys.hash.column())
        .bind(&keys.salt)
        .bind(keys.iterations)
        .bind(&keys.stored_key)
        .bind(&keys.server_key)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

impl ScramHash {
    /// As the IANA registry of hash functions names it.
    fn column(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
        }
    }

    fn from_column(name: &str) -> Option<Self> {
        [Self::Sha1, Self::Sha256]
            .into_iter()
            .find(|hash| hash.column() == name)
    }
}
