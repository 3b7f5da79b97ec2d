//! What accounts have said and heard: a row for each message, written in the transaction that
//! accepts the message ([`crate::AcceptMessage`]), for both of its sides at once.
//!
//! Rows lie in the order of acceptance. What finds them by account lies by account, and so in as
//! many places as there are accounts; it is therefore made of [`SORTED`] messages at a time
//! (`sort`), and whoever reads looks at the messages behind that too.

mod preferences;
mod purge;
mod query;
mod sort;

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use crate::integer::signed;
use crate::pieces::pieces;

pub use preferences::{ArchivePolicy, ArchivePreferences, SetArchivePreferences};
pub use purge::{PurgeArchive, TrimArchive};
pub use query::{ArchiveFilter, ArchivePage, ArchiveRow, Archived, Paging, UnknownUid};

/// Messages that whoever reads an archive looks through, at most: more of them make writing
/// cheaper and reading dearer.
const SORTED: i64 = 4096;

/// A message for the archives of its sender and its recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// By which both archives know it, and no other message of theirs. Made of the time first, it is found
    /// and written faster.
    pub uid: String,
    pub sender: Side,
    pub recipient: Side,
    /// The stanza, its content namespace not declared.
    pub stanza: Vec<u8>,
    pub received: u64,
}

/// One side of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// A bare address, and its resource or nothing.
    pub address: String,
    pub resource: String,
    /// It is an account of ours, which keeps the message.
    pub keeps: bool,
}

/// Who keeps a message, as the column `kept_by` says it.
const SENDER: i64 = 1;
const RECIPIENT: i64 = 2;

impl Archive {
    fn kept_by(&self) -> i64 {
        let sender = if self.sender.keeps { SENDER } else { 0 };
        let recipient = if self.recipient.keeps { RECIPIENT } else { 0 };
        sender | recipient
    }
}

/// Writes rows inside another noun's change. An account may have been deleted since its message was
/// decided upon: it keeps nothing.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    messages: &[&Archive],
) -> Result<(), sqlx::Error> {
    for messages in pieces(messages) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO archive_messages
             (uid, sender, sender_resource, recipient, recipient_resource, kept_by, stanza, received)
             SELECT column1, column2, column3, column4, column5,
                ((column6 & 1) AND EXISTS (SELECT 1 FROM accounts WHERE account = column2))
                + 2 * ((column6 & 2) AND EXISTS (SELECT 1 FROM accounts WHERE account = column4))
                AS keepers, column7, column8
             FROM (",
        );
        query.push_values(messages, |mut row, message| {
            row.push_bind(&message.uid)
                .push_bind(&message.sender.address)
                .push_bind(&message.sender.resource)
                .push_bind(&message.recipient.address)
                .push_bind(&message.recipient.resource)
                .push_bind(message.kept_by())
                .push_bind(&message.stanza)
                .push_bind(signed(message.received));
        });
        query.push(") WHERE keepers > 0");
        let done = query.build().execute(&mut *connection).await?;
        let written = signed(done.rows_affected());
        let last = done.last_insert_rowid();
        if written > 0 && last / SORTED > (last - written) / SORTED {
            sort::sort(connection).await?;
        }
    }
    Ok(())
}
