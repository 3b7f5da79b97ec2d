//! Enrolment: certificates for a batch of keys, each proved to be at hand, each certified once.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use comity_mls_credential::certificate::{Certificate, issuer_id};
use comity_mls_credential::csr;
use comity_mls_credential::issue::{self, Validity};
use comity_mls_credential::keys::PublicKey;
use comity_mls_credential::leaf::CLOCK_TOLERANCE_S;
use comity_mls_credential::transparency::Kind;
use comity_mls_credential::transparency::entry::{batch_root, enrol_content};
use comity_mls_wire::refusal::Refusal;
use comity_storage::{IssuedCertificate, RecordCertificates, Recorded};
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use super::ca::Ca;
use super::transparency::Told;
use super::{Authority, MAX_BATCH, internal};

const DAY_S: u64 = 24 * 60 * 60;
/// A batch whose answer was lost comes again and meets its own certificates; a race of the two is
/// decided by storage, and the loser looks once more.
const ATTEMPTS: usize = 2;

/// A key in a batch, by the SHA-256 of its SubjectPublicKeyInfo.
#[derive(Clone)]
struct Wanted {
    hash: [u8; 32],
    key: PublicKey,
}

impl Authority {
    /// Certificates for the keys of a batch, in its order. A key that this device had certified
    /// before gets the same certificate again; any other use of a key is refused. A refusal is
    /// logged and counted: it is a client's fault, or somebody tries what he may not.
    pub async fn enrol(
        &self,
        account: &BareJid,
        device: Uuid,
        requests: &[Bytes],
        signature: &[u8],
        now: u64,
    ) -> Result<Vec<Bytes>, Refusal> {
        let result = self
            .certified(account, device, requests, signature, now)
            .await;
        self.noted("enrolment", account, result)
    }

    async fn certified(
        &self,
        account: &BareJid,
        device: Uuid,
        requests: &[Bytes],
        signature: &[u8],
        now: u64,
    ) -> Result<Vec<Bytes>, Refusal> {
        if requests.is_empty() || requests.len() > MAX_BATCH {
            return Err(Refusal::LimitReached {
                limit: format!("a batch has 1 to {MAX_BATCH} certificate requests"),
            });
        }
        let (_, device_key) = self.device(account, device).await?;
        let batch = {
            let (account, requests, key) = (account.clone(), requests.to_vec(), device_key.clone());
            self.computed(move || read(&requests, &account, device, &key))
                .await?
        };
        // The log holds what is signed here: whoever checks the entry can tell that the device
        // asked for these keys.
        let told = Told {
            kind: Kind::Issuance,
            device,
            by: Some(device),
            signature: signature.to_vec(),
            keys: batch.iter().map(|wanted| wanted.hash).collect(),
            time: now,
        };
        let content = enrol_content(account.as_str(), device.as_bytes(), &batch_root(&told.keys));
        if !device_key.verifies(&content, signature) {
            return Err(Refusal::BadSignature);
        }
        let batch = Arc::new(batch);
        for _ in 0..ATTEMPTS {
            if let Some(certificates) = self.certify(account, &told, &batch).await? {
                return Ok(certificates);
            }
        }
        Err(Refusal::RateLimited { retry_after_s: 1 })
    }

    /// None: another batch with one of the keys was recorded meanwhile.
    async fn certify(
        &self,
        account: &BareJid,
        told: &Told,
        batch: &Arc<Vec<Wanted>>,
    ) -> Result<Option<Vec<Bytes>>, Refusal> {
        let (device, now) = (told.device, told.time);
        let mut held = self.held(device, batch, now).await?;
        let missing: Vec<Wanted> = batch
            .iter()
            .filter(|wanted| !held.contains_key(&wanted.hash))
            .cloned()
            .collect();
        if !missing.is_empty() {
            let lifetime = self.inner.options.certificate_lifetime_s;
            let (ca, owner) = (self.ca(), account.clone());
            let made = self
                .computed(move || issue_all(&ca, &owner, device, &missing, lifetime, now))
                .await?;
            if !self.record(account.as_str(), told, &made).await? {
                return Ok(None);
            }
            held.extend(made.into_iter().map(|one| (one.key_hash, one.certificate)));
        }
        Ok(batch
            .iter()
            .map(|wanted| held.get(&wanted.hash).cloned().map(Bytes::from))
            .collect())
    }

    /// Certificates that this device holds already for keys of the batch.
    async fn held(
        &self,
        device: Uuid,
        batch: &[Wanted],
        now: u64,
    ) -> Result<HashMap<[u8; 32], Vec<u8>>, Refusal> {
        let hashes: Vec<[u8; 32]> = batch.iter().map(|wanted| wanted.hash).collect();
        let known = self
            .inner
            .storage
            .certificates_of_keys(&hashes)
            .await
            .map_err(|error| internal(&error))?;
        known
            .into_iter()
            .map(|issued| {
                if issued.device == *device.as_bytes() && issued.expires > now {
                    Ok((issued.key_hash, issued.certificate))
                } else {
                    Err(used())
                }
            })
            .collect()
    }

    async fn record(
        &self,
        account: &str,
        told: &Told,
        certificates: &[IssuedCertificate],
    ) -> Result<bool, Refusal> {
        let limit = self.inner.options.certificates_per_day;
        let change = || RecordCertificates {
            account: account.to_owned(),
            device: told.device.into_bytes(),
            certificates: certificates.to_vec(),
            since: told.time.saturating_sub(DAY_S),
            limit,
        };
        match self.logged(account, told, change).await? {
            Recorded::Recorded => Ok(true),
            Recorded::KeyUsed => Ok(false),
            Recorded::NoDevice => Err(Refusal::UnknownDevice),
            Recorded::TooMany => Err(Refusal::LimitReached {
                limit: format!("an account is issued at most {limit} certificates a day"),
            }),
        }
    }
}

fn used() -> Refusal {
    Refusal::BadCredential {
        why: "a key was certified before: make a new one".to_owned(),
    }
}

/// Reads a batch; what is wrong with one request refuses all.
fn read(
    requests: &[Bytes],
    account: &BareJid,
    device: Uuid,
    device_key: &PublicKey,
) -> Result<Vec<Wanted>, Refusal> {
    let mut batch: Vec<Wanted> = Vec::with_capacity(requests.len());
    for (place, request) in requests.iter().enumerate() {
        let refused = |why: &str| Refusal::BadCredential {
            why: format!("certificate request {}: {why}", place + 1),
        };
        let key = csr::read(request, account, device).map_err(|e| refused(&e.to_string()))?;
        if key == *device_key {
            return Err(refused("it is for the device key, which signs no messages"));
        }
        let hash = issuer_id(&key).map_err(|error| internal(&error))?.0;
        if batch.iter().any(|known| known.hash == hash) {
            return Err(refused("it is for a key that is in the batch already"));
        }
        batch.push(Wanted { hash, key });
    }
    Ok(batch)
}

fn issue_all(
    ca: &Ca,
    account: &BareJid,
    device: Uuid,
    batch: &[Wanted],
    lifetime: u64,
    now: u64,
) -> Result<Vec<IssuedCertificate>, Refusal> {
    let Some((issuer, authority)) = ca.issuer() else {
        return Err(Refusal::Internal);
    };
    let issuer_key = issuer.key.public().map_err(|error| internal(&error))?;
    let issuer_hash = issuer_id(&issuer_key).map_err(|error| internal(&error))?.0;
    let validity = Validity {
        // A client whose clock is slow must not wait for its own certificate.
        not_before: now
            .saturating_sub(CLOCK_TOLERANCE_S)
            .max(authority.not_before),
        not_after: now.saturating_add(lifetime).min(authority.not_after),
    };
    batch
        .iter()
        .map(|wanted| {
            let certificate = issue::leaf(account, Some(device), &wanted.key, issuer, validity)
                .map_err(|error| internal(&error))?;
            let read = Certificate::read(&certificate).map_err(|error| internal(&error))?;
            Ok(IssuedCertificate {
                key_hash: wanted.hash,
                serial: read.serial,
                issuer: issuer_hash,
                device: device.into_bytes(),
                certificate,
                issued: now,
                expires: read.not_after,
            })
        })
        .collect()
}
