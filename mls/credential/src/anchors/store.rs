//! The anchors and revocation lists of all domains one has to do with, in memory, for hub and engine alike. Durable
//! memory is the caller's: what changes is handed back as a record to store.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{AnchorsError, Pinned, TlsRoots};
use crate::crl::{Crl, CrlError, Entry, Revoked};
use crate::leaf::{IssuerId, Issuers};

/// Domains held in memory; the one whose statement came longest ago makes room for another, and is
/// restored from the caller's storage when it is needed again.
pub const MAX_DOMAINS: usize = 4096;

/// Revocation lists held in memory; the one that came longest ago makes room for another.
pub const MAX_CRLS: usize = 4096;

/// Thread safe; lookups share a lock.
pub struct Anchors {
    roots: TlsRoots,
    domains: RwLock<HashMap<String, Held>>,
    crls: RwLock<HashMap<IssuerId, HeldCrl>>,
}

struct HeldCrl {
    crl: Arc<Crl>,
    turn: u64,
}

/// What came of showing a revocation list.
#[derive(Clone, Debug)]
pub struct AcceptedCrl {
    pub crl: Arc<Crl>,
    /// False: the list was known already, and nothing need be stored.
    pub changed: bool,
    /// What it revokes that was not known to be revoked.
    pub news: Vec<Entry>,
}

struct Held {
    pinned: Arc<Pinned>,
    /// When it came, in turns; domains are let go in this order.
    turn: u64,
}

/// What came of showing a statement.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub pinned: Arc<Pinned>,
    /// False: the statement was known already, and nothing need be stored.
    pub changed: bool,
}

impl Anchors {
    /// `roots`: where TLS chains may end, the system's and the operator's.
    #[must_use]
    pub fn new(roots: TlsRoots) -> Self {
        Self {
            roots,
            domains: RwLock::default(),
            crls: RwLock::default(),
        }
    }

    /// Judges a statement without taking it: store the record of the result first, then
    /// [`Self::hold`] it. A domain unknown so far is pinned as it is, so restore what storage has
    /// of it before.
    pub fn judge(&self, domain: &str, signed: &[u8], at: u64) -> Result<Accepted, AnchorsError> {
        let Some(known) = self.pinned(domain) else {
            let first = Pinned::first(domain, signed, &self.roots, at)?;
            return Ok(Accepted {
                pinned: Arc::new(first),
                changed: true,
            });
        };
        let next = known.next(signed, &self.roots, at)?;
        let changed = next.signed() != known.signed();
        Ok(Accepted {
            pinned: Arc::new(next),
            changed,
        })
    }

    /// Judges a statement whose new root a person has compared with the domain's operator.
    pub fn judge_root(
        &self,
        domain: &str,
        signed: &[u8],
        root: &[u8; 32],
        at: u64,
    ) -> Result<Accepted, AnchorsError> {
        let Some(known) = self.pinned(domain) else {
            return self.judge(domain, signed, at);
        };
        let next = known.next_with_root(signed, root, &self.roots, at)?;
        Ok(Accepted {
            pinned: Arc::new(next),
            changed: true,
        })
    }

    /// Takes what was judged, or restored from storage. Never goes back: what two callers judged
    /// at once ends with the newer.
    pub fn hold(&self, pinned: Arc<Pinned>) {
        let mut domains = self.write();
        let turn = domains.values().map(|held| held.turn).max().unwrap_or(0) + 1;
        let domain = pinned.domain().to_owned();
        let newer = domains.get(&domain).is_some_and(|held| {
            held.pinned.root() == pinned.root() && held.pinned.sequence() > pinned.sequence()
        });
        if newer {
            return;
        }
        if domains.len() >= MAX_DOMAINS && !domains.contains_key(&domain) {
            let oldest = domains
                .iter()
                .min_by_key(|(_, held)| held.turn)
                .map(|(domain, _)| domain.clone());
            if let Some(oldest) = oldest {
                domains.remove(&oldest);
            }
        }
        domains.insert(domain, Held { pinned, turn });
    }

    #[must_use]
    pub fn pinned(&self, domain: &str) -> Option<Arc<Pinned>> {
        self.read().get(domain).map(|held| Arc::clone(&held.pinned))
    }

    /// Whether a newer statement should be asked for: none is held, or it ends within `margin_s`.
    #[must_use]
    pub fn stale(&self, domain: &str, at: u64, margin_s: u64) -> bool {
        self.pinned(domain)
            .is_none_or(|pinned| pinned.expires() <= at.saturating_add(margin_s))
    }

    /// Judges a revocation list of an issuing CA of `domain`, without taking it: store it first,
    /// then [`Self::hold_crl`] it.
    pub fn judge_crl(&self, domain: &str, der: &[u8], at: u64) -> Result<AcceptedCrl, CrlError> {
        let crl = Crl::read(der)?;
        let issuer = *crl.issuer();
        let authority = self
            .issuer(domain, &issuer)
            .ok_or_else(|| CrlError::UnknownIssuer {
                domain: domain.to_owned(),
                issuer,
            })?;
        crl.verify(&authority)?;
        let known = self.crl(&issuer);
        crl.follows(known.as_deref(), at)?;
        let news: Vec<Entry> = crl.news(known.as_deref()).cloned().collect();
        Ok(AcceptedCrl {
            changed: known.is_none_or(|known| known.number() < crl.number()),
            crl: Arc::new(crl),
            news,
        })
    }

    /// Takes a list that was judged, or restored from storage. Never goes back.
    pub fn hold_crl(&self, crl: Arc<Crl>) {
        let mut crls = self.crls.write().unwrap_or_else(PoisonError::into_inner);
        let turn = crls.values().map(|held| held.turn).max().unwrap_or(0) + 1;
        let issuer = *crl.issuer();
        if crls
            .get(&issuer)
            .is_some_and(|held| held.crl.number() > crl.number())
        {
            return;
        }
        if crls.len() >= MAX_CRLS && !crls.contains_key(&issuer) {
            let oldest = crls.iter().min_by_key(|(_, held)| held.turn);
            if let Some(oldest) = oldest.map(|(issuer, _)| *issuer) {
                crls.remove(&oldest);
            }
        }
        crls.insert(issuer, HeldCrl { crl, turn });
    }

    /// The newest list known of an issuing CA.
    #[must_use]
    pub fn crl(&self, issuer: &IssuerId) -> Option<Arc<Crl>> {
        let crls = self.crls.read().unwrap_or_else(PoisonError::into_inner);
        crls.get(issuer).map(|held| Arc::clone(&held.crl))
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Held>> {
        // Nothing under the lock can leave it half done.
        self.domains.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, Held>> {
        self.domains.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Issuers for Anchors {
    fn issuer(&self, domain: &str, id: &IssuerId) -> Option<Arc<[u8]>> {
        self.read().get(domain)?.pinned.issuer(id).cloned()
    }

    fn revoked(&self, issuer: &IssuerId, serial: &[u8]) -> Option<Revoked> {
        let crls = self.crls.read().unwrap_or_else(PoisonError::into_inner);
        crls.get(issuer)?.crl.revoked(serial)
    }
}
