//! Reading rosters.

use std::collections::HashMap;

use sqlx::{Connection, Row, SqliteConnection};

use super::{Contact, Roster, Subscription, SubscriptionRequest, SubscriptionState};
use crate::integer::unsigned;
use crate::{Error, Storage};

impl Storage {
    /// The whole roster; empty for an unknown account.
    pub async fn roster(&self, account: &str) -> Result<Roster, Error> {
        // One statement sees one state, and each costs two changes of threads: everybody who logs in
        // asks for this.
        let rows = sqlx::query(
            "SELECT version, NULL AS contact, NULL AS name, NULL AS subscription, NULL AS ask,
               NULL AS approved FROM roster_versions WHERE account = ?1
             UNION ALL
             SELECT NULL, contact, name, subscription, ask, approved FROM roster
               WHERE account = ?1
             UNION ALL
             SELECT NULL, contact, name, NULL, NULL, NULL FROM roster_groups WHERE account = ?1
             ORDER BY contact, name",
        )
        .bind(account)
        .fetch_all(&mut *self.read().await?)
        .await?;
        let mut roster = Roster::default();
        let mut groups: HashMap<String, Vec<String>> = HashMap::new();
        for row in &rows {
            if let Some(version) = row.get::<Option<i64>, _>("version") {
                roster.version = unsigned(version);
            } else if row.get::<Option<i64>, _>("subscription").is_some() {
                roster.contacts.push(read(row));
            } else {
                let of = groups.entry(row.get("contact")).or_default();
                of.push(row.get("name"));
            }
        }
        for contact in &mut roster.contacts {
            contact.groups = groups.remove(&contact.contact).unwrap_or_default();
        }
        Ok(roster)
    }

    /// One item. `None`: not in the roster.
    pub async fn contact(&self, account: &str, contact: &str) -> Result<Option<Contact>, Error> {
        let mut connection = self.read().await?;
        let mut snapshot = connection.begin().await?;
        let found = one(&mut snapshot, account, contact).await?;
        snapshot.commit().await?;
        Ok(found)
    }

    /// Where the account stands with a contact; at rest when they know nothing of each other.
    pub async fn subscription_state(
        &self,
        account: &str,
        contact: &str,
    ) -> Result<SubscriptionState, Error> {
        Ok(state(&mut *self.read().await?, account, contact).await?)
    }

    /// Requests that await the account's answer, oldest first.
    pub async fn subscription_requests(
        &self,
        account: &str,
    ) -> Result<Vec<SubscriptionRequest>, Error> {
        let found = sqlx::query(
            "SELECT contact, stanza, received FROM subscription_requests WHERE account = ?
             ORDER BY received, contact",
        )
        .bind(account)
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found
            .iter()
            .map(|row| SubscriptionRequest {
                contact: row.get("contact"),
                stanza: row.get("stanza"),
                received: unsigned(row.get("received")),
            })
            .collect())
    }
}

pub(super) async fn version(
    connection: &mut SqliteConnection,
    account: &str,
) -> Result<u64, sqlx::Error> {
    let version = sqlx::query_scalar("SELECT version FROM roster_versions WHERE account = ?")
        .bind(account)
        .fetch_optional(connection)
        .await?;
    Ok(unsigned(version.unwrap_or(0)))
}

pub(super) async fn one(
    connection: &mut SqliteConnection,
    account: &str,
    contact: &str,
) -> Result<Option<Contact>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT contact, name, subscription, ask, approved FROM roster
         WHERE account = ? AND contact = ?",
    )
    .bind(account)
    .bind(contact)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let groups = sqlx::query_scalar(
        "SELECT name FROM roster_groups WHERE account = ? AND contact = ? ORDER BY name",
    )
    .bind(account)
    .bind(contact)
    .fetch_all(connection)
    .await?;
    Ok(Some(Contact {
        groups,
        ..read(&row)
    }))
}

pub(super) async fn state(
    connection: &mut SqliteConnection,
    account: &str,
    contact: &str,
) -> Result<SubscriptionState, sqlx::Error> {
    let row = sqlx::query(
        "SELECT contact, name, subscription, ask, approved FROM roster
         WHERE account = ? AND contact = ?",
    )
    .bind(account)
    .bind(contact)
    .fetch_optional(&mut *connection)
    .await?;
    let pending_in = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM subscription_requests WHERE account = ? AND contact = ?)",
    )
    .bind(account)
    .bind(contact)
    .fetch_one(connection)
    .await?;
    let item = row.as_ref().map(read);
    let in_roster = item.is_some();
    let item = item.unwrap_or_default();
    Ok(SubscriptionState {
        in_roster,
        subscription: item.subscription,
        ask: item.ask,
        approved: item.approved,
        pending_in,
    })
}

fn read(row: &sqlx::sqlite::SqliteRow) -> Contact {
    Contact {
        contact: row.get("contact"),
        name: row.get("name"),
        groups: Vec::new(),
        subscription: Subscription::from_column(row.get("subscription")),
        ask: row.get("ask"),
        approved: row.get("approved"),
    }
}
