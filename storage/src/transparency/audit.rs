//! The whole log, piece by piece, for whoever checks it, and what should be in it and is not.

use sqlx::Row;

use super::read::{read_entry, read_map};
use super::{LoggedAccount, LoggedEntry, MapNode, MapPlace, NodePlace};
use crate::integer::{rows, signed, unsigned};
use crate::{Error, Storage};

/// A device that was revoked without an entry that says so, though the log says that it was
/// certified: its account was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnloggedRevocation {
    pub device: [u8; 16],
    /// The account's hash.
    pub account: [u8; 32],
    pub revoked: u64,
}

/// A certificate, and where the log has its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedKey {
    pub key_hash: [u8; 32],
    pub device: [u8; 16],
    pub account: String,
    pub certificate: Vec<u8>,
    /// The key is in a batch of that device; else it was issued in secret.
    pub logged: bool,
}

/// A subtree of the map, as a row.
pub type MapRow = (MapPlace, MapNode);

impl Storage {
    /// Revocations of a domain's devices that the log does not tell, at most `limit`.
    pub async fn unlogged_revocations(
        &self,
        domain: &str,
        limit: usize,
    ) -> Result<Vec<UnloggedRevocation>, Error> {
        let found = sqlx::query(
            "SELECT devices.id, devices.revoked, MAX(entry.account) AS account
             FROM devices JOIN transparency_entries AS entry
             ON entry.device = devices.id AND entry.revoked = 0
             WHERE devices.revoked IS NOT NULL AND entry.domain = ?
               AND NOT EXISTS (SELECT 1 FROM transparency_entries AS told
                               WHERE told.device = devices.id AND told.revoked = 1)
             GROUP BY devices.id LIMIT ?",
        )
        .bind(domain)
        .bind(rows(limit))
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found
            .iter()
            .filter_map(|row| {
                Some(UnloggedRevocation {
                    device: row.get::<&[u8], _>("id").try_into().ok()?,
                    account: row.get::<&[u8], _>("account").try_into().ok()?,
                    revoked: unsigned(row.get("revoked")),
                })
            })
            .collect())
    }

    /// Entries from `from` on, with the head after each.
    pub async fn transparency_page(
        &self,
        domain: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(LoggedEntry, Option<Vec<u8>>)>, Error> {
        let found = sqlx::query(
            "SELECT idx, entry, leaves, account, place, device, revoked, head.signed AS head
             FROM transparency_entries AS entry LEFT JOIN transparency_heads AS head
             ON head.domain = entry.domain AND head.size = entry.idx + 1
             WHERE entry.domain = ? AND idx >= ? ORDER BY idx LIMIT ?",
        )
        .bind(domain)
        .bind(signed(from))
        .bind(rows(limit))
        .fetch_all(&mut *self.read().await?)
        .await?;
        let read = |row| Some((read_entry(row)?, row.get("head")));
        Ok(found.iter().filter_map(read).collect())
    }

    /// Certificates of a domain's accounts by their key, after one, with their entries.
    pub async fn transparency_keys_page(
        &self,
        domain: &str,
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<LoggedKey>, Error> {
        let found = sqlx::query(
            "SELECT certificates.key_hash, certificates.device, devices.account, certificate,
                    (entry.device = certificates.device
                     AND substr(entry.leaves, 1 + 32 * logged.place, 32) = certificates.key_hash)
                    AS logged
             FROM certificates JOIN devices ON devices.id = certificates.device
             LEFT JOIN transparency_keys AS logged
             ON logged.key_hash = certificates.key_hash AND logged.domain = ?2
             LEFT JOIN transparency_entries AS entry
             ON entry.domain = logged.domain AND entry.idx = logged.idx
             WHERE certificates.key_hash > ?1
               AND substr(devices.account, instr(devices.account, '@') + 1) = ?2
             ORDER BY certificates.key_hash LIMIT ?3",
        )
        .bind(after)
        .bind(domain)
        .bind(rows(limit))
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found
            .iter()
            .filter_map(|row| {
                Some(LoggedKey {
                    key_hash: row.get::<&[u8], _>("key_hash").try_into().ok()?,
                    device: row.get::<&[u8], _>("device").try_into().ok()?,
                    account: row.get("account"),
                    certificate: row.get("certificate"),
                    logged: row.get::<Option<i64>, _>("logged") == Some(1),
                })
            })
            .collect())
    }

    /// Stored hashes of the log, by place, after one.
    pub async fn transparency_nodes_page(
        &self,
        domain: &str,
        after: Option<NodePlace>,
        limit: usize,
    ) -> Result<Vec<(NodePlace, [u8; 32])>, Error> {
        let (level, index) = after.map_or((-1, 0), |p| (i64::from(p.level), signed(p.index)));
        let found = sqlx::query(
            "SELECT level, idx, hash FROM transparency_nodes
             WHERE domain = ? AND (level, idx) > (?, ?) ORDER BY level, idx LIMIT ?",
        )
        .bind(domain)
        .bind(level)
        .bind(index)
        .bind(rows(limit))
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found
            .iter()
            .filter_map(|row| {
                let place = NodePlace {
                    level: u32::try_from(row.get::<i64, _>("level")).ok()?,
                    index: unsigned(row.get("idx")),
                };
                Some((place, row.get::<&[u8], _>("hash").try_into().ok()?))
            })
            .collect())
    }

    /// Stored subtrees of the map, by place, after one.
    pub async fn transparency_map_page(
        &self,
        domain: &str,
        after: Option<MapPlace>,
        limit: usize,
    ) -> Result<Vec<MapRow>, Error> {
        let (depth, prefix) = after.map_or((-1, Vec::new()), |place| {
            (i64::from(place.depth), place.prefix.to_vec())
        });
        let found = sqlx::query(
            "SELECT depth, prefix, hash, leaf FROM transparency_map
             WHERE domain = ? AND (depth, prefix) > (?, ?) ORDER BY depth, prefix LIMIT ?",
        )
        .bind(domain)
        .bind(depth)
        .bind(prefix)
        .bind(rows(limit))
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found.iter().filter_map(read_map).collect())
    }

    /// Accounts of the log, by hash, after one.
    pub async fn transparency_accounts_page(
        &self,
        domain: &str,
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<LoggedAccount>, Error> {
        let found = sqlx::query(
            "SELECT account, hash, salt, count, frontier FROM transparency_accounts
             WHERE domain = ? AND hash > ? ORDER BY hash LIMIT ?",
        )
        .bind(domain)
        .bind(after)
        .bind(rows(limit))
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found.iter().filter_map(super::read::read_account).collect())
    }
}
