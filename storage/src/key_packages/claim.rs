//! Packages go out, each by one statement.

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::{KeyPackageCount, counts, device_of, suite_of};
use crate::Write;
use crate::integer::{signed, unsigned};

/// One package of each of these devices, if the limits on claims allow.
pub struct ClaimKeyPackages {
    pub account: String,
    pub claim: Claim,
    /// How often this may be asked for; judged, and counted, whether or not there are packages.
    pub quotas: Vec<Quota>,
    /// Length of the windows that quotas count in.
    pub window_s: u64,
    pub now_ms: u64,
}

/// What a package has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Those of the account that are not revoked are served; all of them where none are named.
    pub devices: Vec<[u8; 16]>,
    /// Best first.
    pub suites: Vec<u16>,
    pub extensions: Vec<u16>,
    /// Seconds since 1970 until which it must be valid at least.
    pub valid_until_s: u64,
}

/// At most so many claims in a window under this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    pub limit: ClaimLimit,
    pub name: String,
    pub most: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClaimLimit {
    /// By one account.
    Requester,
    /// Of one account's packages.
    Target,
    /// By one domain.
    Domain,
}

impl ClaimLimit {
    fn column(self) -> &'static str {
        match self {
            Self::Requester => "requester",
            Self::Target => "target",
            Self::Domain => "domain",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimsOutcome {
    Done(Claims),
    /// Nothing was claimed or counted.
    Limited {
        limit: ClaimLimit,
        /// Until the next window.
        retry_after_s: u64,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Device by device; none where there is no such account.
    pub devices: Vec<([u8; 16], Claimed)>,
    /// What the devices that gave a package have left.
    pub left: Vec<KeyPackageCount>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    Package {
        suite: u16,
        package: Vec<u8>,
        last_resort: bool,
    },
    /// It has none.
    Exhausted,
    /// It has some, and none that fits.
    Incompatible,
}

impl Write for ClaimKeyPackages {
    type Outcome = ClaimsOutcome;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<ClaimsOutcome, sqlx::Error> {
        if let Some(limit) = self.exceeded(connection).await? {
            let now_s = self.now_ms / 1000;
            return Ok(ClaimsOutcome::Limited {
                limit,
                retry_after_s: self.window_s - now_s % self.window_s,
            });
        }
        self.count(connection).await?;
        let mut claims = Claims::default();
        for device in &self.devices(connection).await? {
            let claimed = match self.take(connection, device).await? {
                Some(package) => {
                    let now_s = self.now_ms / 1000;
                    let left = counts(connection, &self.account, Some(device), now_s).await?;
                    claims.left.extend(self.concerned(left, &package, device));
                    package
                }
                None if self.has_any(connection, device).await? => Claimed::Incompatible,
                None => Claimed::Exhausted,
            };
            claims.devices.push((*device, claimed));
        }
        Ok(ClaimsOutcome::Done(claims))
    }
}

impl ClaimKeyPackages {
    fn window(&self) -> i64 {
        signed(self.now_ms / 1000 / self.window_s.max(1))
    }

    async fn exceeded(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Option<ClaimLimit>, sqlx::Error> {
        for quota in &self.quotas {
            let claims: Option<i64> = sqlx::query_scalar(
                "SELECT claims FROM key_package_claims
                 WHERE scope = ? AND name = ? AND window = ?",
            )
            .bind(quota.limit.column())
            .bind(&quota.name)
            .bind(self.window())
            .fetch_optional(&mut *connection)
            .await?;
            if unsigned(claims.unwrap_or(0)) >= u64::from(quota.most) {
                return Ok(Some(quota.limit));
            }
        }
        Ok(None)
    }

    async fn count(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        for quota in &self.quotas {
            sqlx::query(
                "INSERT INTO key_package_claims (scope, name, window, claims) VALUES (?, ?, ?, 1)
                 ON CONFLICT (scope, name) DO UPDATE SET
                 claims = CASE WHEN window = excluded.window THEN claims + 1 ELSE 1 END,
                 window = excluded.window",
            )
            .bind(quota.limit.column())
            .bind(&quota.name)
            .bind(self.window())
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }

    /// Whom to serve, in the order of their registration.
    async fn devices(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<[u8; 16]>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT id FROM devices WHERE account = ? AND revoked IS NULL ORDER BY registered, id",
        )
        .bind(&self.account)
        .fetch_all(connection)
        .await?;
        let mut devices = Vec::with_capacity(rows.len());
        for row in &rows {
            let device = device_of(row.get("id"))?;
            if self.claim.devices.is_empty() || self.claim.devices.contains(&device) {
                devices.push(device);
            }
        }
        Ok(devices)
    }

    /// The one statement: it finds a package and takes it out of the directory, or finds that only
    /// a last resort is left and leaves that in.
    async fn take(
        &self,
        connection: &mut SqliteConnection,
        device: &[u8; 16],
    ) -> Result<Option<Claimed>, sqlx::Error> {
        let now = signed(self.now_ms);
        let mut query = QueryBuilder::<Sqlite>::new("UPDATE key_packages SET served = ");
        query.push_bind(now);
        query.push(", gone = CASE last_resort WHEN 1 THEN NULL ELSE ");
        query.push_bind(now);
        query.push(" END WHERE gone IS NULL AND id = (SELECT id FROM key_packages WHERE ");
        self.push_claimable(&mut query, device);
        query.push(" AND suite IN (");
        let mut suites = query.separated(", ");
        for suite in &self.claim.suites {
            suites.push_bind(i64::from(*suite));
        }
        suites.push_unseparated(")");
        for extension in &self.claim.extensions {
            query.push(" AND extensions LIKE ");
            query.push_bind(format!("%,{extension},%"));
        }
        query.push(" ORDER BY last_resort");
        for suite in &self.claim.suites {
            query.push(", suite <> ").push_bind(i64::from(*suite));
        }
        query.push(", id LIMIT 1) RETURNING suite, package, last_resort");
        let row = query.build().fetch_optional(connection).await?;
        Ok(row.map(|row| Claimed::Package {
            suite: suite_of(row.get("suite")),
            package: row.get("package"),
            last_resort: row.get("last_resort"),
        }))
    }

    async fn has_any(
        &self,
        connection: &mut SqliteConnection,
        device: &[u8; 16],
    ) -> Result<bool, sqlx::Error> {
        let mut query =
            QueryBuilder::<Sqlite>::new("SELECT EXISTS (SELECT 1 FROM key_packages WHERE ");
        self.push_claimable(&mut query, device);
        query.push(")");
        query.build_query_scalar().fetch_one(connection).await
    }

    fn push_claimable(&self, query: &mut QueryBuilder<Sqlite>, device: &[u8; 16]) {
        query.push("gone IS NULL AND account = ");
        query.push_bind(&self.account).push(" AND device = ");
        query.push_bind(&device[..]).push(" AND not_before <= ");
        query.push_bind(signed(self.now_ms / 1000));
        query.push(" AND not_after > ");
        query.push_bind(signed(self.claim.valid_until_s));
    }

    /// What is left of the suite a package was taken of; zero where nothing is counted any more.
    fn concerned(
        &self,
        left: Vec<KeyPackageCount>,
        package: &Claimed,
        device: &[u8; 16],
    ) -> Option<KeyPackageCount> {
        let Claimed::Package { suite, .. } = package else {
            return None;
        };
        Some(
            left.into_iter()
                .find(|count| count.suite == *suite)
                .unwrap_or(KeyPackageCount {
                    device: *device,
                    suite: *suite,
                    ordinary: 0,
                    last_resort: false,
                }),
        )
    }
}
