//! What proofs are made of.

use std::collections::HashMap;

use sqlx::pool::PoolConnection;
use sqlx::{Connection, QueryBuilder, Row, Sqlite, SqliteConnection};

use super::{MapNode, MapPlace, NodePlace, split};
use crate::integer::{rows, signed, unsigned};
use crate::{Error, Storage};

/// Rows named in one statement: two values each, of the 32766 that SQLite takes.
const PLACES_OF_A_STATEMENT: usize = 512;

/// Subtrees of the map by their place; what holds nothing is not there.
pub type MapPlaces = HashMap<MapPlace, MapNode>;

/// An account's part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedAccount {
    pub account: String,
    pub hash: [u8; 32],
    pub salt: [u8; 32],
    pub count: u64,
    /// From which the tree of its entries goes on.
    pub frontier: Vec<[u8; 32]>,
}

/// An entry where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEntry {
    pub index: u64,
    pub entry: Vec<u8>,
    /// The keys of the batch, in order.
    pub leaves: Vec<[u8; 32]>,
    pub account: [u8; 32],
    /// Among the account's entries.
    pub place: u64,
    pub device: [u8; 16],
    pub revoked: bool,
}

/// An account's entries and its place in the map, under one head.
#[derive(Clone, Debug)]
pub struct AccountEntries {
    /// The signed head; none: the log is empty.
    pub head: Option<Vec<u8>>,
    pub entries: Vec<Vec<u8>>,
    pub map: MapPlaces,
}

/// What an append is computed over.
#[derive(Clone, Debug)]
pub struct Before {
    pub size: u64,
    pub map: MapPlaces,
}

impl Storage {
    /// The newest head of a domain's log, and its size.
    pub async fn transparency_head(&self, domain: &str) -> Result<Option<(u64, Vec<u8>)>, Error> {
        Ok(head(&mut *self.read().await?, domain).await?)
    }

    /// The head of a domain's log when it had that size.
    pub async fn transparency_head_at(
        &self,
        domain: &str,
        size: u64,
    ) -> Result<Option<Vec<u8>>, Error> {
        let found = sqlx::query_scalar(
            "SELECT signed FROM transparency_heads WHERE domain = ? AND size = ?",
        )
        .bind(domain)
        .bind(signed(size))
        .fetch_optional(&mut *self.read().await?)
        .await?;
        Ok(found)
    }

    /// The hashes of complete subtrees; those that are not complete yet are left out.
    pub async fn transparency_nodes(
        &self,
        domain: &str,
        places: &[NodePlace],
    ) -> Result<HashMap<NodePlace, [u8; 32]>, Error> {
        let mut connection = self.read().await?;
        let mut found = HashMap::with_capacity(places.len());
        for places in places.chunks(PLACES_OF_A_STATEMENT) {
            let mut query = QueryBuilder::<Sqlite>::new("WITH wanted (level, idx) AS (");
            query.push_values(places, |mut row, place| {
                row.push_bind(i64::from(place.level))
                    .push_bind(signed(place.index));
            });
            // CROSS JOIN: each place is looked up, the table is not read through.
            query.push(
                ") SELECT node.level, node.idx, node.hash
                 FROM wanted CROSS JOIN transparency_nodes AS node
                 ON node.level = wanted.level AND node.idx = wanted.idx AND node.domain = ",
            );
            query.push_bind(domain);
            for row in query.build().fetch_all(&mut *connection).await? {
                let place = NodePlace {
                    level: u32::try_from(row.get::<i64, _>("level")).unwrap_or(u32::MAX),
                    index: unsigned(row.get("idx")),
                };
                if let Ok(hash) = row.get::<&[u8], _>("hash").try_into() {
                    found.insert(place, hash);
                }
            }
        }
        Ok(found)
    }

    /// The account's part of the log, while it has its name.
    pub async fn transparency_account(
        &self,
        account: &str,
    ) -> Result<Option<LoggedAccount>, Error> {
        let row = sqlx::query(
            "SELECT account, hash, salt, count, frontier FROM transparency_accounts
             WHERE account = ? AND closed = 0",
        )
        .bind(account)
        .fetch_optional(&mut *self.read().await?)
        .await?;
        Ok(row.and_then(|row| read_account(&row)))
    }

    /// The same by the account's hash, whether or not there still is one of that name.
    pub async fn transparency_account_by_hash(
        &self,
        domain: &str,
        hash: &[u8; 32],
    ) -> Result<Option<LoggedAccount>, Error> {
        let row = sqlx::query(
            "SELECT account, hash, salt, count, frontier FROM transparency_accounts
             WHERE domain = ? AND hash = ?",
        )
        .bind(domain)
        .bind(&hash[..])
        .fetch_optional(&mut *self.read().await?)
        .await?;
        Ok(row.and_then(|row| read_account(&row)))
    }

    /// The size of the log, and those of these places in the map that hold something.
    pub async fn transparency_before(
        &self,
        domain: &str,
        places: &[MapPlace],
    ) -> Result<Before, Error> {
        let mut connection = self.read().await?;
        let mut snapshot = Snapshot::begin(&mut connection).await?;
        let size = head(&mut snapshot.0, domain)
            .await?
            .map_or(0, |(size, _)| size);
        let map = map(&mut snapshot.0, domain, places).await?;
        Ok(Before { size, map })
    }

    /// Entries of an account from the `from`-th on, at most `limit`, with its place in the map,
    /// all under one head.
    pub async fn transparency_entries_of(
        &self,
        domain: &str,
        account: &[u8; 32],
        from: u64,
        limit: usize,
        places: &[MapPlace],
    ) -> Result<AccountEntries, Error> {
        let mut connection = self.read().await?;
        let mut snapshot = Snapshot::begin(&mut connection).await?;
        let entries = sqlx::query_scalar(
            "SELECT entry FROM transparency_entries
             WHERE domain = ? AND account = ? AND place >= ? ORDER BY place LIMIT ?",
        )
        .bind(domain)
        .bind(&account[..])
        .bind(signed(from))
        .bind(rows(limit))
        .fetch_all(&mut *snapshot.0)
        .await?;
        Ok(AccountEntries {
            head: head(&mut snapshot.0, domain).await?.map(|(_, head)| head),
            entries,
            map: map(&mut snapshot.0, domain, places).await?,
        })
    }

    /// The entry whose batch a key is in, and the key's place in the batch.
    pub async fn transparency_of_key(
        &self,
        domain: &str,
        key: &[u8; 32],
    ) -> Result<Option<(LoggedEntry, u32)>, Error> {
        let row = sqlx::query(
            "SELECT entry.idx, entry, leaves, account, entry.place, device, revoked,
                    logged.place AS in_batch
             FROM transparency_keys AS logged JOIN transparency_entries AS entry
             ON entry.domain = logged.domain AND entry.idx = logged.idx
             WHERE logged.key_hash = ? AND logged.domain = ?",
        )
        .bind(&key[..])
        .bind(domain)
        .fetch_optional(&mut *self.read().await?)
        .await?;
        Ok(row.and_then(|row| {
            let place = u32::try_from(row.get::<i64, _>("in_batch")).ok()?;
            Some((read_entry(&row)?, place))
        }))
    }
}

/// What is read within it is of one moment.
struct Snapshot<'a>(sqlx::Transaction<'a, Sqlite>);

impl<'a> Snapshot<'a> {
    async fn begin(connection: &'a mut PoolConnection<Sqlite>) -> Result<Self, sqlx::Error> {
        Ok(Self(connection.begin().await?))
    }
}

pub(super) fn read_entry(row: &sqlx::sqlite::SqliteRow) -> Option<LoggedEntry> {
    Some(LoggedEntry {
        index: unsigned(row.get("idx")),
        entry: row.get("entry"),
        leaves: split(row.get("leaves")),
        account: row.get::<&[u8], _>("account").try_into().ok()?,
        place: unsigned(row.get("place")),
        device: row.get::<&[u8], _>("device").try_into().ok()?,
        revoked: row.get::<i64, _>("revoked") != 0,
    })
}

pub(super) fn read_account(row: &sqlx::sqlite::SqliteRow) -> Option<LoggedAccount> {
    Some(LoggedAccount {
        account: row.get("account"),
        hash: row.get::<&[u8], _>("hash").try_into().ok()?,
        salt: row.get::<&[u8], _>("salt").try_into().ok()?,
        count: unsigned(row.get("count")),
        frontier: split(row.get("frontier")),
    })
}

async fn head(
    connection: &mut SqliteConnection,
    domain: &str,
) -> Result<Option<(u64, Vec<u8>)>, sqlx::Error> {
    let newest: Option<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT size, signed FROM transparency_heads WHERE domain = ? ORDER BY size DESC LIMIT 1",
    )
    .bind(domain)
    .fetch_optional(connection)
    .await?;
    Ok(newest.map(|(size, head)| (unsigned(size), head)))
}

async fn map(
    connection: &mut SqliteConnection,
    domain: &str,
    places: &[MapPlace],
) -> Result<MapPlaces, sqlx::Error> {
    let mut found = HashMap::new();
    for places in places.chunks(PLACES_OF_A_STATEMENT) {
        let mut query = QueryBuilder::<Sqlite>::new("WITH wanted (depth, prefix) AS (");
        query.push_values(places, |mut row, place| {
            row.push_bind(i64::from(place.depth))
                .push_bind(place.prefix.to_vec());
        });
        query.push(
            ") SELECT node.depth, node.prefix, node.hash, node.leaf
             FROM wanted CROSS JOIN transparency_map AS node
             ON node.depth = wanted.depth AND node.prefix = wanted.prefix AND node.domain = ",
        );
        query.push_bind(domain);
        for row in query.build().fetch_all(&mut *connection).await? {
            found.extend(read_map(&row));
        }
    }
    Ok(found)
}

pub(super) fn read_map(row: &sqlx::sqlite::SqliteRow) -> Option<(MapPlace, MapNode)> {
    let place = MapPlace {
        depth: u16::try_from(row.get::<i64, _>("depth")).ok()?,
        prefix: row.get::<&[u8], _>("prefix").try_into().ok()?,
    };
    let node = MapNode {
        hash: row.get::<&[u8], _>("hash").try_into().ok()?,
        leaf: row.get("leaf"),
    };
    Some((place, node))
}
