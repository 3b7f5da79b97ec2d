//! When our own certificates end, as whoever asks is told: found by [`crate::run`], shown by the
//! metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// By our domain; seconds since 1970.
#[derive(Debug, Default)]
pub struct Expiries(Mutex<BTreeMap<String, u64>>);

impl Expiries {
    pub(crate) fn set(&self, domain: &str, until: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(domain.to_owned(), until);
    }

    pub(crate) fn all(&self) -> BTreeMap<String, u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
