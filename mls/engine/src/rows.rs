//! The transaction under way: reads see what this input has changed already, nothing reaches the
//! store before [`Rows::commit`]. Shared with mls-rs, whose storage traits write here too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mls_rs_codec::{MlsDecode, MlsEncode};

use crate::error::Error;
use crate::store::{Row, Space, Store, Transaction};

#[derive(Clone)]
pub(crate) struct Rows(Arc<Mutex<Working>>);

struct Working {
    store: Box<dyn Store>,
    changes: BTreeMap<(Space, Vec<u8>), Option<Vec<u8>>>,
}

impl Rows {
    pub(crate) fn new(store: Box<dyn Store>) -> Self {
        Self(Arc::new(Mutex::new(Working {
            store,
            changes: BTreeMap::new(),
        })))
    }

    fn working(&self) -> MutexGuard<'_, Working> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let working = self.working();
        match working.changes.get(&(space, key.to_vec())) {
            Some(change) => Ok(change.clone()),
            None => Ok(working.store.get(space, key)?),
        }
    }

    /// Reads a row written by [`Rows::write`].
    pub(crate) fn read<T: MlsDecode>(&self, space: Space, key: &[u8]) -> Result<Option<T>, Error> {
        self.get(space, key)?
            .map(|bytes| decode(space, &bytes))
            .transpose()
    }

    pub(crate) fn put(&self, space: Space, key: &[u8], value: Vec<u8>) {
        self.working()
            .changes
            .insert((space, key.to_vec()), Some(value));
    }

    pub(crate) fn write<T: MlsEncode>(
        &self,
        space: Space,
        key: &[u8],
        value: &T,
    ) -> Result<(), Error> {
        let bytes = value.mls_encode_to_vec().map_err(|_| Error::Corrupt {
            space: space.name(),
        })?;
        self.put(space, key, bytes);
        Ok(())
    }

    pub(crate) fn delete(&self, space: Space, key: &[u8]) {
        self.working().changes.insert((space, key.to_vec()), None);
    }

    pub(crate) fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        let working = self.working();
        let matches = |key: &[u8]| key.starts_with(prefix) && after.is_none_or(|a| key > a);
        let changed: Vec<_> = working
            .changes
            .iter()
            .filter(|((s, key), _)| *s == space && matches(key))
            .collect();
        // Each change hides at most one stored row.
        let stored =
            working
                .store
                .scan(space, prefix, after, limit.saturating_add(changed.len()))?;
        let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = stored.into_iter().collect();
        for ((_, key), change) in changed {
            match change {
                Some(value) => merged.insert(key.clone(), value.clone()),
                None => merged.remove(key),
            };
        }
        Ok(merged.into_iter().take(limit).collect())
    }

    /// All rows of a prefix, decoded, with their keys; at most `limit`.
    pub(crate) fn list<T: MlsDecode>(
        &self,
        space: Space,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, T)>, Error> {
        self.scan(space, prefix, None, limit)?
            .into_iter()
            .map(|(key, bytes)| Ok((key, decode(space, &bytes)?)))
            .collect()
    }

    pub(crate) fn commit(&self) -> Result<(), Error> {
        let mut working = self.working();
        let changes = std::mem::take(&mut working.changes);
        if changes.is_empty() {
            return Ok(());
        }
        Ok(working.store.commit(Transaction { changes })?)
    }

    pub(crate) fn rollback(&self) {
        self.working().changes.clear();
    }
}

/// A row's value must be exactly one value: what follows it would be silently lost.
pub(crate) fn decode<T: MlsDecode>(space: Space, mut bytes: &[u8]) -> Result<T, Error> {
    match T::mls_decode(&mut bytes) {
        Ok(value) if bytes.is_empty() => Ok(value),
        _ => Err(Error::Corrupt {
            space: space.name(),
        }),
    }
}

/// Key of a row that belongs to a room and a number; numbers sort as they count.
pub(crate) fn numbered(room: &str, number: u64) -> Vec<u8> {
    let mut key = of_room(room);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// Prefix of all rows of a room. No address contains a zero octet.
pub(crate) fn of_room(room: &str) -> Vec<u8> {
    let mut key = room.as_bytes().to_vec();
    key.push(0);
    key
}

/// The number in a key made by [`numbered`].
pub(crate) fn number(key: &[u8]) -> u64 {
    key.last_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn reads_see_the_change_and_the_store_only_the_commit() {
        let store = MemoryStore::new();
        let rows = Rows::new(Box::new(store.clone()));
        rows.put(Space::Plan, b"x1", vec![1]);
        assert_eq!(rows.get(Space::Plan, b"x1").unwrap(), Some(vec![1]));
        assert_eq!(store.get(Space::Plan, b"x1").unwrap(), None);
        rows.rollback();
        assert_eq!(rows.get(Space::Plan, b"x1").unwrap(), None);

        rows.put(Space::Plan, b"x1", vec![1]);
        rows.put(Space::Plan, b"x2", vec![2]);
        rows.commit().unwrap();
        rows.delete(Space::Plan, b"x1");
        rows.put(Space::Plan, b"x3", vec![3]);
        let keys: Vec<_> = rows.scan(Space::Plan, b"x", None, 9).unwrap();
        assert_eq!(keys, [(b"x2".to_vec(), vec![2]), (b"x3".to_vec(), vec![3])]);
        assert_eq!(rows.scan(Space::Plan, b"x", None, 1).unwrap().len(), 1);
        assert_eq!(store.get(Space::Plan, b"x1").unwrap(), Some(vec![1]));
    }
}
