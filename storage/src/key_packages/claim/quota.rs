//! How often who may claim.

use std::collections::{BTreeSet, HashMap};

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::{ClaimKeyPackages, ClaimLimit};
use crate::integer::{signed, unsigned};
use crate::pieces::pieces;

/// Whose quota: its scope and its name.
type Key<'a> = (&'static str, &'a str);

/// What was claimed under a name in a window.
#[derive(Clone, Copy)]
struct Count {
    window: i64,
    claims: u64,
}

/// Counts the claims, one after the other; the limit, of those that are over one of theirs, which
/// are not counted.
pub(super) async fn take(
    changes: &[&ClaimKeyPackages],
    connection: &mut SqliteConnection,
) -> Result<Vec<Option<ClaimLimit>>, sqlx::Error> {
    let mut counts = read(changes, connection).await?;
    let mut counted = BTreeSet::new();
    let mut exceeded = Vec::with_capacity(changes.len());
    for change in changes {
        let window = change.window();
        let keys = || {
            let quotas = change.quotas.iter();
            quotas.map(|quota| ((quota.limit.column(), &*quota.name), quota))
        };
        let over = keys().find(|(key, quota)| {
            let count = counts.get(key).filter(|count| count.window == window);
            count.map_or(0, |count| count.claims) >= u64::from(quota.most)
        });
        exceeded.push(over.map(|(_, quota)| quota.limit));
        if over.is_some() {
            continue;
        }
        for (key, _) in keys() {
            let count = counts.entry(key).or_insert(Count { window, claims: 0 });
            if count.window != window {
                *count = Count { window, claims: 0 };
            }
            count.claims += 1;
            counted.insert(key);
        }
    }
    write(&counts, counted, connection).await?;
    Ok(exceeded)
}

async fn read<'a>(
    changes: &[&'a ClaimKeyPackages],
    connection: &mut SqliteConnection,
) -> Result<HashMap<Key<'a>, Count>, sqlx::Error> {
    let quotas = changes.iter().flat_map(|change| &change.quotas);
    let keys: BTreeSet<Key<'_>> = quotas.map(|q| (q.limit.column(), &*q.name)).collect();
    let keys: Vec<Key<'_>> = keys.into_iter().collect();
    let mut counts = HashMap::new();
    for keys in pieces(&keys) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT scope, name, window, claims FROM key_package_claims WHERE (scope, name) IN (",
        );
        query.push_values(keys, |mut row, (scope, name)| {
            row.push_bind(*scope).push_bind(*name);
        });
        query.push(")");
        for row in query.build().fetch_all(&mut *connection).await? {
            let (scope, name): (&str, &str) = (row.get("scope"), row.get("name"));
            let count = Count {
                window: row.get("window"),
                claims: unsigned(row.get("claims")),
            };
            if let Some(key) = keys.iter().find(|key| **key == (scope, name)) {
                counts.insert(*key, count);
            }
        }
    }
    Ok(counts)
}

async fn write(
    counts: &HashMap<Key<'_>, Count>,
    counted: BTreeSet<Key<'_>>,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let rows = counted.into_iter().filter_map(|key| {
        let count = counts.get(&key)?;
        Some((key, *count))
    });
    let rows: Vec<(Key<'_>, Count)> = rows.collect();
    for rows in pieces(&rows) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO key_package_claims (scope, name, window, claims) ",
        );
        query.push_values(rows, |mut row, ((scope, name), count)| {
            row.push_bind(*scope)
                .push_bind(*name)
                .push_bind(count.window)
                .push_bind(signed(count.claims));
        });
        query.push(
            " ON CONFLICT (scope, name) DO UPDATE SET claims = excluded.claims,
             window = excluded.window",
        );
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}
