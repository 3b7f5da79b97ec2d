//! How far each device of ours has come in each room.

use sqlx::{Row, SqliteConnection};

use super::DeviceId;
use crate::integer::{signed, unsigned};
use crate::{Error, Storage, Write};

/// A room and what a device of ours gets of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRoom {
    pub room: String,
    /// It gets what follows this entry …
    pub since: u64,
    /// … up to and including this one.
    pub until: Option<u64>,
    /// It has everything up to here.
    pub cursor: u64,
    /// The last entry that is held here.
    pub held: u64,
}

/// Which device reads.
#[derive(Clone, Copy, Debug)]
pub struct DeviceView<'a> {
    pub account: &'a str,
    /// The account's domain.
    pub domain: &'a str,
    pub device: DeviceId,
}

/// A device has stored everything up to `seq`. `false`: it is not in the room, or has said so
/// before.
#[derive(Clone, Debug)]
pub struct AdvanceCursor {
    pub account: String,
    pub device: DeviceId,
    pub room: String,
    pub seq: u64,
    /// Milliseconds since 1970.
    pub now: u64,
}

impl Write for AdvanceCursor {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        // No further than the log reaches, nor than the membership does.
        let done = sqlx::query(
            "UPDATE room_devices SET active = ?5, cursor = MIN(?1, COALESCE(until, ?1), COALESCE(
               (SELECT MAX(seq) FROM room_log WHERE room = ?2), 0))
             WHERE account = ?3 AND device = ?4 AND room = ?2
             AND since < ?1 AND cursor < MIN(?1, COALESCE(until, ?1))",
        )
        .bind(signed(self.seq))
        .bind(&self.room)
        .bind(&self.account)
        .bind(&self.device[..])
        .bind(signed(self.now))
        .execute(&mut *connection)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        // Who has left and has all it may have needs no row any more.
        sqlx::query(
            "DELETE FROM room_devices WHERE account = ? AND device = ? AND room = ?
             AND cursor >= until",
        )
        .bind(&self.account)
        .bind(&self.device[..])
        .bind(&self.room)
        .execute(connection)
        .await?;
        Ok(true)
    }
}

impl Storage {
    /// The rooms a device gets entries of, in `room` only if given; ordered by room, then `since`.
    pub async fn device_rooms(
        &self,
        account: &str,
        device: DeviceId,
        room: Option<&str>,
    ) -> Result<Vec<DeviceRoom>, Error> {
        let mut connection = self.read().await?;
        let found = sqlx::query(
            "SELECT d.room, d.since, d.until, d.cursor,
             COALESCE((SELECT seq FROM rooms WHERE room = d.room),
                      (SELECT seq FROM room_copies WHERE room = d.room AND domain = d.domain),
                      0) AS held
             FROM room_devices d WHERE d.account = ?1 AND d.device = ?2
             AND (?3 IS NULL OR d.room = ?3) ORDER BY d.room, d.since",
        )
        .bind(account)
        .bind(&device[..])
        .bind(room)
        .fetch_all(&mut *connection)
        .await?;
        found
            .iter()
            .map(|row| {
                Ok(DeviceRoom {
                    room: row.try_get("room")?,
                    since: unsigned(row.try_get("since")?),
                    until: row.try_get::<Option<i64>, _>("until")?.map(unsigned),
                    cursor: unsigned(row.try_get("cursor")?),
                    held: unsigned(row.try_get("held")?),
                })
            })
            .collect()
    }
}
