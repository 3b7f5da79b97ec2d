//! Counts what was refused to those who asked for certificates, by reason.

use std::sync::atomic::{AtomicU64, Ordering};

use comity_mls_wire::refusal::Refusal;

use super::Authority;

/// What is wrong with a request; the label of a metric.
const REASONS: [&str; 6] = ["request", "signature", "device", "limit", "rate", "server"];

/// Since the start.
#[derive(Default)]
pub(super) struct Refused([AtomicU64; REASONS.len()]);

impl Refused {
    pub(super) fn count(&self, refusal: &Refusal) {
        let place = match refusal {
            Refusal::BadSignature => 1,
            Refusal::UnknownDevice | Refusal::NoDevice => 2,
            Refusal::LimitReached { .. } => 3,
            Refusal::RateLimited { .. } => 4,
            Refusal::Internal => 5,
            // The key, the names or what else the request asks for.
            _ => 0,
        };
        self.0[place].fetch_add(1, Ordering::Relaxed);
    }
}

impl Authority {
    /// Batches of certificate requests that were refused since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refusals().map(|(_, count)| count).sum()
    }

    /// The same by reason.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.inner.refused.0.iter();
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        REASONS.into_iter().zip(counts)
    }
}
