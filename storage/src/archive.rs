//! What accounts have said and heard: a row for each message of an account, written in the
//! transaction that accepts the message ([`crate::AcceptMessage`]).

mod preferences;
mod purge;
mod query;

use std::collections::HashSet;

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::integer::signed;

pub use preferences::{ArchivePolicy, ArchivePreferences, SetArchivePreferences};
pub use purge::{PurgeArchive, TrimArchive};
pub use query::{ArchiveFilter, ArchivePage, ArchiveRow, Archived, Paging, UnknownUid};

/// Values in one statement; SQLite takes 32,766.
const ROWS_OF_A_STATEMENT: usize = 256;

/// A message for an account's archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    pub account: String,
    /// Drawn at random; the message has it in its `<stanza-id/>` too.
    pub uid: String,
    /// Whom it was sent to, or who has sent it: bare address, and resource or nothing.
    pub peer: String,
    pub resource: String,
    /// The stanza, its content namespace not declared.
    pub stanza: Vec<u8>,
    pub received: u64,
}

/// Writes rows, for accounts that exist, inside another noun's change.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    messages: &[&Archive],
) -> Result<(), sqlx::Error> {
    let known = existing(connection, messages).await?;
    let messages: Vec<_> = messages
        .iter()
        .filter(|message| known.contains(&message.account))
        .collect();
    for messages in messages.chunks(ROWS_OF_A_STATEMENT) {
        QueryBuilder::<Sqlite>::new(
            "INSERT INTO archive (account, uid, peer, resource, stanza, received) ",
        )
        .push_values(messages, |mut row, message| {
            row.push_bind(&message.account)
                .push_bind(&message.uid)
                .push_bind(&message.peer)
                .push_bind(&message.resource)
                .push_bind(&message.stanza)
                .push_bind(signed(message.received));
        })
        .build()
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// An account may have been deleted since the message was decided upon.
async fn existing(
    connection: &mut SqliteConnection,
    messages: &[&Archive],
) -> Result<HashSet<String>, sqlx::Error> {
    let mut accounts: Vec<_> = messages.iter().map(|message| &message.account).collect();
    accounts.sort_unstable();
    accounts.dedup();
    let mut known = HashSet::with_capacity(accounts.len());
    for accounts in accounts.chunks(ROWS_OF_A_STATEMENT) {
        let mut query =
            QueryBuilder::<Sqlite>::new("SELECT account FROM accounts WHERE account IN (");
        let mut list = query.separated(", ");
        for account in accounts {
            list.push_bind(*account);
        }
        list.push_unseparated(")");
        let found = query.build().fetch_all(&mut *connection).await?;
        known.extend(found.iter().map(|row| row.get::<String, _>("account")));
    }
    Ok(known)
}
