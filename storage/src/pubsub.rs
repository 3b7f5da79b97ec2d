//! Publish-subscribe services of accounts (XEP-0060, XEP-0163): nodes, their items, and who stands
//! in which relation to them. What a configuration means is the caller's business; a change that
//! depends on it names the one it was decided upon, and is refused if that is no longer so.

mod node;
mod publish;
mod read;
mod relation;

pub use node::{ConfigureNode, Configured, CreateNode, DeleteNode, NodeCreated};
pub use publish::{NewNode, Publish, Published, PurgeNode, Quota, Retract, Retracted};
pub use relation::{Affiliate, Subscribe, Unsubscribe};

/// One node of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub node: String,
    pub config: String,
}

/// One published item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Grows with each publication.
    pub place: i64,
    pub id: String,
    /// Bare JID of who published it.
    pub publisher: String,
    /// The payload as a document of its own; empty for an item without one.
    pub payload: Vec<u8>,
    pub published: u64,
}

/// A subscription to one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSubscription {
    pub jid: String,
    /// Awaits the owner's approval.
    pub pending: bool,
}

#[cfg(test)]
mod tests;
