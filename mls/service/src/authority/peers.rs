//! Other domains: what they show is judged, pinned and stored before it is believed.

use std::sync::Arc;

use comity_mls_credential::anchors::store::{MAX_CRLS, MAX_DOMAINS};
use comity_mls_credential::anchors::{AnchorsError, Pinned};
use comity_mls_credential::crl::{Crl, CrlError};
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
    Crl(#[from] CrlError),
    #[error(transparent)]
    Storage(#[from] comity_storage::Error),
    #[error("what {0} shows was stored by another process meanwhile: ask again")]
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
    /// stored, then believed. An unknown domain's root is pinned; a known one's new root needs the
    /// old root's word, or has been `compared` with the domain's operator.
    pub async fn shown(
        &self,
        domain: &str,
        signed: &[u8],
        compared: Option<[u8; 32]>,
        now: u64,
    ) -> Result<Arc<Pinned>, ShownError> {
        let _one_at_a_time = self.inner.judging.lock().await;
        let over = self.believed(domain).await?.map(|pinned| *pinned.root());
        let judged = {
            let anchors = Arc::clone(&self.inner.trust.anchors);
            let (domain, signed) = (domain.to_owned(), signed.to_vec());
            // A chain against the whole web PKI takes milliseconds.
            let judge = move || match compared {
                Some(root) => anchors.judge_root(&domain, &signed, &root, now),
                None => anchors.judge(&domain, &signed, now),
            };
            tokio::task::spawn_blocking(judge).await??
        };
        if judged.changed {
            self.pin(&judged.pinned, over).await?;
        }
        Ok(judged.pinned)
    }

    async fn pin(&self, pinned: &Arc<Pinned>, over: Option<[u8; 32]>) -> Result<(), ShownError> {
        let domain = pinned.domain();
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
        if self.inner.storage.write(change).await? {
            self.inner.trust.anchors.hold(Arc::clone(pinned));
            return Ok(());
        }
        if let Some(stored) = self.inner.storage.pinned_anchors(domain).await? {
            let newer = Pinned::restore(&stored.record)?;
            self.inner.trust.anchors.hold(Arc::new(newer));
        }
        Err(ShownError::Contended(domain.to_owned()))
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
        for stored in self.inner.storage.revocation_lists(MAX_CRLS).await? {
            match Crl::read(&stored.list) {
                Ok(crl) => self.inner.trust.anchors.hold_crl(Arc::new(crl)),
                Err(error) => tracing::error!(
                    domain = stored.domain, %error,
                    "a stored revocation list cannot be read: it will be asked for again"
                ),
            }
        }
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
