//! The account's own devices (RFC 9750 §4): what the Authentication Service names, held against what
//! the person has confirmed. One that nobody set up is an intruder who can be let into rooms.

use comity_mls_wire::authority;
use comity_mls_wire::limits;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use uuid::Uuid;

use crate::code::{self, VerificationCode};
use crate::engine::Engine;
use crate::error::Error;
use crate::event::{Event, Warning};
use crate::keys::KeyHandle;
use crate::outgoing::{Destination, Request};
use crate::requests::Purpose;
use crate::room::{AddPlan, Invited, Plan, Stage};
use crate::store::Space;

/// What this device knows of a device of its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
#[non_exhaustive]
pub enum DeviceState {
    /// This device itself.
    This = 1,
    /// The person compared its code here.
    Confirmed = 2,
    /// It was there when this device was set up; nobody has compared.
    Earlier = 3,
    /// It came later, and nobody has said that it is the person's. It may be an intruder.
    Unknown = 4,
    /// Its certificates are revoked.
    Revoked = 5,
}

/// A device of one's own account.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnDevice {
    pub id: Uuid,
    pub name: String,
    /// Seconds since 1970, as the Authentication Service says.
    pub registered: u64,
    pub state: DeviceState,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
struct Known {
    name: String,
    registered: u64,
    /// SubjectPublicKeyInfo.
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    key: Vec<u8>,
    state: DeviceState,
}

impl Engine {
    /// The account's devices as this one knows them, oldest first.
    pub fn own_devices(&self) -> Result<Vec<OwnDevice>, Error> {
        let rows = self
            .rows
            .list::<Known>(Space::OwnDevice, b"", limits::DEVICES)?;
        let mut devices: Vec<OwnDevice> = rows
            .into_iter()
            .map(|(key, known)| OwnDevice {
                id: Uuid::from_slice(&key).unwrap_or_default(),
                name: known.name,
                registered: known.registered,
                state: known.state,
            })
            .collect();
        devices.sort_by_key(|device| (device.registered, device.id));
        Ok(devices)
    }

    /// The code to compare with another device of this account: it shows the same for this one.
    pub fn device_code(&self, other: Uuid) -> Result<VerificationCode, Error> {
        let own = self.own_device()?;
        let known = self.known_device(other)?.filter(|_| other != own);
        let theirs = known.ok_or(Error::UnknownDevice(other))?.key;
        let identity = self.identity()?.ok_or(Error::NotEnrolled)?;
        let mine = self.keys.public(&KeyHandle(identity.device_key))?.to_spki();
        let mut both = [
            [&own.as_bytes()[..], &mine].concat(),
            [&other.as_bytes()[..], &theirs].concat(),
        ];
        both.sort();
        let account = self.account.as_str().as_bytes();
        let digits = code::digits(code::DEVICES, &[account, &both[0], &both[1]]);
        let id = own.to_string();
        Ok(VerificationCode {
            room: None,
            with: Some(crate::event::Device {
                account: self.account.as_str().to_owned(),
                device: other.into_bytes(),
            }),
            epoch: 0,
            uri: code::uri(&self.account, &[("device", &id)], &digits),
            digits,
        })
    }

    /// The person has compared: `code` is what the other device shows. From now on it is known as
    /// theirs, and this device lets it into every room it is in.
    pub fn confirm_device(&mut self, other: Uuid, code: &str, now: u64) -> Result<(), Error> {
        let digits = code::read(code).ok_or(Error::NoCode)?;
        if self.device_code(other)?.digits != digits {
            return Err(Error::CodeDiffers);
        }
        self.input(now, |engine| {
            let mut known = engine
                .known_device(other)?
                .filter(|known| known.state != DeviceState::Revoked)
                .ok_or(Error::UnknownDevice(other))?;
            known.state = DeviceState::Confirmed;
            engine.write_device(other, &known)?;
            engine.tell(Event::DeviceConfirmed { id: other });
            engine.admit(other)
        })
    }

    /// Lets a device of this account into the rooms it is not in yet.
    fn admit(&mut self, device: Uuid) -> Result<(), Error> {
        for (room, mut record) in self.all_rooms()? {
            if record.stage != Stage::Active || record.leaving {
                continue;
            }
            let here = self.members(&room)?;
            let own =
                |m: &comity_mls_wire::room::Member| m.account == self.account && m.device == device;
            if here.iter().any(own) {
                continue;
            }
            let invited = vec![Invited {
                account: self.account.as_str().to_owned(),
                only: Some(device.into_bytes()),
                claimed: false,
                packages: Vec::new(),
            }];
            self.add_plan(&room, &mut record, &Plan::Add(AddPlan { invited }))?;
            self.write_record(&room, &record)?;
            self.touched.insert(room);
        }
        Ok(())
    }

    /// Asks the Authentication Service for the account's devices; each session begins with it.
    pub fn refresh_devices(&mut self, now: u64) -> Result<(), Error> {
        self.input(now, |engine| {
            engine.ask_devices(now);
            Ok(())
        })
    }

    pub(crate) fn ask_devices(&mut self, now: u64) {
        self.ask(
            Purpose::Devices,
            Destination::Own,
            Request::Authority(authority::Request::Devices),
            now,
        );
    }

    pub(crate) fn on_devices(
        &mut self,
        devices: Vec<authority::Device>,
        now: u64,
    ) -> Result<(), Error> {
        let own = self.own_device()?;
        // What is there when this device first looks was there before it.
        let first = self.known_device(own)?.is_none();
        for device in devices.into_iter().take(limits::DEVICES) {
            self.take_device(device, first, true)?;
        }
        self.tell(Event::OwnDevices);
        self.ask_entries(now)
    }

    pub(crate) fn on_device_notice(&mut self, notice: authority::Notice) -> Result<(), Error> {
        match notice {
            authority::Notice::DeviceAdded(device) => self.take_device(device, false, false),
            authority::Notice::DeviceRevoked { id } => match self.known_device(id)? {
                Some(known) => self.end_device(id, known),
                // Heard of for the first time as it ends.
                None => {
                    self.tell(Event::OwnDevice {
                        id,
                        name: None,
                        revoked: true,
                    });
                    Ok(())
                }
            },
            // Of no device: whoever hears notices has taken it already.
            authority::Notice::CrlIssued { .. } => Ok(()),
        }
    }

    /// One device as the Authentication Service names it.
    fn take_device(
        &mut self,
        device: authority::Device,
        first: bool,
        again: bool,
    ) -> Result<(), Error> {
        let own = self.device()?;
        let id = device.id;
        let known = self.known_device(id)?;
        let state = match &known {
            _ if Some(id) == own => DeviceState::This,
            Some(known) if known.key != device.device_key => {
                self.warn(
                    None,
                    Warning::DeviceKeyChanged {
                        name: device.name.clone(),
                        device: id,
                    },
                );
                DeviceState::Unknown
            }
            Some(known) => known.state,
            None if first => DeviceState::Earlier,
            None => DeviceState::Unknown,
        };
        let now_known = Known {
            name: device.name,
            registered: device.registered,
            key: device.device_key.to_vec(),
            state,
        };
        if device.revoked.is_some() {
            return match known {
                // What ended before this device heard of it is no news.
                None => self.write_device(
                    id,
                    &Known {
                        state: DeviceState::Revoked,
                        ..now_known
                    },
                ),
                Some(known) => self.end_device(id, known),
            };
        }
        // Each session reminds of what is still not confirmed.
        if state == DeviceState::Unknown && (again || known.is_none()) {
            self.tell(Event::OwnDevice {
                id,
                name: Some(now_known.name.clone()),
                revoked: false,
            });
        }
        self.write_device(id, &now_known)
    }

    /// This device has ended another; only the others are sent word of it.
    pub(crate) fn on_revoked(&mut self, request: &Request) -> Result<(), Error> {
        match request {
            Request::Authority(authority::Request::Revoke { revoked, .. }) => {
                self.on_device_notice(authority::Notice::DeviceRevoked { id: *revoked })
            }
            _ => Ok(()),
        }
    }

    fn end_device(&mut self, id: Uuid, mut known: Known) -> Result<(), Error> {
        if known.state == DeviceState::Revoked {
            return Ok(());
        }
        known.state = DeviceState::Revoked;
        self.write_device(id, &known)?;
        self.tell(Event::OwnDevice {
            id,
            name: Some(known.name),
            revoked: true,
        });
        Ok(())
    }

    fn known_device(&self, id: Uuid) -> Result<Option<Known>, Error> {
        self.rows.read(Space::OwnDevice, id.as_bytes())
    }

    /// The key with which a device of this account registered, as SubjectPublicKeyInfo.
    pub(crate) fn device_key_of(&self, id: Uuid) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.known_device(id)?.map(|known| known.key))
    }

    fn write_device(&self, id: Uuid, known: &Known) -> Result<(), Error> {
        self.rows.write(Space::OwnDevice, id.as_bytes(), known)
    }

    pub(crate) fn is_confirmed(&self, id: Uuid) -> Result<bool, Error> {
        let known = self.known_device(id)?;
        Ok(known.is_some_and(|known| known.state == DeviceState::Confirmed))
    }
}
