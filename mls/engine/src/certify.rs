//! Certificates asked for by batches of requests (RFC 2986), each for a key of its own, and judged as
//! others will judge them.

use bytes::Bytes;
use comity_mls_credential::csr;
use comity_mls_credential::transparency::entry::{batch_root, enrol_content};
use comity_mls_wire::authority;
use comity_mls_wire::refusal::Refusal;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};

use crate::engine::{Engine, Timer, seconds};
use crate::error::Error;
use crate::event::Refused;
use crate::keys::KeyHandle;
use crate::mls::Certified;
use crate::outgoing::{Destination, Request};
use crate::publish::{PUBLISH, PublishBatch};
use crate::requests::Purpose;
use crate::stock::{RETRY_MS, SPARE};
use crate::store::Space;

pub(crate) const ENROL: &[u8] = b"enrol";

/// Keys whose certificates have been asked for.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct EnrolBatch {
    pub(crate) suite: u16,
    pub(crate) handles: Vec<Handle>,
    /// One of them is for a last resort package.
    pub(crate) last_resort: bool,
    /// The packages replace those published before.
    pub(crate) replace: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct Handle(#[mls_codec(with = "mls_rs_codec::byte_vec")] pub(crate) Vec<u8>);

impl Engine {
    pub(crate) fn ask_certificates(&mut self, batch: &EnrolBatch, now: u64) -> Result<(), Error> {
        let device = self.own_device()?;
        let mut requests = Vec::with_capacity(batch.handles.len());
        let mut keys = Vec::with_capacity(batch.handles.len());
        for handle in &batch.handles {
            let handle = KeyHandle(handle.0.clone());
            let public = self.keys.public(&handle)?;
            let request = csr::create(&public, |octets| self.keys.sign(&handle, octets))?;
            requests.push(Bytes::from(request));
            keys.push(openssl::sha::sha256(&public.to_spki()));
        }
        // The log of the domain shows this signature beside the batch.
        let content = enrol_content(self.account.as_str(), device.as_bytes(), &batch_root(&keys));
        let signature = self.sign_content(&content)?;
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
}

pub(crate) fn spare_key(key: &Certified) -> Vec<u8> {
    [&key.suite.to_be_bytes()[..], &key.handle].concat()
}
