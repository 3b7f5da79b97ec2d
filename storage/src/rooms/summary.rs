//! Rooms as the operator sees them: how large, how busy, and who is behind. No payload is read.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Leaf, fixed};
use crate::integer::{rows, unsigned};
use crate::{Error, Storage};

/// A room that is ordered here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomSummary {
    pub room: String,
    pub epoch: u64,
    pub seq: u64,
    /// Milliseconds since 1970; of the last entry.
    pub time: u64,
    pub created: u64,
    /// Devices, and the accounts they belong to.
    pub devices: u64,
    pub accounts: u64,
    /// Other domains that get its entries.
    pub domains: u64,
    /// The two accounts of a direct room.
    pub direct: Option<(String, String)>,
}

/// Another domain in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomDomain {
    pub domain: String,
    /// It holds everything up to here.
    pub acknowledged: u64,
    /// It gets nothing after this entry.
    pub until: Option<u64>,
}

/// A room with who is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomDetail {
    pub summary: RoomSummary,
    pub members: Vec<Leaf>,
    pub domains: Vec<RoomDomain>,
    /// Proposals that wait for a commit.
    pub pending: u64,
    /// Entries whose payload is held, and its octets.
    pub held: u64,
    pub octets: u64,
}

const SUMMARY: &str = "SELECT room, epoch, seq, time, created, direct_a, direct_b,
    (SELECT count(*) FROM room_members AS m WHERE m.room = rooms.room) AS devices,
    (SELECT count(DISTINCT account) FROM room_members AS m WHERE m.room = rooms.room) AS accounts,
    (SELECT count(*) FROM room_domains AS d WHERE d.room = rooms.room AND d.until IS NULL)
        AS domains
    FROM rooms";

impl Storage {
    /// Rooms ordered here, by address, those after `after`.
    pub async fn room_summaries(
        &self,
        after: &str,
        limit: usize,
    ) -> Result<Vec<RoomSummary>, Error> {
        let query = format!("{SUMMARY} WHERE room > ? ORDER BY room LIMIT ?");
        let found = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(after)
            .bind(rows(limit))
            .fetch_all(&mut *self.read().await?)
            .await?;
        Ok(found.iter().map(summary).collect())
    }

    /// `None`: no such room is ordered here. At most `limit` of its members and domains.
    pub async fn room_detail(&self, room: &str, limit: usize) -> Result<Option<RoomDetail>, Error> {
        let mut connection = self.read().await?;
        let mut transaction = sqlx::Connection::begin(&mut *connection).await?;
        let query = format!("{SUMMARY} WHERE room = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(room)
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let members = sqlx::query(
            "SELECT leaf, account, device FROM room_members WHERE room = ? ORDER BY leaf LIMIT ?",
        )
        .bind(room)
        .bind(rows(limit))
        .fetch_all(&mut *transaction)
        .await?;
        let domains = sqlx::query(
            "SELECT domain, acknowledged, until FROM room_domains WHERE room = ?
             ORDER BY domain LIMIT ?",
        )
        .bind(room)
        .bind(rows(limit))
        .fetch_all(&mut *transaction)
        .await?;
        let held = sqlx::query(
            "SELECT count(*) AS held, COALESCE(SUM(length(payload)), 0) AS octets,
               (SELECT count(*) FROM room_pending WHERE room = ?1) AS pending
             FROM room_log WHERE room = ?1 AND payload IS NOT NULL",
        )
        .bind(room)
        .fetch_one(&mut *transaction)
        .await?;
        Ok(Some(RoomDetail {
            summary: summary(&row),
            members: members.iter().map(leaf).collect::<Result<_, _>>()?,
            domains: domains.iter().map(domain).collect(),
            pending: unsigned(held.get("pending")),
            held: unsigned(held.get("held")),
            octets: unsigned(held.get("octets")),
        }))
    }
}

fn summary(row: &SqliteRow) -> RoomSummary {
    let direct: (Option<String>, Option<String>) = (row.get("direct_a"), row.get("direct_b"));
    RoomSummary {
        room: row.get("room"),
        epoch: unsigned(row.get("epoch")),
        seq: unsigned(row.get("seq")),
        time: unsigned(row.get("time")),
        created: unsigned(row.get("created")),
        devices: unsigned(row.get("devices")),
        accounts: unsigned(row.get("accounts")),
        domains: unsigned(row.get("domains")),
        direct: direct.0.zip(direct.1),
    }
}

fn domain(row: &SqliteRow) -> RoomDomain {
    RoomDomain {
        domain: row.get("domain"),
        acknowledged: unsigned(row.get("acknowledged")),
        until: row.get::<Option<i64>, _>("until").map(unsigned),
    }
}

fn leaf(row: &SqliteRow) -> Result<Leaf, sqlx::Error> {
    Ok(Leaf {
        leaf: u32::try_from(row.get::<i64, _>("leaf")).unwrap_or(u32::MAX),
        account: row.get("account"),
        device: fixed(row.get("device"), "device")?,
    })
}
