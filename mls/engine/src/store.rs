//! Where an engine keeps what it must not forget: rows of bytes in a few spaces, and one
//! transaction for each input. A client implements [`Store`] over its database; it may seal the
//! values, which hold secrets, but not the keys, which are scanned by prefix.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a row is about. The names are stable: a store may use them as table or column values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Space {
    /// The account and device this store belongs to; one row.
    Identity,
    /// KeyPackageRef → the private half of a published KeyPackage.
    KeyPackage,
    /// Certificates not yet used in a group.
    Certificate,
    /// Domain → its pinned anchors statement.
    Anchors,
    /// SHA-256 of an issuing CA's key → its newest revocation list.
    RevocationList,
    /// Room → where this device stands in it.
    Room,
    /// group_id → MLS state without the tree and what is looked up in it.
    Group,
    /// group_id → ratchet tree, and what is looked up in it.
    Tree,
    /// Room → the one request in flight, byte for byte, with the secrets of a pending commit.
    InFlight,
    /// Room, number → a change of the room somebody asked for.
    Plan,
    /// Room, seq → what was found of a pending proposal, until its epoch ends.
    Proposal,
    /// Room, number → a message waiting to be encrypted and accepted.
    Outbox,
    /// Room → how this device comes back to a room it cannot follow.
    Resync,
    /// Room, epoch → the secret by which one proves later that one was there.
    Rejoin,
    /// Room, nonce → a pre-shared key that waits to be used.
    Psk,
    /// Room, seq → the head of the log there, for comparison with what other members saw.
    Head,
    /// Room, account, device → the last message counter seen.
    Counter,
    /// Room, message id → who said it, and where in the log.
    Said,
    /// Room → how many messages outside the log this device has sent in the epoch.
    Ephemeral,
    /// Room, message id → a report that its hub has not answered.
    Complaint,
    /// Room, seq → what the person may read: messages and changes of membership.
    History,
    /// Room, account, device → what the person found the same when comparing codes.
    Verified,
    /// Device → a device of this account, and whether the person knows it.
    OwnDevice,
    /// Account, device, room → since when somebody else's device is seen there.
    Seen,
    /// Account → the devices its directory named, and those warned of.
    DeviceList,
    /// What is known of transparency logs: heads, certificates checked, this account's entries.
    Transparency,
    /// Batches of the Authentication Service and the directory under way.
    Batch,
}

impl Space {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::KeyPackage => "key_package",
            Self::Certificate => "certificate",
            Self::Anchors => "anchors",
            Self::RevocationList => "revocation_list",
            Self::Room => "room",
            Self::Group => "group",
            Self::Tree => "tree",
            Self::InFlight => "in_flight",
            Self::Plan => "plan",
            Self::Proposal => "proposal",
            Self::Outbox => "outbox",
            Self::Resync => "resync",
            Self::Rejoin => "rejoin",
            Self::Psk => "psk",
            Self::Head => "head",
            Self::Counter => "counter",
            Self::Said => "said",
            Self::Ephemeral => "ephemeral",
            Self::Complaint => "complaint",
            Self::History => "history",
            Self::Verified => "verified",
            Self::OwnDevice => "own_device",
            Self::Seen => "seen",
            Self::DeviceList => "device_list",
            Self::Transparency => "transparency",
            Self::Batch => "batch",
        }
    }
}

/// The store failed; the engine must be opened anew, for it no longer knows what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine's store failed: {0}")]
pub struct StoreError(pub String);

/// Changes that happen together or not at all. `None` deletes. Each row occurs once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    pub changes: BTreeMap<(Space, Vec<u8>), Option<Vec<u8>>>,
}

/// One key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

pub trait Store: Send {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// At most `limit` rows whose key begins with `prefix` and is greater than `after`, by
    /// ascending key.
    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError>;

    /// Durable when it returns: what the engine hands out afterwards relies on it.
    fn commit(&mut self, transaction: Transaction) -> Result<(), StoreError>;
}

type Rows = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

/// A store in memory. Clones share their rows, so that an engine can be dropped and opened again.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    rows: Arc<Mutex<Rows>>,
}

impl MemoryStore {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of the rows as they are now, no longer shared.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        let rows = self.rows().clone();
        Self {
            rows: Arc::new(Mutex::new(rows)),
        }
    }
}

impl Store for MemoryStore {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows().get(&(space, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let start = after.map_or(prefix, |after| after.max(prefix));
        let found = self
            .rows()
            .range((space, start.to_vec())..)
            .take_while(|((s, key), _)| *s == space && key.starts_with(prefix))
            .filter(|((_, key), _)| after.is_none_or(|after| key.as_slice() > after))
            .take(limit)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        Ok(found)
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), StoreError> {
        let mut rows = self.rows();
        for (key, value) in transaction.changes {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_by_prefix_in_order_and_within_the_limit() {
        let mut store = MemoryStore::new();
        let mut transaction = Transaction::default();
        for key in ["a1", "a2", "a3", "b1"] {
            transaction
                .changes
                .insert((Space::Outbox, key.into()), Some(key.into()));
        }
        transaction
            .changes
            .insert((Space::Plan, b"a4".to_vec()), Some(vec![]));
        store.commit(transaction).unwrap();

        let keys = |after: Option<&[u8]>, limit| -> Vec<String> {
            let rows = store.scan(Space::Outbox, b"a", after, limit).unwrap();
            rows.into_iter()
                .map(|(key, _)| String::from_utf8(key).unwrap())
                .collect()
        };
        assert_eq!(keys(None, 9), ["a1", "a2", "a3"]);
        assert_eq!(keys(None, 2), ["a1", "a2"]);
        assert_eq!(keys(Some(b"a1"), 9), ["a2", "a3"]);
        assert!(keys(Some(b"b"), 9).is_empty());
    }
}
