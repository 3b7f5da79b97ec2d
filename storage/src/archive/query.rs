//! Pages of an archive.

use sqlx::pool::PoolConnection;
use sqlx::{QueryBuilder, Row, Sqlite};

use crate::integer::{rows, signed, unsigned};
use crate::{Error, Storage};

/// Messages that are counted; of more it is not said how many there are.
const COUNTED: i64 = 10_000;

/// Which messages. All of it together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveFilter {
    /// The other side: bare address, and its resource where only that is meant.
    pub with: Option<(String, Option<String>)>,
    /// Received then or later.
    pub start: Option<u64>,
    /// Received then or earlier.
    pub end: Option<u64>,
    /// Behind, and before, these messages.
    pub after_uid: Option<String>,
    pub before_uid: Option<String>,
    /// These alone.
    pub uids: Option<Vec<String>>,
}

/// Which page of them (XEP-0059).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paging {
    First,
    After(String),
    Before(String),
    Last,
}

/// A message as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveRow {
    pub uid: String,
    pub stanza: Vec<u8>,
    pub received: u64,
}

/// A page, oldest message first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchivePage {
    pub rows: Vec<ArchiveRow>,
    /// There is nothing more in the direction of paging.
    pub complete: bool,
    /// How many messages the filter finds; `None`: very many.
    pub count: Option<u64>,
    /// How many of them lie before the first of the page.
    pub index: Option<u64>,
}

/// The ends of an archive: uid and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    pub first: (String, u64),
    pub last: (String, u64),
}

/// The archive holds no message of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownUid(pub String);

/// A filter, its messages looked up.
struct Resolved<'a> {
    account: &'a str,
    filter: &'a ArchiveFilter,
    after: Option<i64>,
    before: Option<i64>,
    numbers: Option<Vec<i64>>,
}

impl Storage {
    /// A page of at most `limit` messages.
    pub async fn archive_page(
        &self,
        account: &str,
        filter: &ArchiveFilter,
        paging: &Paging,
        limit: usize,
    ) -> Result<Result<ArchivePage, UnknownUid>, Error> {
        let mut connection = self.read().await?;
        let resolved = match resolve(&mut connection, account, filter).await? {
            Ok(resolved) => resolved,
            Err(unknown) => return Ok(Err(unknown)),
        };
        let bound = match paging {
            Paging::First | Paging::Last => None,
            Paging::After(uid) | Paging::Before(uid) => {
                match number(&mut connection, account, uid).await? {
                    Some(number) => Some(number),
                    None => return Ok(Err(UnknownUid(uid.clone()))),
                }
            }
        };
        let backwards = matches!(paging, Paging::Before(_) | Paging::Last);
        let mut found = resolved
            .rows(&mut connection, bound, backwards, limit + 1)
            .await?;
        let complete = found.len() <= limit;
        found.truncate(limit);
        if backwards {
            found.reverse();
        }
        let count = resolved.count(&mut connection, None).await?;
        let first = found.first().map(|row| row.get::<i64, _>("number"));
        let index = match (count, first) {
            (Some(_), Some(first)) => resolved.count(&mut connection, Some(first)).await?,
            _ => None,
        };
        Ok(Ok(ArchivePage {
            rows: found.iter().map(read).collect(),
            complete,
            count,
            index,
        }))
    }

    /// Where an archive begins and ends; `None`: it is empty.
    pub async fn archived(&self, account: &str) -> Result<Option<Archived>, Error> {
        let mut connection = self.read().await?;
        let mut ends = Vec::with_capacity(2);
        for query in [
            "SELECT uid, received FROM archive_messages WHERE number = coalesce(
                (SELECT min(number) FROM archive_entries WHERE account = ?1),
                (SELECT min(number) FROM archive_tail WHERE account = ?1))",
            "SELECT uid, received FROM archive_messages WHERE number = coalesce(
                (SELECT max(number) FROM archive_tail WHERE account = ?1),
                (SELECT max(number) FROM archive_entries WHERE account = ?1))",
        ] {
            let found = sqlx::query(query)
                .bind(account)
                .fetch_optional(&mut *connection)
                .await?;
            let Some(row) = found else { return Ok(None) };
            ends.push((row.get("uid"), unsigned(row.get("received"))));
        }
        let [first, last] = ends.try_into().unwrap_or_default();
        Ok(Some(Archived { first, last }))
    }
}

fn read(row: &sqlx::sqlite::SqliteRow) -> ArchiveRow {
    ArchiveRow {
        uid: row.get("uid"),
        stanza: row.get("stanza"),
        received: unsigned(row.get("received")),
    }
}

async fn number(
    connection: &mut PoolConnection<Sqlite>,
    account: &str,
    uid: &str,
) -> Result<Option<i64>, Error> {
    let found = sqlx::query_scalar(
        "SELECT number FROM archive_messages WHERE uid = ?2
         AND ((sender = ?1 AND kept_by & 1) OR (recipient = ?1 AND kept_by & 2))",
    )
    .bind(account)
    .bind(uid)
    .fetch_optional(&mut **connection)
    .await?;
    Ok(found)
}

async fn resolve<'a>(
    connection: &mut PoolConnection<Sqlite>,
    account: &'a str,
    filter: &'a ArchiveFilter,
) -> Result<Result<Resolved<'a>, UnknownUid>, Error> {
    let mut ends = [None, None];
    for (end, uid) in ends.iter_mut().zip([&filter.after_uid, &filter.before_uid]) {
        let Some(uid) = uid else { continue };
        *end = number(connection, account, uid).await?;
        if end.is_none() {
            return Ok(Err(UnknownUid(uid.clone())));
        }
    }
    let [after, before] = ends;
    let mut numbers = None;
    for uid in filter.uids.iter().flatten() {
        match number(connection, account, uid).await? {
            Some(number) => numbers.get_or_insert_with(Vec::new).push(number),
            None => return Ok(Err(UnknownUid(uid.clone()))),
        }
    }
    if filter.uids.is_some() {
        numbers.get_or_insert_default();
    }
    Ok(Ok(Resolved {
        account,
        filter,
        after,
        before,
        numbers,
    }))
}

/// Where an account's messages are found: those that are sorted, and those behind them.
const PLACES: [&str; 2] = ["archive_entries", "archive_tail"];

impl Resolved<'_> {
    /// Rows on this side of a number, at most `limit`, the nearest first.
    async fn rows(
        &self,
        connection: &mut PoolConnection<Sqlite>,
        bound: Option<i64>,
        backwards: bool,
        limit: usize,
    ) -> Result<Vec<sqlx::sqlite::SqliteRow>, Error> {
        let order = if backwards {
            " ORDER BY number DESC LIMIT "
        } else {
            " ORDER BY number LIMIT "
        };
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT number, uid, stanza, received FROM archive_messages WHERE number IN (",
        );
        for (place, joined) in PLACES.iter().zip(["", " UNION ALL "]) {
            query
                .push(joined)
                .push("SELECT number FROM (SELECT number FROM ");
            query.push(*place).push(" ");
            self.condition(&mut query);
            if let Some(bound) = bound {
                query.push(if backwards {
                    " AND number < "
                } else {
                    " AND number > "
                });
                query.push_bind(bound);
            }
            query.push(order).push_bind(rows(limit)).push(")");
        }
        query.push(")").push(order).push_bind(rows(limit));
        Ok(query.build().fetch_all(&mut **connection).await?)
    }

    fn condition(&self, query: &mut QueryBuilder<Sqlite>) {
        query.push("WHERE account = ").push_bind(self.account);
        if let Some((peer, resource)) = &self.filter.with {
            query.push(" AND peer = ").push_bind(peer);
            if let Some(resource) = resource {
                query.push(" AND resource = ").push_bind(resource);
            }
        }
        if let Some(start) = self.filter.start {
            query.push(" AND received >= ").push_bind(signed(start));
        }
        if let Some(end) = self.filter.end {
            query.push(" AND received <= ").push_bind(signed(end));
        }
        if let Some(after) = self.after {
            query.push(" AND number > ").push_bind(after);
        }
        if let Some(before) = self.before {
            query.push(" AND number < ").push_bind(before);
        }
        if let Some(numbers) = &self.numbers {
            query.push(" AND number IN (");
            let mut list = query.separated(", ");
            for number in numbers {
                list.push_bind(*number);
            }
            list.push_unseparated(")");
        }
    }

    /// How many there are, before this number; `None`: more than are counted.
    async fn count(
        &self,
        connection: &mut PoolConnection<Sqlite>,
        before: Option<i64>,
    ) -> Result<Option<u64>, Error> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        for (place, joined) in PLACES.iter().zip(["", " + "]) {
            query
                .push(joined)
                .push("(SELECT COUNT(*) FROM (SELECT 1 FROM ");
            query.push(*place).push(" ");
            self.condition(&mut query);
            if let Some(before) = before {
                query.push(" AND number < ").push_bind(before);
            }
            query.push(" LIMIT ").push_bind(COUNTED + 1).push("))");
        }
        let count: i64 = query
            .build_query_scalar()
            .fetch_one(&mut **connection)
            .await?;
        Ok((count <= COUNTED).then(|| unsigned(count)))
    }
}
