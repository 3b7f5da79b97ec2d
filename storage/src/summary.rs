//! What there is, in numbers, for the operator.

use sqlx::Row;

use crate::integer::unsigned;
use crate::{Error, Storage};

/// Of everything. Each is read from an index, or is as good as constant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By domain.
    pub accounts: Vec<(String, u64)>,
    /// Rooms ordered here, and copies of others' rooms.
    pub rooms: u64,
    pub copies: u64,
    pub devices: u64,
    pub outbox: u64,
    pub offline: u64,
    /// Octets of the database, without what is not yet in its file.
    pub database: u64,
    /// Files that people have uploaded, and their octets; places kept for some too.
    pub uploads: u64,
    pub upload_octets: u64,
}

/// What is kept for one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountSummary {
    pub contacts: u64,
    pub blocked: u64,
    pub offline: u64,
    pub archived: u64,
    pub devices: u64,
    pub devices_revoked: u64,
    /// Rooms in which devices of it are.
    pub rooms: u64,
    pub key_packages: u64,
    pub pubsub_nodes: u64,
    pub pubsub_octets: u64,
}

impl Storage {
    pub async fn totals(&self) -> Result<Totals, Error> {
        let mut connection = self.read().await?;
        let accounts = sqlx::query(
            "SELECT domain, count(*) AS accounts FROM accounts GROUP BY domain ORDER BY domain",
        )
        .fetch_all(&mut *connection)
        .await?;
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM rooms) AS rooms,
               (SELECT count(*) FROM room_copies) AS copies,
               (SELECT count(*) FROM devices WHERE revoked IS NULL) AS devices,
               (SELECT COALESCE(SUM(length), 0) FROM outbox_queues) AS outbox,
               (SELECT count(*) FROM offline) AS offline,
               (SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size())
                 AS database,
               (SELECT files FROM upload_totals) AS uploads,
               (SELECT octets FROM upload_totals) AS upload_octets",
        )
        .fetch_one(&mut *connection)
        .await?;
        let number = |column: &str| unsigned(row.get(column));
        Ok(Totals {
            accounts: accounts
                .iter()
                .map(|row| (row.get("domain"), unsigned(row.get("accounts"))))
                .collect(),
            rooms: number("rooms"),
            copies: number("copies"),
            devices: number("devices"),
            outbox: number("outbox"),
            offline: number("offline"),
            database: number("database"),
            uploads: number("uploads"),
            upload_octets: number("upload_octets"),
        })
    }

    /// All zero for an account that is not there.
    pub async fn account_summary(&self, account: &str) -> Result<AccountSummary, Error> {
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM roster WHERE account = ?1) AS contacts,
               (SELECT count(*) FROM blocklists WHERE account = ?1) AS blocked,
               (SELECT count(*) FROM offline WHERE account = ?1) AS offline,
               (SELECT count(*) FROM archive_entries WHERE account = ?1)
                 + (SELECT count(*) FROM archive_tail WHERE account = ?1) AS archived,
               (SELECT count(*) FROM devices WHERE account = ?1 AND revoked IS NULL) AS devices,
               (SELECT count(*) FROM devices WHERE account = ?1 AND revoked IS NOT NULL)
                 AS devices_revoked,
               (SELECT count(DISTINCT room) FROM room_devices
                 WHERE account = ?1 AND until IS NULL) AS rooms,
               (SELECT count(*) FROM key_packages WHERE account = ?1 AND gone IS NULL) AS key_packages,
               (SELECT count(*) FROM pubsub_nodes WHERE account = ?1) AS pubsub_nodes,
               (SELECT COALESCE(SUM(bytes), 0) FROM pubsub_items WHERE account = ?1)
                 AS pubsub_octets",
        )
        .bind(account)
        .fetch_one(&mut *self.read().await?)
        .await?;
        let number = |column: &str| unsigned(row.get(column));
        Ok(AccountSummary {
            contacts: number("contacts"),
            blocked: number("blocked"),
            offline: number("offline"),
            archived: number("archived"),
            devices: number("devices"),
            devices_revoked: number("devices_revoked"),
            rooms: number("rooms"),
            key_packages: number("key_packages"),
            pubsub_nodes: number("pubsub_nodes"),
            pubsub_octets: number("pubsub_octets"),
        })
    }
}
