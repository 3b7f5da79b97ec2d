//! Anchors statements: our own, in an unbroken line, and other domains' as they were last believed.

use sqlx::{Row, SqliteConnection};

use crate::integer::{rows, signed, unsigned};
use crate::{Error, Storage, Write};

/// Statements of our own that are kept, for whoever wants to look back: a month of daily ones.
const KEPT: i64 = 31;

/// A statement of our own, as it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedAnchors {
    pub domain: String,
    pub sequence: u64,
    pub signed: Vec<u8>,
    pub issued: u64,
}

/// Another domain as it was last believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedAnchors {
    pub domain: String,
    /// SHA-256 of the root's certificate.
    pub root: [u8; 32],
    pub sequence: u64,
    pub expires: u64,
    /// For whoever judges statements; storage does not look inside.
    pub record: Vec<u8>,
}

impl Storage {
    /// The newest statement of ours.
    pub async fn published_anchors(&self, domain: &str) -> Result<Option<PublishedAnchors>, Error> {
        let row = sqlx::query(
            "SELECT domain, sequence, signed, issued FROM published_anchors
             WHERE domain = ? ORDER BY sequence DESC LIMIT 1",
        )
        .bind(domain)
        .fetch_optional(&mut *self.read().await?)
        .await?;
        Ok(row.map(|row| PublishedAnchors {
            domain: row.get("domain"),
            sequence: unsigned(row.get("sequence")),
            signed: row.get("signed"),
            issued: unsigned(row.get("issued")),
        }))
    }

    /// Another domain, if it was ever believed.
    pub async fn pinned_anchors(&self, domain: &str) -> Result<Option<PinnedAnchors>, Error> {
        let row = sqlx::query(
            "SELECT domain, root, sequence, expires, record FROM pinned_anchors WHERE domain = ?",
        )
        .bind(domain)
        .fetch_optional(&mut *self.read().await?)
        .await?;
        Ok(row.and_then(|row| read(&row)))
    }

    /// Other domains by the end of their statements, the latest first, at most `limit`.
    pub async fn pinned_domains(&self, limit: usize) -> Result<Vec<PinnedAnchors>, Error> {
        let found = sqlx::query(
            "SELECT domain, root, sequence, expires, record FROM pinned_anchors
             ORDER BY expires DESC LIMIT ?",
        )
        .bind(rows(limit))
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found.iter().filter_map(read).collect())
    }

    /// Other domains whose statements end between these times, soonest first, at most `limit`.
    pub async fn pinned_anchors_ending(
        &self,
        from: u64,
        until: u64,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let found = sqlx::query_scalar(
            "SELECT domain FROM pinned_anchors WHERE expires >= ? AND expires <= ?
             ORDER BY expires LIMIT ?",
        )
        .bind(signed(from))
        .bind(signed(until))
        .bind(rows(limit))
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found)
    }
}

fn read(row: &sqlx::sqlite::SqliteRow) -> Option<PinnedAnchors> {
    Some(PinnedAnchors {
        domain: row.get("domain"),
        root: row.get::<&[u8], _>("root").try_into().ok()?,
        sequence: unsigned(row.get("sequence")),
        expires: unsigned(row.get("expires")),
        record: row.get("record"),
    })
}

/// Publishes the successor of a statement. False, and nothing done, where that is not the newest, or
/// this is not newer.
pub struct PublishAnchors {
    pub published: PublishedAnchors,
    /// The sequence of the statement before it; there was none.
    pub over: Option<u64>,
}

impl Write for PublishAnchors {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let published = &self.published;
        let newest: Option<i64> =
            sqlx::query_scalar("SELECT MAX(sequence) FROM published_anchors WHERE domain = ?")
                .bind(&published.domain)
                .fetch_one(&mut *connection)
                .await?;
        let sequence = signed(published.sequence);
        if newest.map(unsigned) != self.over || newest.is_some_and(|newest| newest >= sequence) {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO published_anchors (domain, sequence, signed, issued) VALUES (?, ?, ?, ?)",
        )
        .bind(&published.domain)
        .bind(sequence)
        .bind(&published.signed)
        .bind(signed(published.issued))
        .execute(&mut *connection)
        .await?;
        sqlx::query(
            "DELETE FROM published_anchors WHERE domain = ?1 AND sequence NOT IN
             (SELECT sequence FROM published_anchors WHERE domain = ?1
              ORDER BY sequence DESC LIMIT ?2)",
        )
        .bind(&published.domain)
        .bind(KEPT)
        .execute(connection)
        .await?;
        Ok(true)
    }
}

/// Stores what is believed of another domain. False, and nothing done, where what is stored was
/// not what the judgement was made over, or is newer already: judge again.
pub struct PinAnchors {
    pub pinned: PinnedAnchors,
    /// The root that was believed when this was judged; `None`: the domain was unknown.
    pub over: Option<[u8; 32]>,
}

impl Write for PinAnchors {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let pinned = &self.pinned;
        let known = sqlx::query("SELECT root, sequence FROM pinned_anchors WHERE domain = ?")
            .bind(&pinned.domain)
            .fetch_optional(&mut *connection)
            .await?;
        let fits = match (&known, &self.over) {
            (None, None) => true,
            (Some(row), Some(over)) => {
                let root: &[u8] = row.get("root");
                let newer = unsigned(row.get("sequence")) > pinned.sequence;
                root == over && !(root == pinned.root && newer)
            }
            _ => false,
        };
        if !fits {
            return Ok(false);
        }
        sqlx::query(
            "INSERT OR REPLACE INTO pinned_anchors (domain, root, sequence, expires, record)
             VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&pinned.domain)
        .bind(&pinned.root[..])
        .bind(signed(pinned.sequence))
        .bind(signed(pinned.expires))
        .bind(&pinned.record)
        .execute(connection)
        .await?;
        Ok(true)
    }
}
