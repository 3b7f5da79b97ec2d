//! Revocation lists (RFC 9750 §4, RFC 5280 §5): ours, signed every hour and whenever something is
//! revoked, and those of other domains. The number of a list is the time in seconds where that is
//! more than the number before, so that it goes forward even over a database that was restored from
//! an old copy.

use std::collections::HashSet;
use std::sync::Arc;

use comity_mls_credential::crl::{self, Crl, Entry};
use comity_mls_credential::issue::Issuer;
use comity_mls_credential::leaf::IssuerId;
use comity_storage::{RevocationList, StoreRevocationList};

use super::peers::ShownError;
use super::{Authority, AuthorityError};

/// Certificates in one list: what fits into the largest that is read.
const MAX_ENTRIES: usize = 55_000;
/// An expired certificate stays in the list for so long, for those whose clocks are slow.
const KEPT_S: u64 = 24 * 60 * 60;
/// Several processes of one domain may sign at once; one of them wins each round.
const ATTEMPTS: usize = 4;

/// Certificates are revoked that were not before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub domain: String,
    pub issuer: IssuerId,
    /// Of the list that says so, and the evidence for others.
    pub crl_number: u64,
    pub entries: Vec<Entry>,
}

impl Authority {
    /// The newest list known of an issuing CA, ours or another's.
    #[must_use]
    pub fn crl(&self, issuer: &IssuerId) -> Option<Arc<Crl>> {
        self.inner.trust.anchors.crl(issuer)
    }

    /// Is that issuing CA one of ours whose certificates may be valid still?
    pub(super) fn revoking(&self, now: u64) -> Vec<Issuer> {
        self.ca().revoking(now).cloned().collect()
    }

    /// Signs the lists of our issuing CAs anew: those that are an hour old, and those in which a
    /// revoked certificate is missing. Gives what is new in them.
    pub async fn publish_crls(&self, now: u64) -> Result<Vec<News>, AuthorityError> {
        let mut all = Vec::new();
        for issuer in self.revoking(now) {
            all.extend(self.publish_crl(&issuer, now).await?);
        }
        Ok(all)
    }

    async fn publish_crl(&self, issuer: &Issuer, now: u64) -> Result<Option<News>, AuthorityError> {
        let id =
            comity_mls_credential::certificate::issuer_id(&issuer.key.public().map_err(crl_key)?)
                .map_err(crl::CrlError::from)?;
        for _ in 0..ATTEMPTS {
            let stored = self.inner.storage.revocation_list(&id.0).await?;
            let known = match &stored {
                Some(stored) => Some(Arc::new(Crl::read(&stored.list)?)),
                None => None,
            };
            let mut entries = self.entries(&id, now).await?;
            if let Some(known) = &known {
                let kept = self.forgotten(known, &entries, now).await?;
                entries.extend(kept);
            }
            let made = {
                let (issuer, known) = (issuer.clone(), known.clone());
                self.signed(move |_| next(&issuer, known.as_deref(), &entries, now))
                    .await
            };
            let Ok(Some(made)) = made else {
                // Perhaps another process has signed it; or nobody can, and it is better than none.
                if let Some(known) = known {
                    self.inner.trust.anchors.hold_crl(known);
                }
                return made.map(|_| None);
            };
            let crl = Crl::read(&made)?;
            crl.verify(&issuer.certificate)?;
            let change = StoreRevocationList {
                list: RevocationList {
                    issuer: id.0,
                    domain: self.domain().to_owned(),
                    number: crl.number(),
                    list: made,
                },
                over: known.as_ref().map(|known| known.number()),
            };
            if self.inner.storage.write(change).await? {
                let news = self.news(&crl, known.as_deref());
                self.inner.trust.anchors.hold_crl(Arc::new(crl));
                return Ok(news);
            }
        }
        Err(AuthorityError::Contended)
    }

    async fn entries(&self, issuer: &IssuerId, now: u64) -> Result<Vec<Entry>, AuthorityError> {
        let from = now.saturating_sub(KEPT_S);
        let storage = &self.inner.storage;
        let found = storage
            .revoked_certificates(&issuer.0, from, MAX_ENTRIES)
            .await?;
        if found.len() == MAX_ENTRIES {
            tracing::error!(
                domain = self.domain(),
                "the revocation list is full: certificates revoked longest ago are left out; \
                 shorten mls.authority.certificate_lifetime, or rotate the issuing CA"
            );
        }
        let entry = |one: comity_storage::RevokedCertificate| Entry {
            serial: one.serial,
            at: one.revoked,
        };
        Ok(found.into_iter().map(entry).collect())
    }

    /// What the list before names and the database does not, since it was restored from a copy made
    /// before: taken back it stays, until the certificate has ended.
    async fn forgotten(
        &self,
        known: &Crl,
        entries: &[Entry],
        now: u64,
    ) -> Result<Vec<Entry>, AuthorityError> {
        let listed: HashSet<&[u8]> = entries.iter().map(|entry| &entry.serial[..]).collect();
        let longest = self
            .inner
            .options
            .certificate_lifetime_s
            .saturating_add(KEPT_S);
        let mut missing: Vec<Entry> = known
            .entries()
            .iter()
            .filter(|entry| !listed.contains(&entry.serial[..]))
            .filter(|entry| entry.at.saturating_add(longest) >= now)
            .take(MAX_ENTRIES.saturating_sub(entries.len()))
            .cloned()
            .collect();
        let serials: Vec<Vec<u8>> = missing.iter().map(|entry| entry.serial.clone()).collect();
        let from = now.saturating_sub(KEPT_S);
        let expired = self.inner.storage.expired_serials(&serials, from).await?;
        missing.retain(|entry| !expired.contains(&entry.serial));
        Ok(missing)
    }

    fn news(&self, crl: &Crl, known: Option<&Crl>) -> Option<News> {
        let entries: Vec<Entry> = crl.news(known).cloned().collect();
        (!entries.is_empty()).then(|| News {
            domain: self.domain().to_owned(),
            issuer: *crl.issuer(),
            crl_number: crl.number(),
            entries,
        })
    }

    /// Takes a list that claims to be of an issuing CA of `domain`: judged, stored, then believed.
    /// Gives what it revokes that was not known.
    pub async fn crl_shown(
        &self,
        domain: &str,
        der: &[u8],
        now: u64,
    ) -> Result<Option<News>, ShownError> {
        let _one_at_a_time = self.inner.judging.lock().await;
        let anchors = Arc::clone(&self.inner.trust.anchors);
        let judged = {
            let (domain, der) = (domain.to_owned(), der.to_vec());
            // A long list takes milliseconds to read.
            tokio::task::spawn_blocking(move || anchors.judge_crl(&domain, &der, now)).await??
        };
        let anchors = &self.inner.trust.anchors;
        let issuer = *judged.crl.issuer();
        if judged.changed {
            let change = StoreRevocationList {
                list: RevocationList {
                    issuer: issuer.0,
                    domain: domain.to_owned(),
                    number: judged.crl.number(),
                    list: judged.crl.der().to_vec(),
                },
                over: anchors.crl(&issuer).map(|known| known.number()),
            };
            if !self.inner.storage.write(change).await? {
                if let Some(stored) = self.inner.storage.revocation_list(&issuer.0).await? {
                    anchors.hold_crl(Arc::new(Crl::read(&stored.list)?));
                }
                return Err(ShownError::Contended(domain.to_owned()));
            }
            anchors.hold_crl(Arc::clone(&judged.crl));
        }
        Ok((!judged.news.is_empty()).then(|| News {
            domain: domain.to_owned(),
            issuer,
            crl_number: judged.crl.number(),
            entries: judged.news,
        }))
    }
}

/// The successor of a list, where one is due.
fn next(
    issuer: &Issuer,
    known: Option<&Crl>,
    entries: &[Entry],
    now: u64,
) -> Result<Option<Vec<u8>>, AuthorityError> {
    let due = known.is_none_or(|known| {
        // Also where the clock went back behind the list, since nobody believes it before then.
        known.aged(now)
            || now < known.this_update()
            || entries
                .iter()
                .any(|entry| known.revoked(&entry.serial).is_none())
    });
    if !due {
        return Ok(None);
    }
    let number = known.map_or(now, |known| now.max(known.number().saturating_add(1)));
    let until = now.saturating_add(crl::LIFETIME_S);
    Ok(Some(crl::make(issuer, number, now, until, entries)?))
}

fn crl_key(error: comity_mls_credential::keys::KeyError) -> AuthorityError {
    AuthorityError::Crl(error.into())
}
