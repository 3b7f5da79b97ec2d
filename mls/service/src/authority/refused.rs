//! Counts what was refused to those who asked for certificates and devices, by reason.

use std::sync::atomic::{AtomicU64, Ordering};

use comity_mls_wire::refusal::Refusal;
use comity_xmpp::jid::BareJid;

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
    /// Counts and logs a refusal on its way: it is a client's fault, or somebody tries what he may
    /// not.
    pub(super) fn noted<T>(
        &self,
        what: &str,
        account: &BareJid,
        result: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        if let Err(refusal) = &result {
            self.inner.refused.count(refusal);
            tracing::warn!(%account, what, %refusal, "a request to the authority is refused");
        }
        result
    }

    /// The same for a request of an account that cannot even be read.
    pub fn unreadable(&self, account: &BareJid, refusal: &Refusal) {
        let _: Result<(), Refusal> = self.noted("request", account, Err(refusal.clone()));
    }

    /// Requests for certificates, for devices, their proofs and their end that were refused since the start.
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
