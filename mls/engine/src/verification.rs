//! Devices compared out of band (RFC 9750 §8.4.3.3): codes of a pair and of a room, what was found
//! to be the same, and when that no longer holds.
//!
//! A mark belongs to a device in a room, for a device has another signature key in each. It stays
//! while the leaf's own commits replace its key, for those are signed by the key before. It is lost,
//! and the person told, when the device is there with a key that its former one did not sign for:
//! after it was removed and added again, or came back from outside.

use std::collections::HashMap;

use comity_mls_credential::leaf::Leaf;
use comity_mls_credential::provider::certificate;
use comity_mls_wire::room::Member;
use comity_xmpp::jid::BareJid;
use mls_rs::group::{CommitEffect, CommitMessageDescription};
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};

use crate::code::{self, Epoch, VerificationCode};
use crate::commit::members;
use crate::engine::Engine;
use crate::error::Error;
use crate::event::{Device, Event, What};
use crate::follow::device;
use crate::mls::Group;
use crate::room::Stage;
use crate::rows;
use crate::store::Space;

/// Marks that are kept of one room, and looked at altogether.
const MAX_MARKS: usize = 10_000;
/// Codes shown and not yet confirmed.
const MAX_SHOWN: usize = 16;

/// What is known of a member's device beyond its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// This device itself.
    Own,
    /// Another device of this account, confirmed by the person.
    Confirmed,
    /// Compared in this room, at that time (milliseconds since 1970).
    Verified { since: u64 },
    /// Compared in that other room; here its domain's certificate alone says that it is the same.
    Elsewhere { room: BareJid },
    /// Compared in this room, and there with other keys since then.
    Changed { since: u64, lost: u64 },
    /// Its domain's certificate says who it is, and nobody has compared.
    Unverified,
}

/// One device of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberTrust {
    pub member: Member,
    pub trust: Trust,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
struct Mark {
    /// Milliseconds since 1970.
    since: u64,
    epoch: u64,
    /// The key of its leaf, as MLS writes it.
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    key: Vec<u8>,
    lost: Option<u64>,
}

/// A code that was handed out; whoever confirms it later means these devices with these keys.
pub(crate) struct Shown {
    room: BareJid,
    with: Option<Device>,
    digits: String,
    epoch: u64,
    keys: HashMap<Device, Vec<u8>>,
}

impl Engine {
    /// The code to compare with another device of the room, or with all its members. Both sides must
    /// be in the same epoch.
    pub fn verification_code(
        &mut self,
        room: &BareJid,
        with: Option<&Device>,
    ) -> Result<VerificationCode, Error> {
        let (code, keys) = self.make_code(room, with)?;
        self.shown.retain(|shown| shown.digits != code.digits);
        if self.shown.len() >= MAX_SHOWN {
            self.shown.pop_front();
        }
        self.shown.push_back(Shown {
            room: room.clone(),
            with: with.cloned(),
            digits: code.digits.clone(),
            epoch: code.epoch,
            keys,
        });
        Ok(code)
    }

    /// The person has compared: `code` is what the other side shows, as digits or as the text of
    /// its QR code. Marks the device, or each device of others in the room, if it is the code that
    /// was shown here or is right now; else it is [`Error::CodeDiffers`] and nothing changes.
    pub fn mark_verified(
        &mut self,
        room: &BareJid,
        with: Option<&Device>,
        code: &str,
        now: u64,
    ) -> Result<(), Error> {
        let digits = code::read(code).ok_or(Error::NoCode)?;
        let fits = |shown: &Shown| {
            shown.room == *room && shown.with.as_ref() == with && shown.digits == digits
        };
        let (epoch, keys) = match self.shown.iter().position(fits) {
            Some(place) => match self.shown.remove(place) {
                Some(shown) => (shown.epoch, shown.keys),
                None => return Err(Error::CodeDiffers),
            },
            None => match self.make_code(room, with)? {
                (code, keys) if code.digits == digits => (code.epoch, keys),
                _ => return Err(Error::CodeDiffers),
            },
        };
        self.input(now, |engine| {
            for (device, key) in keys {
                let mark = Mark {
                    since: now,
                    epoch,
                    key,
                    lost: None,
                };
                let row = mark_key(room, &device);
                engine.rows.write(Space::Verified, &row, &mark)?;
                engine.tell(Event::Verified {
                    room: room.clone(),
                    device,
                });
            }
            Ok(())
        })
    }

    /// Takes a mark back.
    pub fn forget_verified(
        &mut self,
        room: &BareJid,
        device: &Device,
        now: u64,
    ) -> Result<(), Error> {
        let key = mark_key(room, device);
        self.input(now, |engine| {
            engine.rows.delete(Space::Verified, &key);
            Ok(())
        })
    }

    /// The devices in a room, with what is known of each.
    pub fn member_trust(&mut self, room: &BareJid) -> Result<Vec<MemberTrust>, Error> {
        let own = self.device()?;
        let here: HashMap<Device, Mark> = self.marks(room)?.into_iter().collect();
        let mut elsewhere = HashMap::new();
        for (key, mark) in self
            .rows
            .list::<Mark>(Space::Verified, b"", MAX_MARKS)?
            .into_iter()
            .filter(|(_, mark)| mark.lost.is_none())
        {
            if let Some((at, device)) = read_mark_key(&key) {
                elsewhere.entry(device).or_insert((at, mark));
            }
        }
        let mut all = Vec::new();
        for member in self.members(room)? {
            let device = Device::from(&member);
            let mine = member.account == self.account;
            let trust = match (here.get(&device), elsewhere.get(&device)) {
                _ if mine && Some(member.device) == own => Trust::Own,
                (Some(mark), _) => match mark.lost {
                    None => Trust::Verified { since: mark.since },
                    Some(lost) => Trust::Changed {
                        since: mark.since,
                        lost,
                    },
                },
                _ if mine && self.is_confirmed(member.device)? => Trust::Confirmed,
                (None, Some((at, _))) => Trust::Elsewhere { room: at.clone() },
                (None, None) => Trust::Unverified,
            };
            all.push(MemberTrust { member, trust });
        }
        Ok(all)
    }

    /// A code and the keys of those it speaks for.
    fn make_code(
        &mut self,
        room: &BareJid,
        with: Option<&Device>,
    ) -> Result<(VerificationCode, HashMap<Device, Vec<u8>>), Error> {
        let record = self.known_room(room)?;
        if record.stage != Stage::Active {
            return Err(Error::RoomClosed(room.clone(), "it has no epoch here"));
        }
        let me = Device {
            account: self.account.as_str().to_owned(),
            device: self.own_device()?.into_bytes(),
        };
        let group = self.take_group(room, &record)?;
        let mut keys = leaf_keys(&group);
        let present = members(&group);
        let authenticator = group.epoch_authenticator()?.as_bytes().to_vec();
        self.keep_group(room, group);
        keys.remove(&me);
        let own = (self.account.clone(), me.id());
        let (label, whose) = match with {
            None => (code::ROOM, present),
            Some(other) => {
                keys.retain(|device, _| device == other);
                let other = present.into_iter().find(|(account, device)| {
                    account.as_str() == other.account && *device == other.id()
                });
                let (Some(other), false) = (other, keys.is_empty()) else {
                    return Err(Error::NoMember(room.clone()));
                };
                (code::PAIR, vec![own, other])
            }
        };
        let epoch = Epoch {
            group_id: &record.group_id,
            number: record.epoch,
            authenticator: &authenticator,
        };
        let identities = whose
            .iter()
            .map(|(account, device)| code::identity(account, *device))
            .collect();
        let digits = epoch.digits(label, identities);
        let (number, id) = (record.epoch.to_string(), me.id().to_string());
        let pairs: &[(&str, &str)] = match with {
            Some(_) => &[
                ("epoch", &number),
                ("account", &me.account),
                ("device", &id),
            ],
            None => &[("epoch", &number)],
        };
        let code = VerificationCode {
            room: Some(room.clone()),
            with: with.cloned(),
            epoch: record.epoch,
            uri: code::uri(room, pairs, &digits),
            digits,
        };
        Ok((code, keys))
    }

    /// The marks of a room.
    fn marks(&self, room: &BareJid) -> Result<Vec<(Device, Mark)>, Error> {
        let prefix = rows::of_room(room.as_str());
        let rows = self
            .rows
            .list::<Mark>(Space::Verified, &prefix, MAX_MARKS)?;
        let device = |(key, mark): (Vec<u8>, Mark)| Some((read_mark_key(&key)?.1, mark));
        Ok(rows.into_iter().filter_map(device).collect())
    }

    /// What follows from a commit: marks go with their keys or are lost, and who came is not taken
    /// for somebody compared.
    pub(crate) fn marks_after_commit(
        &mut self,
        room: &BareJid,
        description: &CommitMessageDescription,
        group: &Group,
        whats: &[What],
        now: u64,
    ) -> Result<(), Error> {
        self.follow_marks(room, rotated(description).as_ref(), group, now)?;
        for what in whats {
            if let What::Added(change) = what {
                self.tell_unverified(room, &change.who)?;
            }
        }
        Ok(())
    }

    /// The room has come to another state, by a commit or because this device joined it anew.
    pub(crate) fn follow_marks(
        &mut self,
        room: &BareJid,
        rotated: Option<&(Device, Vec<u8>)>,
        group: &Group,
        now: u64,
    ) -> Result<(), Error> {
        let marks = self.marks(room)?;
        if marks.is_empty() && !self.shown.iter().any(|shown| shown.room == *room) {
            return Ok(());
        }
        let keys = leaf_keys(group);
        let by_itself = |device: &Device, old: &[u8]| {
            rotated.is_some_and(|(who, before)| who == device && before == old)
        };
        for (device, mut mark) in marks {
            // Who is out of the room may come back, and then shows its key.
            let Some(key) = keys.get(&device) else {
                continue;
            };
            if mark.lost.is_some() || *key == mark.key {
                continue;
            }
            if by_itself(&device, &mark.key) {
                mark.key.clone_from(key);
            } else {
                mark.lost = Some(now);
                self.tell(Event::VerificationLost {
                    room: room.clone(),
                    device: device.clone(),
                });
            }
            let row = mark_key(room, &device);
            self.rows.write(Space::Verified, &row, &mark)?;
        }
        self.shown.retain_mut(|shown| {
            shown.room != *room
                || shown
                    .keys
                    .iter_mut()
                    .all(|(device, old)| match keys.get(device) {
                        Some(key) if key == old => true,
                        Some(key) if by_itself(device, old) => {
                            old.clone_from(key);
                            true
                        }
                        _ => false,
                    })
        });
        Ok(())
    }

    /// A device came to a room; if the person has compared others of its account there, they are
    /// told that this one is not among them.
    fn tell_unverified(&mut self, room: &BareJid, came: &Device) -> Result<(), Error> {
        if came.account == self.account.as_str() {
            return Ok(());
        }
        let marks = self.marks(room)?;
        let compared = |(device, mark): &(Device, Mark)| {
            device.account == came.account && device != came && mark.lost.is_none()
        };
        if marks.iter().any(compared) && !marks.iter().any(|(device, _)| device == came) {
            self.tell(Event::UnverifiedDevice {
                room: room.clone(),
                device: came.clone(),
            });
        }
        Ok(())
    }
}

/// The committer, if it came from inside and may have replaced its own key.
fn rotated(description: &CommitMessageDescription) -> Option<(Device, Vec<u8>)> {
    let CommitEffect::NewEpoch(new) = &description.effect else {
        return None;
    };
    if description.is_external {
        return None;
    }
    let before = new.prior_state().member_at_index(description.committer)?;
    let who = device(&before.signing_identity)?;
    Some((
        who,
        before.signing_identity.signature_key.as_bytes().to_vec(),
    ))
}

/// The signature key of each leaf.
fn leaf_keys(group: &Group) -> HashMap<Device, Vec<u8>> {
    group
        .roster()
        .members_iter()
        .filter_map(|member| {
            let leaf = certificate(&member.signing_identity.credential)
                .and_then(Leaf::read)
                .ok()?;
            let device = Device {
                account: leaf.account.as_str().to_owned(),
                device: leaf.device?.into_bytes(),
            };
            let key = member.signing_identity.signature_key.as_bytes().to_vec();
            Some((device, key))
        })
        .collect()
}

fn mark_key(room: &BareJid, device: &Device) -> Vec<u8> {
    let mut key = rows::of_room(room.as_str());
    key.extend_from_slice(device.account.as_bytes());
    key.push(0);
    key.extend_from_slice(&device.device);
    key
}

fn read_mark_key(key: &[u8]) -> Option<(BareJid, Device)> {
    let (rest, device) = key.split_last_chunk::<16>()?;
    let mut words = rest.split(|octet| *octet == 0);
    let room = std::str::from_utf8(words.next()?).ok()?;
    let account = std::str::from_utf8(words.next()?).ok()?;
    let device = Device {
        account: account.to_owned(),
        device: *device,
    };
    Some((BareJid::parse(room).ok()?, device))
}
