//! An entry appended in the transaction of what it tells.

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{MapNode, MapPlace, NodePlace};
use crate::Write;
use crate::authority::{Recorded, RevokedDevice};
use crate::integer::signed;

/// What SQLite takes in one statement is more.
const ROWS_OF_A_STATEMENT: usize = 256;

/// An entry, and all that changes with it.
#[derive(Clone, Debug)]
pub struct Append {
    pub domain: String,
    pub entry: AppendedEntry,
    pub nodes: Vec<(NodePlace, [u8; 32])>,
    pub map: Vec<(MapPlace, MapNode)>,
    /// The account's part of the log, the entry included.
    pub account: super::LoggedAccount,
    /// The signed head after it.
    pub head: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct AppendedEntry {
    /// How many entries there were when all this was computed: its place.
    pub index: u64,
    pub entry: Vec<u8>,
    /// The keys of the batch, in order.
    pub leaves: Vec<[u8; 32]>,
    pub device: [u8; 16],
    /// The device's end, and not a batch.
    pub revoked: bool,
}

/// A change and its entry: both or none.
pub struct Logged<W> {
    pub change: W,
    pub append: Append,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggedOutcome<T> {
    /// The entry was appended, if the change took effect.
    Done(T),
    /// The log has grown since: nothing was done. Compute anew.
    Moved,
}

/// Outcomes that tell whether anything happened.
pub trait Effect {
    fn took_effect(&self) -> bool;
}

impl Effect for Recorded {
    fn took_effect(&self) -> bool {
        *self == Self::Recorded
    }
}

impl Effect for RevokedDevice {
    fn took_effect(&self) -> bool {
        *self == Self::Revoked
    }
}

impl<W: Write> Write for Logged<W>
where
    W::Outcome: Effect,
{
    type Outcome = LoggedOutcome<W::Outcome>;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Self::Outcome, sqlx::Error> {
        if !self.append.fits(connection).await? {
            return Ok(LoggedOutcome::Moved);
        }
        let outcome = self.change.run(&mut *connection).await?;
        if outcome.took_effect() {
            self.append.insert(connection).await?;
        }
        Ok(LoggedOutcome::Done(outcome))
    }
}

/// An entry for what has happened already. False: the log has grown since, compute anew.
impl Write for Append {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        if !self.fits(connection).await? {
            return Ok(false);
        }
        self.insert(connection).await?;
        Ok(true)
    }
}

impl Append {
    async fn fits(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let newest: Option<i64> =
            sqlx::query_scalar("SELECT MAX(size) FROM transparency_heads WHERE domain = ?")
                .bind(&self.domain)
                .fetch_one(&mut *connection)
                .await?;
        if newest.unwrap_or(0) != signed(self.entry.index) {
            return Ok(false);
        }
        // An account deleted meanwhile has another row, or none, under its name.
        let open: Option<(Vec<u8>, i64)> = sqlx::query_as(
            "SELECT hash, closed FROM transparency_accounts
             WHERE (domain = ?1 AND hash = ?2) OR (account = ?3 AND closed = 0)
             ORDER BY closed LIMIT 1",
        )
        .bind(&self.domain)
        .bind(&self.account.hash[..])
        .bind(&self.account.account)
        .fetch_optional(connection)
        .await?;
        Ok(open.is_none_or(|(hash, closed)| {
            self.entry.revoked || (hash == self.account.hash && closed == 0)
        }))
    }

    async fn insert(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let entry = &self.entry;
        sqlx::query(
            "INSERT INTO transparency_entries
                 (domain, idx, entry, leaves, account, place, device, revoked)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&self.domain)
        .bind(signed(entry.index))
        .bind(&entry.entry)
        .bind(entry.leaves.concat())
        .bind(&self.account.hash[..])
        .bind(signed(self.account.count.saturating_sub(1)))
        .bind(&entry.device[..])
        .bind(entry.revoked)
        .execute(&mut *connection)
        .await?;
        self.insert_keys(connection).await?;
        self.insert_nodes(connection).await?;
        self.insert_account(connection).await?;
        sqlx::query("INSERT INTO transparency_heads (domain, size, signed) VALUES (?, ?, ?)")
            .bind(&self.domain)
            .bind(signed(entry.index + 1))
            .bind(&self.head)
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn insert_keys(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let places: Vec<_> = (0_i64..).zip(&self.entry.leaves).collect();
        for places in places.chunks(ROWS_OF_A_STATEMENT) {
            // A key that was in an earlier batch as well stays there: that is where its
            // certificate was issued.
            QueryBuilder::<Sqlite>::new(
                "INSERT OR IGNORE INTO transparency_keys (key_hash, domain, idx, place) ",
            )
            .push_values(places, |mut row, (place, key)| {
                row.push_bind(key.to_vec())
                    .push_bind(&self.domain)
                    .push_bind(signed(self.entry.index))
                    .push_bind(*place);
            })
            .build()
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }

    async fn insert_nodes(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        for nodes in self.nodes.chunks(ROWS_OF_A_STATEMENT) {
            QueryBuilder::<Sqlite>::new(
                "INSERT INTO transparency_nodes (domain, level, idx, hash) ",
            )
            .push_values(nodes, |mut row, (place, hash)| {
                row.push_bind(&self.domain)
                    .push_bind(i64::from(place.level))
                    .push_bind(signed(place.index))
                    .push_bind(hash.to_vec());
            })
            .build()
            .execute(&mut *connection)
            .await?;
        }
        for nodes in self.map.chunks(ROWS_OF_A_STATEMENT) {
            QueryBuilder::<Sqlite>::new(
                "INSERT OR REPLACE INTO transparency_map (domain, depth, prefix, hash, leaf) ",
            )
            .push_values(nodes, |mut row, (place, node)| {
                row.push_bind(&self.domain)
                    .push_bind(i64::from(place.depth))
                    .push_bind(place.prefix.to_vec())
                    .push_bind(node.hash.to_vec())
                    .push_bind(&node.leaf);
            })
            .build()
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }

    async fn insert_account(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let account = &self.account;
        sqlx::query(
            "INSERT INTO transparency_accounts (domain, hash, account, salt, count, frontier)
             VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (domain, hash) DO UPDATE
             SET count = excluded.count, frontier = excluded.frontier",
        )
        .bind(&self.domain)
        .bind(&account.hash[..])
        .bind(&account.account)
        .bind(&account.salt[..])
        .bind(signed(account.count))
        .bind(account.frontier.concat())
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// The first head of a log that holds nothing yet. Nothing is done where there is a head already.
pub struct BeginLog {
    pub domain: String,
    pub head: Vec<u8>,
}

impl Write for BeginLog {
    type Outcome = ();

    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO transparency_heads (domain, size, signed) SELECT ?1, 0, ?2
             WHERE NOT EXISTS (SELECT 1 FROM transparency_heads WHERE domain = ?1)",
        )
        .bind(&self.domain)
        .bind(&self.head)
        .execute(connection)
        .await?;
        Ok(())
    }
}
