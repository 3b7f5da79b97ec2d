//! Sessions with stream management, and the messages they have been given and not acknowledged.
//!
//! A message takes its place in a session's queue before it is kept, and the place is kept with it;
//! so after a crash it is known, from the count that the client names, whether it has come. A queue
//! lives as long as the server does: the next life begins another epoch, in which what is left of
//! earlier ones comes first.

mod restore;
mod resume;
mod suspend;

use std::collections::HashMap;

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use crate::Write;
use crate::pieces::pieces;

pub use restore::{RestoreSessions, RestoredSession, RestoredStanza};
pub use resume::ResumeSession;
pub use suspend::SuspendSession;

/// Places of messages that come when the server has stopped giving them: behind all others.
pub const AFTER_THE_END: i64 = 1 << 40;

/// What of a session its client does not say again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionState {
    pub presence: Option<Vec<u8>>,
    pub priority: i8,
    pub interested: bool,
    pub carbons: bool,
    /// It has proved to be a device.
    pub device: bool,
}

/// How a message is given to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Plain,
    /// As copies of what the account has sent, or received.
    Sent,
    Received,
}

impl Form {
    fn column(self) -> i64 {
        match self {
            Self::Plain => 0,
            Self::Sent => 1,
            Self::Received => 2,
        }
    }

    fn read(column: i64) -> Self {
        match column {
            1 => Self::Sent,
            2 => Self::Received,
            _ => Self::Plain,
        }
    }
}

/// A message in a session's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    pub key: String,
    pub epoch: i64,
    pub place: i64,
    pub form: Form,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The name of a message in the archive of the session's account.
    Archived(String),
    Stanza(Vec<u8>),
}

/// How many stanzas of a session's client are handled, and what has changed by them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handled {
    pub key: String,
    pub h: u32,
    pub state: Option<SessionState>,
}

/// Begins to keep a session. False: there is no such account.
pub struct ManageSession {
    pub key: String,
    pub account: String,
    pub resource: String,
    pub resumable: bool,
    /// The place of the first stanza that its client counts.
    pub first: i64,
    pub state: SessionState,
}

impl Write for ManageSession {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let made = sqlx::query(
            "INSERT INTO managed_sessions (key, account, resource, resumable, handled, epoch, origin)
             SELECT ?1, account, ?3, ?4, 0, 0, ?5 FROM accounts WHERE account = ?2",
        )
        .bind(&self.key)
        .bind(&self.account)
        .bind(&self.resource)
        .bind(self.resumable)
        .bind(-self.first)
        .execute(&mut *connection)
        .await?;
        if made.rows_affected() == 0 {
            return Ok(false);
        }
        state(connection, &self.key, &self.state).await?;
        Ok(true)
    }
}

/// Keeps a count by itself, where nothing else is kept with it.
pub struct KeepHandled(pub Handled);

impl Write for KeepHandled {
    type Outcome = ();

    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        handled(connection, &self.0).await
    }
}

/// The session is over.
pub struct ForgetSession {
    pub key: String,
}

impl Write for ForgetSession {
    type Outcome = ();

    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM managed_sessions WHERE key = ?")
            .bind(&self.key)
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// Clients have what lies in their queues up to these places: key, epoch, place.
pub struct ForgetAcknowledged(pub Vec<(String, i64, i64)>);

impl Write for ForgetAcknowledged {
    type Outcome = ();

    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        for (key, epoch, through) in &self.0 {
            sqlx::query("DELETE FROM managed_stanzas WHERE key = ? AND epoch = ? AND place <= ?")
                .bind(key)
                .bind(epoch)
                .bind(through)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}

/// Moves messages that waited for an account into the queue of one of its sessions.
pub struct MoveOffline {
    pub account: String,
    /// Each with its number among those that waited.
    pub messages: Vec<(i64, Queued)>,
}

impl Write for MoveOffline {
    type Outcome = ();

    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        for (id, queued) in &self.messages {
            sqlx::query("DELETE FROM offline WHERE account = ? AND id = ?")
                .bind(&self.account)
                .bind(id)
                .execute(&mut *connection)
                .await?;
            insert(connection, [queued]).await?;
        }
        Ok(())
    }
}

/// Inside another noun's change. A session that is over keeps nothing.
pub(crate) async fn insert<'a>(
    connection: &mut SqliteConnection,
    queued: impl IntoIterator<Item = &'a Queued>,
) -> Result<(), sqlx::Error> {
    let queued: Vec<_> = queued.into_iter().collect();
    for queued in pieces(&queued) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO managed_stanzas (key, epoch, place, form, uid, stanza)
             SELECT * FROM (",
        );
        query.push_values(queued, |mut row, queued| {
            let (uid, stanza) = match &queued.content {
                Content::Archived(uid) => (Some(uid), None),
                Content::Stanza(stanza) => (None, Some(stanza)),
            };
            row.push_bind(&queued.key)
                .push_bind(queued.epoch)
                .push_bind(queued.place)
                .push_bind(queued.form.column())
                .push_bind(uid)
                .push_bind(stanza);
        });
        query.push(") WHERE EXISTS (SELECT 1 FROM managed_sessions WHERE key = column1)");
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Counts, in order: of each session the last one holds.
pub(crate) async fn all_handled<'a>(
    connection: &mut SqliteConnection,
    all: impl Iterator<Item = &'a Handled>,
) -> Result<(), sqlx::Error> {
    let mut last = HashMap::new();
    for handled in all {
        last.insert(handled.key.as_str(), handled.h);
        if let Some(now) = &handled.state {
            state(connection, &handled.key, now).await?;
        }
    }
    let last: Vec<_> = last.into_iter().collect();
    for counts in pieces(&last) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "UPDATE managed_sessions SET handled = counts.column2 FROM (",
        );
        query.push_values(counts, |mut row, (key, h)| {
            row.push_bind(*key).push_bind(*h);
        });
        query.push(") AS counts WHERE managed_sessions.key = counts.column1");
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Inside another noun's change.
pub(crate) async fn handled(
    connection: &mut SqliteConnection,
    handled: &Handled,
) -> Result<(), sqlx::Error> {
    all_handled(connection, [handled].into_iter()).await
}

async fn state(
    connection: &mut SqliteConnection,
    key: &str,
    state: &SessionState,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE managed_sessions SET presence = ?, priority = ?, interested = ?, carbons = ?,
         device = ? WHERE key = ?",
    )
    .bind(&state.presence)
    .bind(i64::from(state.priority))
    .bind(state.interested)
    .bind(state.carbons)
    .bind(state.device)
    .bind(key)
    .execute(connection)
    .await?;
    Ok(())
}
