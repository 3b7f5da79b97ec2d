//! Pre-shared keys (RFC 9420 §8.4): handed out inside the room, or exported from another room that all
//! members share, and used by a commit of whoever brought them. A commit with a PSK that somebody
//! lacks cannot be followed by them, so it is made when every device has said that it holds it.

use comity_mls_credential::signed;
use comity_xmpp::jid::BareJid;
use mls_rs::group::proposal::Proposal;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use mls_rs_core::psk::{ExternalPskId, PreSharedKey, PreSharedKeyStorage};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;

use crate::commit::members;
use crate::content::PSK;
use crate::engine::{Engine, Timer};
use crate::error::Error;
use crate::event::{Device, Refused};
use crate::flow::MAX_PLANS;
use crate::mls::Group;
use crate::plan::check_open;
use crate::room::{Plan, PskPlan, Record, Stage};
use crate::rows::{self, Rows};
use crate::rules::agreed;
use crate::store::Space;

/// Devices of a room beside one's own: each answers, and each reads every answer.
pub const MAX_PSK_HOLDERS: usize = 250;
/// What all must have said that they hold within this time, or it is given up.
pub const PSK_WITHIN_MS: u64 = 24 * 60 * 60 * 1_000;
/// The other room moved on before all had exported: it is tried so often.
const MAX_OFFERS: u8 = 8;
const SECRET_BYTES: usize = 32;
/// The label under which another room's secret is exported (RFC 9420 §8.5).
const EXPORTED: &[u8] = b"comity psk";

mod held;

type Nonce = [u8; 16];

/// What the content type `psk` carries.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct Offer {
    nonce: Nonce,
    /// By it a receiver knows that it has the same secret.
    check: [u8; 32],
    source: Source,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
enum Source {
    /// The secret itself.
    Given([u8; SECRET_BYTES]) = 1,
    /// It is exported from that epoch of another room.
    Exported(Place) = 2,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
struct Place {
    room: String,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    group_id: Vec<u8>,
    epoch: u64,
}

/// A PSK of a room, by the nonce its id ends with.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
struct Kept {
    by: Device,
    /// None: the other room has not come to that epoch here.
    secret: Option<[u8; SECRET_BYTES]>,
    check: [u8; 32],
    place: Option<Place>,
    /// Milliseconds since 1970, by the hub's clock, or by this device's where it brought it.
    time: u64,
    /// Who has said to hold what this device brought.
    holders: Vec<Device>,
}

/// Where mls-rs looks for a PSK: its id is the key of its row.
#[derive(Clone)]
pub(crate) struct Psks(pub(crate) Rows);

impl PreSharedKeyStorage for Psks {
    type Error = Error;

    fn get(&self, id: &ExternalPskId) -> Result<Option<PreSharedKey>, Error> {
        let kept: Option<Kept> = self.0.read(Space::Psk, id)?;
        let secret = kept.and_then(|kept| kept.secret);
        Ok(secret.map(|secret| PreSharedKey::new(secret.to_vec())))
    }
}

/// What a plan's PSK is ready for.
pub(crate) enum Readiness {
    Held,
    Waits,
    /// The plan is gone and the person told.
    GivenUp,
}

impl Engine {
    /// Hands a fresh secret to all devices of the room, inside it, and once each has said that it
    /// holds it, commits it into the room's keys.
    pub fn bring_psk(&mut self, room: &BareJid, now: u64) -> Result<(), Error> {
        self.want_psk(room, None, now)
    }

    /// Carries the secrecy of another room over to this one (RFC 9750 §6.2): who reads this room's keys
    /// and not that one's is shut out by the commit. All devices of this room must be in the other.
    pub fn heal(&mut self, room: &BareJid, from: &BareJid, now: u64) -> Result<(), Error> {
        self.want_psk(room, Some(from), now)
    }

    fn want_psk(&mut self, room: &BareJid, from: Option<&BareJid>, now: u64) -> Result<(), Error> {
        self.input(now, |engine| {
            let mut record = engine.known_room(room)?;
            check_open(room, &record)?;
            if record.stage != Stage::Active || record.leaving {
                return Err(Error::RoomClosed(
                    room.clone(),
                    "this device is not in it now",
                ));
            }
            let group = engine.take_group(room, &record)?;
            let policy = agreed(&group);
            let there = members(&group);
            engine.keep_group(room, group);
            policy
                .check_psk(&engine.account)
                .map_err(|broken| Error::Forbidden(broken.to_string()))?;
            if there.len() > MAX_PSK_HOLDERS + 1 {
                return Err(Error::TooMuch {
                    what: "devices of a room that is given a pre-shared key, beside one's own",
                    limit: MAX_PSK_HOLDERS,
                });
            }
            let prefix = rows::of_room(room.as_str());
            let plans = engine.rows.list::<Plan>(Space::Plan, &prefix, MAX_PLANS)?;
            if plans.iter().any(|(_, plan)| matches!(plan, Plan::Psk(_))) {
                return Err(Error::TooMuch {
                    what: "pre-shared keys of a room that wait to be used",
                    limit: 1,
                });
            }
            if let Some(from) = from {
                engine.check_shared(room, from, &there)?;
            }
            let mut plan = PskPlan {
                nonce: [0; 16],
                from: from.map(|from| from.as_str().to_owned()),
                since: now,
                offers: 0,
            };
            engine.offer(room, &mut record, &mut plan, now)?;
            engine.add_plan(room, &mut record, &Plan::Psk(plan))?;
            engine.write_record(room, &record)?;
            engine.touched.insert(room.clone());
            Ok(())
        })
    }

    /// Is everybody of one room in the other, which this device can export from?
    fn check_shared(
        &mut self,
        room: &BareJid,
        from: &BareJid,
        there: &[(BareJid, uuid::Uuid)],
    ) -> Result<(), Error> {
        let source = self.known_room(from)?;
        if source.stage != Stage::Active || from == room {
            return Err(Error::RoomClosed(
                from.clone(),
                "nothing can be exported from it",
            ));
        }
        let group = self.take_group(from, &source)?;
        let shared = members(&group);
        self.keep_group(from, group);
        match there.iter().find(|member| !shared.contains(member)) {
            None => Ok(()),
            Some((account, device)) => Err(Error::NotShared {
                room: from.clone(),
                account: account.clone(),
                device: *device,
            }),
        }
    }

    /// Makes the secret and queues the message that hands it out.
    fn offer(
        &mut self,
        room: &BareJid,
        record: &mut Record,
        plan: &mut PskPlan,
        now: u64,
    ) -> Result<(), Error> {
        self.rows.delete(Space::Psk, &row(room, &plan.nonce));
        plan.nonce = crate::random::uuid()?.into_bytes();
        plan.offers += 1;
        let (secret, source) = match &plan.from {
            None => {
                let mut secret = [0; SECRET_BYTES];
                openssl::rand::rand_bytes(&mut secret)?;
                (secret, Source::Given(secret))
            }
            Some(from) => {
                let corrupt = |_| Error::Corrupt {
                    space: Space::Plan.name(),
                };
                let from = BareJid::parse(from).map_err(corrupt)?;
                let source = self.known_room(&from)?;
                let secret = self.export(&from, &source, room, &plan.nonce)?;
                let place = Place {
                    room: from.as_str().to_owned(),
                    group_id: source.group_id,
                    epoch: source.epoch,
                };
                (secret, Source::Exported(place))
            }
        };
        let check = check(&secret, room, &plan.nonce)?;
        let kept = Kept {
            by: self.own()?,
            secret: Some(secret),
            check,
            place: match &source {
                Source::Given(_) => None,
                Source::Exported(place) => Some(place.clone()),
            },
            time: now,
            holders: Vec::new(),
        };
        self.rows
            .write(Space::Psk, &row(room, &plan.nonce), &kept)?;
        let offer = Offer {
            nonce: plan.nonce,
            check,
            source,
        };
        let content = offer
            .mls_encode_to_vec()
            .map_err(|e| Error::Mls(e.to_string()))?;
        self.queue(room, record.next_message, PSK, &content)?;
        record.next_message += 1;
        Ok(())
    }

    fn export(
        &mut self,
        from: &BareJid,
        source: &Record,
        room: &BareJid,
        nonce: &Nonce,
    ) -> Result<[u8; SECRET_BYTES], Error> {
        let group = self.take_group(from, source)?;
        let secret = group.export_secret(EXPORTED, &row(room, nonce), SECRET_BYTES)?;
        self.keep_group(from, group);
        <[u8; SECRET_BYTES]>::try_from(secret.as_bytes())
            .map_err(|_| Error::Mls("an exported secret has another length".to_owned()))
    }

    /// May the commit of this plan be made?
    pub(crate) fn psk_is_held(
        &mut self,
        room: &BareJid,
        record: &mut Record,
        group: &Group,
        (number, plan): (u64, &PskPlan),
        now: u64,
    ) -> Result<Readiness, Error> {
        let key = row(room, &plan.nonce);
        let kept: Option<Kept> = self.rows.read(Space::Psk, &key)?;
        let until = plan.since.saturating_add(PSK_WITHIN_MS);
        let Some(kept) = kept else {
            return self.give_up_psk(room, number, "it is not there any more");
        };
        let own = self.own()?;
        let lacks = members(group).into_iter().map(|(account, device)| Device {
            account: account.as_str().to_owned(),
            device: device.into_bytes(),
        });
        let lacks: Vec<_> = lacks
            .filter(|device| *device != own && !kept.holders.contains(device))
            .collect();
        if lacks.is_empty() {
            // Who is added by the same commit could not open their Welcome: they come first.
            let adds =
                |info: &mls_rs::group::CachedProposal| matches!(info.proposal(), Proposal::Add(_));
            return Ok(match group.get_cached_proposals().iter().any(adds) {
                true => Readiness::Waits,
                false => Readiness::Held,
            });
        }
        if now >= until {
            let first = &lacks[0];
            let why = format!(
                "{} of the devices here, among them {} of {}, did not say that they hold it",
                lacks.len(),
                first.id(),
                first.account
            );
            return self.give_up_psk(room, number, &why);
        }
        if let Some(place) = &kept.place {
            let from = BareJid::parse(&place.room).ok();
            let source = from.map(|from| self.record(&from)).transpose()?.flatten();
            let source = source.filter(|source| source.stage == Stage::Active);
            match source {
                None => {
                    let why = "this device is no longer in the room that it is exported from";
                    return self.give_up_psk(room, number, why);
                }
                // Not all came to that epoch in time; what has ended cannot be exported from.
                Some(source) if source.epoch != place.epoch && plan.offers < MAX_OFFERS => {
                    let mut again = plan.clone();
                    self.offer(room, record, &mut again, now)?;
                    let key = rows::numbered(room.as_str(), number);
                    self.rows.write(Space::Plan, &key, &Plan::Psk(again))?;
                }
                Some(_) => {}
            }
        }
        self.set_timer(Timer::Retry(room.clone()), until);
        Ok(Readiness::Waits)
    }

    fn give_up_psk(&mut self, room: &BareJid, number: u64, why: &str) -> Result<Readiness, Error> {
        self.drop_plan(room, number)?;
        self.refused(Some(room), Refused::Psk, why);
        Ok(Readiness::GivenUp)
    }

    pub(crate) fn forget_psk(&self, room: &BareJid, nonce: &Nonce) {
        self.rows.delete(Space::Psk, &row(room, nonce));
    }
}

/// The id of the PSK in MLS and the key of its row: the room's address, a zero octet, the nonce.
fn row(room: &BareJid, nonce: &Nonce) -> Vec<u8> {
    let mut key = rows::of_room(room.as_str());
    key.extend_from_slice(nonce);
    key
}

/// The id for mls-rs.
pub(crate) fn id(room: &BareJid, plan: &PskPlan) -> ExternalPskId {
    ExternalPskId::new(row(room, &plan.nonce))
}

fn check(secret: &[u8], room: &BareJid, nonce: &Nonce) -> Result<[u8; 32], Error> {
    let content = signed::content(signed::PSK, &[room.as_str().as_bytes(), nonce]);
    let secret = PKey::hmac(secret)?;
    let mut signer = Signer::new(MessageDigest::sha256(), &secret)?;
    let mut mac = [0; 32];
    signer.update(&content)?;
    signer.sign(&mut mac)?;
    Ok(mac)
}
