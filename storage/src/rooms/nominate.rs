//! Who is asked to commit pending proposals, and who is known to be there.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{DeviceId, fixed};
use crate::integer::{rows, signed, unsigned};
use crate::{Error, Storage};

/// A device that was asked to commit the pending proposals of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nomination {
    pub account: String,
    pub device: DeviceId,
    /// Milliseconds since 1970.
    pub time: u64,
}

/// A device and when it acknowledged something last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    pub account: String,
    pub device: DeviceId,
    /// Milliseconds since 1970.
    pub time: u64,
}

pub(super) async fn nominate(
    connection: &mut SqliteConnection,
    room: &str,
    seq: u64,
    nomination: &Nomination,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO room_nominations (room, seq, account, device, time) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(room)
    .bind(signed(seq))
    .bind(&nomination.account)
    .bind(&nomination.device[..])
    .bind(signed(nomination.time))
    .execute(connection)
    .await?;
    Ok(())
}

/// Who was asked in this epoch, in that order.
pub(super) async fn nominated(
    connection: &mut SqliteConnection,
    room: &str,
) -> Result<Vec<Nomination>, sqlx::Error> {
    let found = sqlx::query(
        "SELECT account, device, time FROM room_nominations WHERE room = ? ORDER BY seq",
    )
    .bind(room)
    .fetch_all(connection)
    .await?;
    let nomination = |row: &SqliteRow| {
        Ok(Nomination {
            account: row.try_get("account")?,
            device: fixed(row.try_get("device")?, "device")?,
            time: unsigned(row.try_get("time")?),
        })
    };
    found.iter().map(nomination).collect()
}

/// Nothing is pending any more.
pub(super) async fn forget(
    connection: &mut SqliteConnection,
    room: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM room_nominations WHERE room = ?")
        .bind(room)
        .execute(connection)
        .await?;
    Ok(())
}

/// Devices of another domain are there; of those that are not in the room nothing is kept.
pub(super) async fn seen(
    connection: &mut SqliteConnection,
    room: &str,
    active: &[Active],
) -> Result<(), sqlx::Error> {
    for device in active {
        sqlx::query(
            "INSERT INTO room_active (room, account, device, time)
             SELECT room, account, device, ?4 FROM room_members
             WHERE room = ?1 AND account = ?2 AND device = ?3
             ON CONFLICT DO UPDATE SET time = MAX(time, excluded.time)",
        )
        .bind(room)
        .bind(&device.account)
        .bind(&device.device[..])
        .bind(signed(device.time))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Of who has left nothing is kept.
pub(super) async fn unsee(
    connection: &mut SqliteConnection,
    room: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM room_active WHERE room = ?1 AND (account, device) NOT IN
         (SELECT account, device FROM room_members WHERE room = ?1)",
    )
    .bind(room)
    .execute(connection)
    .await?;
    Ok(())
}

impl Storage {
    /// Devices in a room ordered here, of this domain and others, that have acknowledged something:
    /// the latest first.
    pub async fn room_active(&self, room: &str, limit: usize) -> Result<Vec<Active>, Error> {
        let mut connection = self.read().await?;
        let found = sqlx::query(
            "SELECT account, device, active AS time FROM room_devices
             WHERE room = ?1 AND until IS NULL AND active > 0
             UNION ALL SELECT account, device, time FROM room_active WHERE room = ?1
             ORDER BY time DESC LIMIT ?2",
        )
        .bind(room)
        .bind(rows(limit))
        .fetch_all(&mut *connection)
        .await?;
        found.iter().map(active).collect()
    }

    /// Devices of one of our domains in a room, as its hub is told of them.
    pub async fn domain_active(
        &self,
        room: &str,
        domain: &str,
        limit: usize,
    ) -> Result<Vec<Active>, Error> {
        let mut connection = self.read().await?;
        let found = sqlx::query(
            "SELECT account, device, active AS time FROM room_devices
             WHERE room = ? AND until IS NULL AND active > 0 AND domain = ?
             ORDER BY active DESC LIMIT ?",
        )
        .bind(room)
        .bind(domain)
        .bind(rows(limit))
        .fetch_all(&mut *connection)
        .await?;
        found.iter().map(active).collect()
    }

    /// Rooms ordered here in which proposals wait, by address, those after `after`.
    pub async fn rooms_pending(&self, after: &str, limit: usize) -> Result<Vec<String>, Error> {
        let mut connection = self.read().await?;
        Ok(sqlx::query_scalar(
            "SELECT DISTINCT room FROM room_pending WHERE room > ? ORDER BY room LIMIT ?",
        )
        .bind(after)
        .bind(rows(limit))
        .fetch_all(&mut *connection)
        .await?)
    }
}

fn active(row: &SqliteRow) -> Result<Active, Error> {
    Ok(Active {
        account: row.try_get("account")?,
        device: fixed(row.try_get("device")?, "device")?,
        time: unsigned(row.try_get("time")?),
    })
}
