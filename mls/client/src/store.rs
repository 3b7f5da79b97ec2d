//! The engine's memory on disk: SQLite, every value sealed under the passphrase ([`vault`]), the
//! signature keys in a table of their own.
//!
//! The engine is synchronous and runs on a thread of its own; the database is asynchronous. This
//! is where they meet: the store brings a small runtime along, in which that thread waits. It must
//! never be opened, used or dropped inside a task.

pub mod vault;

use std::path::Path;
use std::sync::Arc;

use comity_mls_credential::keys::{Algorithm, PrivateKey, PublicKey};
use comity_mls_engine::{KeyFault, KeyHandle, SignatureKeys};
use comity_mls_engine::{Row, Space, Store, StoreError, Transaction};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Row as _, SqlitePool};
use tokio::runtime::{Builder, Runtime};
use vault::{Vault, VaultError};

const SCHEMA: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS vault (id INTEGER PRIMARY KEY CHECK (id = 1), wrapping BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS engine_row (space TEXT NOT NULL, key BLOB NOT NULL, \
     value BLOB NOT NULL, PRIMARY KEY (space, key)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS signature_key (handle BLOB PRIMARY KEY, value BLOB NOT NULL) \
     WITHOUT ROWID",
];

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error("the store cannot be opened: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("the store's folder cannot be used: {0}")]
    Folder(#[from] std::io::Error),
    #[error("another program has this store open: end it first")]
    InUse,
}

/// One device's store. Clones share it.
#[derive(Clone)]
pub struct SqliteStore {
    pool: SqlitePool,
    vault: Arc<Vault>,
    runtime: Arc<Runtime>,
    /// Held while the store is open, so that no second program advances the same ratchets.
    _lock: Arc<std::fs::File>,
}

impl SqliteStore {
    /// Opens or creates `folder/device.db`; the first passphrase given is the passphrase.
    pub fn open(folder: &Path, passphrase: &[u8]) -> Result<Self, OpenError> {
        let lock = prepare(folder)?;
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let (pool, vault) = runtime.block_on(open(folder, passphrase))?;
        Ok(Self {
            pool,
            vault: Arc::new(vault),
            runtime: Arc::new(runtime),
            _lock: Arc::new(lock),
        })
    }

    async fn write(&self, transaction: Transaction) -> Result<(), Fault> {
        let mut database = self.pool.begin().await?;
        for ((space, key), value) in transaction.changes {
            let query = match value {
                Some(value) => {
                    let sealed = self.vault.seal(&place(space.name(), &key), &value)?;
                    sqlx::query("INSERT OR REPLACE INTO engine_row VALUES (?, ?, ?)")
                        .bind(space.name())
                        .bind(key)
                        .bind(sealed)
                }
                None => sqlx::query("DELETE FROM engine_row WHERE space = ? AND key = ?")
                    .bind(space.name())
                    .bind(key),
            };
            query.execute(&mut *database).await?;
        }
        Ok(database.commit().await?)
    }

    fn reveal(&self, space: Space, key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok(self.vault.open(&place(space.name(), key), sealed)?)
    }

    async fn read(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let row = sqlx::query("SELECT value FROM engine_row WHERE space = ? AND key = ?")
            .bind(space.name())
            .bind(key)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| self.reveal(space, key, row.try_get(0)?))
            .transpose()
    }

    async fn range(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, Fault> {
        let start = after.filter(|after| *after >= prefix);
        let query = match start {
            Some(_) => {
                "SELECT key, value FROM engine_row WHERE space = ? AND key > ? \
                        AND substr(key, 1, ?) = ? ORDER BY key LIMIT ?"
            }
            None => {
                "SELECT key, value FROM engine_row WHERE space = ? AND key >= ? \
                     AND substr(key, 1, ?) = ? ORDER BY key LIMIT ?"
            }
        };
        let rows = sqlx::query(query)
            .bind(space.name())
            .bind(start.unwrap_or(prefix))
            .bind(i64::try_from(prefix.len()).unwrap_or(i64::MAX))
            .bind(prefix)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter()
            .map(|row| {
                let key: Vec<u8> = row.try_get(0)?;
                let value = self.reveal(space, &key, row.try_get(1)?)?;
                Ok((key, value))
            })
            .collect()
    }

    async fn key(&self, handle: &KeyHandle) -> Result<PrivateKey, KeyFault> {
        let row = sqlx::query("SELECT value FROM signature_key WHERE handle = ?")
            .bind(&handle.0)
            .fetch_optional(&self.pool)
            .await
            .map_err(unavailable)?
            .ok_or(KeyFault::Missing)?;
        let sealed: &[u8] = row.try_get(0).map_err(unavailable)?;
        let place = place("signature_key", &handle.0);
        let der = self.vault.open(&place, sealed).map_err(unavailable)?;
        PrivateKey::from_pkcs8(&der).map_err(unavailable)
    }
}

/// What went wrong below the trait; the engine only needs the words.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        Self(fault.to_string())
    }
}

impl Store for SqliteStore {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.runtime.block_on(self.read(space, key))?)
    }

    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        Ok(self
            .runtime
            .block_on(self.range(space, prefix, after, limit))?)
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), StoreError> {
        Ok(self.runtime.block_on(self.write(transaction))?)
    }
}

impl SignatureKeys for SqliteStore {
    fn generate(&self, algorithm: Algorithm) -> Result<KeyHandle, KeyFault> {
        let key = PrivateKey::generate(algorithm).map_err(unavailable)?;
        let mut handle = vec![0; 16];
        openssl::rand::rand_bytes(&mut handle).map_err(unavailable)?;
        let der = key.to_pkcs8().map_err(unavailable)?;
        let sealed = self
            .vault
            .seal(&place("signature_key", &handle), &der)
            .map_err(unavailable)?;
        let insert = sqlx::query("INSERT INTO signature_key VALUES (?, ?)")
            .bind(&handle)
            .bind(sealed)
            .execute(&self.pool);
        self.runtime.block_on(insert).map_err(unavailable)?;
        Ok(KeyHandle(handle))
    }

    fn public(&self, key: &KeyHandle) -> Result<PublicKey, KeyFault> {
        self.runtime
            .block_on(self.key(key))?
            .public()
            .map_err(unavailable)
    }

    fn sign(&self, key: &KeyHandle, content: &[u8]) -> Result<Vec<u8>, KeyFault> {
        self.runtime
            .block_on(self.key(key))?
            .sign(content)
            .map_err(unavailable)
    }

    fn delete(&self, key: &KeyHandle) -> Result<(), KeyFault> {
        let delete = sqlx::query("DELETE FROM signature_key WHERE handle = ?")
            .bind(&key.0)
            .execute(&self.pool);
        self.runtime.block_on(delete).map_err(unavailable)?;
        Ok(())
    }
}

fn unavailable(error: impl std::fmt::Display) -> KeyFault {
    KeyFault::Unavailable(error.to_string())
}

/// Where a row lies, for the seal to bind it there.
fn place(space: &str, key: &[u8]) -> Vec<u8> {
    [space.as_bytes(), &[0], key].concat()
}

/// Makes the folder, its owner's alone, and takes its lock.
fn prepare(folder: &Path) -> Result<std::fs::File, OpenError> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let lock = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(folder.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse),
        Err(std::fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

async fn open(folder: &Path, passphrase: &[u8]) -> Result<(SqlitePool, Vault), OpenError> {
    let options = SqliteConnectOptions::new()
        .filename(folder.join("device.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // What is deleted is overwritten: keys must be gone (RFC 9750 §8.2.2).
        .pragma("secure_delete", "ON")
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await?;
    for statement in SCHEMA {
        sqlx::query(*statement).execute(&pool).await?;
    }
    let vault = unlock(&pool, passphrase).await?;
    Ok((pool, vault))
}

async fn unlock(pool: &SqlitePool, passphrase: &[u8]) -> Result<Vault, OpenError> {
    let row = sqlx::query("SELECT wrapping FROM vault")
        .fetch_optional(pool)
        .await?;
    if let Some(row) = row {
        return Ok(Vault::unlock(passphrase, row.try_get(0)?)?);
    }
    let (vault, wrapping) = Vault::create(passphrase)?;
    sqlx::query("INSERT INTO vault VALUES (1, ?)")
        .bind(wrapping)
        .execute(pool)
        .await?;
    Ok(vault)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> std::path::PathBuf {
        std::env::temp_dir().join(format!("comity-store-{}", uuid::Uuid::from_bytes(random())))
    }

    fn random() -> [u8; 16] {
        let mut bytes = [0; 16];
        openssl::rand::rand_bytes(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn rows_and_keys_survive_sealed() {
        let folder = folder();
        let open = |word: &[u8]| SqliteStore::open(&folder, word);
        let mut store = open(b"word").unwrap();
        assert!(matches!(open(b"word"), Err(OpenError::InUse)));

        let mut transaction = Transaction::default();
        for key in ["a1", "a2", "b1"] {
            let value = format!("the secret of {key}").into_bytes();
            transaction
                .changes
                .insert((Space::Outbox, key.into()), Some(value));
        }
        store.commit(transaction).unwrap();
        let mut transaction = Transaction::default();
        transaction
            .changes
            .insert((Space::Outbox, b"a1".to_vec()), None);
        store.commit(transaction).unwrap();
        let handle = store.generate(Algorithm::P256).unwrap();
        let signature = store.sign(&handle, b"content").unwrap();
        drop(store);

        assert!(matches!(
            open(b"sword"),
            Err(OpenError::Vault(VaultError::WrongPassphrase))
        ));
        let store = open(b"word").unwrap();
        assert_eq!(store.get(Space::Outbox, b"a1").unwrap(), None);
        assert_eq!(
            store.get(Space::Outbox, b"a2").unwrap().unwrap(),
            b"the secret of a2"
        );
        let keys = |prefix: &[u8], after: Option<&[u8]>| -> Vec<Vec<u8>> {
            let rows = store.scan(Space::Outbox, prefix, after, 9).unwrap();
            rows.into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys(b"", None), [b"a2".to_vec(), b"b1".to_vec()]);
        assert_eq!(keys(b"a", None), [b"a2".to_vec()]);
        assert_eq!(keys(b"", Some(b"a2")), [b"b1".to_vec()]);
        assert!(keys(b"a", Some(b"b")).is_empty());
        assert!(
            store
                .public(&handle)
                .unwrap()
                .verifies(b"content", &signature)
        );
        store.delete(&handle).unwrap();
        assert_eq!(store.sign(&handle, b"content"), Err(KeyFault::Missing));

        for file in ["device.db", "device.db-wal"] {
            let bytes = std::fs::read(folder.join(file)).unwrap_or_default();
            assert!(
                !bytes.windows(10).any(|w| w == b"the secret"),
                "{file} holds plain text"
            );
        }
        drop(store);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
