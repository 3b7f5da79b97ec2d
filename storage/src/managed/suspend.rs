//! The server stops in good order, and its sessions' clients may come back to the next.

use sqlx::SqliteConnection;

use super::{AFTER_THE_END, Content, Form, Handled, Queued, handled, insert};
use crate::Write;

/// Keeps all that a session's client has not acknowledged, whatever it is, in place of what was
/// kept of it.
pub struct SuspendSession {
    pub handled: Handled,
    /// How many stanzas the client has acknowledged, as it counts them.
    pub acknowledged: u32,
    /// What it was sent since, in order.
    pub said: Vec<Vec<u8>>,
    /// What it was not sent.
    pub unsaid: Vec<Vec<u8>>,
}

impl Write for SuspendSession {
    type Outcome = ();

    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let key = &self.handled.key;
        handled(connection, &self.handled).await?;
        // What came after the end is not among what it was given.
        sqlx::query("DELETE FROM managed_stanzas WHERE key = ? AND place < ?")
            .bind(key)
            .bind(AFTER_THE_END)
            .execute(&mut *connection)
            .await?;
        // Nothing of the queue's own places is left.
        sqlx::query("UPDATE managed_sessions SET epoch = epoch + 1, origin = NULL WHERE key = ?")
            .bind(key)
            .execute(&mut *connection)
            .await?;
        let all = self.said.iter().chain(&self.unsaid);
        for (stanza, place) in all.zip(0..) {
            // Before any other epoch.
            let queued = Queued {
                key: key.clone(),
                epoch: -1,
                place,
                form: Form::Plain,
                content: Content::Stanza(stanza.clone()),
            };
            insert(connection, [&queued]).await?;
        }
        let said = i64::try_from(self.said.len()).unwrap_or(i64::MAX);
        sqlx::query(
            "UPDATE managed_stanzas SET said = (place + ?1 + 1) & 4294967295
             WHERE key = ?2 AND epoch = -1 AND place < ?3",
        )
        .bind(self.acknowledged)
        .bind(key)
        .bind(said)
        .execute(connection)
        .await?;
        Ok(())
    }
}
