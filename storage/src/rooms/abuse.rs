//! Messages that members have shown to the operator of the hub.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{DeviceId, fixed};
use crate::integer::{rows, signed, unsigned};
use crate::{Error, Storage, Write};

/// Reports of all rooms that are kept; then some have to be discarded.
pub const ABUSE_REPORTS: usize = 10_000;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbuseReport {
    pub room: String,
    pub seq: u64,
    pub sender: String,
    pub device: Option<DeviceId>,
    /// Milliseconds since 1970, by the log.
    pub sent: u64,
    /// The message's id.
    pub message: [u8; 16],
    pub content_type: String,
    pub content: Vec<u8>,
    pub reporter: String,
    pub why: String,
    /// Milliseconds since 1970.
    pub time: u64,
}

/// Keeps a report, if there are not too many.
#[derive(Clone, Debug)]
pub struct KeepAbuseReport {
    pub report: AbuseReport,
    /// Of this reporter, since then.
    pub since: u64,
    pub most_of_reporter: usize,
    pub most_of_room: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbuseReportKept {
    Kept,
    /// This account has reported this message before.
    Again,
    TooManyOfReporter,
    TooManyOfRoom,
    /// [`ABUSE_REPORTS`].
    Full,
}

impl Write for KeepAbuseReport {
    type Outcome = AbuseReportKept;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<AbuseReportKept, sqlx::Error> {
        let report = &self.report;
        let (known, of_reporter, of_room, all): (bool, i64, i64, i64) = sqlx::query_as(
            "SELECT EXISTS (SELECT 1 FROM abuse_reports
                            WHERE room = ?1 AND seq = ?2 AND reporter = ?3),
                    (SELECT count(*) FROM abuse_reports WHERE reporter = ?3 AND time > ?4),
                    (SELECT count(*) FROM abuse_reports WHERE room = ?1),
                    (SELECT count(*) FROM abuse_reports)",
        )
        .bind(&report.room)
        .bind(signed(report.seq))
        .bind(&report.reporter)
        .bind(signed(self.since))
        .fetch_one(&mut *connection)
        .await?;
        if known {
            return Ok(AbuseReportKept::Again);
        }
        if of_reporter >= rows(self.most_of_reporter) {
            return Ok(AbuseReportKept::TooManyOfReporter);
        }
        if of_room >= rows(self.most_of_room) {
            return Ok(AbuseReportKept::TooManyOfRoom);
        }
        if all >= rows(ABUSE_REPORTS) {
            return Ok(AbuseReportKept::Full);
        }
        sqlx::query(
            "INSERT INTO abuse_reports (room, seq, sender, device, sent, message, content_type,
                                        content, reporter, why, time)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&report.room)
        .bind(signed(report.seq))
        .bind(&report.sender)
        .bind(report.device.as_ref().map(|device| &device[..]))
        .bind(signed(report.sent))
        .bind(&report.message[..])
        .bind(&report.content_type)
        .bind(&report.content)
        .bind(&report.reporter)
        .bind(&report.why)
        .bind(signed(report.time))
        .execute(connection)
        .await?;
        Ok(AbuseReportKept::Kept)
    }
}

/// The operator has seen to a report.
pub struct DiscardAbuseReport {
    pub id: u64,
}

impl Write for DiscardAbuseReport {
    /// Whether it was there.
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let gone = sqlx::query("DELETE FROM abuse_reports WHERE id = ?")
            .bind(signed(self.id))
            .execute(connection)
            .await?;
        Ok(gone.rows_affected() > 0)
    }
}

impl Storage {
    /// Reports by their numbers, after a number.
    pub async fn abuse_reports(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, AbuseReport)>, Error> {
        let found = sqlx::query("SELECT * FROM abuse_reports WHERE id > ? ORDER BY id LIMIT ?")
            .bind(signed(after))
            .bind(rows(limit))
            .fetch_all(&mut *self.read().await?)
            .await?;
        Ok(found.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
    }
}

fn read(row: &SqliteRow) -> Result<(u64, AbuseReport), sqlx::Error> {
    let device: Option<Vec<u8>> = row.try_get("device")?;
    let report = AbuseReport {
        room: row.try_get("room")?,
        seq: unsigned(row.try_get("seq")?),
        sender: row.try_get("sender")?,
        device: device.map(|device| fixed(&device, "device")).transpose()?,
        sent: unsigned(row.try_get("sent")?),
        message: fixed(row.try_get("message")?, "message")?,
        content_type: row.try_get("content_type")?,
        content: row.try_get("content")?,
        reporter: row.try_get("reporter")?,
        why: row.try_get("why")?,
        time: unsigned(row.try_get("time")?),
    };
    Ok((unsigned(row.try_get("id")?), report))
}
