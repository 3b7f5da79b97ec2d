//! Every certificate ever issued: one for a key.

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::integer::{signed, unsigned};
use crate::{Error, Storage, Write};

/// What SQLite takes in one statement is more; a batch is smaller.
const ROWS_OF_A_STATEMENT: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub key_hash: [u8; 32],
    pub serial: Vec<u8>,
    /// SHA-256 of the issuing CA's SubjectPublicKeyInfo.
    pub issuer: [u8; 32],
    pub device: [u8; 16],
    /// DER.
    pub certificate: Vec<u8>,
    pub issued: u64,
    pub expires: u64,
}

impl Storage {
    /// The certificates issued for these keys, in no order; keys without one are left out.
    pub async fn certificates_of_keys(
        &self,
        key_hashes: &[[u8; 32]],
    ) -> Result<Vec<IssuedCertificate>, Error> {
        let mut connection = self.read().await?;
        let mut all = Vec::new();
        for hashes in key_hashes.chunks(ROWS_OF_A_STATEMENT) {
            let mut query = QueryBuilder::<Sqlite>::new(
                "SELECT key_hash, serial, issuer, device, certificate, issued, expires
                 FROM certificates WHERE key_hash IN (",
            );
            push_list(&mut query, hashes);
            let found = query.build().fetch_all(&mut *connection).await?;
            all.extend(found.iter().filter_map(read));
        }
        Ok(all)
    }
}

fn read(row: &sqlx::sqlite::SqliteRow) -> Option<IssuedCertificate> {
    Some(IssuedCertificate {
        key_hash: row.get::<&[u8], _>("key_hash").try_into().ok()?,
        serial: row.get("serial"),
        issuer: row.get::<&[u8], _>("issuer").try_into().ok()?,
        device: row.get::<&[u8], _>("device").try_into().ok()?,
        certificate: row.get("certificate"),
        issued: unsigned(row.get("issued")),
        expires: unsigned(row.get("expires")),
    })
}

fn push_list(query: &mut QueryBuilder<Sqlite>, hashes: &[[u8; 32]]) {
    let mut list = query.separated(", ");
    for hash in hashes {
        list.push_bind(hash.to_vec());
    }
    list.push_unseparated(")");
}

/// Records a batch of certificates of one device: all or none. They are handed out only after.
pub struct RecordCertificates {
    pub account: String,
    pub device: [u8; 16],
    pub certificates: Vec<IssuedCertificate>,
    /// Certificates issued from then on count.
    pub since: u64,
    /// How many may be issued to the account in that time.
    pub limit: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    Recorded,
    /// The device is unknown or revoked.
    NoDevice,
    /// One of the keys has a certificate already.
    KeyUsed,
    TooMany,
}

impl Write for RecordCertificates {
    type Outcome = Recorded;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Recorded, sqlx::Error> {
        let device: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM devices WHERE id = ? AND account = ? AND revoked IS NULL)",
        )
        .bind(&self.device[..])
        .bind(&self.account)
        .fetch_one(&mut *connection)
        .await?;
        if !device {
            return Ok(Recorded::NoDevice);
        }
        if self.used(connection).await? {
            return Ok(Recorded::KeyUsed);
        }
        let held: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM devices JOIN certificates ON device = devices.id
             WHERE account = ? AND issued >= ?",
        )
        .bind(&self.account)
        .bind(signed(self.since))
        .fetch_one(&mut *connection)
        .await?;
        let wanted = i64::try_from(self.certificates.len()).unwrap_or(i64::MAX);
        if held.saturating_add(wanted) > i64::from(self.limit) {
            return Ok(Recorded::TooMany);
        }
        for certificates in self.certificates.chunks(ROWS_OF_A_STATEMENT) {
            QueryBuilder::<Sqlite>::new(
                "INSERT INTO certificates
                 (key_hash, serial, issuer, device, certificate, issued, expires) ",
            )
            .push_values(certificates, |mut row, certificate| {
                row.push_bind(&certificate.key_hash[..])
                    .push_bind(&certificate.serial)
                    .push_bind(&certificate.issuer[..])
                    .push_bind(&certificate.device[..])
                    .push_bind(&certificate.certificate)
                    .push_bind(signed(certificate.issued))
                    .push_bind(signed(certificate.expires));
            })
            .build()
            .execute(&mut *connection)
            .await?;
        }
        Ok(Recorded::Recorded)
    }
}

impl RecordCertificates {
    async fn used(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let hashes: Vec<[u8; 32]> = self.certificates.iter().map(|c| c.key_hash).collect();
        for hashes in hashes.chunks(ROWS_OF_A_STATEMENT) {
            let mut query = QueryBuilder::<Sqlite>::new(
                "SELECT EXISTS (SELECT 1 FROM certificates WHERE key_hash IN (",
            );
            push_list(&mut query, hashes);
            query.push(")");
            if query
                .build_query_scalar()
                .fetch_one(&mut *connection)
                .await?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
