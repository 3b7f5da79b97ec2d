//! Revocation lists, ours and others', and what ours are made of.

use std::collections::HashSet;

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::integer::{rows, signed, unsigned};
use crate::{Error, Storage, Write};

/// Serial numbers in one query: SQLite binds at most 32,766 values.
const SERIALS_OF_A_QUERY: usize = 1_000;

/// The newest list of an issuing CA; storage does not look inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// SHA-256 of the issuing CA's SubjectPublicKeyInfo.
    pub issuer: [u8; 32],
    pub domain: String,
    pub number: u64,
    /// DER.
    pub list: Vec<u8>,
}

/// A certificate of a revoked device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedCertificate {
    pub serial: Vec<u8>,
    /// When its device was revoked.
    pub revoked: u64,
}

impl Storage {
    /// The certificates that an issuing CA has issued to devices which are revoked by now, and that
    /// expire at `from` or later: at most `limit`, those revoked last.
    pub async fn revoked_certificates(
        &self,
        issuer: &[u8; 32],
        from: u64,
        limit: usize,
    ) -> Result<Vec<RevokedCertificate>, Error> {
        let found = sqlx::query(
            "SELECT serial, revoked FROM devices JOIN certificates ON device = devices.id
             WHERE revoked IS NOT NULL AND issuer = ? AND expires >= ?
             ORDER BY revoked DESC LIMIT ?",
        )
        .bind(&issuer[..])
        .bind(signed(from))
        .bind(rows(limit))
        .fetch_all(&mut *self.read().await?)
        .await?;
        let read = |row: &sqlx::sqlite::SqliteRow| RevokedCertificate {
            serial: row.get("serial"),
            revoked: unsigned(row.get("revoked")),
        };
        Ok(found.iter().map(read).collect())
    }

    /// Those of the serial numbers whose certificates were issued here and expired before `from`.
    pub async fn expired_serials(
        &self,
        serials: &[Vec<u8>],
        from: u64,
    ) -> Result<HashSet<Vec<u8>>, Error> {
        let mut found = HashSet::new();
        for part in serials.chunks(SERIALS_OF_A_QUERY) {
            let mut query =
                QueryBuilder::<Sqlite>::new("SELECT serial FROM certificates WHERE serial IN (");
            let mut list = query.separated(", ");
            for serial in part {
                list.push_bind(serial);
            }
            query.push(") AND expires < ").push_bind(signed(from));
            let rows = query.build_query_scalar::<Vec<u8>>();
            found.extend(rows.fetch_all(&mut *self.read().await?).await?);
        }
        Ok(found)
    }

    pub async fn revocation_list(
        &self,
        issuer: &[u8; 32],
    ) -> Result<Option<RevocationList>, Error> {
        let row = sqlx::query(
            "SELECT issuer, domain, number, list FROM revocation_lists WHERE issuer = ?",
        )
        .bind(&issuer[..])
        .fetch_optional(&mut *self.read().await?)
        .await?;
        Ok(row.and_then(|row| read(&row)))
    }

    /// All lists, at most `limit`.
    pub async fn revocation_lists(&self, limit: usize) -> Result<Vec<RevocationList>, Error> {
        let found =
            sqlx::query("SELECT issuer, domain, number, list FROM revocation_lists LIMIT ?")
                .bind(rows(limit))
                .fetch_all(&mut *self.read().await?)
                .await?;
        Ok(found.iter().filter_map(read).collect())
    }

    /// The other domains that an account of ours has to do with: hubs of its rooms, and members of
    /// its rooms that are ordered here. At most `limit`.
    pub async fn domains_with(&self, account: &str, limit: usize) -> Result<Vec<String>, Error> {
        let found = sqlx::query_scalar(
            "SELECT substr(room, instr(room, '@') + 1) AS domain FROM room_devices
             WHERE account = ?1 AND until IS NULL
             UNION
             SELECT d.domain FROM room_members m JOIN room_domains d ON d.room = m.room
             WHERE m.account = ?1 AND d.until IS NULL
             LIMIT ?2",
        )
        .bind(account)
        .bind(rows(limit))
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found)
    }

    /// The other domains with members in rooms that are ordered here, at most `limit`.
    pub async fn member_domains(&self, limit: usize) -> Result<Vec<String>, Error> {
        let found = sqlx::query_scalar(
            "SELECT DISTINCT domain FROM room_domains WHERE until IS NULL LIMIT ?",
        )
        .bind(rows(limit))
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found)
    }
}

fn read(row: &sqlx::sqlite::SqliteRow) -> Option<RevocationList> {
    Some(RevocationList {
        issuer: row.get::<&[u8], _>("issuer").try_into().ok()?,
        domain: row.get("domain"),
        number: unsigned(row.get("number")),
        list: row.get("list"),
    })
}

/// Stores the successor of a list. False, and nothing done, where what is stored is not the one it
/// was made over: look again.
pub struct StoreRevocationList {
    pub list: RevocationList,
    /// The number of the list before it; none was known.
    pub over: Option<u64>,
}

impl Write for StoreRevocationList {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let list = &self.list;
        let known: Option<i64> =
            sqlx::query_scalar("SELECT number FROM revocation_lists WHERE issuer = ?")
                .bind(&list.issuer[..])
                .fetch_optional(&mut *connection)
                .await?;
        let forward = known.is_none_or(|known| unsigned(known) < list.number);
        if known.map(unsigned) != self.over || !forward {
            return Ok(false);
        }
        sqlx::query(
            "INSERT OR REPLACE INTO revocation_lists (issuer, domain, number, list)
             VALUES (?, ?, ?, ?)",
        )
        .bind(&list.issuer[..])
        .bind(&list.domain)
        .bind(signed(list.number))
        .bind(&list.list)
        .execute(connection)
        .await?;
        Ok(true)
    }
}
