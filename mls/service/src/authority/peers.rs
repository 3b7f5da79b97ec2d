//! Other domains: what they show is judged, pinned and stored before it is believed.

use std::sync::Arc;

use comity_mls_credential::anchors::store::MAX_DOMAINS;
use comity_mls_credential::anchors::{AnchorsError, Pinned};
use comity_storage::{PinAnchors, PinnedAnchors};

use super::Authority;

/// A statement that ends within this time is worth asking for its successor.
const RENEW_BEFORE_S: u64 = 5 * 24 * 60 * 60;
/// A domain that has shown nothing for so long after its statement's end is asked when somebody
/// needs it, and not before.
const GIVEN_UP_S: u64 = 30 * 24 * 60 * 60;

/// Why another domain's statement was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ShownError {
    #[error(transparent)]
    Anchors(#[from] AnchorsError),
    #[error(transparent)]
    Storage(#[from] comity_storage::Error),
    #[error("the anchors of {0} were stored by another process meanwhile: ask again")]
    Contended(String),
    #[error("the judgement was cut short: {0}")]
    Cut(#[from] tokio::task::JoinError),
}

impl Authority {
    /// What is believed of a domain, from memory or storage, good or expired.
    pub async fn believed(&self, domain: &str) -> Result<Option<Arc<Pinned>>, ShownError> {
        if let Some(pinned) = self.inner.trust.anchors.pinned(domain) {
            return Ok(Some(pinned));
        }
        let Some(stored) = self.inner.storage.pinned_anchors(domain).await? else {
            return Ok(None);
        };
        self.inner
            .trust
            .anchors
            .hold(Arc::new(Pinned::restore(&stored.record)?));
        Ok(self.inner.trust.anchors.pinned(domain))
    }

    /// Takes a statement that claims to be `domain`'s: judged by what is known of the domain,
    /// stored, then believed. An unknown domain's root is pinned.
    pub async fn shown(
        &self,
        domain: &str,
        signed: &[u8],
        now: u64,
    ) -> Result<Arc<Pinned>, ShownError> {
        let _one_at_a_time = self.inner.judging.lock().await;
        let over = self.believed(domain).await?.map(|pinned| *pinned.root());
        let judged = {
            let anchors = Arc::clone(&self.inner.trust.anchors);
            let (domain, signed) = (domain.to_owned(), signed.to_vec());
            // A chain against the whole web PKI takes milliseconds.
            tokio::task::spawn_blocking(move || anchors.judge(&domain, &signed, now)).await??
        };
        if judged.changed {
            let pinned = &judged.pinned;
            let change = PinAnchors {
                pinned: PinnedAnchors {
                    domain: domain.to_owned(),
                    root: *pinned.root(),
                    sequence: pinned.sequence(),
                    expires: pinned.expires(),
                    record: pinned.record()?,
                },
                over,
            };
            if !self.inner.storage.write(change).await? {
                if let Some(stored) = self.inner.storage.pinned_anchors(domain).await? {
                    let newer = Pinned::restore(&stored.record)?;
                    self.inner.trust.anchors.hold(Arc::new(newer));
                }
                return Err(ShownError::Contended(domain.to_owned()));
            }
            self.inner.trust.anchors.hold(Arc::clone(pinned));
        }
        Ok(judged.pinned)
    }

    /// Whether a newer statement of the domain should be asked for before it is relied on.
    pub async fn wants(&self, domain: &str, now: u64) -> Result<bool, ShownError> {
        Ok(self
            .believed(domain)
            .await?
            .is_none_or(|pinned| pinned.expires() <= now))
    }

    /// Domains whose statements end soon, at most `limit`: ask them for the next.
    pub async fn ending(&self, now: u64, limit: usize) -> Result<Vec<String>, ShownError> {
        let from = now.saturating_sub(GIVEN_UP_S);
        let until = now.saturating_add(RENEW_BEFORE_S);
        let storage = &self.inner.storage;
        Ok(storage.pinned_anchors_ending(from, until, limit).await?)
    }

    /// Remembers at start what was believed before.
    pub(super) async fn restore(&self) -> Result<(), comity_storage::Error> {
        // Our own is held already.
        for stored in self.inner.storage.pinned_domains(MAX_DOMAINS - 1).await? {
            match Pinned::restore(&stored.record) {
                Ok(pinned) => self.inner.trust.anchors.hold(Arc::new(pinned)),
                Err(error) => tracing::error!(
                    domain = stored.domain, %error,
                    "what was stored of this domain's anchors cannot be read; its accounts are not believed"
                ),
            }
        }
        Ok(())
    }
}
