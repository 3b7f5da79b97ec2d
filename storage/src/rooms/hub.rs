//! A room as its hub reads it, and what other domains tell the hub.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{
    Active, Answer, Barred, Change, DeviceId, Digest, Entry, Leaf, Nomination, Pending, Snapshot,
    fixed, nominate, snapshot, welcome,
};
use crate::integer::{rows, signed, unsigned};
use crate::{Error, Outgoing, Storage, Write, outbox};

/// Everything the hub has to know to order a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomRow {
    pub seq: u64,
    pub head: Digest,
    /// Of the last entry, milliseconds since 1970.
    pub time: u64,
    pub epoch_seq: u64,
    pub group_id: Vec<u8>,
    pub epoch: u64,
    /// Of the epoch.
    pub group_info: Vec<u8>,
    /// The two accounts of a direct room.
    pub direct: Option<(String, String)>,
    /// The group as it stood after some entry, and the entries that have changed it since.
    pub snapshot: Snapshot,
    pub since: Vec<Entry>,
    pub members: Vec<Leaf>,
    /// When each leaf was last updated.
    pub updates: Vec<Updated>,
    pub pending: Vec<Pending>,
    pub barred: Vec<Barred>,
    /// Who was asked to commit what is pending, in that order.
    pub nominated: Vec<Nomination>,
    /// Of the last entry whose head is signed, milliseconds since 1970.
    pub signed: u64,
}

/// The last commit of a leaf's device, or by which it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Updated {
    pub leaf: u32,
    /// The epoch that began then.
    pub epoch: u64,
    /// Milliseconds since 1970.
    pub time: u64,
}

/// Another domain in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainState {
    /// First and last entry it gets.
    pub since: u64,
    pub until: Option<u64>,
    pub acknowledged: u64,
}

/// A domain holds all entries up to `seq`, and these Welcomes. `false`: it has no part in the room.
#[derive(Clone, Debug)]
pub struct AcknowledgeDomain {
    pub room: String,
    pub domain: String,
    pub seq: u64,
    pub welcomes: Vec<[u8; 16]>,
    /// Its devices that are there.
    pub active: Vec<Active>,
}

impl Write for AcknowledgeDomain {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let done = sqlx::query(
            "UPDATE room_domains SET acknowledged = MAX(acknowledged, MIN(?1,
               (SELECT seq FROM rooms WHERE room = ?2))) WHERE room = ?2 AND domain = ?3",
        )
        .bind(signed(self.seq))
        .bind(&self.room)
        .bind(&self.domain)
        .execute(&mut *connection)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        for id in &self.welcomes {
            sqlx::query(
                "UPDATE welcome_joiners SET acknowledged = 1 WHERE id = ? AND domain = ?
                 AND id IN (SELECT id FROM welcomes WHERE room = ?)",
            )
            .bind(&id[..])
            .bind(&self.domain)
            .bind(&self.room)
            .execute(&mut *connection)
            .await?;
            welcome::release(connection, id).await?;
        }
        nominate::seen(connection, &self.room, &self.active).await?;
        Ok(true)
    }
}

/// Puts stanzas of a room into the outbox again.
#[derive(Clone, Debug)]
pub struct EnqueueForRoom {
    pub outbox: Vec<Outgoing>,
}

impl Write for EnqueueForRoom {
    type Outcome = ();

    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        // What finds no room is fetched again by the domain, once it is back.
        outbox::insert(connection, &self.outbox).await?;
        Ok(())
    }
}

impl Storage {
    pub async fn room_exists(&self, room: &str) -> Result<bool, Error> {
        let mut connection = self.read().await?;
        let found = sqlx::query("SELECT 1 FROM rooms WHERE room = ?")
            .bind(room)
            .fetch_optional(&mut *connection)
            .await?;
        Ok(found.is_some())
    }

    /// A room that is ordered here.
    pub async fn room(&self, room: &str) -> Result<Option<RoomRow>, Error> {
        // One view for all statements: a commit may come in between.
        let mut connection = self.read().await?;
        let mut transaction = sqlx::Connection::begin(&mut *connection).await?;
        let row = sqlx::query(
            "SELECT group_id, epoch, seq, head, time, epoch_seq, group_info, direct_a, direct_b
             FROM rooms WHERE room = ?",
        )
        .bind(room)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let members = sqlx::query(
            "SELECT leaf, account, device, updated, updated_epoch FROM room_members
             WHERE room = ? ORDER BY leaf",
        )
        .bind(room)
        .fetch_all(&mut *transaction)
        .await?;
        let pending = sqlx::query(
            "SELECT seq, leaf, removes, reference, time FROM room_pending
             WHERE room = ? ORDER BY seq",
        )
        .bind(room)
        .fetch_all(&mut *transaction)
        .await?;
        let barred =
            sqlx::query("SELECT account, device, seq, time FROM room_barred WHERE room = ?")
                .bind(room)
                .fetch_all(&mut *transaction)
                .await?;
        let nominated = nominate::nominated(&mut transaction, room).await?;
        let signed = last_signed(&mut transaction, room).await?;
        let (snapshot, since) = snapshot::read(&mut transaction, room).await?;
        transaction.commit().await?;
        let direct_a: Option<String> = row.try_get("direct_a")?;
        let direct_b: Option<String> = row.try_get("direct_b")?;
        Ok(Some(RoomRow {
            seq: unsigned(row.try_get("seq")?),
            head: fixed(row.try_get("head")?, "head")?,
            time: unsigned(row.try_get("time")?),
            epoch_seq: unsigned(row.try_get("epoch_seq")?),
            group_id: row.try_get("group_id")?,
            epoch: unsigned(row.try_get("epoch")?),
            group_info: row.try_get("group_info")?,
            direct: direct_a.zip(direct_b),
            snapshot,
            since,
            members: members.iter().map(leaf).collect::<Result<_, _>>()?,
            updates: members.iter().map(updated).collect::<Result<_, _>>()?,
            pending: pending.iter().map(proposal).collect::<Result<_, _>>()?,
            barred: barred.iter().map(barred_row).collect::<Result<_, _>>()?,
            nominated,
            signed,
        }))
    }

    /// What was accepted of a device under a key.
    pub async fn room_answer(
        &self,
        room: &str,
        account: &str,
        device: DeviceId,
        key: [u8; 16],
    ) -> Result<Option<Answer>, Error> {
        let mut connection = self.read().await?;
        let row = sqlx::query(
            "SELECT digest, seq, epoch, time, head FROM room_answers
             WHERE room = ? AND account = ? AND device = ? AND key = ?",
        )
        .bind(room)
        .bind(account)
        .bind(&device[..])
        .bind(&key[..])
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Answer {
            account: account.to_owned(),
            device,
            key,
            digest: fixed(row.try_get("digest")?, "digest")?,
            seq: unsigned(row.try_get("seq")?),
            epoch: unsigned(row.try_get("epoch")?),
            time: unsigned(row.try_get("time")?),
            head: fixed(row.try_get("head")?, "head")?,
        }))
    }

    /// What part a domain has, or had, in a room ordered here.
    pub async fn room_domain(
        &self,
        room: &str,
        domain: &str,
    ) -> Result<Option<DomainState>, Error> {
        let mut connection = self.read().await?;
        let row = sqlx::query(
            "SELECT since, until, acknowledged FROM room_domains WHERE room = ? AND domain = ?",
        )
        .bind(room)
        .bind(domain)
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(DomainState {
            since: unsigned(row.try_get("since")?),
            until: row.try_get::<Option<i64>, _>("until")?.map(unsigned),
            acknowledged: unsigned(row.try_get("acknowledged")?),
        }))
    }

    /// A domain's devices that came or went with the entries `from..=through`, by seq.
    pub async fn room_changes(
        &self,
        room: &str,
        domain: &str,
        from: u64,
        through: u64,
    ) -> Result<Vec<(u64, Change)>, Error> {
        let mut connection = self.read().await?;
        let found = sqlx::query(
            "SELECT seq, account, device, joined FROM room_changes
             WHERE room = ? AND domain = ? AND seq >= ? AND seq <= ? ORDER BY seq, position",
        )
        .bind(room)
        .bind(domain)
        .bind(signed(from))
        .bind(signed(through))
        .fetch_all(&mut *connection)
        .await?;
        found
            .iter()
            .map(|row| {
                let change = Change {
                    account: row.try_get("account")?,
                    domain: domain.to_owned(),
                    device: fixed(row.try_get("device")?, "device")?,
                    joined: row.try_get("joined")?,
                    local: false,
                };
                Ok((unsigned(row.try_get("seq")?), change))
            })
            .collect()
    }

    /// One entry of the log.
    pub async fn room_entry(&self, room: &str, seq: u64) -> Result<Option<Entry>, Error> {
        let entries = self
            .room_entries(room, seq.saturating_sub(1), seq, 1, usize::MAX)
            .await?;
        Ok(entries.into_iter().next())
    }

    /// Rooms ordered here in which a domain has members, by address, those after `after`.
    pub async fn rooms_with(
        &self,
        domain: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let mut connection = self.read().await?;
        Ok(sqlx::query_scalar(
            "SELECT DISTINCT room FROM room_members
             WHERE substr(account, instr(account, '@') + 1) = ? AND room > ? ORDER BY room LIMIT ?",
        )
        .bind(domain)
        .bind(after)
        .bind(rows(limit))
        .fetch_all(&mut *connection)
        .await?)
    }

    /// Rooms ordered here, by address, those after `after`: for the operator.
    pub async fn rooms(&self, after: &str, limit: usize) -> Result<Vec<String>, Error> {
        let mut connection = self.read().await?;
        Ok(
            sqlx::query_scalar("SELECT room FROM rooms WHERE room > ? ORDER BY room LIMIT ?")
                .bind(after)
                .bind(rows(limit))
                .fetch_all(&mut *connection)
                .await?,
        )
    }
}

/// When the last head was signed; it is one of the last few.
async fn last_signed(connection: &mut SqliteConnection, room: &str) -> Result<u64, sqlx::Error> {
    let time: Option<i64> = sqlx::query_scalar(
        "SELECT time FROM room_log WHERE room = ? AND signature IS NOT NULL
         ORDER BY seq DESC LIMIT 1",
    )
    .bind(room)
    .fetch_optional(connection)
    .await?;
    Ok(time.map_or(0, unsigned))
}

fn leaf(row: &SqliteRow) -> Result<Leaf, sqlx::Error> {
    Ok(Leaf {
        leaf: index(row.try_get("leaf")?),
        account: row.try_get("account")?,
        device: fixed(row.try_get("device")?, "device")?,
    })
}

fn updated(row: &SqliteRow) -> Result<Updated, sqlx::Error> {
    Ok(Updated {
        leaf: index(row.try_get("leaf")?),
        epoch: unsigned(row.try_get("updated_epoch")?),
        time: unsigned(row.try_get("updated")?),
    })
}

fn proposal(row: &SqliteRow) -> Result<Pending, sqlx::Error> {
    Ok(Pending {
        seq: unsigned(row.try_get("seq")?),
        leaf: row.try_get::<Option<i64>, _>("leaf")?.map(index),
        removes: row.try_get::<Option<i64>, _>("removes")?.map(index),
        reference: row.try_get("reference")?,
        time: unsigned(row.try_get("time")?),
    })
}

/// A leaf index, written from a `u32`.
fn index(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn barred_row(row: &SqliteRow) -> Result<Barred, sqlx::Error> {
    Ok(Barred {
        account: row.try_get("account")?,
        device: fixed(row.try_get("device")?, "device")?,
        seq: unsigned(row.try_get("seq")?),
        time: unsigned(row.try_get("time")?),
    })
}
