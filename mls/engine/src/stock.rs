//! Certificates and KeyPackages in stock (RFC 9420 §10, RFC 9750 §5.1): each KeyPackage has a
//! signature key and a certificate of its own, and a few certified keys are spare for rooms made
//! here and for leaves that are renewed.

use std::collections::HashSet;

use comity_mls_credential::keys::Algorithm;
use comity_mls_wire::keys::{self, Count};
use mls_rs_core::crypto::CipherSuite;
use uuid::Uuid;

use crate::certify::{ENROL, EnrolBatch, Handle};
use crate::engine::{Engine, Timer, seconds};
use crate::error::Error;
use crate::mls::{Certified, OwnPackage};
use crate::outgoing::{Destination, Request};
use crate::publish::{PUBLISH, PublishBatch};
use crate::requests::Purpose;
use crate::store::Space;

/// Certified keys kept beside the KeyPackages, for each suite.
pub(crate) const SPARE: usize = 4;
/// Keys certified and packages published at once: a batch stays well below a stanza's size.
const MAX_BATCH: usize = 64;
const MAX_SPARE_READ: usize = 256;
pub(crate) const DAY_S: u64 = 24 * 60 * 60;
/// All published packages are made anew this often.
const RENEW_PACKAGES_S: u64 = 28 * DAY_S;
/// A certificate this close to its end is not used for anything new.
const MIN_REMAINING_S: u64 = DAY_S;
pub(crate) const RETRY_MS: u64 = 10 * 60 * 1_000;

impl Engine {
    /// Takes the next step towards a full stock.
    pub(crate) fn restock(&mut self, now: u64) -> Result<(), Error> {
        self.clear_timer(&Timer::Stock);
        if self.device()?.is_none() || !self.synced {
            return Ok(());
        }
        if self.own_anchors_stale(now) {
            let domain = self.account.domain().to_owned();
            self.ask_anchors(&domain, now);
        }
        if self.anchors.pinned(self.account.domain()).is_none() {
            // Without them not even one's own certificates can be checked.
            return Ok(());
        }
        if let Some(batch) = self.rows.read::<EnrolBatch>(Space::Batch, ENROL)? {
            return self.ask_certificates(&batch, now);
        }
        if let Some(batch) = self.rows.read::<PublishBatch>(Space::Batch, PUBLISH)? {
            return self.ask_publication(batch, now);
        }
        let Some(stock) = self.stock.clone() else {
            self.ask(
                Purpose::Count,
                Destination::Account(self.account.clone()),
                Request::Keys(keys::Request::Count),
                now,
            );
            return Ok(());
        };
        for suite in self.options.suites.clone() {
            if let Some(batch) = self.wanted(suite, &stock, now)? {
                self.rows.write(Space::Batch, ENROL, &batch)?;
                return self.ask_certificates(&batch, now);
            }
        }
        Ok(())
    }

    /// The keys to make for a suite, if its stock is low.
    fn wanted(
        &mut self,
        suite: u16,
        stock: &[Count],
        now: u64,
    ) -> Result<Option<EnrolBatch>, Error> {
        let Some(algorithm) = Algorithm::of_suite(CipherSuite::new(suite)) else {
            return Ok(None);
        };
        let identity = self.identity()?.ok_or(Error::NotEnrolled)?;
        let device = self.own_device()?;
        let held = stock
            .iter()
            .find(|count| count.device == device && count.suite == suite);
        let old = identity.enrolled && seconds(now) > identity.published + RENEW_PACKAGES_S;
        let ordinary = held.map_or(0, |count| count.ordinary);
        let last_resort = old || held.is_none_or(|count| !count.last_resort);
        let low = old || ordinary < self.options.stock.div_ceil(2);
        let missing = match low {
            true if old => self.options.stock,
            true => self.options.stock.saturating_sub(ordinary),
            false => 0,
        };
        let spare = SPARE.saturating_sub(self.spare(suite, now)?.len());
        if missing == 0 && !last_resort && spare < SPARE / 2 {
            return Ok(None);
        }
        let count = (missing as usize + spare + usize::from(last_resort)).min(MAX_BATCH);
        let handles = (0..count)
            .map(|_| Ok(Handle(self.keys.generate(algorithm)?.0)))
            .collect::<Result<_, Error>>()?;
        Ok(Some(EnrolBatch {
            suite,
            handles,
            last_resort,
            replace: old,
        }))
    }

    pub(crate) fn on_counts(&mut self, counts: Vec<Count>, now: u64) -> Result<(), Error> {
        self.stock = Some(counts);
        self.restock(now)
    }

    pub(crate) fn on_low_stock(&mut self, count: Count, now: u64) -> Result<(), Error> {
        if let Some(stock) = &mut self.stock {
            let same = |c: &Count| c.device == count.device && c.suite == count.suite;
            stock.retain(|c| !same(c));
            stock.push(count);
        }
        self.restock(now)
    }

    pub(crate) fn on_last_resort_used(
        &mut self,
        device: Uuid,
        suite: u16,
        now: u64,
    ) -> Result<(), Error> {
        for count in self.stock.iter_mut().flatten() {
            if count.device == device && count.suite == suite {
                count.last_resort = false;
                // The last resort is only handed out when nothing else is left.
                count.ordinary = 0;
            }
        }
        self.restock(now)
    }

    pub(crate) fn spare(&self, suite: u16, now: u64) -> Result<Vec<(Vec<u8>, Certified)>, Error> {
        let rows = self.rows.list::<Certified>(
            Space::Certificate,
            &suite.to_be_bytes(),
            MAX_SPARE_READ,
        )?;
        let usable = |key: &Certified| key.not_after > seconds(now) + MIN_REMAINING_S;
        Ok(rows.into_iter().filter(|(_, key)| usable(key)).collect())
    }

    /// A certified key for a new leaf; if there is none, more are made.
    pub(crate) fn take_spare(&mut self, suite: u16, now: u64) -> Result<Option<Certified>, Error> {
        let taken = self.spare(suite, now)?.into_iter().next();
        if let Some((row, _)) = &taken {
            self.rows.delete(Space::Certificate, row);
        }
        self.restock(now)?;
        Ok(taken.map(|(_, key)| key))
    }

    /// Private halves whose packages nobody may use any more, and certificates past their end.
    pub(crate) fn drop_expired(&mut self, now: u64) -> Result<(), Error> {
        let expired = |at: u64| at.saturating_add(DAY_S) < seconds(now);
        let leaves: HashSet<Vec<u8>> = self
            .all_rooms()?
            .into_iter()
            .filter_map(|(_, record)| record.leaf.map(|leaf| leaf.handle))
            .collect();
        let packages = self
            .rows
            .list::<OwnPackage>(Space::KeyPackage, b"", MAX_PACKAGES_READ)?;
        for (reference, package) in packages {
            if expired(package.data.expiration) {
                self.rows.delete(Space::KeyPackage, &reference);
                // A last resort's key may live on as the key of a leaf that has not been renewed.
                let key = package
                    .certified
                    .filter(|key| !leaves.contains(&key.handle));
                self.unused_keys.extend(key.map(|key| key.key()));
            }
        }
        let spare = self
            .rows
            .list::<Certified>(Space::Certificate, b"", MAX_SPARE_READ)?;
        for (row, key) in spare {
            if expired(key.not_after) {
                self.rows.delete(Space::Certificate, &row);
                self.unused_keys.push(key.key());
            }
        }
        Ok(())
    }
}

pub(crate) const MAX_PACKAGES_READ: usize = 4_096;
