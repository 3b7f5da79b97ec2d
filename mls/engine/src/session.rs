//! Which device this is, and sessions that prove it (RFC 9750 §4).

use bytes::Bytes;
use comity_mls_credential::keys::Algorithm;
use comity_mls_credential::signed;
use comity_mls_wire::authority;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::sync;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use uuid::Uuid;

use crate::engine::{Engine, Timer};
use crate::error::Error;
use crate::event::{Event, Refused, Warning};
use crate::keys::KeyHandle;
use crate::outgoing::{Answer, Answered, Destination, Request};
use crate::requests::{Pending, Purpose, transient};
use crate::room::Stage;
use crate::store::Space;

/// The row of [`Space::Identity`].
const SELF: &[u8] = b"self";
const UPKEEP_EVERY_MS: u64 = 6 * 60 * 60 * 1_000;
/// Octets of a device's name.
pub const MAX_DEVICE_NAME: usize = comity_mls_wire::limits::DEVICE_NAME_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    Down,
    /// Connected; the server does not know yet which device this is.
    Unproved {
        exporter: Option<[u8; 32]>,
    },
    Up {
        exporter: Option<[u8; 32]>,
    },
}

impl Session {
    /// Before the session is proved, only what proves it is asked.
    pub(crate) fn carries(&self, purpose: &Purpose) -> bool {
        match self {
            Self::Down => false,
            Self::Up { .. } => true,
            Self::Unproved { .. } => matches!(
                purpose,
                Purpose::Challenge | Purpose::Register | Purpose::Prove
            ),
        }
    }

    fn exporter(self) -> Option<[u8; 32]> {
        match self {
            Self::Down => None,
            Self::Unproved { exporter } | Self::Up { exporter } => exporter,
        }
    }
}

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

    /// A session with one's own server stands. `exporter` is the tls-exporter value of its stream
    /// (RFC 9266), if there is one.
    pub fn session_started(&mut self, exporter: Option<[u8; 32]>, now: u64) -> Result<(), Error> {
        self.end_session();
        self.session = Session::Unproved { exporter };
        self.input(now, |engine| {
            if engine.identity()?.is_some() {
                engine.ask_challenge(now);
            }
            Ok(())
        })
    }

    /// The session is gone; what is unanswered is asked again when the next one stands.
    pub fn session_ended(&mut self) {
        self.end_session();
    }

    fn end_session(&mut self) {
        self.session = Session::Down;
        self.requests.clear();
        self.drop_outgoing();
        self.clear_timers();
        self.early.clear();
        self.blocked.clear();
        self.welcomes.clear();
        self.known_seq.clear();
        self.broken.clear();
        self.paused.clear();
        self.stock = None;
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

    fn sign_content(&self, content: &[u8]) -> Result<Bytes, Error> {
        let identity = self.identity()?.ok_or(Error::NotEnrolled)?;
        let signature = self.keys.sign(&KeyHandle(identity.device_key), content)?;
        Ok(signature.into())
    }

    fn ask_challenge(&mut self, now: u64) {
        self.ask(
            Purpose::Challenge,
            Destination::Own,
            Request::Authority(authority::Request::Challenge),
            now,
        );
    }

    fn on_challenge(&mut self, nonce: &[u8], now: u64) -> Result<(), Error> {
        let Some(identity) = self.identity()? else {
            return Ok(());
        };
        let account = self.account.as_str().as_bytes();
        let (purpose, request) = match identity.device {
            None => {
                let key = self.keys.public(&KeyHandle(identity.device_key.clone()))?;
                let spki = key.to_spki();
                let content = signed::content(signed::REGISTER, &[nonce, account, &spki]);
                let request = authority::Request::Register {
                    name: identity.name,
                    device_key: spki.into(),
                    signature: self.sign_content(&content)?,
                };
                (Purpose::Register, request)
            }
            Some(device) => {
                let exporter = self.session.exporter();
                let bound = exporter.as_ref().map_or(&[][..], |value| &value[..]);
                let content = signed::content(signed::PROVE, &[nonce, account, &device, bound]);
                let request = authority::Request::Prove {
                    device: Uuid::from_bytes(device),
                    bound: exporter.is_some(),
                    signature: self.sign_content(&content)?,
                };
                (Purpose::Prove, request)
            }
        };
        self.ask(purpose, Destination::Own, Request::Authority(request), now);
        Ok(())
    }

    fn on_registered(&mut self, device: Uuid, now: u64) -> Result<(), Error> {
        if let Some(mut identity) = self.identity()? {
            identity.device = Some(device.into_bytes());
            self.write_identity(&identity)?;
            // A nonce is good for one signature.
            self.ask_challenge(now);
        }
        Ok(())
    }

    /// The session speaks for this device: everything the store still wants is asked.
    fn on_proved(&mut self, now: u64) -> Result<(), Error> {
        self.session = Session::Up {
            exporter: self.session.exporter(),
        };
        self.tell(Event::Online);
        for (room, mut record) in self.all_rooms()? {
            // A newer version of this program may know how to go on.
            if record.stage == Stage::Stopped {
                record.stage = Stage::Active;
                self.write_record(&room, &record)?;
            }
        }
        self.sync(now)?;
        self.restock(now)?;
        for (room, record) in self.all_rooms()? {
            if !matches!(record.stage, Stage::Left | Stage::Stopped) {
                self.touched.insert(room);
            }
        }
        self.set_timer(Timer::Upkeep, now + UPKEEP_EVERY_MS);
        self.upkeep(now)
    }

    /// What is new in all rooms, and waiting Welcomes; then live.
    pub(crate) fn sync(&mut self, now: u64) -> Result<(), Error> {
        self.clear_timer(&Timer::Behind);
        let cursors = self
            .all_rooms()?
            .into_iter()
            .filter(|(_, record)| record.stage == Stage::Active)
            .map(|(room, record)| (room, record.seq))
            .collect();
        self.ask(
            Purpose::Sync,
            Destination::Own,
            Request::Sync(sync::Request::Sync { cursors }),
            now,
        );
        Ok(())
    }

    /// Entries that should have come did not: the server is asked to send them again.
    pub(crate) fn sync_if_behind(&mut self, now: u64) -> Result<(), Error> {
        for (room, record) in self.all_rooms()? {
            let waits = self.blocked.contains_key(&room);
            if record.stage == Stage::Active && !waits && self.is_behind(&room, &record) {
                return self.sync(now);
            }
        }
        // The chain may have broken without leaving a trace here.
        match self.broken.is_empty() {
            true => Ok(()),
            false => {
                self.broken.clear();
                self.sync(now)
            }
        }
    }

    /// Next look after certificates, leaves and packages.
    pub(crate) fn schedule_upkeep(&mut self, now: u64) {
        self.set_timer(Timer::Upkeep, now + UPKEEP_EVERY_MS);
    }

    pub(crate) fn on_device_notice(&mut self, notice: authority::Notice) -> Result<(), Error> {
        let event = match notice {
            authority::Notice::DeviceAdded(device) => Event::OwnDevice {
                id: device.id,
                name: Some(device.name),
                revoked: false,
            },
            authority::Notice::DeviceRevoked { id } => Event::OwnDevice {
                id,
                name: None,
                revoked: true,
            },
        };
        self.tell(event);
        Ok(())
    }

    pub(crate) fn on_answer(
        &mut self,
        pending: Pending,
        answer: Answered,
        now: u64,
    ) -> Result<(), Error> {
        let refusal = match answer {
            Ok(answer) => return self.on_granted(pending, answer, now),
            Err(refusal) => refusal,
        };
        if let Some(pause) = transient(&refusal) {
            self.requests.pause(pending, pause, now);
            return Ok(());
        }
        let proves = matches!(
            pending.purpose,
            Purpose::Challenge | Purpose::Register | Purpose::Prove
        );
        if refusal == Refusal::NoDevice && !proves {
            // The server forgot which device this is: prove it again, then ask again.
            self.requests.pause(pending, 0, now);
            self.session = Session::Unproved {
                exporter: self.session.exporter(),
            };
            self.ask_challenge(now);
            return Ok(());
        }
        self.on_refused(pending, &refusal, now)
    }

    fn on_granted(&mut self, pending: Pending, answer: Answer, now: u64) -> Result<(), Error> {
        use comity_mls_wire::{keys, room};
        match (pending.purpose, answer) {
            (Purpose::Challenge, Answer::Authority(authority::Answer::Challenge { nonce })) => {
                self.on_challenge(&nonce, now)
            }
            (Purpose::Register, Answer::Authority(authority::Answer::Registered { device })) => {
                self.on_registered(device, now)
            }
            (Purpose::Prove, Answer::Authority(authority::Answer::Proved)) => self.on_proved(now),
            (Purpose::Enrol, Answer::Authority(authority::Answer::Certificates(certificates))) => {
                self.on_certificates(&certificates, now)
            }
            (
                Purpose::Anchors(domain),
                Answer::Authority(authority::Answer::Anchors { statement }),
            ) => self.on_anchors(&domain, &statement, now),
            (Purpose::Revoke, Answer::Authority(authority::Answer::Revoked)) => Ok(()),
            (Purpose::Publish, Answer::Keys(keys::Answer::Published(counts))) => {
                self.on_published(counts, now)
            }
            (Purpose::Count, Answer::Keys(keys::Answer::Counts(counts))) => {
                self.on_counts(counts, now)
            }
            (Purpose::Claim { room, account }, Answer::Keys(keys::Answer::Claimed(claimed))) => {
                self.on_claimed(&room, &account, claimed)
            }
            (Purpose::Sync, Answer::Sync(sync::Answer::Syncing { rooms })) => {
                self.on_syncing(rooms, now)
            }
            (Purpose::Acknowledge(room), Answer::Sync(sync::Answer::Acknowledged)) => {
                self.on_acknowledged(&room, &pending.request, now)
            }
            (Purpose::AcknowledgeWelcome(_), Answer::Sync(sync::Answer::Acknowledged)) => Ok(()),
            (Purpose::Hub(room), Answer::Room(room::Answer::Hub(hub))) => {
                self.on_hub(&room, &hub, now)
            }
            (Purpose::InFlight(room, key), Answer::Room(room::Answer::Accepted(accepted))) => {
                self.on_accepted(&room, key, &accepted, now)
            }
            _ => {
                self.warn(
                    None,
                    Warning::Unexpected {
                        what: "an answer that does not fit its request",
                    },
                );
                Ok(())
            }
        }
    }

    fn on_refused(&mut self, pending: Pending, refusal: &Refusal, now: u64) -> Result<(), Error> {
        match pending.purpose {
            Purpose::Challenge | Purpose::Register => {
                self.refused(None, Refused::Enrolment, refusal);
            }
            Purpose::Prove => self.refused(None, Refused::Session, refusal),
            Purpose::Enrol => return self.on_enrol_refused(refusal, now),
            Purpose::Publish => return self.on_publish_refused(refusal, now),
            Purpose::Count => {
                self.set_timer(Timer::Stock, now + UPKEEP_EVERY_MS);
            }
            Purpose::Anchors(domain) => self.on_anchors_refused(&domain, refusal, now),
            Purpose::Hub(room) => return self.on_creation_refused(&room, refusal),
            Purpose::Claim { room, account } => {
                return self.on_claim_refused(&room, &account, refusal);
            }
            Purpose::InFlight(room, key) => {
                return self.on_in_flight_refused(&room, key, refusal, now);
            }
            Purpose::Sync => {
                self.refused(None, Refused::Session, refusal);
                self.set_timer(Timer::Behind, now + 60_000);
            }
            Purpose::Revoke => self.refused(None, Refused::Session, refusal),
            // The server keeps what it holds for us; the next acknowledgement is cumulative.
            Purpose::Acknowledge(_) | Purpose::AcknowledgeWelcome(_) => {}
        }
        Ok(())
    }
}
