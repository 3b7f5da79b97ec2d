//! What finds messages by account, made of many messages at a time: then accounts that have several
//! of them cost one page, not one for each.

use sqlx::SqliteConnection;

/// Sorts what has come since the last time.
pub(super) async fn sort(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    for change in [
        "INSERT INTO archive_entries (account, number, received, peer, resource)
         SELECT account, number, received, peer, resource FROM archive_tail
         ORDER BY account, number",
        // Messages may have been forgotten meanwhile, and the number does not go back.
        "UPDATE archive_sorted
         SET through = max(through, coalesce((SELECT max(number) FROM archive_messages), 0))",
    ] {
        sqlx::query(change).execute(&mut *connection).await?;
    }
    Ok(())
}
