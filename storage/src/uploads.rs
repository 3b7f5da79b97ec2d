//! Files that people have uploaded (XEP-0363): whose they are, and how large. The octets themselves
//! are not here.

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::accounts::exists;
use crate::integer::{signed, unsigned};
use crate::{Error, Storage, Write};

/// Ids asked for at once.
pub const UPLOADS_AT_ONCE: usize = 500;

pub type UploadId = [u8; 16];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    pub id: UploadId,
    /// The account.
    pub owner: String,
    pub name: String,
    pub media_type: String,
    pub size: u64,
    /// When its place was asked for.
    pub promised: u64,
    /// When all of it was there.
    pub stored: Option<u64>,
}

impl Storage {
    pub async fn upload(&self, id: &UploadId) -> Result<Option<Upload>, Error> {
        let row = sqlx::query(
            "SELECT owner, name, media_type, size, promised, stored FROM uploads WHERE id = ?",
        )
        .bind(&id[..])
        .fetch_optional(&mut *self.read().await?)
        .await?;
        Ok(row.map(|row| Upload {
            id: *id,
            owner: row.get("owner"),
            name: row.get("name"),
            media_type: row.get("media_type"),
            size: unsigned(row.get("size")),
            promised: unsigned(row.get("promised")),
            stored: row.get::<Option<i64>, _>("stored").map(unsigned),
        }))
    }

    /// Those of these, [`UPLOADS_AT_ONCE`] at most, that are known.
    pub async fn uploads_known(&self, ids: &[UploadId]) -> Result<Vec<UploadId>, Error> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT id FROM uploads WHERE id IN (");
        let mut list = query.separated(", ");
        for id in ids.iter().take(UPLOADS_AT_ONCE) {
            list.push_bind(id.to_vec());
        }
        query.push(")");
        let rows = query.build().fetch_all(&mut *self.read().await?).await?;
        Ok(rows.iter().filter_map(|row| id_of(row.get("id"))).collect())
    }

    /// The next of those that are there as a whole, by id, [`UPLOADS_AT_ONCE`] at most.
    pub async fn uploads_after(&self, after: &UploadId) -> Result<Vec<UploadId>, Error> {
        let rows = sqlx::query(
            "SELECT id FROM uploads WHERE id > ? AND stored IS NOT NULL ORDER BY id LIMIT ?",
        )
        .bind(&after[..])
        .bind(i64::try_from(UPLOADS_AT_ONCE).unwrap_or(i64::MAX))
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(rows.iter().filter_map(|row| id_of(row.get("id"))).collect())
    }
}

fn id_of(octets: Vec<u8>) -> Option<UploadId> {
    octets.try_into().ok()
}

/// Keeps a place for a file.
pub struct PromiseUpload {
    pub upload: Upload,
    /// Promises that are older take no room any more.
    pub open_since: u64,
    /// Places that one account may have open.
    pub open: u64,
    /// Octets of one account, and of all.
    pub account_bytes: u64,
    pub total_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promised {
    Promised,
    /// The account has too many places open, of which this is the oldest.
    TooMany(u64),
    /// The account has too much here, of which this is when the oldest was stored.
    AccountFull(Option<u64>),
    /// All together have.
    Full,
    NoAccount,
}

impl Write for PromiseUpload {
    type Outcome = Promised;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Promised, sqlx::Error> {
        let Upload { owner, size, .. } = &self.upload;
        if !exists(connection, owner).await? {
            return Ok(Promised::NoAccount);
        }
        let of_owner = sqlx::query(
            "SELECT COALESCE(SUM(size), 0) AS octets, MIN(stored) AS oldest,
                    SUM(stored IS NULL) AS open, MIN(promised) FILTER (WHERE stored IS NULL) AS first
             FROM uploads WHERE owner = ? AND (stored IS NOT NULL OR promised >= ?)",
        )
        .bind(owner)
        .bind(signed(self.open_since))
        .fetch_one(&mut *connection)
        .await?;
        let number = |column: &str| of_owner.get::<Option<i64>, _>(column).map(unsigned);
        if number("open").unwrap_or(0) >= self.open {
            return Ok(Promised::TooMany(number("first").unwrap_or(0)));
        }
        if number("octets").unwrap_or(0).saturating_add(*size) > self.account_bytes {
            return Ok(Promised::AccountFull(number("oldest")));
        }
        let all: i64 = sqlx::query_scalar("SELECT octets FROM upload_totals")
            .fetch_one(&mut *connection)
            .await?;
        if unsigned(all).saturating_add(*size) > self.total_bytes {
            return Ok(Promised::Full);
        }
        sqlx::query(
            "INSERT INTO uploads (id, owner, name, media_type, size, promised, stored)
             VALUES (?, ?, ?, ?, ?, ?, NULL)",
        )
        .bind(&self.upload.id[..])
        .bind(owner)
        .bind(&self.upload.name)
        .bind(&self.upload.media_type)
        .bind(signed(*size))
        .bind(signed(self.upload.promised))
        .execute(connection)
        .await?;
        Ok(Promised::Promised)
    }
}

/// All of a file is durable. False: there is no such promise, or it was kept already.
pub struct StoreUpload {
    pub id: UploadId,
    pub now: u64,
}

impl Write for StoreUpload {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let stored = sqlx::query("UPDATE uploads SET stored = ? WHERE id = ? AND stored IS NULL")
            .bind(signed(self.now))
            .bind(&self.id[..])
            .execute(connection)
            .await?;
        Ok(stored.rows_affected() == 1)
    }
}

/// Forgets what is too old: how many, a thousand at most at a time.
pub struct ExpireUploads {
    pub stored_before: u64,
    /// For places that nobody has made use of.
    pub promised_before: u64,
}

impl Write for ExpireUploads {
    type Outcome = u64;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let gone = sqlx::query(
            "DELETE FROM uploads WHERE id IN (
               SELECT id FROM uploads
               WHERE stored < ?1 OR (stored IS NULL AND promised < ?2) LIMIT 1000)",
        )
        .bind(signed(self.stored_before))
        .bind(signed(self.promised_before))
        .execute(connection)
        .await?;
        Ok(gone.rows_affected())
    }
}

/// Forgets one, whose octets are lost.
pub struct ForgetUpload {
    pub id: UploadId,
}

impl Write for ForgetUpload {
    type Outcome = ();

    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM uploads WHERE id = ?")
            .bind(&self.id[..])
            .execute(connection)
            .await
            .map(drop)
    }
}
