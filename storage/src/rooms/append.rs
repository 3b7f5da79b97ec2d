//! The one change that lengthens a room's log at its hub.

use sqlx::SqliteConnection;

use super::{
    Answer, Barred, Change, Entry, Leaf, Nomination, Welcome, entry, nominate, report, snapshot,
    welcome,
};
use crate::integer::signed;
use crate::{Outgoing, Write, outbox};

/// One entry, and everything that follows from it: all of it or nothing.
#[derive(Clone, Debug)]
pub struct Append {
    pub room: String,
    pub at: At,
    pub entry: Entry,
    /// Milliseconds since 1970.
    pub now: u64,
    pub pending: PendingChange,
    /// The leaf that an entry's commit has updated.
    pub updated: Option<u32>,
    /// The leaves that went, then those that came; a leaf may do both.
    pub gone: Vec<u32>,
    pub come: Vec<Leaf>,
    pub changes: Vec<Change>,
    /// Other domains that now have devices in the room, or no longer have.
    pub domains: Vec<Presence>,
    pub welcome: Option<Welcome>,
    pub answer: Option<Answer>,
    pub outbox: Vec<Outgoing>,
    /// A device that commits no more from here on.
    pub barred: Option<Barred>,
    /// A device that is asked to commit what is pending.
    pub nominated: Option<Nomination>,
}

/// Where the room must stand for the entry to be the next.
#[derive(Clone, Debug)]
pub enum At {
    /// There is no such room yet.
    Nowhere(Box<Begin>),
    /// In this epoch, with this entry the last; `next` is what the entry begins.
    Seq {
        epoch: u64,
        seq: u64,
        next: Option<Epoch>,
    },
}

/// What a room begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    pub group_id: Vec<u8>,
    pub epoch: u64,
    pub state: Vec<u8>,
    pub tree: Vec<u8>,
    pub group_info: Vec<u8>,
    /// The two accounts of a direct room.
    pub direct: Option<(String, String)>,
}

/// What another epoch begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    pub epoch: u64,
    pub group_info: Vec<u8>,
}

/// A proposal that waits for a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub seq: u64,
    /// Whose it is; none: the hub's.
    pub leaf: Option<u32>,
    pub removes: Option<u32>,
    pub reference: Vec<u8>,
    /// When it came, milliseconds since 1970.
    pub time: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PendingChange {
    Keep,
    Add(Pending),
    /// The epoch has ended.
    Clear,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    pub domain: String,
    pub present: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    Done,
    /// The room stands elsewhere by now, or exists already: nothing was written.
    Moved,
}

impl Write for Append {
    type Outcome = Appended;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Appended, sqlx::Error> {
        let first = match &self.at {
            At::Nowhere(begin) => self.begin(connection, begin).await?,
            At::Seq { epoch, seq, next } => {
                self.advance(connection, *epoch, *seq, next.as_ref())
                    .await?
            }
        };
        if !first {
            return Ok(Appended::Moved);
        }
        entry::insert(connection, &self.room, &self.entry, self.now).await?;
        if self.changes_group() {
            snapshot::follow(connection, &self.room, self.entry.seq).await?;
        }
        self.proposals(connection).await?;
        self.members(connection).await?;
        if !self.gone.is_empty() {
            report::release(connection, &self.room).await?;
            nominate::unsee(connection, &self.room).await?;
        }
        if let Some(barred) = &self.barred {
            report::bar(connection, &self.room, barred).await?;
        }
        if let Some(nominated) = &self.nominated {
            nominate::nominate(connection, &self.room, self.entry.seq, nominated).await?;
        }
        entry::move_devices(connection, &self.room, self.entry.seq, &self.changes).await?;
        self.presence(connection).await?;
        if let Some(welcome) = &self.welcome {
            welcome::insert(connection, welcome, self.now).await?;
        }
        if let Some(answer) = &self.answer {
            insert_answer(connection, &self.room, answer).await?;
        }
        // What finds no room in a dead domain's queue, that domain fetches once it is back.
        outbox::insert(connection, &self.outbox).await?;
        Ok(Appended::Done)
    }
}

impl Append {
    async fn begin(
        &self,
        connection: &mut SqliteConnection,
        begin: &Begin,
    ) -> Result<bool, sqlx::Error> {
        let (a, b) = match &begin.direct {
            Some((a, b)) => (Some(a), Some(b)),
            None => (None, None),
        };
        let done = sqlx::query(
            "INSERT INTO rooms (room, group_id, epoch, seq, head, time, epoch_seq, group_info,
             direct_a, direct_b, created)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(&self.room)
        .bind(&begin.group_id)
        .bind(signed(begin.epoch))
        .bind(signed(self.entry.seq))
        .bind(&self.entry.head[..])
        .bind(signed(self.entry.time))
        .bind(signed(self.entry.seq))
        .bind(&begin.group_info)
        .bind(a)
        .bind(b)
        .bind(signed(self.now))
        .execute(&mut *connection)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        let group = (&begin.state[..], &begin.tree[..]);
        snapshot::begin(connection, &self.room, self.entry.seq, group).await?;
        Ok(true)
    }

    /// Is the public group another after this entry?
    fn changes_group(&self) -> bool {
        let ends_epoch = matches!(&self.at, At::Seq { next: Some(_), .. });
        ends_epoch || matches!(self.pending, PendingChange::Add(_))
    }

    /// The epoch in which the room is after it.
    fn epoch(&self) -> u64 {
        match &self.at {
            At::Nowhere(begin) => begin.epoch,
            At::Seq { epoch, next, .. } => next.as_ref().map_or(*epoch, |next| next.epoch),
        }
    }

    /// The compare-and-set on which the order of the room rests.
    async fn advance(
        &self,
        connection: &mut SqliteConnection,
        epoch: u64,
        seq: u64,
        next: Option<&Epoch>,
    ) -> Result<bool, sqlx::Error> {
        // COALESCE: what is not given stays.
        let done = sqlx::query(
            "UPDATE rooms SET seq = ?, head = ?, time = ?, epoch = ?,
             epoch_seq = COALESCE(?, epoch_seq), group_info = COALESCE(?, group_info)
             WHERE room = ? AND epoch = ? AND seq = ?",
        )
        .bind(signed(self.entry.seq))
        .bind(&self.entry.head[..])
        .bind(signed(self.entry.time))
        .bind(signed(next.map_or(epoch, |next| next.epoch)))
        .bind(next.map(|_| signed(self.entry.seq)))
        .bind(next.map(|next| &next.group_info[..]))
        .bind(&self.room)
        .bind(signed(epoch))
        .bind(signed(seq))
        .execute(connection)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    async fn proposals(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        match &self.pending {
            PendingChange::Keep => {}
            PendingChange::Clear => {
                sqlx::query("DELETE FROM room_pending WHERE room = ?")
                    .bind(&self.room)
                    .execute(&mut *connection)
                    .await?;
                nominate::forget(connection, &self.room).await?;
            }
            PendingChange::Add(pending) => {
                sqlx::query(
                    "INSERT INTO room_pending (room, seq, leaf, removes, reference, time)
                     VALUES (?, ?, ?, ?, ?, ?)",
                )
                .bind(&self.room)
                .bind(signed(pending.seq))
                .bind(pending.leaf.map(i64::from))
                .bind(pending.removes.map(i64::from))
                .bind(&pending.reference)
                .bind(signed(pending.time))
                .execute(connection)
                .await?;
            }
        }
        Ok(())
    }

    async fn members(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        for leaf in &self.gone {
            sqlx::query("DELETE FROM room_members WHERE room = ? AND leaf = ?")
                .bind(&self.room)
                .bind(i64::from(*leaf))
                .execute(&mut *connection)
                .await?;
        }
        for leaf in &self.come {
            sqlx::query(
                "INSERT INTO room_members (room, leaf, account, device, updated, updated_epoch)
                 VALUES (?, ?, ?, ?, ?, ?)",
            )
            .bind(&self.room)
            .bind(i64::from(leaf.leaf))
            .bind(&leaf.account)
            .bind(&leaf.device[..])
            .bind(signed(self.entry.time))
            .bind(signed(self.epoch()))
            .execute(&mut *connection)
            .await?;
        }
        if let Some(leaf) = self.updated {
            sqlx::query(
                "UPDATE room_members SET updated = ?, updated_epoch = ?
                 WHERE room = ? AND leaf = ?",
            )
            .bind(signed(self.entry.time))
            .bind(signed(self.epoch()))
            .bind(&self.room)
            .bind(i64::from(leaf))
            .execute(&mut *connection)
            .await?;
        }
        for (position, change) in (0_i64..).zip(&self.changes) {
            sqlx::query(
                "INSERT INTO room_changes (room, seq, position, domain, account, device, joined)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(&self.room)
            .bind(signed(self.entry.seq))
            .bind(position)
            .bind(&change.domain)
            .bind(&change.account)
            .bind(&change.device[..])
            .bind(change.joined)
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }

    async fn presence(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let seq = signed(self.entry.seq);
        for change in &self.domains {
            if change.present {
                // A domain that comes back begins anew with this entry.
                sqlx::query(
                    "INSERT INTO room_domains (room, domain, since, acknowledged)
                     VALUES (?, ?, ?, ?) ON CONFLICT (room, domain) DO UPDATE SET
                     since = excluded.since, acknowledged = excluded.acknowledged, until = NULL
                     WHERE until IS NOT NULL",
                )
                .bind(&self.room)
                .bind(&change.domain)
                .bind(seq)
                .bind(seq - 1)
                .execute(&mut *connection)
                .await?;
            } else {
                sqlx::query("UPDATE room_domains SET until = ? WHERE room = ? AND domain = ?")
                    .bind(seq)
                    .bind(&self.room)
                    .bind(&change.domain)
                    .execute(&mut *connection)
                    .await?;
            }
        }
        Ok(())
    }
}

async fn insert_answer(
    connection: &mut SqliteConnection,
    room: &str,
    answer: &Answer,
) -> Result<(), sqlx::Error> {
    // Two of the same key cannot both be next in the log, so there is no conflict to expect.
    sqlx::query(
        "INSERT INTO room_answers (room, account, device, key, digest, seq, epoch, time, head)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(room)
    .bind(&answer.account)
    .bind(&answer.device[..])
    .bind(&answer.key[..])
    .bind(&answer.digest[..])
    .bind(signed(answer.seq))
    .bind(signed(answer.epoch))
    .bind(signed(answer.time))
    .bind(&answer.head[..])
    .execute(connection)
    .await?;
    Ok(())
}
