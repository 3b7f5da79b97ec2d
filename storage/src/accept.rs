//! Taking a message over: what is kept of it in the archives of both sides, for its recipient, or
//! for another domain, in one transaction. Only then is it accepted.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use crate::Write;
use crate::archive::{self, Archive};
use crate::managed::{self, Handled, Queued};
use crate::offline::{self, StoreOffline, StoredOffline};
use crate::outbox::{self, Enqueued, Outgoing};
use crate::receipt::{self, Receipt};

/// All that is kept of one message.
#[derive(Default)]
pub struct AcceptMessage {
    /// For the archives of its sender and of its recipient.
    pub archive: Option<Archive>,
    /// Nobody is there to be given it.
    pub offline: Option<StoreOffline>,
    /// It goes to another domain.
    pub outgoing: Option<Outgoing>,
    /// Sessions that outlive the server are given it.
    pub queued: Vec<Queued>,
    /// The count of the session that has sent it, in any case.
    pub handled: Option<Handled>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptedMessage {
    Accepted,
    /// As [`StoredOffline`] says, and nothing was kept.
    NoAccount,
    OfflineFull,
    /// As [`Enqueued`] says, and nothing was kept.
    OutboxFull,
}

impl Write for AcceptMessage {
    type Outcome = AcceptedMessage;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Self::Outcome, sqlx::Error> {
        let outcomes = Self::run_many(&[self], connection).await?;
        Ok(outcomes
            .into_iter()
            .next()
            .unwrap_or(AcceptedMessage::NoAccount))
    }

    async fn run_many(
        changes: &[&Self],
        connection: &mut SqliteConnection,
    ) -> Result<Vec<Self::Outcome>, sqlx::Error> {
        let mut outcomes = vec![AcceptedMessage::Accepted; changes.len()];
        // A message waits for its recipient or for a domain, never for both.
        let waiting = part(changes, |change| change.offline.as_ref());
        let stored = offline::insert(connection, waiting.values().copied()).await?;
        for (at, stored) in waiting.keys().zip(stored) {
            outcomes[*at] = match stored {
                StoredOffline::Stored => AcceptedMessage::Accepted,
                StoredOffline::NoAccount => AcceptedMessage::NoAccount,
                StoredOffline::Full => AcceptedMessage::OfflineFull,
            };
        }
        let leaving = part(changes, |change| change.outgoing.as_ref());
        let queued = outbox::insert(connection, leaving.values().copied()).await?;
        for (at, queued) in leaving.keys().zip(queued) {
            if queued == Enqueued::Full {
                outcomes[*at] = AcceptedMessage::OutboxFull;
            }
        }
        let kept: Vec<&Archive> = accepted(changes, &outcomes)
            .filter_map(|change| change.archive.as_ref())
            .collect();
        archive::insert(connection, &kept).await?;
        let queued = accepted(changes, &outcomes).flat_map(|change| &change.queued);
        managed::insert(connection, queued).await?;
        let handled = changes.iter().filter_map(|change| change.handled.as_ref());
        managed::all_handled(connection, handled).await?;
        Ok(outcomes)
    }
}

/// Messages that one sender has sent one after the other: all are kept, or none.
pub struct AcceptMessages(pub Vec<AcceptMessage>);

impl Write for AcceptMessages {
    /// For each message.
    type Outcome = Vec<AcceptedMessage>;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Self::Outcome, sqlx::Error> {
        let messages: Vec<_> = self.0.iter().collect();
        AcceptMessage::run_many(&messages, connection).await
    }

    async fn run_many(
        changes: &[&Self],
        connection: &mut SqliteConnection,
    ) -> Result<Vec<Self::Outcome>, sqlx::Error> {
        let messages: Vec<_> = changes.iter().flat_map(|change| &change.0).collect();
        let outcomes = AcceptMessage::run_many(&messages, connection).await?;
        let mut outcomes = outcomes.into_iter();
        let of = |change: &&Self| outcomes.by_ref().take(change.0.len()).collect();
        Ok(changes.iter().map(of).collect())
    }
}

/// Messages of another domain's queue, accepted together with the place of the last of them.
pub struct ReceiveMessages {
    pub receipt: Receipt,
    pub messages: Vec<AcceptMessage>,
}

impl Write for ReceiveMessages {
    /// For each message; `None`: the place is held already, and nothing was changed.
    type Outcome = Option<Vec<AcceptedMessage>>;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Self::Outcome, sqlx::Error> {
        if receipt::before(&self.receipt, connection).await? >= self.receipt.number {
            return Ok(None);
        }
        let messages: Vec<_> = self.messages.iter().collect();
        let outcomes = AcceptMessage::run_many(&messages, connection).await?;
        receipt::keep(&self.receipt, connection).await?;
        Ok(Some(outcomes))
    }
}

fn accepted<'a>(
    changes: &[&'a AcceptMessage],
    outcomes: &[AcceptedMessage],
) -> impl Iterator<Item = &'a AcceptMessage> {
    let all = changes.iter().zip(outcomes);
    all.filter(|(_, outcome)| **outcome == AcceptedMessage::Accepted)
        .map(|(change, _)| *change)
}

/// What some of the changes have, by their places.
fn part<'a, T>(
    changes: &[&'a AcceptMessage],
    pick: impl Fn(&'a AcceptMessage) -> Option<&'a T>,
) -> BTreeMap<usize, &'a T> {
    let places = changes.iter().enumerate();
    places
        .filter_map(|(at, change)| Some((at, pick(change)?)))
        .collect()
}
