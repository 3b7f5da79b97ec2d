//! What clients keep with their account: elements by namespace and name (XEP-0049, XEP-0054).

use sqlx::{Row, SqliteConnection};

use crate::accounts::exists;
use crate::integer::{signed, unsigned};
use crate::{Error, Storage, Write};

/// One element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateXml {
    pub ns: String,
    pub name: String,
    pub payload: Vec<u8>,
    pub updated: u64,
}

impl Storage {
    /// `None`: the account keeps no such element.
    pub async fn private_xml(
        &self,
        account: &str,
        ns: &str,
        name: &str,
    ) -> Result<Option<PrivateXml>, Error> {
        let row = sqlx::query(
            "SELECT ns, name, payload, updated FROM private_xml
             WHERE account = ? AND ns = ? AND name = ?",
        )
        .bind(account)
        .bind(ns)
        .bind(name)
        .fetch_optional(&mut *self.read().await?)
        .await?;
        Ok(row.map(|row| PrivateXml {
            ns: row.get("ns"),
            name: row.get("name"),
            payload: row.get("payload"),
            updated: unsigned(row.get("updated")),
        }))
    }
}

/// Keeps these elements in place of those of the same names, all or none.
pub struct KeepPrivateXml {
    pub account: String,
    pub elements: Vec<PrivateXml>,
    /// Bytes that all elements of the account may take.
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivateXmlKept {
    Kept,
    OverQuota,
    NoAccount,
}

impl Write for KeepPrivateXml {
    type Outcome = PrivateXmlKept;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<PrivateXmlKept, sqlx::Error> {
        if !exists(connection, &self.account).await? {
            return Ok(PrivateXmlKept::NoAccount);
        }
        // Before anything is written: an outcome is committed with its neighbours.
        let mut bytes = self.held(connection, None).await?;
        for element in &self.elements {
            bytes = bytes.saturating_sub(self.held(connection, Some(element)).await?);
            bytes = bytes.saturating_add(unsigned(length(element)));
        }
        if bytes > self.bytes {
            return Ok(PrivateXmlKept::OverQuota);
        }
        for element in &self.elements {
            sqlx::query(
                "INSERT INTO private_xml (account, ns, name, payload, updated)
                 VALUES (?, ?, ?, ?, ?) ON CONFLICT (account, ns, name)
                 DO UPDATE SET payload = excluded.payload, updated = excluded.updated",
            )
            .bind(&self.account)
            .bind(&element.ns)
            .bind(&element.name)
            .bind(&element.payload)
            .bind(signed(element.updated))
            .execute(&mut *connection)
            .await?;
        }
        Ok(PrivateXmlKept::Kept)
    }
}

impl KeepPrivateXml {
    /// What all elements take, or one.
    async fn held(
        &self,
        connection: &mut SqliteConnection,
        one: Option<&PrivateXml>,
    ) -> Result<u64, sqlx::Error> {
        let bytes: i64 = sqlx::query_scalar(
            "SELECT COALESCE(SUM(LENGTH(payload) + LENGTH(CAST(ns AS BLOB))
                                 + LENGTH(CAST(name AS BLOB))), 0)
             FROM private_xml WHERE account = ?1 AND (?2 IS NULL OR (ns = ?2 AND name = ?3))",
        )
        .bind(&self.account)
        .bind(one.map(|one| &one.ns))
        .bind(one.map(|one| &one.name))
        .fetch_one(connection)
        .await?;
        Ok(unsigned(bytes))
    }
}

fn length(element: &PrivateXml) -> i64 {
    let bytes = element.payload.len() + element.ns.len() + element.name.len();
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
