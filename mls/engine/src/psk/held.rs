//! PSKs that others hand out: kept, exported when the other room has come so far, answered, and gone
//! when they are used.

use comity_mls_wire::room::Entry;
use comity_xmpp::jid::BareJid;
use mls_rs::group::NewEpoch;
use mls_rs::group::proposal::Proposal;
use mls_rs_codec::MlsDecode as _;
use openssl::memcmp;

use super::{
    Kept, MAX_PSK_HOLDERS, Nonce, Offer, PSK_WITHIN_MS, Place, SECRET_BYTES, Source, check, row,
};
use crate::commit::members;
use crate::content::{Framed, PSK_HELD};
use crate::engine::Engine;
use crate::error::Error;
use crate::event::Device;
use crate::room::{Record, Stage, Waiting};
use crate::rows;
use crate::rules::agreed;
use crate::send::MAX_OUTBOX;
use crate::store::Space;

/// PSKs of one room that wait to be used, one of each device.
const MAX_PSKS: usize = 256;
/// Of all rooms together; more than this are not looked through when an epoch begins.
const MAX_ALL_PSKS: usize = 4_096;
/// One that was not used for so long is forgotten: it cannot be used any more.
const KEPT_MS: u64 = 7 * PSK_WITHIN_MS;

impl Engine {
    /// Somebody hands a PSK out. The error is what the person is told instead.
    pub(crate) fn take_psk(
        &mut self,
        record: &mut Record,
        entry: &Entry,
        framed: &Framed,
        by: Device,
    ) -> Result<Result<(), String>, Error> {
        let room = &entry.room;
        let group = self.take_group(room, record)?;
        let policy = agreed(&group);
        let devices = members(&group).len();
        self.keep_group(room, group);
        let may = BareJid::parse(&by.account)
            .map_err(|e| e.to_string())
            .and_then(|account| policy.check_psk(&account).map_err(|e| e.to_string()));
        if let Err(why) = may {
            return Ok(Err(format!("it hands out a pre-shared key: {why}")));
        }
        let mut content = framed.content.as_slice();
        let offer = match Offer::mls_decode(&mut content) {
            Ok(offer) if content.is_empty() => offer,
            _ => {
                return Ok(Err(
                    "it hands out a pre-shared key that cannot be read".to_owned()
                ));
            }
        };
        self.drop_psks(room, entry.time, &by)?;
        let key = row(room, &offer.nonce);
        let prefix = rows::of_room(room.as_str());
        let full = self.rows.scan(Space::Psk, &prefix, None, MAX_PSKS)?.len() >= MAX_PSKS;
        if full || self.rows.get(Space::Psk, &key)?.is_some() || devices > MAX_PSK_HOLDERS + 1 {
            // It is not held here, and so not used by who keeps the rules.
            return Ok(Ok(()));
        }
        let (secret, place) = match offer.source {
            Source::Given(secret) => (Some(secret), None),
            Source::Exported(place) => (self.exported(room, &place, &offer.nonce)?, Some(place)),
        };
        let mut kept = Kept {
            by,
            secret: None,
            check: offer.check,
            place,
            time: entry.time,
            holders: Vec::new(),
        };
        self.hold_psk(room, record, &offer.nonce, &mut kept, secret)
            .map(Ok)
    }

    /// Older ones of the same device, which it uses no more, and those that nobody has used.
    fn drop_psks(&mut self, room: &BareJid, time: u64, by: &Device) -> Result<(), Error> {
        let prefix = rows::of_room(room.as_str());
        let own = self.own()?;
        for (key, kept) in self.rows.list::<Kept>(Space::Psk, &prefix, MAX_PSKS)? {
            let old = kept.time.saturating_add(KEPT_MS) < time;
            if kept.by != own && (kept.by == *by || old) {
                self.rows.delete(Space::Psk, &key);
            }
        }
        Ok(())
    }

    /// The secret, if the other room is at that very epoch here.
    fn exported(
        &mut self,
        room: &BareJid,
        place: &Place,
        nonce: &Nonce,
    ) -> Result<Option<[u8; SECRET_BYTES]>, Error> {
        let Ok(from) = BareJid::parse(&place.room) else {
            return Ok(None);
        };
        match self.record(&from)? {
            Some(source)
                if source.stage == Stage::Active
                    && source.group_id == place.group_id
                    && source.epoch == place.epoch
                    && from != *room =>
            {
                self.export(&from, &source, room, nonce).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Keeps it, and says so to its author once the secret is there and is the same.
    fn hold_psk(
        &mut self,
        room: &BareJid,
        record: &mut Record,
        nonce: &Nonce,
        kept: &mut Kept,
        secret: Option<[u8; SECRET_BYTES]>,
    ) -> Result<(), Error> {
        if let Some(secret) = secret
            && memcmp::eq(&check(&secret, room, nonce)?, &kept.check)
        {
            kept.secret = Some(secret);
            let prefix = rows::of_room(room.as_str());
            let waiting = self.rows.scan(Space::Outbox, &prefix, None, MAX_OUTBOX)?;
            if waiting.len() < MAX_OUTBOX {
                self.queue(room, record.next_message, PSK_HELD, nonce)?;
                record.next_message += 1;
                self.touched.insert(room.clone());
            }
        }
        self.rows.write(Space::Psk, &row(room, nonce), kept)
    }

    /// Somebody says that it holds what was handed out.
    pub(crate) fn take_psk_held(
        &mut self,
        entry: &Entry,
        framed: &Framed,
        by: Device,
    ) -> Result<(), Error> {
        let room = &entry.room;
        let Ok(nonce) = Nonce::try_from(framed.content.as_slice()) else {
            return Ok(());
        };
        let key = row(room, &nonce);
        let Some(mut kept) = self.rows.read::<Kept>(Space::Psk, &key)? else {
            return Ok(());
        };
        if kept.by == self.own()?
            && !kept.holders.contains(&by)
            && kept.holders.len() < MAX_PSK_HOLDERS
        {
            kept.holders.push(by);
            self.rows.write(Space::Psk, &key, &kept)?;
            self.touched.insert(room.clone());
        }
        Ok(())
    }

    /// An epoch of this room has begun: PSKs that its commit has used are gone, who came back by
    /// itself may have lost what it said to hold, and other rooms may have waited for this epoch.
    pub(crate) fn psks_at_epoch(
        &mut self,
        room: &BareJid,
        new: &NewEpoch,
        back: Option<&Device>,
    ) -> Result<(), Error> {
        for info in new.applied_proposals() {
            if let Proposal::Psk(psk) = &info.proposal
                && let Some(id) = psk.external_psk_id()
            {
                self.rows.delete(Space::Psk, id);
                self.drop_answer(room, id)?;
            }
        }
        for (key, mut kept) in self.rows.list::<Kept>(Space::Psk, b"", MAX_ALL_PSKS)? {
            let Some((target, nonce)) = named(&key) else {
                continue;
            };
            if let Some(back) = back
                && target == *room
            {
                kept.holders.retain(|holder| holder != back);
                self.rows.write(Space::Psk, &key, &kept)?;
            }
            let place = kept.place.clone();
            let Some(place) = place.filter(|p| p.room == room.as_str() && target != *room) else {
                continue;
            };
            self.touched.insert(target.clone());
            if kept.secret.is_none()
                && let Some(mut record) = self.record(&target)?
            {
                let secret = self.exported(&target, &place, &nonce)?;
                self.hold_psk(&target, &mut record, &nonce, &mut kept, secret)?;
                self.write_record(&target, &record)?;
            }
        }
        Ok(())
    }

    /// What was still to be said of a PSK that is used up.
    fn drop_answer(&mut self, room: &BareJid, id: &[u8]) -> Result<(), Error> {
        let Some((_, nonce)) = named(id) else {
            return Ok(());
        };
        let prefix = rows::of_room(room.as_str());
        let outbox = self
            .rows
            .list::<Waiting>(Space::Outbox, &prefix, MAX_OUTBOX + 1)?;
        for (key, waiting) in outbox {
            if waiting.content_type == PSK_HELD && waiting.content == nonce {
                self.rows.delete(Space::Outbox, &key);
            }
        }
        Ok(())
    }

    /// This device is out of the room.
    pub(crate) fn forget_psks(&mut self, room: &BareJid) -> Result<(), Error> {
        let prefix = rows::of_room(room.as_str());
        for (key, _) in self.rows.scan(Space::Psk, &prefix, None, MAX_PSKS + 1)? {
            self.rows.delete(Space::Psk, &key);
        }
        Ok(())
    }
}

fn named(key: &[u8]) -> Option<(BareJid, Nonce)> {
    let (room, nonce) = key.split_last_chunk::<16>()?;
    let room = std::str::from_utf8(room.strip_suffix(&[0])?).ok()?;
    Some((BareJid::parse(room).ok()?, *nonce))
}
