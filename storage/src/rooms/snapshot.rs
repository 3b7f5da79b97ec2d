//! The public group of a room where it is ordered: how it stood after some entry, and the entries
//! that have changed it since. Commits write only the latter, and whoever loads the room follows
//! them; a snapshot now and then keeps them few. Losing one that was not written costs nothing.

use sqlx::{Row, SqliteConnection};

use super::{Entry, entry};
use crate::integer::{signed, unsigned};
use crate::{Error, Write, blobs};

/// How a room's group stood after an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub seq: u64,
    pub state: Vec<u8>,
    pub tree: Vec<u8>,
}

/// Keeps a newer snapshot of a room. `false`: there is one as new, or the log is not that long.
#[derive(Clone, Debug)]
pub struct KeepSnapshot {
    pub room: String,
    pub snapshot: Snapshot,
}

impl Write for KeepSnapshot {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let snapshot = &self.snapshot;
        let done = sqlx::query(
            "UPDATE room_snapshots SET seq = ?1, state = ?2, tree = ?3 WHERE room = ?4 AND seq < ?1
             AND ?1 <= (SELECT seq FROM rooms WHERE room = ?4)",
        )
        .bind(signed(snapshot.seq))
        .bind(&snapshot.state)
        .bind(&snapshot.tree)
        .bind(&self.room)
        .execute(&mut *connection)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query("DELETE FROM room_since WHERE room = ? AND seq <= ?")
            .bind(&self.room)
            .bind(signed(snapshot.seq))
            .execute(connection)
            .await?;
        Ok(true)
    }
}

/// Of a room that begins.
pub(super) async fn begin(
    connection: &mut SqliteConnection,
    room: &str,
    seq: u64,
    (state, tree): (&[u8], &[u8]),
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO room_snapshots (room, seq, state, tree) VALUES (?, ?, ?, ?)")
        .bind(room)
        .bind(signed(seq))
        .bind(state)
        .bind(tree)
        .execute(connection)
        .await?;
    Ok(())
}

/// An entry has changed the group.
pub(super) async fn follow(
    connection: &mut SqliteConnection,
    room: &str,
    seq: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO room_since (room, seq) VALUES (?, ?)")
        .bind(room)
        .bind(signed(seq))
        .execute(connection)
        .await?;
    Ok(())
}

/// The snapshot of a room, and the entries to be followed from there.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    room: &str,
) -> Result<(Snapshot, Vec<Entry>), Error> {
    let row = sqlx::query("SELECT seq, state, tree FROM room_snapshots WHERE room = ?")
        .bind(room)
        .fetch_one(&mut *connection)
        .await?;
    let snapshot = Snapshot {
        seq: unsigned(row.try_get("seq")?),
        state: row.try_get("state")?,
        tree: row.try_get("tree")?,
    };
    let found = sqlx::query(
        "SELECT l.seq, kind, epoch, time, sender, device, payload, digest, head, signature, blob
         FROM room_since s JOIN room_log l ON l.room = s.room AND l.seq = s.seq
         WHERE s.room = ? AND s.seq > ? ORDER BY s.seq",
    )
    .bind(room)
    .bind(signed(snapshot.seq))
    .fetch_all(&mut *connection)
    .await?;
    let mut since = Vec::with_capacity(found.len());
    for row in &found {
        let mut entry = entry::read(row)?;
        if row.try_get("blob")? && entry.payload.is_some() {
            entry.payload = blobs::get(connection, &entry.digest).await?;
        }
        since.push(entry);
    }
    Ok((snapshot, since))
}
