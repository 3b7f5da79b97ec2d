//! Commits that members cannot apply.

use sqlx::SqliteConnection;

use super::DeviceId;
use crate::Write;
use crate::integer::{signed, unsigned};

/// A member says that it cannot apply a commit. Gives how many accounts say so of this commit,
/// `except` not counted. Said again, it stands once.
#[derive(Clone, Debug)]
pub struct ReportCommit {
    pub room: String,
    pub seq: u64,
    pub account: String,
    pub device: DeviceId,
    pub why: String,
    /// The account of the committer.
    pub except: String,
    /// Milliseconds since 1970.
    pub now: u64,
}

impl Write for ReportCommit {
    type Outcome = u64;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        sqlx::query(
            "INSERT INTO room_reports (room, seq, account, device, why, time)
             VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(&self.room)
        .bind(signed(self.seq))
        .bind(&self.account)
        .bind(&self.device[..])
        .bind(&self.why)
        .bind(signed(self.now))
        .execute(&mut *connection)
        .await?;
        let accounts: i64 = sqlx::query_scalar(
            "SELECT COUNT(DISTINCT account) FROM room_reports
             WHERE room = ? AND seq = ? AND account <> ?",
        )
        .bind(&self.room)
        .bind(signed(self.seq))
        .bind(&self.except)
        .fetch_one(connection)
        .await?;
        Ok(unsigned(accounts))
    }
}

/// A device that commits no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barred {
    pub account: String,
    pub device: DeviceId,
    /// Its commit that could not be applied.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub time: u64,
}

/// Until it is out of the room.
pub(super) async fn bar(
    connection: &mut SqliteConnection,
    room: &str,
    barred: &Barred,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO room_barred (room, account, device, seq, time) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(room)
    .bind(&barred.account)
    .bind(&barred.device[..])
    .bind(signed(barred.seq))
    .bind(signed(barred.time))
    .execute(connection)
    .await?;
    Ok(())
}

/// Whoever has left and comes again begins anew.
pub(super) async fn release(
    connection: &mut SqliteConnection,
    room: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM room_barred WHERE room = ?1 AND (account, device) NOT IN
         (SELECT account, device FROM room_members WHERE room = ?1)",
    )
    .bind(room)
    .execute(connection)
    .await?;
    Ok(())
}
