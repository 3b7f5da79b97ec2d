//! Which device this is, and sessions that prove it (RFC 9750 §4).

use comity_mls_credential::signed;
use comity_mls_wire::authority;
use comity_mls_wire::sync;
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use crate::engine::{Engine, Timer};
use crate::error::Error;
use crate::event::{Event, Warning};
use crate::keys::KeyHandle;
use crate::outgoing::{Destination, Request};
use crate::requests::Purpose;
use crate::room::{Record, Stage};

pub(crate) const UPKEEP_EVERY_MS: u64 = 6 * 60 * 60 * 1_000;
/// So often an entry is asked for before the person learns that it does not come.
const WITHHELD_AFTER: u32 = 6;

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

    pub(crate) fn exporter(self) -> Option<[u8; 32]> {
        match self {
            Self::Down => None,
            Self::Unproved { exporter } | Self::Up { exporter } => exporter,
        }
    }
}

impl Engine {
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
        self.catching.clear();
        self.withheld.clear();
        self.broken.clear();
        self.paused.clear();
        self.hushed.clear();
        self.said.clear();
        self.unsaid.clear();
        self.flags.clear();
        self.stock = None;
        self.synced = false;
        self.strays.clear();
        self.logs.clear();
    }

    pub(crate) fn ask_challenge(&mut self, now: u64) {
        self.ask(
            Purpose::Challenge,
            Destination::Own,
            Request::Authority(authority::Request::Challenge),
            now,
        );
    }

    pub(crate) fn on_challenge(&mut self, nonce: &[u8], now: u64) -> Result<(), Error> {
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

    pub(crate) fn on_registered(&mut self, device: Uuid, now: u64) -> Result<(), Error> {
        if let Some(mut identity) = self.identity()? {
            identity.device = Some(device.into_bytes());
            self.write_identity(&identity)?;
            // A nonce is good for one signature.
            self.ask_challenge(now);
        }
        Ok(())
    }

    /// The session speaks for this device: everything the store still wants is asked.
    pub(crate) fn on_proved(&mut self, now: u64) -> Result<(), Error> {
        self.session = Session::Up {
            exporter: self.session.exporter(),
        };
        self.tell(Event::Online);
        self.ask_devices(now);
        self.ask_complaints(now)?;
        for (room, mut record) in self.all_rooms()? {
            // A newer version of this program may know how to go on.
            if record.stage == Stage::Stopped {
                record.stage = Stage::Active;
                self.write_record(&room, &record)?;
            }
        }
        self.sync(now)?;
        for (room, record) in self.all_rooms()? {
            if !matches!(record.stage, Stage::Left | Stage::Stopped) {
                self.touched.insert(room);
            }
        }
        self.set_timer(Timer::Upkeep, now + UPKEEP_EVERY_MS);
        self.renew_crls(now)?;
        self.upkeep(now)
    }

    /// What is new in all rooms, and waiting Welcomes; then live.
    pub(crate) fn sync(&mut self, now: u64) -> Result<(), Error> {
        self.clear_timer(&Timer::Behind);
        let cursors = self
            .all_rooms()?
            .into_iter()
            .filter(|(_, record)| record.stage.follows())
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
        let behind = self.rooms_behind()?;
        for (room, seq) in &behind {
            let (held, asked) = self.withheld.entry(room.clone()).or_insert((*seq, 0));
            if held != seq {
                (*held, *asked) = (*seq, 0);
            }
            *asked = asked.saturating_add(1);
            if *asked == WITHHELD_AFTER {
                let seq = seq.saturating_add(1);
                self.warn(Some(room), Warning::Withheld { seq });
                // The next answer says what there is; the room does not wait for what is not.
                self.known_seq.remove(room);
                self.early.remove(room);
                self.touched.insert(room.clone());
            }
        }
        if !behind.is_empty() {
            return self.sync(now);
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

    /// Rooms of which more is known to exist than is held, and what is held.
    pub(crate) fn rooms_behind(&self) -> Result<Vec<(BareJid, u64)>, Error> {
        let rooms = self.all_rooms()?.into_iter();
        let behind = |(room, record): &(BareJid, Record)| {
            let waits = self.blocked.contains_key(room);
            record.stage.follows() && !waits && self.is_behind(room, record)
        };
        let behind = rooms.filter(behind);
        Ok(behind.map(|(room, record)| (room, record.seq)).collect())
    }

    /// Next look after certificates, leaves and packages.
    pub(crate) fn schedule_upkeep(&mut self, now: u64) {
        self.set_timer(Timer::Upkeep, now + UPKEEP_EVERY_MS);
    }
}
