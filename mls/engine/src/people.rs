//! The devices of other people, compared (RFC 9750 §8.4.3.3): in all rooms shared with somebody, and
//! with what their domain's directory names. A device that a lying domain slipped into one room is
//! not in the others.

use std::collections::{BTreeMap, BTreeSet};

use comity_xmpp::jid::BareJid;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use uuid::Uuid;

use crate::engine::Engine;
use crate::error::Error;
use crate::event::{Device, Event, InvitedDevice, Warning, What};
use crate::room::Stage;
use crate::store::Space;

/// Rows of devices in rooms that one comparison looks at.
const MAX_SEEN: usize = 100_000;
/// Devices remembered of one account.
const MAX_DEVICES: usize = 1_000;
/// A new device comes to one room after the other; it is odd when it has not after this.
const ODD_AFTER_MS: u64 = 24 * 60 * 60 * 1_000;

/// What is remembered of somebody else's devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
struct Listed {
    /// Those its directory named last, or none if it was never asked.
    named: Option<Vec<[u8; 16]>>,
    /// Those the person was warned of.
    reported: Vec<[u8; 16]>,
}

type Rooms = BTreeMap<[u8; 16], BTreeSet<BareJid>>;

impl Engine {
    /// Who came and went with a commit.
    pub(crate) fn see_changes(
        &mut self,
        room: &BareJid,
        whats: &[What],
        now: u64,
    ) -> Result<(), Error> {
        for what in whats {
            match what {
                What::Added(change) => self.see(room, &change.who, now)?,
                What::Removed(change) => {
                    let key = seen_key(&change.who, room);
                    self.rows.delete(Space::Seen, &key);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A device is in a room.
    pub(crate) fn see(&mut self, room: &BareJid, who: &Device, now: u64) -> Result<(), Error> {
        if who.account == self.account.as_str() {
            return Ok(());
        }
        self.rows.write(Space::Seen, &seen_key(who, room), &now)
    }

    /// An invitation learned what devices an account has: the person sees them, and what is new.
    pub(crate) fn show_invited(
        &mut self,
        room: &BareJid,
        account: &BareJid,
        named: &[Uuid],
    ) -> Result<(), Error> {
        let mut listed = self.listed(account)?;
        let seen = self.rooms_of(account)?;
        let before: Option<BTreeSet<Uuid>> = match account == &self.account {
            true => {
                let own = self.own_devices()?;
                Some(own.into_iter().map(|device| device.id).collect())
            }
            false => listed.named.as_ref().map(|named| {
                let ids = named.iter().chain(seen.keys());
                ids.map(|id| Uuid::from_bytes(*id)).collect()
            }),
        };
        let devices = named
            .iter()
            .map(|id| InvitedDevice {
                id: *id,
                new: before.as_ref().is_some_and(|before| !before.contains(id)),
            })
            .collect();
        self.tell(Event::Inviting {
            room: room.clone(),
            account: account.clone(),
            first: before.is_none(),
            devices,
        });
        if account == &self.account {
            return Ok(());
        }
        let named: Vec<[u8; 16]> = named
            .iter()
            .take(MAX_DEVICES)
            .map(|id| id.into_bytes())
            .collect();
        for (device, rooms) in &self.confirmed(account, seen)? {
            if !named.contains(device) && !listed.reported.contains(device) {
                listed.reported.push(*device);
                let warning = Warning::UnnamedDevice {
                    account: account.to_string(),
                    device: Uuid::from_bytes(*device),
                };
                self.warn(rooms.first(), warning);
            }
        }
        listed.named = Some(named);
        self.write_listed(account, &listed)
    }

    /// Holds everybody's devices in one room against those in the others.
    pub(crate) fn compare_devices(&mut self, now: u64) -> Result<(), Error> {
        let rows = self.rows.list::<u64>(Space::Seen, b"", MAX_SEEN)?;
        let mut people: BTreeMap<String, Vec<(Device, BareJid, u64)>> = BTreeMap::new();
        for (key, since) in rows {
            if let Some((device, room)) = read_seen_key(&key) {
                let theirs = people.entry(device.account.clone()).or_default();
                theirs.push((device, room, since));
            }
        }
        for (account, seen) in people {
            let old = seen.iter().any(|(_, _, at)| at + ODD_AFTER_MS <= now);
            if let (true, Ok(account)) = (old, BareJid::parse(&account)) {
                self.compare(&account, &seen, now)?;
            }
        }
        Ok(())
    }

    fn compare(
        &mut self,
        account: &BareJid,
        seen: &[(Device, BareJid, u64)],
        now: u64,
    ) -> Result<(), Error> {
        let mut rooms: Rooms = BTreeMap::new();
        for (device, room, _) in seen {
            rooms.entry(device.device).or_default().insert(room.clone());
        }
        let mut listed = self.listed(account)?;
        let all = rooms.values().flatten().collect::<BTreeSet<_>>().len();
        let may_be_odd = |(id, inside): (&[u8; 16], &BTreeSet<BareJid>)| {
            inside.len() * 2 <= all && !listed.reported.contains(id)
        };
        if all < 2 || !rooms.iter().any(may_be_odd) {
            return Ok(());
        }
        // Rows may be behind the rooms; what the person is told must not be.
        let rooms = self.confirmed(account, rooms)?;
        let all: BTreeSet<_> = rooms.values().flatten().cloned().collect();
        for (id, inside) in rooms {
            let first_seen = seen
                .iter()
                .filter(|(device, _, _)| device.device == id)
                .map(|(_, _, at)| *at)
                .min();
            let settled = first_seen.is_some_and(|at| at + ODD_AFTER_MS <= now);
            let odd = all.len() >= 2 && inside.len() * 2 <= all.len();
            if !settled || !odd || listed.reported.contains(&id) {
                continue;
            }
            if listed.reported.len() < MAX_DEVICES {
                listed.reported.push(id);
            }
            let warning = Warning::OddDevice {
                account: account.to_string(),
                device: Uuid::from_bytes(id),
                inside: inside.len(),
                all: all.len(),
            };
            self.warn(inside.first(), warning);
        }
        self.write_listed(account, &listed)
    }

    /// The rooms each device of an account was seen in.
    fn rooms_of(&self, account: &BareJid) -> Result<Rooms, Error> {
        let mut prefix = account.as_str().as_bytes().to_vec();
        prefix.push(0);
        let mut rooms: Rooms = BTreeMap::new();
        for (key, _) in self.rows.scan(Space::Seen, &prefix, None, MAX_SEEN)? {
            if let Some((device, room)) = read_seen_key(&key) {
                rooms.entry(device.device).or_default().insert(room);
            }
        }
        Ok(rooms)
    }

    /// Those of the rows that are true of the rooms' trees now; the others are dropped.
    fn confirmed(&mut self, account: &BareJid, rows: Rooms) -> Result<Rooms, Error> {
        let all: BTreeSet<BareJid> = rows.values().flatten().cloned().collect();
        let mut there: BTreeMap<BareJid, BTreeSet<[u8; 16]>> = BTreeMap::new();
        for room in all {
            let active = self
                .record(&room)?
                .is_some_and(|record| record.stage == Stage::Active);
            let members = match active {
                true => self.members(&room)?,
                false => Vec::new(),
            };
            let theirs = members.into_iter().filter(|m| m.account == *account);
            there.insert(room, theirs.map(|m| m.device.into_bytes()).collect());
        }
        let mut confirmed: Rooms = BTreeMap::new();
        for (device, rooms) in rows {
            for room in rooms {
                if there.get(&room).is_some_and(|ids| ids.contains(&device)) {
                    confirmed.entry(device).or_default().insert(room);
                } else {
                    let who = Device {
                        account: account.to_string(),
                        device,
                    };
                    self.rows.delete(Space::Seen, &seen_key(&who, &room));
                }
            }
        }
        Ok(confirmed)
    }

    fn listed(&self, account: &BareJid) -> Result<Listed, Error> {
        let key = account.as_str().as_bytes();
        Ok(self.rows.read(Space::DeviceList, key)?.unwrap_or_default())
    }

    fn write_listed(&self, account: &BareJid, listed: &Listed) -> Result<(), Error> {
        let key = account.as_str().as_bytes();
        self.rows.write(Space::DeviceList, key, listed)
    }
}

/// account ‖ 0x00 ‖ device ‖ room.
fn seen_key(who: &Device, room: &BareJid) -> Vec<u8> {
    let mut key = who.account.as_bytes().to_vec();
    key.push(0);
    key.extend_from_slice(&who.device);
    key.extend_from_slice(room.as_str().as_bytes());
    key
}

fn read_seen_key(key: &[u8]) -> Option<(Device, BareJid)> {
    let end = key.iter().position(|octet| *octet == 0)?;
    let account = std::str::from_utf8(&key[..end]).ok()?.to_owned();
    let (device, room) = key[end + 1..].split_first_chunk::<16>()?;
    let room = BareJid::parse(std::str::from_utf8(room).ok()?).ok()?;
    let device = Device {
        account,
        device: *device,
    };
    Some((device, room))
}
