//! What the last life of the server has left.

use sqlx::{Row, SqliteConnection};

use super::{Form, SessionState};
use crate::Write;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredSession {
    pub key: String,
    pub account: String,
    pub resource: String,
    pub resumable: bool,
    pub handled: u32,
    /// Of the queue it has from now on.
    pub epoch: i64,
    pub state: SessionState,
    /// What its client may not have, in order.
    pub stanzas: Vec<RestoredStanza>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredStanza {
    /// What its client counts it as; `None`: it has not been said.
    pub said: Option<u32>,
    pub form: Form,
    pub stanza: Vec<u8>,
    /// By which the account's archive knows it.
    pub uid: Option<String>,
}

/// Begins another epoch for every session that is kept; gives them all.
pub struct RestoreSessions;

impl Write for RestoreSessions {
    type Outcome = Vec<RestoredSession>;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Self::Outcome, sqlx::Error> {
        for change in [
            // What the archive has forgotten cannot be given to anybody.
            "DELETE FROM managed_stanzas WHERE uid IS NOT NULL AND NOT EXISTS
             (SELECT 1 FROM managed_sessions s JOIN archive_messages a
              ON (a.sender = s.account AND a.kept_by & 1)
              OR (a.recipient = s.account AND a.kept_by & 2)
              WHERE s.key = managed_stanzas.key AND a.uid = managed_stanzas.uid)",
            "UPDATE managed_stanzas SET said =
             (SELECT (managed_stanzas.place + origin + 1) & 4294967295 FROM managed_sessions
              WHERE managed_sessions.key = managed_stanzas.key)
             WHERE epoch = (SELECT epoch FROM managed_sessions
                            WHERE managed_sessions.key = managed_stanzas.key)
             AND (SELECT origin FROM managed_sessions
                  WHERE managed_sessions.key = managed_stanzas.key) IS NOT NULL",
            "UPDATE managed_sessions SET epoch = epoch + 1, origin = NULL",
        ] {
            sqlx::query(change).execute(&mut *connection).await?;
        }
        let found = sqlx::query("SELECT * FROM managed_sessions ORDER BY key")
            .fetch_all(&mut *connection)
            .await?;
        let mut sessions = Vec::with_capacity(found.len());
        for row in &found {
            let key: String = row.get("key");
            let stanzas = stanzas(connection, &key).await?;
            sessions.push(RestoredSession {
                account: row.get("account"),
                resource: row.get("resource"),
                resumable: row.get("resumable"),
                handled: u32::try_from(row.get::<i64, _>("handled")).unwrap_or(0),
                epoch: row.get("epoch"),
                state: SessionState {
                    presence: row.get("presence"),
                    priority: i8::try_from(row.get::<i64, _>("priority")).unwrap_or(0),
                    interested: row.get("interested"),
                    carbons: row.get("carbons"),
                    device: row.get("device"),
                },
                stanzas,
                key,
            });
        }
        Ok(sessions)
    }
}

async fn stanzas(
    connection: &mut SqliteConnection,
    key: &str,
) -> Result<Vec<RestoredStanza>, sqlx::Error> {
    let found = sqlx::query(
        "SELECT said, form, coalesce(q.stanza, a.stanza) AS stanza, q.uid FROM managed_stanzas q
         JOIN managed_sessions s ON s.key = q.key
         LEFT JOIN archive_messages a ON a.uid = q.uid
         AND ((a.sender = s.account AND a.kept_by & 1)
              OR (a.recipient = s.account AND a.kept_by & 2))
         WHERE q.key = ? ORDER BY q.epoch, q.place",
    )
    .bind(key)
    .fetch_all(connection)
    .await?;
    Ok(found
        .iter()
        .map(|row| RestoredStanza {
            said: row
                .get::<Option<i64>, _>("said")
                .and_then(|said| u32::try_from(said).ok()),
            form: Form::read(row.get("form")),
            stanza: row.get::<Option<Vec<u8>>, _>("stanza").unwrap_or_default(),
            uid: row.get("uid"),
        })
        .collect())
}
