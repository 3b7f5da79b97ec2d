//! What expired goes, and what was claimed keeps its reference alone.

use sqlx::SqliteConnection;

use crate::Write;
use crate::integer::{rows, signed};

/// Rows that one purge changes of each kind; run it again while it changes so many.
pub const KEY_PACKAGE_PURGE_CHUNK: usize = 500;

/// Forgets expired packages, the bytes of those that are gone, and the claims of past windows.
pub struct PurgeKeyPackages {
    pub now_s: u64,
    pub window_s: u64,
}

impl Write for PurgeKeyPackages {
    /// The most rows changed by one of its steps.
    type Outcome = u64;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let chunk = rows(KEY_PACKAGE_PURGE_CHUNK);
        let expired = sqlx::query(
            "DELETE FROM key_packages WHERE id IN
             (SELECT id FROM key_packages WHERE not_after <= ? LIMIT ?)",
        )
        .bind(signed(self.now_s))
        .bind(chunk)
        .execute(&mut *connection)
        .await?
        .rows_affected();
        let emptied = sqlx::query(
            "UPDATE key_packages SET package = x'' WHERE id IN
             (SELECT id FROM key_packages WHERE gone IS NOT NULL AND package <> x'' LIMIT ?)",
        )
        .bind(chunk)
        .execute(&mut *connection)
        .await?
        .rows_affected();
        let windows = sqlx::query(
            "DELETE FROM key_package_claims WHERE (scope, name) IN
             (SELECT scope, name FROM key_package_claims WHERE window < ? LIMIT ?)",
        )
        .bind(signed(self.now_s / self.window_s.max(1)))
        .bind(chunk)
        .execute(&mut *connection)
        .await?
        .rows_affected();
        Ok(expired.max(emptied).max(windows))
    }
}
