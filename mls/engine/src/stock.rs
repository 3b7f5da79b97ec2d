//! Certificates and KeyPackages in stock (RFC 9420 §10, RFC 9750 §5.1): each KeyPackage has a
//! signature key and a certificate of its own, and a few certified keys are spare for rooms made
//! here and for leaves that are renewed.

use std::collections::HashSet;

use bytes::Bytes;
use comity_mls_credential::csr;
use comity_mls_credential::keys::Algorithm;
use comity_mls_credential::signed;
use comity_mls_wire::authority;
use comity_mls_wire::keys::{self, Count, Published};
use comity_mls_wire::refusal::Refusal;
use mls_rs::extension::recommended::LastResortKeyPackageExt;
use mls_rs::time::MlsTime;
use mls_rs::{ExtensionList, MlsMessage};
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use mls_rs_core::crypto::CipherSuite;
use uuid::Uuid;

use crate::engine::{Engine, Timer, seconds};
use crate::error::Error;
use crate::event::{Event, Refused};
use crate::keys::KeyHandle;
use crate::mls::{Certified, OwnPackage};
use crate::outgoing::{Destination, Request};
use crate::requests::Purpose;
use crate::store::Space;

/// Certified keys kept beside the KeyPackages, for each suite.
const SPARE: usize = 4;
/// Keys certified and packages published at once: a batch stays well below a stanza's size.
const MAX_BATCH: usize = 64;
const MAX_SPARE_READ: usize = 256;
const DAY_S: u64 = 24 * 60 * 60;
/// RFC 9420 §7.2 lifetimes; the room's policy allows no longer ones.
const PACKAGE_LIFETIME_S: u64 = 84 * DAY_S;
/// All published packages are made anew this often.
const RENEW_PACKAGES_S: u64 = 28 * DAY_S;
/// A certificate this close to its end is not used for anything new.
const MIN_REMAINING_S: u64 = DAY_S;
const RETRY_MS: u64 = 10 * 60 * 1_000;

const ENROL: &[u8] = b"enrol";
const PUBLISH: &[u8] = b"publish";

/// Keys whose certificates have been asked for.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
struct EnrolBatch {
    suite: u16,
    handles: Vec<Handle>,
    /// One of them is for a last resort package.
    last_resort: bool,
    /// The packages replace those published before.
    replace: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
struct Handle(#[mls_codec(with = "mls_rs_codec::byte_vec")] Vec<u8>);

/// Packages whose publication is under way; the same octets are sent until they are answered.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
struct PublishBatch {
    packages: Vec<StoredPackage>,
    replace: bool,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    signature: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
struct StoredPackage {
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    reference: Vec<u8>,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    package: Vec<u8>,
    last_resort: bool,
}

impl Engine {
    /// Takes the next step towards a full stock.
    pub(crate) fn restock(&mut self, now: u64) -> Result<(), Error> {
        self.clear_timer(&Timer::Stock);
        if self.device()?.is_none() {
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

    fn ask_certificates(&mut self, batch: &EnrolBatch, now: u64) -> Result<(), Error> {
        let device = self.own_device()?;
        let requests = batch
            .handles
            .iter()
            .map(|handle| {
                let handle = KeyHandle(handle.0.clone());
                let public = self.keys.public(&handle)?;
                let request = csr::create(&public, |octets| self.keys.sign(&handle, octets))?;
                Ok(Bytes::from(request))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let mut parts: Vec<&[u8]> = vec![device.as_bytes()];
        parts.extend(requests.iter().map(|request| &request[..]));
        let signature = self.sign_as_device(signed::ENROL, &parts)?;
        let request = authority::Request::Enrol {
            device,
            requests,
            signature,
        };
        self.ask(
            Purpose::Enrol,
            Destination::Own,
            Request::Authority(request),
            now,
        );
        Ok(())
    }

    pub(crate) fn on_certificates(
        &mut self,
        certificates: &[Bytes],
        now: u64,
    ) -> Result<(), Error> {
        let Some(batch) = self.rows.read::<EnrolBatch>(Space::Batch, ENROL)? else {
            return Ok(());
        };
        let certified = match self.believe_certificates(&batch, certificates, now) {
            Ok(certified) => certified,
            Err(why) => {
                self.refused(None, Refused::Enrolment, why);
                self.drop_enrolment(batch);
                self.set_timer(Timer::Stock, now + RETRY_MS);
                return Ok(());
            }
        };
        self.rows.delete(Space::Batch, ENROL);
        let spare = SPARE.saturating_sub(self.spare(batch.suite, now)?.len());
        let mut certified = certified.into_iter();
        let mut packages = Vec::new();
        if batch.last_resort {
            for key in certified.by_ref().take(1) {
                packages.push(self.make_package(&key, true, now)?);
            }
        }
        for key in certified.by_ref().take(spare) {
            self.rows
                .write(Space::Certificate, &spare_key(&key), &key)?;
        }
        for key in certified {
            packages.push(self.make_package(&key, false, now)?);
        }
        for (room, record) in self.all_rooms()? {
            if record.stage == crate::room::Stage::Preparing || record.rotate {
                self.touched.insert(room);
            }
        }
        if packages.is_empty() {
            return self.restock(now);
        }
        let signature = self.sign_packages(&packages)?;
        let batch = PublishBatch {
            packages,
            replace: batch.replace,
            signature: signature.to_vec(),
        };
        self.rows.write(Space::Batch, PUBLISH, &batch)?;
        self.ask_publication(batch, now)
    }

    /// One's own domain is checked as others are: a wrong certificate would be refused by them.
    fn believe_certificates(
        &self,
        batch: &EnrolBatch,
        certificates: &[Bytes],
        now: u64,
    ) -> Result<Vec<Certified>, String> {
        if certificates.len() != batch.handles.len() {
            return Err("as many certificates as requests were expected".to_owned());
        }
        let device = self.own_device().map_err(|e| e.to_string())?;
        let mut certified = Vec::with_capacity(certificates.len());
        for (handle, certificate) in batch.handles.iter().zip(certificates) {
            let mut key = Certified {
                suite: batch.suite,
                handle: handle.0.clone(),
                certificate: certificate.to_vec(),
                not_after: 0,
            };
            let identity = self.mls.identity(&key).map_err(|e| e.to_string())?;
            let leaf = self
                .mls
                .provider()
                .member(&identity, Some(seconds(now)))
                .map_err(|e| e.to_string())?;
            if leaf.account != self.account || leaf.device != Some(device) {
                return Err("a certificate names another account or device".to_owned());
            }
            key.not_after = leaf.not_after;
            certified.push(key);
        }
        Ok(certified)
    }

    fn drop_enrolment(&mut self, batch: EnrolBatch) {
        self.rows.delete(Space::Batch, ENROL);
        let handles = batch.handles.into_iter().map(|handle| KeyHandle(handle.0));
        self.unused_keys.extend(handles);
    }

    pub(crate) fn on_enrol_refused(&mut self, refusal: &Refusal, now: u64) -> Result<(), Error> {
        if let Some(batch) = self.rows.read::<EnrolBatch>(Space::Batch, ENROL)? {
            self.drop_enrolment(batch);
        }
        self.refused(None, Refused::Enrolment, refusal);
        self.set_timer(Timer::Stock, now + RETRY_MS);
        Ok(())
    }

    fn make_package(
        &self,
        key: &Certified,
        last_resort: bool,
        now: u64,
    ) -> Result<StoredPackage, Error> {
        let at = seconds(now);
        let lifetime = PACKAGE_LIFETIME_S.min(key.not_after.saturating_sub(at));
        let mut extensions = ExtensionList::new();
        if last_resort {
            extensions.set_from(LastResortKeyPackageExt).map_err(mls)?;
        }
        let message = self
            .mls
            .client(key, lifetime)?
            .generate_key_package_message(
                extensions,
                ExtensionList::new(),
                Some(MlsTime::from(at)),
            )?;
        let suite = self.mls.suite(CipherSuite::new(key.suite))?;
        let reference = reference(&message, &suite)?;
        let mut row: OwnPackage =
            self.rows
                .read(Space::KeyPackage, &reference)?
                .ok_or(Error::Corrupt {
                    space: Space::KeyPackage.name(),
                })?;
        row.certified = Some(key.clone());
        row.last_resort = last_resort;
        self.rows.write(Space::KeyPackage, &reference, &row)?;
        Ok(StoredPackage {
            reference,
            package: message.to_bytes()?,
            last_resort,
        })
    }

    fn sign_packages(&self, packages: &[StoredPackage]) -> Result<Bytes, Error> {
        let device = self.own_device()?;
        let marks: Vec<[u8; 1]> = packages
            .iter()
            .map(|package| [u8::from(package.last_resort)])
            .collect();
        let mut parts: Vec<&[u8]> = vec![device.as_bytes()];
        for (package, mark) in packages.iter().zip(&marks) {
            parts.push(mark);
            parts.push(&package.package);
        }
        self.sign_as_device(signed::PUBLISH, &parts)
    }

    fn ask_publication(&mut self, batch: PublishBatch, now: u64) -> Result<(), Error> {
        let request = keys::Request::Publish {
            device: self.own_device()?,
            replace: batch.replace,
            packages: batch
                .packages
                .into_iter()
                .map(|package| Published {
                    last_resort: package.last_resort,
                    package: package.package.into(),
                })
                .collect(),
            signature: batch.signature.into(),
        };
        self.ask(
            Purpose::Publish,
            Destination::Account(self.account.clone()),
            Request::Keys(request),
            now,
        );
        Ok(())
    }

    pub(crate) fn on_published(&mut self, counts: Vec<Count>, now: u64) -> Result<(), Error> {
        let batch: Option<PublishBatch> = self.rows.read(Space::Batch, PUBLISH)?;
        self.rows.delete(Space::Batch, PUBLISH);
        if let Some(mut identity) = self.identity()? {
            if !identity.enrolled || batch.is_some_and(|batch| batch.replace) {
                identity.published = seconds(now);
            }
            if !identity.enrolled {
                identity.enrolled = true;
                let device = self.own_device()?;
                self.tell(Event::Enrolled { device });
            }
            self.write_identity(&identity)?;
        }
        let unserved = |suite: &u16| !counts.iter().any(|count| count.suite == *suite);
        let another = self.options.suites.iter().any(unserved);
        self.stock = Some(counts);
        if another {
            return self.restock(now);
        }
        // If the directory keeps less than wanted, asking at once would go on for ever.
        self.set_timer(Timer::Stock, now + RETRY_MS);
        Ok(())
    }

    pub(crate) fn on_publish_refused(&mut self, refusal: &Refusal, now: u64) -> Result<(), Error> {
        let batch: Option<PublishBatch> = self.rows.read(Space::Batch, PUBLISH)?;
        for package in batch.into_iter().flat_map(|batch| batch.packages) {
            let row: Option<OwnPackage> = self.rows.read(Space::KeyPackage, &package.reference)?;
            let key = row.and_then(|row| row.certified);
            self.unused_keys.extend(key.map(|key| key.key()));
            self.rows.delete(Space::KeyPackage, &package.reference);
        }
        self.rows.delete(Space::Batch, PUBLISH);
        self.refused(None, Refused::KeyPackages, refusal);
        self.stock = None;
        self.set_timer(Timer::Stock, now + RETRY_MS);
        Ok(())
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

const MAX_PACKAGES_READ: usize = 4_096;

fn spare_key(key: &Certified) -> Vec<u8> {
    [&key.suite.to_be_bytes()[..], &key.handle].concat()
}

pub(crate) fn reference(
    message: &MlsMessage,
    suite: &crate::crypto::Suite,
) -> Result<Vec<u8>, Error> {
    let reference = message.key_package_reference(suite)?;
    let reference = reference.ok_or_else(|| Error::Mls("no KeyPackage was made".to_owned()))?;
    Ok(reference.to_vec())
}

fn mls(error: impl ToString) -> Error {
    Error::Mls(error.to_string())
}
