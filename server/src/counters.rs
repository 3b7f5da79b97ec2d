//! What has passed since the server began: only ever growing, for metrics and for the operator's
//! live view.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, more: usize) {
        self.0
            .fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub struct Counters {
    /// Stanzas taken in from clients and from other domains.
    pub from_clients: Counter,
    pub from_domains: Counter,
    /// Stanzas put into the queues of sessions; and rows of the outbox that other domains have
    /// acknowledged, with what was sent to them without being kept.
    pub to_clients: Counter,
    pub to_domains: Counter,
    /// Logins that succeeded, and attempts that did not.
    pub entered: Counter,
    pub refused: Counter,
    /// Devices that were asked to commit what was pending in rooms of ours.
    pub nominations: Counter,
}
