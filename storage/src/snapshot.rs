//! Copies of a whole database, made beside whoever uses it: for backups, and before its schema is
//! changed.

use std::fs;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::open::{BUSY_TIMEOUT, create_private};
use crate::{Error, migrate};

/// Copies made before upgrades that are kept beside the database; the oldest go.
pub const UPGRADE_COPIES: usize = 3;

/// Copies a database as it is at one moment, whole transactions alone, while others read and write
/// it; and looks through the copy. The schema's version.
pub(crate) async fn snapshot(path: &Path, to: &Path) -> Result<i64, Error> {
    let mut connection = existing(path).connect().await?;
    let copied = match migrate::examine(&mut connection).await {
        Ok(()) => into(&mut connection, to).await,
        Err(error) => Err(error),
    };
    // It has changed nothing that closing could lose.
    let _ = connection.close().await;
    copied?;
    verify(to).await
}

/// Looks through a database that nobody uses: every page, every index. The schema's version.
pub(crate) async fn verify(path: &Path) -> Result<i64, Error> {
    let options = existing(path).immutable(true).read_only(true);
    let mut connection = options.connect().await?;
    migrate::examine(&mut connection).await?;
    let found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(10)")
        .fetch_all(&mut connection)
        .await?;
    let version = migrate::version(&mut connection).await?;
    connection.close().await?;
    let broken: Vec<String> = found.into_iter().filter(|line| line != "ok").collect();
    match broken.is_empty() {
        true => Ok(version),
        false => Err(Error::Damaged(broken.join("; "))),
    }
}

/// Before the schema of a database is changed: a copy of it beside it, named by its version.
pub(crate) async fn before_upgrade(
    connection: &mut SqliteConnection,
    path: &Path,
    version: i64,
) -> Result<PathBuf, Error> {
    let copy = beside(path, &format!(".schema-{version}"));
    let unfinished = beside(path, ".schema-copy");
    let _ = fs::remove_file(&unfinished);
    let failed = |source| Error::NoCopy {
        copy: copy.clone(),
        source: Box::new(source),
    };
    into(connection, &unfinished).await.map_err(failed)?;
    verify(&unfinished).await.map_err(failed)?;
    fs::rename(&unfinished, &copy).map_err(|error| failed(sqlx::Error::Io(error).into()))?;
    forget_old(path);
    Ok(copy)
}

async fn into(connection: &mut SqliteConnection, to: &Path) -> Result<(), Error> {
    // VACUUM INTO takes a file that is there and empty: so it is nobody else's from the start.
    create_private(to).map_err(sqlx::Error::Io)?;
    sqlx::query("VACUUM INTO ?")
        .bind(to.to_string_lossy().into_owned())
        .execute(connection)
        .await?;
    let written = fs::File::open(to).and_then(|file| file.sync_all());
    Ok(written.map_err(sqlx::Error::Io)?)
}

fn existing(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Best effort: what stays takes place and nothing else.
fn forget_old(path: &Path) {
    let mut copies = copies(path);
    copies.sort_unstable_by_key(|(version, _)| std::cmp::Reverse(*version));
    for (_, copy) in copies.into_iter().skip(UPGRADE_COPIES) {
        let _ = fs::remove_file(copy);
    }
}

/// The copies made before upgrades, by version.
fn copies(path: &Path) -> Vec<(i64, PathBuf)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    let prefix = format!("{}.schema-", name.to_string_lossy());
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(&prefix)?.parse().ok()?;
            Some((version, entry.path()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::Scratch;
    use crate::{CreateAccount, Storage};

    #[tokio::test]
    async fn a_copy_holds_what_was_committed_and_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let scratch = Scratch::create().unwrap();
        let (path, copy) = (scratch.0.join("a.db"), scratch.0.join("copy.db"));
        let storage = Storage::open(&path).await.unwrap();
        let account = CreateAccount {
            account: "alice@a.example".to_owned(),
            domain: "a.example".to_owned(),
            created: 1,
            keys: Vec::new(),
        };
        storage.write(account).await.unwrap();
        // Meanwhile the storage is open, and what was written is in its log alone.
        let version = Storage::snapshot(&path, &copy).await.unwrap();
        assert_eq!(version, migrate::known());
        assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let copied = Storage::open(&copy).await.unwrap();
        assert!(copied.account("alice@a.example").await.unwrap().is_some());
        copied.close().await;
        storage.close().await;
    }

    #[tokio::test]
    async fn damage_is_found_before_a_copy_is_believed() {
        let scratch = Scratch::create().unwrap();
        let (path, copy) = (scratch.0.join("a.db"), scratch.0.join("copy.db"));
        Storage::open(&path).await.unwrap().close().await;
        let mut bytes = fs::read(&path).unwrap();
        // The first tables, behind the page that describes all: elsewhere pages may be free.
        bytes[4096..4096 + 8192].fill(0x55);
        fs::write(&path, bytes).unwrap();
        Storage::verify(&path).await.unwrap_err();
        Storage::snapshot(&path, &copy).await.unwrap_err();
        fs::write(&path, "no database at all, but longer than nothing").unwrap();
        let refused = Storage::snapshot(&path, &copy).await.unwrap_err();
        assert_eq!(refused.trouble(), crate::Trouble::Damaged, "{refused}");
    }

    #[tokio::test]
    async fn a_closed_database_is_one_file() {
        for _ in 0..20 {
            let scratch = Scratch::create().unwrap();
            let path = scratch.0.join("a.db");
            Storage::open(&path).await.unwrap().close().await;
            assert!(!beside(&path, "-wal").exists());
        }
    }

    #[tokio::test]
    async fn an_upgrade_leaves_copies_behind_and_not_without_end() {
        let scratch = Scratch::create().unwrap();
        let path = scratch.0.join("a.db");
        for version in [3, 10, 12, 15] {
            let mut connection = existing(&path)
                .create_if_missing(true)
                .connect()
                .await
                .unwrap();
            before_upgrade(&mut connection, &path, version)
                .await
                .unwrap();
            connection.close().await.unwrap();
        }
        let mut left: Vec<i64> = copies(&path)
            .into_iter()
            .map(|(version, _)| version)
            .collect();
        left.sort_unstable();
        assert_eq!(left, [10, 12, 15]);
        assert!(!beside(&path, ".schema-copy").exists());
    }
}
