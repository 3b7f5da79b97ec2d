//! KeyPackages made and published (RFC 9420 §10): the private halves are stored before their packages
//! leave, and the same octets are sent until they are answered.

use bytes::Bytes;
use comity_mls_credential::signed;
use comity_mls_wire::keys::{self, Count, Published};
use comity_mls_wire::refusal::Refusal;
use mls_rs::extension::recommended::LastResortKeyPackageExt;
use mls_rs::time::MlsTime;
use mls_rs::{ExtensionList, MlsMessage};
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use mls_rs_core::crypto::CipherSuite;

use crate::engine::{Engine, Timer, seconds};
use crate::error::Error;
use crate::event::{Event, Refused};
use crate::mls::{Certified, OwnPackage};
use crate::outgoing::{Destination, Request};
use crate::requests::Purpose;
use crate::stock::{DAY_S, RETRY_MS};
use crate::store::Space;

/// RFC 9420 §7.2 lifetimes; the room's policy allows no longer ones.
const PACKAGE_LIFETIME_S: u64 = 84 * DAY_S;

pub(crate) const PUBLISH: &[u8] = b"publish";

/// Packages whose publication is under way; the same octets are sent until they are answered.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct PublishBatch {
    pub(crate) packages: Vec<StoredPackage>,
    pub(crate) replace: bool,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) signature: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct StoredPackage {
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    reference: Vec<u8>,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    package: Vec<u8>,
    last_resort: bool,
}

impl Engine {
    pub(crate) fn make_package(
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

    pub(crate) fn sign_packages(&self, packages: &[StoredPackage]) -> Result<Bytes, Error> {
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

    pub(crate) fn ask_publication(&mut self, batch: PublishBatch, now: u64) -> Result<(), Error> {
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
