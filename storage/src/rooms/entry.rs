//! The log's rows, as hub and copy both write and read them.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{Change, DeviceView, Entry, fixed};
use crate::blobs;
use crate::integer::{rows, signed, unsigned};
use crate::{Error, Storage};

/// `false`: there is an entry of that seq already.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    room: &str,
    entry: &Entry,
    now: u64,
) -> Result<bool, sqlx::Error> {
    let large = entry
        .payload
        .as_ref()
        .is_some_and(|p| p.len() > blobs::INLINE);
    let payload = match &entry.payload {
        Some(payload) if large => {
            blobs::put(connection, &entry.digest, payload, now).await?;
            Some(&[][..])
        }
        payload => payload.as_deref(),
    };
    let done = sqlx::query(
        "INSERT INTO room_log (room, seq, kind, epoch, time, sender, device, payload, digest, head,
         signature, stored, blob) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(room)
    .bind(signed(entry.seq))
    .bind(i64::from(entry.kind))
    .bind(signed(entry.epoch))
    .bind(signed(entry.time))
    .bind(&entry.sender)
    .bind(entry.device.as_ref().map(|device| &device[..]))
    .bind(payload)
    .bind(&entry.digest[..])
    .bind(&entry.head[..])
    .bind(entry.signature.as_deref())
    .bind(signed(now))
    .bind(large)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Lets our devices come and go with an entry.
pub(super) async fn move_devices(
    connection: &mut SqliteConnection,
    room: &str,
    seq: u64,
    changes: &[Change],
) -> Result<(), sqlx::Error> {
    // Whoever goes, goes before the others come: one commit may replace a device by itself.
    for change in changes.iter().filter(|c| c.local && !c.joined) {
        sqlx::query(
            "UPDATE room_devices SET until = ? WHERE account = ? AND device = ? AND room = ?
             AND until IS NULL",
        )
        .bind(signed(seq))
        .bind(&change.account)
        .bind(&change.device[..])
        .bind(room)
        .execute(&mut *connection)
        .await?;
    }
    for change in changes.iter().filter(|c| c.local && c.joined) {
        sqlx::query(
            "INSERT INTO room_devices (room, account, device, domain, since, cursor)
             VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(room)
        .bind(&change.account)
        .bind(&change.device[..])
        .bind(&change.domain)
        .bind(signed(seq))
        .bind(signed(seq))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

impl Storage {
    /// The entries after `after` up to `through`, in order, at most `limit`; fewer when their
    /// payloads exceed `bytes` together, but always one.
    pub async fn room_entries(
        &self,
        room: &str,
        after: u64,
        through: u64,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Entry>, Error> {
        let mut connection = self.read().await?;
        entries(&mut connection, room, after, through, limit, bytes).await
    }

    /// As [`Storage::room_entries`], as far as the device's domain holds them without a gap, and
    /// no further than the membership lasts in which the device stands at `after`.
    pub async fn device_entries(
        &self,
        device: DeviceView<'_>,
        room: &str,
        after: u64,
        through: u64,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Entry>, Error> {
        let mut connection = self.read().await?;
        let last: Option<i64> = sqlx::query_scalar(
            "SELECT MIN(COALESCE(until, held), held) FROM (SELECT until, COALESCE(
               (SELECT seq FROM rooms WHERE room = ?1),
               (SELECT seq FROM room_copies WHERE room = ?1 AND domain = ?2), 0) AS held
             FROM room_devices WHERE room = ?1 AND account = ?3 AND device = ?4 AND since <= ?5
             ORDER BY since DESC LIMIT 1)",
        )
        .bind(room)
        .bind(device.domain)
        .bind(device.account)
        .bind(&device.device[..])
        .bind(signed(after))
        .fetch_optional(&mut *connection)
        .await?;
        let Some(last) = last else {
            return Ok(Vec::new());
        };
        let through = through.min(unsigned(last));
        entries(&mut connection, room, after, through, limit, bytes).await
    }
}

async fn entries(
    connection: &mut SqliteConnection,
    room: &str,
    mut after: u64,
    through: u64,
    limit: usize,
    bytes: usize,
) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    let mut budget = bytes;
    // In small steps, so that what exceeds the budget is hardly read.
    while entries.len() < limit {
        let step = (limit - entries.len()).min(READ_STEP);
        let found = sqlx::query(
            "SELECT seq, kind, epoch, time, sender, device, payload, digest, head,
             signature, blob FROM room_log WHERE room = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
        )
        .bind(room)
        .bind(signed(after))
        .bind(signed(through))
        .bind(rows(step))
        .fetch_all(&mut *connection)
        .await?;
        let complete = found.len() < step;
        for row in &found {
            let mut entry = read(row)?;
            if row.try_get("blob")? && entry.payload.is_some() {
                entry.payload = blobs::get(connection, &entry.digest).await?;
            }
            let size = entry.payload.as_ref().map_or(0, Vec::len);
            if size > budget && !entries.is_empty() {
                return Ok(entries);
            }
            budget = budget.saturating_sub(size);
            after = entry.seq;
            entries.push(entry);
        }
        if complete {
            break;
        }
    }
    Ok(entries)
}

/// Rows of the log read at a time.
const READ_STEP: usize = 16;

pub(super) fn read(row: &SqliteRow) -> Result<Entry, sqlx::Error> {
    let device: Option<Vec<u8>> = row.try_get("device")?;
    Ok(Entry {
        seq: unsigned(row.try_get("seq")?),
        kind: u8::try_from(row.try_get::<i64, _>("kind")?).unwrap_or(0),
        epoch: unsigned(row.try_get("epoch")?),
        time: unsigned(row.try_get("time")?),
        sender: row.try_get("sender")?,
        device: device.map(|bytes| fixed(&bytes, "device")).transpose()?,
        payload: row.try_get("payload")?,
        digest: fixed(row.try_get("digest")?, "digest")?,
        head: fixed(row.try_get("head")?, "head")?,
        signature: row.try_get("signature")?,
    })
}
