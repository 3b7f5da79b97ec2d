//! Which device of which account this store belongs to, and what its device key signs.

use bytes::Bytes;
use comity_mls_credential::keys::Algorithm;
use comity_mls_credential::signed;
use comity_mls_wire::authority;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use uuid::Uuid;

use crate::engine::Engine;
use crate::error::Error;
use crate::keys::KeyHandle;
use crate::outgoing::{Destination, Request};
use crate::requests::Purpose;
use crate::store::Space;

/// The row of [`Space::Identity`].
const SELF: &[u8] = b"self";

/// Octets of a device's name.
pub const MAX_DEVICE_NAME: usize = comity_mls_wire::limits::DEVICE_NAME_BYTES;

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct Identity {
    pub(crate) account: String,
    pub(crate) name: String,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) device_key: Vec<u8>,
    /// Assigned by the Authentication Service.
    pub(crate) device: Option<[u8; 16]>,
    /// KeyPackages have been published: others can invite this device.
    pub(crate) enrolled: bool,
    /// Seconds since 1970; when all published packages were made anew.
    pub(crate) published: u64,
}

impl Engine {
    /// Makes this store's device known to its domain: registers it, has its keys certified and
    /// publishes KeyPackages. Goes on by itself over as many sessions as it takes; ends with
    /// [`Event::Enrolled`].
    pub fn enrol(&mut self, name: &str, now: u64) -> Result<(), Error> {
        if name.len() > MAX_DEVICE_NAME {
            return Err(Error::TooMuch {
                what: "octets of a device's name",
                limit: MAX_DEVICE_NAME,
            });
        }
        self.input(now, |engine| {
            let known = engine.identity()?;
            if known.as_ref().is_some_and(|known| known.device.is_some()) {
                return Err(Error::Enrolled);
            }
            // A registration whose answer was lost is repeated with the same key.
            let device_key = match known {
                Some(known) => known.device_key,
                None => engine.keys.generate(Algorithm::P256)?.0,
            };
            engine.write_identity(&Identity {
                account: engine.account.as_str().to_owned(),
                name: name.to_owned(),
                device_key,
                device: None,
                enrolled: false,
                published: 0,
            })?;
            engine.ask_challenge(now);
            Ok(())
        })
    }

    /// The device id, once the Authentication Service has assigned it.
    pub fn device(&self) -> Result<Option<Uuid>, Error> {
        let identity = self.identity()?;
        Ok(identity.and_then(|i| i.device).map(Uuid::from_bytes))
    }

    /// Ends another device of this account: its certificates are revoked.
    pub fn revoke_device(&mut self, revoked: Uuid, now: u64) -> Result<(), Error> {
        self.input(now, |engine| {
            let device = engine.own_device()?;
            let signature =
                engine.sign_as_device(signed::REVOKE, &[device.as_bytes(), revoked.as_bytes()])?;
            let request = authority::Request::Revoke {
                device,
                revoked,
                signature,
            };
            engine.ask(
                Purpose::Revoke,
                Destination::Own,
                Request::Authority(request),
                now,
            );
            Ok(())
        })
    }

    pub(crate) fn check_owner(&self) -> Result<(), Error> {
        match self.identity()? {
            Some(identity) if identity.account != self.account.as_str() => {
                Err(Error::OtherAccount {
                    expected: self.account.to_string(),
                    found: identity.account,
                })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn identity(&self) -> Result<Option<Identity>, Error> {
        self.rows.read(Space::Identity, SELF)
    }

    pub(crate) fn write_identity(&self, identity: &Identity) -> Result<(), Error> {
        self.rows.write(Space::Identity, SELF, identity)
    }

    pub(crate) fn own_device(&self) -> Result<Uuid, Error> {
        self.device()?.ok_or(Error::NotEnrolled)
    }

    /// Signs by the device key; the account comes first in every content but a challenge's.
    pub(crate) fn sign_as_device(&self, label: &str, parts: &[&[u8]]) -> Result<Bytes, Error> {
        let account = self.account.as_str().as_bytes();
        let mut all = vec![account];
        all.extend_from_slice(parts);
        self.sign_content(&signed::content(label, &all))
    }

    pub(crate) fn sign_content(&self, content: &[u8]) -> Result<Bytes, Error> {
        let identity = self.identity()?.ok_or(Error::NotEnrolled)?;
        let signature = self.keys.sign(&KeyHandle(identity.device_key), content)?;
        Ok(signature.into())
    }
}
