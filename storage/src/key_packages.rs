//! The KeyPackage directory: what devices have published and nobody has claimed yet.
//!
//! [`PublishKeyPackages`] makes a batch visible as a whole; [`ClaimKeyPackages`] hands out one
//! package of each device, each by one statement, so that none but a last resort leaves twice.

mod claim;
mod publish;
mod purge;

#[cfg(test)]
mod tests;

use sqlx::{Row, SqliteConnection};

use crate::{Error, Storage};

pub use claim::{Claim, ClaimKeyPackages, ClaimLimit, Claimed, Claims, ClaimsOutcome, Quota};
pub use publish::{DeleteKeyPackages, KeyPackage, PublishKeyPackages, Published};
pub use purge::{KEY_PACKAGE_PURGE_CHUNK, PurgeKeyPackages};

use crate::integer::unsigned;

/// What the directory holds of one device and suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPackageCount {
    pub device: [u8; 16],
    pub suite: u16,
    pub ordinary: u64,
    /// There is a last resort that has not been served yet.
    pub last_resort: bool,
}

impl Storage {
    /// What could be claimed of an account's devices at `now_s`, by device and suite.
    pub async fn key_package_counts(
        &self,
        account: &str,
        now_s: u64,
    ) -> Result<Vec<KeyPackageCount>, Error> {
        Ok(counts(&mut *self.read().await?, account, None, now_s).await?)
    }
}

async fn counts(
    connection: &mut SqliteConnection,
    account: &str,
    device: Option<&[u8; 16]>,
    now_s: u64,
) -> Result<Vec<KeyPackageCount>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT device, suite, SUM(last_resort = 0) AS ordinary,
                SUM(last_resort = 1 AND served IS NULL) AS last_resort
         FROM key_packages
         WHERE account = ?1 AND gone IS NULL AND not_after > ?2 AND (?3 IS NULL OR device = ?3)
         GROUP BY device, suite ORDER BY device, suite",
    )
    .bind(account)
    .bind(crate::integer::signed(now_s))
    .bind(device.map(|device| &device[..]))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(KeyPackageCount {
                device: device_of(row.get("device"))?,
                suite: suite_of(row.get("suite")),
                ordinary: unsigned(row.get("ordinary")),
                last_resort: row.get::<i64, _>("last_resort") > 0,
            })
        })
        .collect()
}

fn device_of(bytes: &[u8]) -> Result<[u8; 16], sqlx::Error> {
    bytes.try_into().map_err(|_| sqlx::Error::ColumnDecode {
        index: "device".to_owned(),
        source: format!("16 bytes were expected, {} came", bytes.len()).into(),
    })
}

fn suite_of(column: i64) -> u16 {
    u16::try_from(column).unwrap_or(0)
}
