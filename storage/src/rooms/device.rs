//! How far each device of ours has come in each room.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::{DeviceId, fixed};
use crate::integer::{signed, unsigned};
use crate::pieces::pieces;
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
        let outcomes = Self::run_many(&[self], connection).await?;
        Ok(outcomes.contains(&true))
    }

    /// All who hear something in a room acknowledge it at the same time.
    async fn run_many(
        changes: &[&Self],
        connection: &mut SqliteConnection,
    ) -> Result<Vec<bool>, sqlx::Error> {
        let mut furthest: BTreeMap<Name, Place> = BTreeMap::new();
        for change in changes {
            let place = furthest.entry(change.name()).or_default();
            place.seq = change.seq.max(place.seq);
            place.now = change.now.max(place.now);
        }
        let rows: Vec<(Name, Place)> = furthest.into_iter().collect();
        let mut advanced = BTreeSet::new();
        for rows in pieces(&rows) {
            advanced.extend(advance(connection, rows).await?);
        }
        let outcome = |change: &&Self| advanced.contains(&change.name());
        Ok(changes.iter().map(outcome).collect())
    }
}

/// A device in a room: room, account, device.
type Name = (String, String, DeviceId);

/// How far it has come, and when it said so.
#[derive(Clone, Copy, Default)]
struct Place {
    seq: u64,
    now: u64,
}

impl AdvanceCursor {
    fn name(&self) -> Name {
        (self.room.clone(), self.account.clone(), self.device)
    }
}

/// Gives those whose cursor has moved.
async fn advance(
    connection: &mut SqliteConnection,
    rows: &[(Name, Place)],
) -> Result<Vec<Name>, sqlx::Error> {
    // No further than the log reaches, nor than the membership does.
    let mut query = QueryBuilder::<Sqlite>::new(
        "WITH given (its_room, its_account, its_device, seq, now) AS (",
    );
    query.push_values(rows, |mut row, ((room, account, device), place)| {
        row.push_bind(room)
            .push_bind(account)
            .push_bind(&device[..])
            .push_bind(signed(place.seq))
            .push_bind(signed(place.now));
    });
    query.push(
        ") UPDATE room_devices SET active = given.now,
           cursor = MIN(given.seq, COALESCE(until, given.seq), COALESCE(
             (SELECT MAX(room_log.seq) FROM room_log WHERE room = its_room), 0))
         FROM given WHERE account = its_account AND device = its_device AND room = its_room
         AND since < given.seq AND cursor < MIN(given.seq, COALESCE(until, given.seq))
         RETURNING room, account, device, until IS NOT NULL AS leaving",
    );
    let mut advanced = Vec::new();
    let mut leaving = false;
    for row in query.build().fetch_all(&mut *connection).await? {
        let device = fixed(row.try_get("device")?, "device")?;
        advanced.push((row.try_get("room")?, row.try_get("account")?, device));
        leaving |= row.try_get::<bool, _>("leaving")?;
    }
    if leaving {
        forget(connection, &advanced).await?;
    }
    Ok(advanced)
}

/// Who has left and has all it may have needs no row any more.
async fn forget(connection: &mut SqliteConnection, names: &[Name]) -> Result<(), sqlx::Error> {
    for (room, account, device) in names {
        sqlx::query(
            "DELETE FROM room_devices WHERE account = ? AND device = ? AND room = ?
             AND cursor >= until",
        )
        .bind(account)
        .bind(&device[..])
        .bind(room)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
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
