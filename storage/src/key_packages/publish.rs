//! Packages come in, and go unclaimed.

use std::collections::HashSet;

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::{KeyPackageCount, counts};
use crate::Write;
use crate::integer::{signed, unsigned};

/// Values in one statement; SQLite takes 32,766.
const ROWS_OF_A_STATEMENT: usize = 256;

/// A package that was found valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPackage {
    pub suite: u16,
    pub last_resort: bool,
    pub reference: Vec<u8>,
    /// SHA-256 of the signature key.
    pub signer: [u8; 32],
    pub extensions: Vec<u16>,
    /// Seconds since 1970.
    pub not_before: u64,
    pub not_after: u64,
    pub package: Vec<u8>,
}

/// A batch of one device: all of it is there afterwards, or nothing. What is there already, or was
/// once, is passed over, so that a batch may be sent again.
pub struct PublishKeyPackages {
    pub account: String,
    pub device: [u8; 16],
    /// Drops the ordinary packages that are not in the batch.
    pub replace: bool,
    pub packages: Vec<KeyPackage>,
    /// Ordinary packages of one device.
    pub limit: u64,
    pub now_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// What the device has now.
    Done(Vec<KeyPackageCount>),
    /// The account has no such device, or it is revoked.
    NoDevice,
    /// With this batch the device would have so many.
    TooMany { would_be: u64 },
    /// A package of the batch (by its place) has the signature key of another one.
    KeyReused { place: usize },
}

impl Write for PublishKeyPackages {
    type Outcome = Published;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Published, sqlx::Error> {
        if !self.device_is_valid(connection).await? {
            return Ok(Published::NoDevice);
        }
        let known = self.known(connection).await?;
        let mut signers = HashSet::new();
        let mut fresh = Vec::with_capacity(self.packages.len());
        for (place, package) in self.packages.iter().enumerate() {
            if known.references.contains(&package.reference) {
                continue;
            }
            if known.signers.contains(&package.signer) || !signers.insert(package.signer) {
                return Ok(Published::KeyReused { place });
            }
            fresh.push(package);
        }
        let added = fresh.iter().filter(|package| !package.last_resort).count() as u64;
        let kept = self.kept(connection).await?;
        if kept + added > self.limit {
            return Ok(Published::TooMany {
                would_be: kept + added,
            });
        }
        self.retire(connection).await?;
        for fresh in fresh.chunks(ROWS_OF_A_STATEMENT) {
            self.insert(connection, fresh).await?;
        }
        let now_s = self.now_ms / 1000;
        Ok(Published::Done(
            counts(connection, &self.account, Some(&self.device), now_s).await?,
        ))
    }
}

struct Known {
    references: HashSet<Vec<u8>>,
    signers: HashSet<[u8; 32]>,
}

impl PublishKeyPackages {
    async fn device_is_valid(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM devices
             WHERE id = ? AND account = ? AND revoked IS NULL)",
        )
        .bind(&self.device[..])
        .bind(&self.account)
        .fetch_one(connection)
        .await
    }

    /// What of the batch is, or was, in the directory.
    async fn known(&self, connection: &mut SqliteConnection) -> Result<Known, sqlx::Error> {
        let mut known = Known {
            references: HashSet::new(),
            signers: HashSet::new(),
        };
        for packages in self.packages.chunks(ROWS_OF_A_STATEMENT) {
            let mut query = QueryBuilder::<Sqlite>::new(
                "SELECT reference, signer FROM key_packages WHERE reference IN (",
            );
            let mut list = query.separated(", ");
            for package in packages {
                list.push_bind(&package.reference);
            }
            list.push_unseparated(") OR signer IN (");
            let mut list = query.separated(", ");
            for package in packages {
                list.push_bind(&package.signer[..]);
            }
            list.push_unseparated(")");
            for row in query.build().fetch_all(&mut *connection).await? {
                known.references.insert(row.get("reference"));
                if let Ok(signer) = <[u8; 32]>::try_from(row.get::<&[u8], _>("signer")) {
                    known.signers.insert(signer);
                }
            }
        }
        Ok(known)
    }

    /// Ordinary packages that would stay beside the new ones.
    async fn kept(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT COUNT(*) FROM key_packages
             WHERE gone IS NULL AND last_resort = 0 AND account = ",
        );
        query.push_bind(&self.account).push(" AND device = ");
        query.push_bind(&self.device[..]).push(" AND not_after > ");
        query.push_bind(signed(self.now_ms / 1000));
        if self.replace {
            query.push(" AND ");
            self.push_in_batch(&mut query);
        }
        let count = query.build_query_scalar().fetch_one(connection).await?;
        Ok(unsigned(count))
    }

    /// What the batch takes the place of: ordinary packages if it says so, and the last resorts of
    /// the suites for which it brings one.
    async fn retire(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let suites: HashSet<u16> = self
            .packages
            .iter()
            .filter(|package| package.last_resort)
            .map(|package| package.suite)
            .collect();
        for suite in suites {
            self.retire_those(connection, true, Some(suite)).await?;
        }
        if self.replace {
            self.retire_those(connection, false, None).await?;
        }
        Ok(())
    }

    async fn retire_those(
        &self,
        connection: &mut SqliteConnection,
        last_resort: bool,
        suite: Option<u16>,
    ) -> Result<(), sqlx::Error> {
        let mut query = QueryBuilder::<Sqlite>::new("UPDATE key_packages SET gone = ");
        query.push_bind(signed(self.now_ms));
        query.push(" WHERE gone IS NULL AND account = ");
        query.push_bind(&self.account).push(" AND device = ");
        query
            .push_bind(&self.device[..])
            .push(" AND last_resort = ");
        query.push_bind(last_resort);
        if let Some(suite) = suite {
            query.push(" AND suite = ").push_bind(i64::from(suite));
        }
        query.push(" AND NOT ");
        self.push_in_batch(&mut query);
        query.build().execute(connection).await?;
        Ok(())
    }

    /// A batch fits into one statement: the protocol bounds it well below SQLite's 32,766 values.
    fn push_in_batch(&self, query: &mut QueryBuilder<Sqlite>) {
        query.push("reference IN (");
        let mut list = query.separated(", ");
        for package in &self.packages {
            list.push_bind(&package.reference);
        }
        list.push_unseparated(")");
    }

    async fn insert(
        &self,
        connection: &mut SqliteConnection,
        packages: &[&KeyPackage],
    ) -> Result<(), sqlx::Error> {
        QueryBuilder::<Sqlite>::new(
            "INSERT INTO key_packages (account, device, suite, last_resort, reference, signer,
             extensions, not_before, not_after, package) ",
        )
        .push_values(packages, |mut row, package| {
            row.push_bind(&self.account)
                .push_bind(&self.device[..])
                .push_bind(i64::from(package.suite))
                .push_bind(package.last_resort)
                .push_bind(&package.reference)
                .push_bind(&package.signer[..])
                .push_bind(extensions(&package.extensions))
                .push_bind(signed(package.not_before))
                .push_bind(signed(package.not_after))
                .push_bind(&package.package);
        })
        .build()
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// So that one type is found by `LIKE '%,type,%'`.
fn extensions(types: &[u16]) -> String {
    types.iter().fold(",".to_owned(), |text, number| {
        text + &number.to_string() + ","
    })
}

/// Takes packages of one device out, last resorts too; all of them where none are named.
pub struct DeleteKeyPackages {
    pub account: String,
    pub device: [u8; 16],
    pub references: Vec<Vec<u8>>,
    pub now_ms: u64,
}

impl Write for DeleteKeyPackages {
    /// What is left.
    type Outcome = Vec<KeyPackageCount>;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Self::Outcome, sqlx::Error> {
        if self.references.is_empty() {
            self.delete_all(connection).await?;
        }
        for references in self.references.chunks(ROWS_OF_A_STATEMENT) {
            let mut query = QueryBuilder::<Sqlite>::new("UPDATE key_packages SET gone = ");
            query.push_bind(signed(self.now_ms));
            query.push(" WHERE gone IS NULL AND account = ");
            query.push_bind(&self.account).push(" AND device = ");
            query.push_bind(&self.device[..]);
            query.push(" AND reference IN (");
            let mut list = query.separated(", ");
            for reference in references {
                list.push_bind(reference);
            }
            list.push_unseparated(")");
            query.build().execute(&mut *connection).await?;
        }
        let now_s = self.now_ms / 1000;
        counts(connection, &self.account, Some(&self.device), now_s).await
    }
}

impl DeleteKeyPackages {
    async fn delete_all(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE key_packages SET gone = ?
             WHERE gone IS NULL AND account = ? AND device = ?",
        )
        .bind(signed(self.now_ms))
        .bind(&self.account)
        .bind(&self.device[..])
        .execute(connection)
        .await?;
        Ok(())
    }
}
