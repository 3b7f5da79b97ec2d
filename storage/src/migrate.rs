//! The schema: numbered files, applied once each, forward only.

use std::path::Path;

use sqlx::{Connection, SqliteConnection};

use crate::{Error, snapshot};

/// Every file of `migrations/`, in order. A file that was released is never edited.
const MIGRATIONS: &[(i64, &str)] = &[
    (1, include_str!("../migrations/0001_accounts.sql")),
    (2, include_str!("../migrations/0002_authority.sql")),
    (3, include_str!("../migrations/0003_key_packages.sql")),
    (4, include_str!("../migrations/0004_rooms.sql")),
    (5, include_str!("../migrations/0005_revocations.sql")),
    (6, include_str!("../migrations/0006_transparency.sql")),
    (7, include_str!("../migrations/0007_hub_proposals.sql")),
    (8, include_str!("../migrations/0008_queues.sql")),
    (9, include_str!("../migrations/0009_blocked_peers.sql")),
    (10, include_str!("../migrations/0010_fast_tokens.sql")),
    (12, include_str!("../migrations/0012_pubsub.sql")),
    (13, include_str!("../migrations/0013_reports.sql")),
    (15, include_str!("../migrations/0015_archive.sql")),
    (16, include_str!("../migrations/0016_managed_sessions.sql")),
    (17, include_str!("../migrations/0017_blocklists.sql")),
    (18, include_str!("../migrations/0018_account_data.sql")),
    (20, include_str!("../migrations/0020_closed_rooms.sql")),
    (21, include_str!("../migrations/0021_archive_once.sql")),
    (23, include_str!("../migrations/0023_blobs.sql")),
    (24, include_str!("../migrations/0024_leaf_updates.sql")),
    (26, include_str!("../migrations/0026_former_accounts.sql")),
    (29, include_str!("../migrations/0029_nominations.sql")),
    (31, include_str!("../migrations/0031_abuse_reports.sql")),
    (34, include_str!("../migrations/0034_uploads.sql")),
    (35, include_str!("../migrations/0035_stock.sql")),
    (40, include_str!("../migrations/0040_packed_trees.sql")),
    (41, include_str!("../migrations/0041_room_snapshots.sql")),
];

/// Brings the schema up to date, or refuses a newer one. What was written by an older version is
/// copied first.
pub(crate) async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), Error> {
    let found = version(connection).await?;
    if found > 0 && found < known() {
        let copy = snapshot::before_upgrade(connection, path, found).await?;
        tracing::info!(
            from = found,
            to = known(),
            copy = %copy.display(),
            "upgrading the database, of which a copy was made"
        );
    }
    apply(connection, MIGRATIONS).await
}

/// The newest schema.
pub(crate) fn known() -> i64 {
    MIGRATIONS.last().map_or(0, |(number, _)| *number)
}

/// Refuses a schema newer than ours.
pub(crate) async fn examine(connection: &mut SqliteConnection) -> Result<(), Error> {
    let known = known();
    match version(connection).await? {
        found if found > known => Err(Error::NewerSchema { found, known }),
        _ => Ok(()),
    }
}

async fn apply(
    connection: &mut SqliteConnection,
    migrations: &'static [(i64, &'static str)],
) -> Result<(), Error> {
    // One transaction each, and the version is read inside it: two processes that start at once
    // do not apply a file twice.
    let known = migrations.last().map_or(0, |(number, _)| *number);
    let found = version(connection).await?;
    if found > known {
        return Err(Error::NewerSchema { found, known });
    }
    for (number, sql) in migrations {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        if version(&mut transaction).await? >= *number {
            transaction.rollback().await?;
            continue;
        }
        sqlx::raw_sql(*sql).execute(&mut *transaction).await?;
        // A PRAGMA takes no parameters; the number is ours.
        let set = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {number}"));
        sqlx::raw_sql(set).execute(&mut *transaction).await?;
        transaction.commit().await?;
        tracing::info!(number, "applied a migration of the database");
    }
    Ok(())
}

pub(crate) async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(connection)
        .await
}

#[cfg(test)]
mod tests {
    use sqlx::Connection;

    use super::*;

    const ONE: &[(i64, &str)] = &[(1, "CREATE TABLE a (x); CREATE TABLE b (x);")];
    const TWO: &[(i64, &str)] = &[ONE[0], (2, "ALTER TABLE a ADD COLUMN y;")];
    const BROKEN: &[(i64, &str)] = &[ONE[0], (2, "CREATE TABLE c (x); CREATE TABLE a (x);")];

    async fn empty() -> SqliteConnection {
        SqliteConnection::connect("sqlite::memory:").await.unwrap()
    }

    /// A group's state lay beside what changes with each entry.
    #[tokio::test]
    async fn the_state_of_a_room_becomes_its_snapshot() {
        let mut connection = empty().await;
        let split = MIGRATIONS.partition_point(|(number, _)| *number < 41);
        apply(&mut connection, &MIGRATIONS[..split]).await.unwrap();
        sqlx::raw_sql(
            "INSERT INTO rooms (room, group_id, epoch, seq, head, time, epoch_seq, state, tree,
             group_info, created) VALUES ('~r', x'01', 7, 9, x'02', 1, 8, x'03', x'04', x'05', 1)",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        apply(&mut connection, MIGRATIONS).await.unwrap();
        let kept: (String, i64, Vec<u8>, Vec<u8>) =
            sqlx::query_as("SELECT room, seq, state, tree FROM room_snapshots")
                .fetch_one(&mut connection)
                .await
                .unwrap();
        assert_eq!(kept, ("~r".to_owned(), 9, vec![3], vec![4]));
        let room: (i64, Vec<u8>) = sqlx::query_as("SELECT seq, group_info FROM rooms")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(room, (9, vec![5]));
    }

    #[tokio::test]
    async fn applies_what_is_missing_once() {
        let mut connection = empty().await;
        apply(&mut connection, ONE).await.unwrap();
        apply(&mut connection, ONE).await.unwrap();
        apply(&mut connection, TWO).await.unwrap();
        assert_eq!(version(&mut connection).await.unwrap(), 2);
        sqlx::query("SELECT y FROM a")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn refuses_a_newer_schema() {
        let mut connection = empty().await;
        apply(&mut connection, TWO).await.unwrap();
        let refused = apply(&mut connection, ONE).await.unwrap_err();
        assert!(matches!(refused, Error::NewerSchema { found: 2, known: 1 }));
    }

    #[tokio::test]
    async fn leaves_nothing_of_a_migration_that_fails() {
        let mut connection = empty().await;
        apply(&mut connection, BROKEN).await.unwrap_err();
        assert_eq!(version(&mut connection).await.unwrap(), 1);
        sqlx::query("SELECT x FROM c")
            .fetch_all(&mut connection)
            .await
            .unwrap_err();
        apply(&mut connection, TWO).await.unwrap();
    }

    #[tokio::test]
    async fn what_an_older_version_wrote_is_copied_before_it_is_changed() {
        let folder = std::env::temp_dir().join(format!("comity-upgrade-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
        let options = options.create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let older = &MIGRATIONS[..MIGRATIONS.len() - 1];
        let before = older.last().unwrap().0;
        apply(&mut connection, older).await.unwrap();
        migrate(&mut connection, &path).await.unwrap();
        assert_eq!(version(&mut connection).await.unwrap(), known());
        // Once upgraded, nothing is copied any more.
        migrate(&mut connection, &path).await.unwrap();
        connection.close().await.unwrap();
        let copy = folder.join(format!("a.db.schema-{before}"));
        assert_eq!(snapshot::verify(&copy).await.unwrap(), before);
        // Where there is no place for a copy, nothing is upgraded.
        std::fs::remove_file(&path).unwrap();
        std::fs::copy(&copy, &path).unwrap();
        std::fs::create_dir(folder.join("a.db.schema-copy")).unwrap();
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let refused = migrate(&mut connection, &path).await.unwrap_err();
        assert!(matches!(refused, Error::NoCopy { .. }), "{refused}");
        assert_eq!(version(&mut connection).await.unwrap(), before);
        connection.close().await.unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn numbers_ascend() {
        assert!(MIGRATIONS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
