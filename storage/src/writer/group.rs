//! Changes of one kind, and who waits for them, behind one type for all kinds.

use std::any::{Any, TypeId};
use std::pin::Pin;

use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use super::{Error, Write};

pub(super) type Running<'a> = Pin<Box<dyn Future<Output = Result<(), sqlx::Error>> + Send + 'a>>;
type Answer<W> = oneshot::Receiver<Result<<W as Write>::Outcome, Error>>;

/// Neighbours of one kind in a batch.
pub(super) trait Group: Send {
    fn kind(&self) -> TypeId;
    fn len(&self) -> usize;
    /// Takes in a group of the same kind, which follows this one.
    fn absorb(&mut self, next: Box<dyn Any>);
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
    /// Carries out all changes inside the caller's transaction, remembering their outcomes.
    fn run<'a>(&'a mut self, connection: &'a mut SqliteConnection) -> Running<'a>;
    /// After the commit: gives each caller its outcome.
    fn tell(self: Box<Self>);
    /// Gives the error to the one caller of a group of one.
    fn fail(self: Box<Self>, error: Error);
    fn split(self: Box<Self>) -> Vec<Box<dyn Group>>;
}

pub(super) fn single<W: Write>(change: W) -> (Box<dyn Group>, Answer<W>) {
    let (reply, answer) = oneshot::channel();
    (Box::new(Changes::one(change, reply)), answer)
}

/// Keeps the order; only what stands side by side is joined.
pub(super) fn join_neighbours(changes: Vec<Box<dyn Group>>) -> Vec<Box<dyn Group>> {
    let mut joined: Vec<Box<dyn Group>> = Vec::with_capacity(changes.len());
    for change in changes {
        match joined.last_mut() {
            Some(last) if last.kind() == change.kind() => last.absorb(change.into_any()),
            _ => joined.push(change),
        }
    }
    joined
}

struct Changes<W: Write> {
    changes: Vec<W>,
    replies: Vec<oneshot::Sender<Result<W::Outcome, Error>>>,
    /// One for each change once `run` has succeeded.
    outcomes: Vec<W::Outcome>,
}

impl<W: Write> Changes<W> {
    fn one(change: W, reply: oneshot::Sender<Result<W::Outcome, Error>>) -> Self {
        Self {
            changes: vec![change],
            replies: vec![reply],
            outcomes: Vec::new(),
        }
    }
}

impl<W: Write> Group for Changes<W> {
    fn kind(&self) -> TypeId {
        TypeId::of::<W>()
    }

    fn len(&self) -> usize {
        self.changes.len()
    }

    fn absorb(&mut self, next: Box<dyn Any>) {
        // `join_neighbours` has compared the kinds.
        if let Ok(next) = next.downcast::<Self>() {
            self.changes.extend(next.changes);
            self.replies.extend(next.replies);
        }
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }

    fn run<'a>(&'a mut self, connection: &'a mut SqliteConnection) -> Running<'a> {
        Box::pin(async move {
            self.outcomes = match &self.changes[..] {
                [change] => vec![change.run(connection).await?],
                changes => {
                    let changes = changes.iter().collect::<Vec<_>>();
                    W::run_many(&changes, connection).await?
                }
            };
            if self.outcomes.len() == self.changes.len() {
                return Ok(());
            }
            Err(sqlx::Error::Protocol(format!(
                "{} gave {} outcomes for {} changes: this is a bug in comity",
                std::any::type_name::<W>(),
                self.outcomes.len(),
                self.changes.len()
            )))
        })
    }

    fn tell(self: Box<Self>) {
        for (reply, outcome) in self.replies.into_iter().zip(self.outcomes) {
            // A caller that went away has its change carried out all the same.
            let _ = reply.send(Ok(outcome));
        }
    }

    fn fail(self: Box<Self>, error: Error) {
        for (reply, error) in self.replies.into_iter().zip([error]) {
            let _ = reply.send(Err(error));
        }
    }

    fn split(self: Box<Self>) -> Vec<Box<dyn Group>> {
        self.changes
            .into_iter()
            .zip(self.replies)
            .map(|(change, reply)| Box::new(Self::one(change, reply)) as Box<dyn Group>)
            .collect()
    }
}
