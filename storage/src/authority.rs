//! What the Authentication Service knows: devices and their keys, certificates issued, anchors.
//! Times are seconds since 1970, as certificates count them; device ids are UUIDs, 16 octets.

mod anchors;
mod certificates;
mod revocations;

use sqlx::{Row, SqliteConnection};

use crate::integer::{signed, unsigned};
use crate::{Error, Storage, Write};

pub use anchors::{PinAnchors, PinnedAnchors, PublishAnchors, PublishedAnchors};
pub use certificates::{IssuedCertificate, RecordCertificates, Recorded};
pub use revocations::{RevocationList, RevokedCertificate, StoreRevocationList};

/// Devices an account may ever have had. Rows of revoked ones stay, so that their ids and keys are
/// never given again; this bounds what an account can fill the disk with.
const EVER: i64 = 1000;

/// A client device of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub id: [u8; 16],
    /// The bare JID.
    pub account: String,
    pub name: String,
    /// SubjectPublicKeyInfo.
    pub device_key: Vec<u8>,
    pub registered: u64,
    pub revoked: Option<u64>,
}

impl Storage {
    /// A device of that account, revoked or not.
    pub async fn device(&self, account: &str, id: &[u8; 16]) -> Result<Option<Device>, Error> {
        let row = sqlx::query(
            "SELECT id, account, name, device_key, registered, revoked FROM devices
             WHERE id = ? AND account = ?",
        )
        .bind(&id[..])
        .bind(account)
        .fetch_optional(&mut *self.read().await?)
        .await?;
        Ok(row.and_then(|row| read(&row)))
    }

    /// All devices of an account, revoked ones too, in the order of their registration.
    pub async fn devices(&self, account: &str) -> Result<Vec<Device>, Error> {
        let found = sqlx::query(
            "SELECT id, account, name, device_key, registered, revoked FROM devices
             WHERE account = ? ORDER BY registered, id",
        )
        .bind(account)
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found.iter().filter_map(read).collect())
    }
}

fn read(row: &sqlx::sqlite::SqliteRow) -> Option<Device> {
    Some(Device {
        id: row.get::<&[u8], _>("id").try_into().ok()?,
        account: row.get("account"),
        name: row.get("name"),
        device_key: row.get("device_key"),
        registered: unsigned(row.get("registered")),
        revoked: row.get::<Option<i64>, _>("revoked").map(unsigned),
    })
}

/// Registers a device under an id that nobody had before.
pub struct RegisterDevice {
    pub id: [u8; 16],
    pub account: String,
    pub name: String,
    pub device_key: Vec<u8>,
    pub now: u64,
    /// Devices an account may have that are not revoked.
    pub limit: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    New,
    /// The account registered this key before, and got this id.
    Known([u8; 16]),
    /// Another account, or a revoked device, has this key.
    KeyTaken,
    TooMany,
    NoAccount,
}

impl Write for RegisterDevice {
    type Outcome = Registered;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Registered, sqlx::Error> {
        let holder = sqlx::query("SELECT id, account, revoked FROM devices WHERE device_key = ?")
            .bind(&self.device_key)
            .fetch_optional(&mut *connection)
            .await?;
        if let Some(row) = holder {
            let same = row.get::<&str, _>("account") == self.account
                && row.get::<Option<i64>, _>("revoked").is_none();
            let id = row.get::<&[u8], _>("id").try_into();
            return Ok(match (same, id) {
                (true, Ok(id)) => Registered::Known(id),
                _ => Registered::KeyTaken,
            });
        }
        let exists: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM accounts WHERE account = ?)")
                .bind(&self.account)
                .fetch_one(&mut *connection)
                .await?;
        if !exists {
            return Ok(Registered::NoAccount);
        }
        let (held, ever): (i64, i64) = sqlx::query_as(
            "SELECT COUNT(*) FILTER (WHERE revoked IS NULL), COUNT(*) FROM devices
             WHERE account = ?",
        )
        .bind(&self.account)
        .fetch_one(&mut *connection)
        .await?;
        if held >= i64::from(self.limit) || ever >= EVER {
            return Ok(Registered::TooMany);
        }
        sqlx::query(
            "INSERT INTO devices (id, account, name, device_key, registered) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&self.id[..])
        .bind(&self.account)
        .bind(&self.name)
        .bind(&self.device_key)
        .bind(signed(self.now))
        .execute(connection)
        .await?;
        Ok(Registered::New)
    }
}

/// Ends a device for good.
pub struct RevokeDevice {
    pub account: String,
    pub id: [u8; 16],
    pub now: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokedDevice {
    Revoked,
    /// It was revoked at that time.
    Already(u64),
    Unknown,
}

impl Write for RevokeDevice {
    type Outcome = RevokedDevice;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<RevokedDevice, sqlx::Error> {
        let known: Option<Option<i64>> =
            sqlx::query_scalar("SELECT revoked FROM devices WHERE id = ? AND account = ?")
                .bind(&self.id[..])
                .bind(&self.account)
                .fetch_optional(&mut *connection)
                .await?;
        match known {
            None => Ok(RevokedDevice::Unknown),
            Some(Some(at)) => Ok(RevokedDevice::Already(unsigned(at))),
            Some(None) => {
                sqlx::query("UPDATE devices SET revoked = ? WHERE id = ?")
                    .bind(signed(self.now))
                    .bind(&self.id[..])
                    .execute(connection)
                    .await?;
                Ok(RevokedDevice::Revoked)
            }
        }
    }
}

#[cfg(test)]
mod tests;
