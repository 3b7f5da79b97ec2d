//! Rooms that the operator has closed: they take nothing in any more, and can still be read.

use sqlx::{Row, SqliteConnection};

use crate::integer::{rows, signed, unsigned};
use crate::{Error, Storage, Write};

/// Rooms that may be closed at a time.
pub const CLOSED_LIMIT: usize = 10_000;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    pub room: String,
    pub since: u64,
    /// What its members are told; may be empty.
    pub reason: String,
}

impl Storage {
    /// All of them, by address.
    pub async fn closed_rooms(&self) -> Result<Vec<Closed>, Error> {
        let found =
            sqlx::query("SELECT room, since, reason FROM closed_rooms ORDER BY room LIMIT ?")
                .bind(rows(CLOSED_LIMIT))
                .fetch_all(&mut *self.read().await?)
                .await?;
        let read = |row: &sqlx::sqlite::SqliteRow| Closed {
            room: row.get("room"),
            since: unsigned(row.get("since")),
            reason: row.get("reason"),
        };
        Ok(found.iter().map(read).collect())
    }
}

/// Closes a room that is ordered here, or gives another reason.
pub struct CloseRoom(pub Closed);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomClosed {
    Closed,
    /// No such room is ordered here.
    Unknown,
    /// [`CLOSED_LIMIT`] are closed already.
    Full,
}

impl Write for CloseRoom {
    type Outcome = RoomClosed;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<RoomClosed, sqlx::Error> {
        let Closed {
            room,
            since,
            reason,
        } = &self.0;
        let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM rooms WHERE room = ?)")
            .bind(room)
            .fetch_one(&mut *connection)
            .await?;
        if !known {
            return Ok(RoomClosed::Unknown);
        }
        let changed = sqlx::query(
            "INSERT INTO closed_rooms (room, since, reason) SELECT ?1, ?2, ?3
             WHERE (SELECT count(*) FROM closed_rooms) < ?4
                OR EXISTS (SELECT 1 FROM closed_rooms WHERE room = ?1)
             ON CONFLICT (room) DO UPDATE SET reason = excluded.reason",
        )
        .bind(room)
        .bind(signed(*since))
        .bind(reason)
        .bind(rows(CLOSED_LIMIT))
        .execute(connection)
        .await?;
        match changed.rows_affected() {
            0 => Ok(RoomClosed::Full),
            _ => Ok(RoomClosed::Closed),
        }
    }
}

/// Opens a closed room again.
pub struct OpenRoom {
    pub room: String,
}

impl Write for OpenRoom {
    /// Whether it was closed.
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let gone = sqlx::query("DELETE FROM closed_rooms WHERE room = ?")
            .bind(&self.room)
            .execute(connection)
            .await?;
        Ok(gone.rows_affected() > 0)
    }
}
