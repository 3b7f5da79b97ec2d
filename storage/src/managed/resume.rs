//! A client comes back to a session that an earlier life of the server has left.

use sqlx::{Row, SqliteConnection};

use crate::Write;

/// Forgets what the client has, and gives what it has not its places before all that was queued in
/// this epoch. How many stanzas that are; `None`: there is no such session.
pub struct ResumeSession {
    pub key: String,
    /// The last stanza that the client has.
    pub h: u32,
}

impl Write for ResumeSession {
    type Outcome = Option<usize>;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Self::Outcome, sqlx::Error> {
        let epoch = sqlx::query_scalar("SELECT epoch FROM managed_sessions WHERE key = ?")
            .bind(&self.key)
            .fetch_optional(&mut *connection)
            .await?;
        let Some(epoch): Option<i64> = epoch else {
            return Ok(None);
        };
        let found = sqlx::query(
            "SELECT epoch, place, said FROM managed_stanzas WHERE key = ? AND epoch < ?
             ORDER BY epoch, place",
        )
        .bind(&self.key)
        .bind(epoch)
        .fetch_all(&mut *connection)
        .await?;
        let (had, left): (Vec<_>, Vec<_>) = found.iter().partition(|row| {
            let said: Option<i64> = row.get("said");
            let said = said.and_then(|said| u32::try_from(said).ok());
            said.is_some_and(|said| has(said, self.h))
        });
        for row in had {
            sqlx::query("DELETE FROM managed_stanzas WHERE key = ? AND epoch = ? AND place = ?")
                .bind(&self.key)
                .bind(row.get::<i64, _>("epoch"))
                .bind(row.get::<i64, _>("place"))
                .execute(&mut *connection)
                .await?;
        }
        let count = i64::try_from(left.len()).unwrap_or(i64::MAX);
        for (row, place) in left.iter().zip(-count..) {
            sqlx::query(
                "UPDATE managed_stanzas SET epoch = ?, place = ?, said = NULL
                 WHERE key = ? AND epoch = ? AND place = ?",
            )
            .bind(epoch)
            .bind(place)
            .bind(&self.key)
            .bind(row.get::<i64, _>("epoch"))
            .bind(row.get::<i64, _>("place"))
            .execute(&mut *connection)
            .await?;
        }
        sqlx::query("UPDATE managed_sessions SET origin = ? WHERE key = ?")
            .bind(i64::from(self.h) + count)
            .bind(&self.key)
            .execute(connection)
            .await?;
        Ok(Some(left.len()))
    }
}

/// Does a client that counts to `h` have the stanza of this number? Counters wrap at 2^32, and are
/// never that far apart (XEP-0198 §4).
fn has(said: u32, h: u32) -> bool {
    h.wrapping_sub(said) < u32::MAX / 2
}
