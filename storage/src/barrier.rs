//! A change that changes nothing: durable once everything handed in before is.

use sqlx::SqliteConnection;

use crate::Write;

/// See the module.
pub struct Barrier;

impl Write for Barrier {
    type Outcome = ();

    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        // What cannot be written to is found out here too: this takes the writer's lock.
        sqlx::query("UPDATE accounts SET enabled = enabled WHERE 0")
            .execute(connection)
            .await
            .map(drop)
    }
}
