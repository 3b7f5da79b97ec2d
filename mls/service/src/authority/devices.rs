//! Devices: registered once, proved by each session, revoked for good.

use comity_mls_credential::keys::PublicKey;
use comity_mls_credential::signed;
use comity_mls_wire::authority::Device;
use comity_mls_wire::refusal::Refusal;
use comity_storage::{RegisterDevice, RevokeDevice};
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use super::transparency::{self, Told};
use super::{Authority, internal};

/// Octets of a device's name.
const MAX_NAME: usize = 128;

/// A device that is registered now, or was before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    pub device: Device,
    /// False: the same key was registered before, and its answer lost.
    pub new: bool,
}

/// A session's wish for a new device.
#[derive(Clone, Debug)]
pub struct Registration<'a> {
    /// A random UUID that the caller has drawn.
    pub id: Uuid,
    /// For people.
    pub name: &'a str,
    /// SubjectPublicKeyInfo.
    pub device_key: &'a [u8],
    /// The challenge of this session.
    pub nonce: &'a [u8],
    pub signature: &'a [u8],
}

/// A session's claim to be a device.
#[derive(Clone, Debug)]
pub struct Proof<'a> {
    pub device: Uuid,
    /// The challenge of this session.
    pub nonce: &'a [u8],
    /// tls-exporter of the session's stream, where the signature covers it.
    pub exporter: Option<&'a [u8; 32]>,
    pub signature: &'a [u8],
}

impl Authority {
    /// Registers a device of `account` under the id given, unless the key is registered already:
    /// then under the id it has.
    pub async fn register(
        &self,
        account: &BareJid,
        registration: Registration<'_>,
        now: u64,
    ) -> Result<Registered, Refusal> {
        let result = self.registered(account, registration, now).await;
        self.noted("registration", account, result)
    }

    async fn registered(
        &self,
        account: &BareJid,
        registration: Registration<'_>,
        now: u64,
    ) -> Result<Registered, Refusal> {
        use comity_storage::Registered as Outcome;
        let Registration {
            id,
            name,
            device_key,
            nonce,
            signature,
        } = registration;
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(Refusal::BadRequest {
                why: format!(
                    "a device's name has 1 to {MAX_NAME} octets and no control characters"
                ),
            });
        }
        let key = PublicKey::from_spki(device_key).map_err(|error| Refusal::BadRequest {
            why: format!("the device key: {error}"),
        })?;
        let content = signed::content(
            signed::REGISTER,
            &[nonce, account.as_str().as_bytes(), device_key],
        );
        if !key.verifies(&content, signature) {
            return Err(Refusal::BadSignature);
        }
        let limit = self.inner.options.devices;
        let change = RegisterDevice {
            id: id.into_bytes(),
            account: account.to_string(),
            name: name.to_owned(),
            device_key: device_key.to_vec(),
            now,
            limit,
        };
        let outcome = self.inner.storage.write(change).await;
        let (id, new) = match outcome.map_err(|error| internal(&error))? {
            Outcome::New => (id, true),
            Outcome::Known(id) => (Uuid::from_bytes(id), false),
            refused => return Err(unregistered(refused, account, limit)),
        };
        let device = self.device(account, id).await?.0;
        Ok(Registered { device, new })
    }

    /// Does the session speak for the device? Then it becomes that device.
    pub async fn prove(&self, account: &BareJid, proof: Proof<'_>) -> Result<(), Refusal> {
        let result = self.proved(account, proof).await;
        self.noted("proof", account, result)
    }

    async fn proved(&self, account: &BareJid, proof: Proof<'_>) -> Result<(), Refusal> {
        let exporter: &[u8] = proof.exporter.map_or(&[], |exporter| exporter);
        let content = signed::content(
            signed::PROVE,
            &[
                proof.nonce,
                account.as_str().as_bytes(),
                proof.device.as_bytes(),
                exporter,
            ],
        );
        self.signed_by(account, proof.device, &content, proof.signature)
            .await
    }

    /// Did a device of that account, known and not revoked, sign this?
    pub async fn signed_by(
        &self,
        account: &BareJid,
        device: Uuid,
        content: &[u8],
        signature: &[u8],
    ) -> Result<(), Refusal> {
        let (_, key) = self.device(account, device).await?;
        if key.verifies(content, signature) {
            Ok(())
        } else {
            Err(Refusal::BadSignature)
        }
    }

    /// A device that is known and not revoked, and its key.
    pub async fn device(
        &self,
        account: &BareJid,
        device: Uuid,
    ) -> Result<(Device, PublicKey), Refusal> {
        let found = self
            .inner
            .storage
            .device(account.as_str(), device.as_bytes())
            .await
            .map_err(|error| internal(&error))?
            .filter(|device| device.revoked.is_none())
            .ok_or(Refusal::UnknownDevice)?;
        let key = PublicKey::from_spki(&found.device_key).map_err(|error| internal(&error))?;
        Ok((shown(found), key))
    }

    /// All devices of an account, revoked ones too.
    pub async fn devices(&self, account: &BareJid) -> Result<Vec<Device>, Refusal> {
        let found = self
            .inner
            .storage
            .devices(account.as_str())
            .await
            .map_err(|error| internal(&error))?;
        Ok(found.into_iter().map(shown).collect())
    }

    /// One device ends another of the same account, or itself. True: it was not revoked before.
    pub async fn revoke(
        &self,
        account: &BareJid,
        device: Uuid,
        revoked: Uuid,
        signature: &[u8],
        now: u64,
    ) -> Result<bool, Refusal> {
        let content = signed::content(
            signed::REVOKE,
            &[
                account.as_str().as_bytes(),
                device.as_bytes(),
                revoked.as_bytes(),
            ],
        );
        let signed = self.signed_by(account, device, &content, signature).await;
        self.noted("revocation", account, signed)?;
        let told = Told::revocation(revoked, Some(device), signature.to_vec(), now);
        self.end(account, revoked, &told).await
    }

    /// The operator ends a device. True: it was not revoked before.
    pub async fn revoke_by_operator(
        &self,
        account: &BareJid,
        revoked: Uuid,
        now: u64,
    ) -> Result<bool, Refusal> {
        let told = Told::revocation(revoked, None, Vec::new(), now);
        self.end(account, revoked, &told).await
    }

    async fn end(&self, account: &BareJid, device: Uuid, told: &Told) -> Result<bool, Refusal> {
        let change = || RevokeDevice {
            account: account.to_string(),
            id: device.into_bytes(),
            now: told.time,
        };
        transparency::revoked(self.logged(account.as_str(), told, change).await?)
    }
}

fn unregistered(outcome: comity_storage::Registered, account: &BareJid, limit: u32) -> Refusal {
    use comity_storage::Registered as Outcome;
    match outcome {
        Outcome::KeyTaken => Refusal::BadRequest {
            why: "the device key is or was another device's: make a new key".to_owned(),
        },
        Outcome::TooMany => Refusal::LimitReached {
            limit: format!("an account has at most {limit} devices: revoke one"),
        },
        Outcome::NoAccount => Refusal::BadRequest {
            why: format!("{account} is no account here"),
        },
        Outcome::New | Outcome::Known(_) => Refusal::Internal,
    }
}

fn shown(device: comity_storage::Device) -> Device {
    Device {
        id: Uuid::from_bytes(device.id),
        name: device.name,
        device_key: device.device_key.into(),
        registered: device.registered,
        revoked: device.revoked,
    }
}
