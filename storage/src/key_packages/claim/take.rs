//! Packages are taken out of the directory.

use std::collections::{HashMap, HashSet};

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::{Claimed, Wanted};
use crate::integer::{signed, unsigned};
use crate::key_packages::{KeyPackageCount, device_of, suite_of};
use crate::pieces::pieces;

#[derive(Clone)]
pub(super) struct Taken {
    pub(super) claimed: Claimed,
    /// What the device has left of the suite.
    pub(super) left: Option<KeyPackageCount>,
}

/// One package for each, in order. Those of different devices that are to be alike are taken
/// together; of one device, one after the other.
pub(super) async fn take(
    wanted: &[Wanted<'_>],
    connection: &mut SqliteConnection,
) -> Result<Vec<Taken>, sqlx::Error> {
    let mut taken: HashMap<usize, Taken> = HashMap::with_capacity(wanted.len());
    let mut left: Vec<(usize, &Wanted<'_>)> = wanted.iter().enumerate().collect();
    while let Some((_, first)) = left.first() {
        let first = *first;
        let mut devices = HashSet::new();
        let (now, later): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|(_, next)| next.is_like(first) && devices.insert(next.device));
        for now in pieces(&now) {
            taken.extend(take_together(now, connection).await?);
        }
        left = later;
    }
    let missing = || sqlx::Error::Protocol("a device without an answer".to_owned());
    (0..wanted.len())
        .map(|place| taken.remove(&place).ok_or_else(missing))
        .collect()
}

impl Wanted<'_> {
    fn is_like(&self, other: &Self) -> bool {
        let (own, others) = (&self.change.claim, &other.change.claim);
        own.suites == others.suites && own.extensions == others.extensions
    }
}

type Placed<'a> = (usize, &'a Wanted<'a>);

async fn take_together(
    wanted: &[Placed<'_>],
    connection: &mut SqliteConnection,
) -> Result<Vec<(usize, Taken)>, sqlx::Error> {
    let mut packages = hand_out(wanted, connection).await?;
    let mut left = count(wanted, &packages, connection).await?;
    let mut taken = Vec::with_capacity(wanted.len());
    for (place, wanted) in wanted {
        let claimed = match packages.remove(&wanted.device) {
            Some(package) => package,
            None if has_any(wanted, connection).await? => Claimed::Incompatible,
            None => Claimed::Exhausted,
        };
        let left = left.remove(&wanted.device);
        taken.push((*place, Taken { claimed, left }));
    }
    Ok(taken)
}

/// The one statement: for each device it finds a package and takes it out of the directory, or finds
/// that only a last resort is left and leaves that in.
async fn hand_out(
    wanted: &[Placed<'_>],
    connection: &mut SqliteConnection,
) -> Result<HashMap<[u8; 16], Claimed>, sqlx::Error> {
    let Some((_, first)) = wanted.first() else {
        return Ok(HashMap::new());
    };
    let claim = &first.change.claim;
    let mut query =
        QueryBuilder::<Sqlite>::new("WITH given (its_account, its_device, now, valid_until) AS (");
    query.push_values(wanted, |mut row, (_, wanted)| {
        row.push_bind(&wanted.change.account)
            .push_bind(wanted.device.to_vec())
            .push_bind(signed(wanted.change.now_ms))
            .push_bind(signed(wanted.change.claim.valid_until_s));
    });
    query.push(
        ") UPDATE key_packages
         SET served = chosen.now, gone = CASE last_resort WHEN 1 THEN NULL ELSE chosen.now END
         FROM (SELECT now, (SELECT id FROM key_packages WHERE gone IS NULL
           AND account = its_account AND device = its_device AND not_before <= now / 1000
           AND not_after > valid_until AND suite IN (",
    );
    let mut suites = query.separated(", ");
    for suite in &claim.suites {
        suites.push_bind(i64::from(*suite));
    }
    suites.push_unseparated(")");
    for extension in &claim.extensions {
        query.push(" AND extensions LIKE ");
        query.push_bind(format!("%,{extension},%"));
    }
    query.push(" ORDER BY last_resort");
    // One suite needs no order, and then the first that the index gives is the one.
    for suite in claim.suites.iter().filter(|_| claim.suites.len() > 1) {
        query.push(", suite <> ").push_bind(i64::from(*suite));
    }
    query.push(
        ", id LIMIT 1) AS chosen_id FROM given) AS chosen
         WHERE gone IS NULL AND id = chosen_id
         RETURNING device, suite, package, last_resort",
    );
    let mut packages = HashMap::with_capacity(wanted.len());
    for row in query.build().fetch_all(connection).await? {
        let package = Claimed::Package {
            suite: suite_of(row.get("suite")),
            package: row.get("package"),
            last_resort: row.get("last_resort"),
        };
        packages.insert(device_of(row.get("device"))?, package);
    }
    Ok(packages)
}

/// What is left of the suite a package was taken of; zero where nothing is counted any more.
async fn count(
    wanted: &[Placed<'_>],
    packages: &HashMap<[u8; 16], Claimed>,
    connection: &mut SqliteConnection,
) -> Result<HashMap<[u8; 16], KeyPackageCount>, sqlx::Error> {
    let mut left = HashMap::with_capacity(packages.len());
    let given: Vec<&Wanted<'_>> = wanted
        .iter()
        .map(|(_, wanted)| *wanted)
        .filter(|wanted| packages.contains_key(&wanted.device))
        .collect();
    for wanted in &given {
        if let Some(Claimed::Package { suite, .. }) = packages.get(&wanted.device) {
            let none = KeyPackageCount {
                device: wanted.device,
                suite: *suite,
                ordinary: 0,
                last_resort: false,
            };
            left.insert(wanted.device, none);
        }
    }
    let now = given.iter().map(|wanted| wanted.change.now_ms / 1000).max();
    for given in pieces(&given) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT device, suite, SUM(last_resort = 0) AS ordinary,
                    SUM(last_resort = 1 AND served IS NULL) AS last_resort
             FROM key_packages WHERE gone IS NULL AND not_after > ",
        );
        query.push_bind(signed(now.unwrap_or_default()));
        query.push(" AND (account, device) IN (");
        query.push_values(given, |mut row, wanted| {
            row.push_bind(&wanted.change.account)
                .push_bind(wanted.device.to_vec());
        });
        query.push(") GROUP BY account, device, suite");
        for row in query.build().fetch_all(&mut *connection).await? {
            let suite = suite_of(row.get("suite"));
            let of = left.get_mut(&device_of(row.get("device"))?);
            if let Some(count) = of.filter(|count| count.suite == suite) {
                count.ordinary = unsigned(row.get("ordinary"));
                count.last_resort = row.get::<i64, _>("last_resort") > 0;
            }
        }
    }
    Ok(left)
}

async fn has_any(
    wanted: &Wanted<'_>,
    connection: &mut SqliteConnection,
) -> Result<bool, sqlx::Error> {
    let change = wanted.change;
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM key_packages WHERE gone IS NULL AND account = ?
         AND device = ? AND not_before <= ? AND not_after > ?)",
    )
    .bind(&change.account)
    .bind(&wanted.device[..])
    .bind(signed(change.now_ms / 1000))
    .bind(signed(change.claim.valid_until_s))
    .fetch_one(connection)
    .await
}
