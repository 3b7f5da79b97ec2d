//! A member domain's copy of a room that is ordered elsewhere.

use sqlx::{Row, SqliteConnection};

use super::{Change, Digest, Entry, Welcome, entry, fixed, welcome};
use crate::integer::{signed, unsigned};
use crate::{Error, Storage, Write};

/// How far a copy reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyState {
    /// It holds everything up to here, without a gap.
    pub seq: u64,
    pub head: Digest,
    /// No device of ours is in the room any more: the hub sends nothing.
    pub left: bool,
}

/// One entry that the hub has sent.
#[derive(Clone, Debug)]
pub struct Receive {
    pub room: String,
    /// The domain of ours it was sent to.
    pub domain: String,
    /// The copy as it was found; `None`: there was none, or it begins anew with this entry.
    pub after: Option<(u64, Digest)>,
    pub entry: Entry,
    pub changes: Vec<Change>,
    pub welcome: Option<Welcome>,
    /// Milliseconds since 1970.
    pub now: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    Stored,
    /// The copy is not where it was found: nothing was written.
    Moved,
}

impl Write for Receive {
    type Outcome = Received;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Received, sqlx::Error> {
        let done = match self.after {
            // The copy begins; or begins anew, since its last device had left.
            None => sqlx::query(
                "INSERT INTO room_copies (room, domain, seq, head) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (room, domain) DO UPDATE SET seq = ?3, head = ?4, until = NULL
                 WHERE until IS NOT NULL AND seq < ?3",
            )
            .bind(&self.room)
            .bind(&self.domain)
            .bind(signed(self.entry.seq))
            .bind(&self.entry.head[..]),
            Some((seq, ref head)) => sqlx::query(
                "UPDATE room_copies SET seq = ?3, head = ?4
                 WHERE room = ?1 AND domain = ?2 AND seq = ?5 AND head = ?6",
            )
            .bind(&self.room)
            .bind(&self.domain)
            .bind(signed(self.entry.seq))
            .bind(&self.entry.head[..])
            .bind(signed(seq))
            .bind(&head[..]),
        };
        if done.execute(&mut *connection).await?.rows_affected() == 0 {
            return Ok(Received::Moved);
        }
        entry::insert(connection, &self.room, &self.entry, self.now).await?;
        entry::move_devices(connection, &self.room, self.entry.seq, &self.changes).await?;
        if self.changes.iter().any(|change| change.local) {
            sqlx::query(
                "UPDATE room_copies SET until = CASE WHEN EXISTS (SELECT 1 FROM room_devices
                 WHERE room = ?1 AND domain = ?2 AND until IS NULL) THEN NULL ELSE ?3 END
                 WHERE room = ?1 AND domain = ?2",
            )
            .bind(&self.room)
            .bind(&self.domain)
            .bind(signed(self.entry.seq))
            .execute(&mut *connection)
            .await?;
        }
        if let Some(welcome) = &self.welcome {
            welcome::insert(connection, welcome, self.now).await?;
        }
        Ok(Received::Stored)
    }
}

/// A Welcome that came again beside an entry that is held already.
#[derive(Clone, Debug)]
pub struct ReceiveWelcome {
    pub welcome: Welcome,
    /// Milliseconds since 1970.
    pub now: u64,
}

impl Write for ReceiveWelcome {
    type Outcome = ();

    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        welcome::insert(connection, &self.welcome, self.now).await
    }
}

impl Storage {
    /// How far the copy of one of our domains reaches.
    pub async fn room_copy(&self, room: &str, domain: &str) -> Result<Option<CopyState>, Error> {
        let mut connection = self.read().await?;
        let row =
            sqlx::query("SELECT seq, head, until FROM room_copies WHERE room = ? AND domain = ?")
                .bind(room)
                .bind(domain)
                .fetch_optional(&mut *connection)
                .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(CopyState {
            seq: unsigned(row.try_get("seq")?),
            head: fixed(row.try_get("head")?, "head")?,
            left: row.try_get::<Option<i64>, _>("until")?.is_some(),
        }))
    }

    /// Rooms ordered elsewhere with devices of a domain of ours, by address, those after `after`;
    /// each with the last seq held.
    pub async fn room_copies(
        &self,
        domain: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, u64)>, Error> {
        let mut connection = self.read().await?;
        let found = sqlx::query(
            "SELECT room, seq FROM room_copies WHERE until IS NULL AND domain = ? AND room > ?
             ORDER BY room LIMIT ?",
        )
        .bind(domain)
        .bind(after)
        .bind(crate::integer::rows(limit))
        .fetch_all(&mut *connection)
        .await?;
        found
            .iter()
            .map(|row| Ok((row.try_get("room")?, unsigned(row.try_get("seq")?))))
            .collect()
    }
}
