//! What is no longer needed goes, in small pieces, so that no room waits for it.

use sqlx::SqliteConnection;

use crate::integer::signed;
use crate::{Write, blobs};

/// Rows of one kind that one change removes.
pub const PURGE_CHUNK: u32 = 256;

/// Purges up to [`PURGE_CHUNK`] rows of each kind: payloads that every device of ours and every
/// other domain has and that are older than `held_before`; all that is older than `before`; blobs that nothing names any more.
/// Gives the number of rows; below [`PURGE_CHUNK`] means that there are no more for now.
#[derive(Clone, Debug)]
pub struct PurgeRooms {
    /// Milliseconds since 1970, as below: what everybody has is kept at least until then, for a
    /// device that lost its latest state.
    pub held_before: u64,
    /// The end of retention.
    pub before: u64,
    /// Payloads stored after this were looked at before: see [`Self::Outcome`].
    pub from: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged {
    pub rows: u64,
    /// Where the next chunk begins; `None` when all was looked at.
    pub next: Option<i64>,
}

impl Write for PurgeRooms {
    type Outcome = Purged;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Purged, sqlx::Error> {
        let ids: Vec<i64> = sqlx::query_scalar(
            "SELECT id FROM room_log WHERE payload IS NOT NULL AND stored < ? AND id > ?
             ORDER BY id LIMIT ?",
        )
        .bind(signed(self.held_before))
        .bind(self.from)
        .bind(i64::from(PURGE_CHUNK))
        .fetch_all(&mut *connection)
        .await?;
        let mut rows = 0;
        if let (Some(first), Some(last)) = (ids.first(), ids.last()) {
            rows += payloads(connection, *first, *last, self).await?;
        }
        rows += older(connection, self.before).await?;
        rows += blobs::purge(connection, self.held_before).await?;
        let next = (ids.len() == PURGE_CHUNK as usize)
            .then(|| ids.last().copied())
            .flatten();
        Ok(Purged { rows, next })
    }
}

async fn payloads(
    connection: &mut SqliteConnection,
    first: i64,
    last: i64,
    purge: &PurgeRooms,
) -> Result<u64, sqlx::Error> {
    // A device still in the room, or one that left later than this entry, waits for it; so does a
    // domain. What the hub follows from its snapshot stays in any case.
    let done = sqlx::query(
        "UPDATE room_log SET payload = NULL WHERE id BETWEEN ? AND ? AND payload IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM room_since s WHERE s.room = room_log.room
           AND s.seq = room_log.seq)
         AND (stored < ? OR (stored < ? AND NOT EXISTS
           (SELECT 1 FROM room_devices d WHERE d.room = room_log.room AND d.since < room_log.seq
            AND (d.until IS NULL OR d.until >= room_log.seq) AND d.cursor < room_log.seq)
         AND NOT EXISTS
           (SELECT 1 FROM room_domains d WHERE d.room = room_log.room AND d.since <= room_log.seq
            AND (d.until IS NULL OR d.until >= room_log.seq)
            AND d.acknowledged < room_log.seq)))",
    )
    .bind(first)
    .bind(last)
    .bind(signed(purge.before))
    .bind(signed(purge.held_before))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

async fn older(connection: &mut SqliteConnection, before: u64) -> Result<u64, sqlx::Error> {
    let answers = sqlx::query(
        "DELETE FROM room_answers WHERE (room, account, device, key) IN
         (SELECT room, account, device, key FROM room_answers WHERE time < ? LIMIT ?)",
    )
    .bind(signed(before))
    .bind(i64::from(PURGE_CHUNK))
    .execute(&mut *connection)
    .await?;
    let welcomes = sqlx::query(
        "DELETE FROM welcomes WHERE id IN (SELECT id FROM welcomes WHERE stored < ? LIMIT ?)",
    )
    .bind(signed(before))
    .bind(i64::from(PURGE_CHUNK))
    .execute(&mut *connection)
    .await?;
    let reports = sqlx::query(
        "DELETE FROM room_reports WHERE (room, seq, account, device) IN
         (SELECT room, seq, account, device FROM room_reports WHERE time < ? LIMIT ?)",
    )
    .bind(signed(before))
    .bind(i64::from(PURGE_CHUNK))
    .execute(connection)
    .await?;
    Ok(answers.rows_affected() + welcomes.rows_affected() + reports.rows_affected())
}
