//! What another domain with devices in the room asks of its hub.

use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Answer, Change, Entry, Fanout, Member};
use comity_storage::Outgoing;
use comity_storage::rooms::{self as rows_of, AcknowledgeDomain, EnqueueForRoom};
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use super::{Hub, Pool, Reply, told};
use crate::error::{Refused, internal};
use crate::room::fanout;
use crate::room::rows;

/// What a domain says that it holds: everything up to `seq`, and these Welcomes.
pub(super) struct Held<'a> {
    pub(super) seq: u64,
    pub(super) welcomes: &'a [Uuid],
    /// Its devices that are there, the latest first.
    pub(super) active: &'a [Member],
}

impl<P: Pool> Hub<P> {
    /// Entries that a domain lacks. Welcomes it has not acknowledged are sent again beside.
    pub(super) async fn fetch(
        &self,
        room: &BareJid,
        domain: &BareJid,
        after: u64,
        limit: u16,
        now: u64,
    ) -> Result<Reply, Refused> {
        let storage = &self.shared.storage;
        let part = match domain.local() {
            None => storage.room_domain(room.as_str(), domain.domain()).await,
            Some(_) => return Err(Refusal::NoRoom.into()),
        };
        let part = part
            .map_err(|error| internal(error, "reading a domain's part in a room"))?
            .ok_or(Refusal::NoRoom)?;
        let limits = &self.shared.limits;
        let found = storage
            .room_entries(
                room.as_str(),
                after.max(part.since.saturating_sub(1)),
                part.until.unwrap_or(u64::MAX),
                usize::from(limit).clamp(1, limits.fetch_entries),
                limits.fetch_bytes,
            )
            .await
            .map_err(|error| internal(error, "reading entries"))?;
        let mut entries = Vec::with_capacity(found.len());
        for row in found {
            entries.push(rows::entry(room, row).map_err(|error| internal(error, "an entry"))?);
        }
        self.add_changes(&mut entries, domain).await?;
        let again = self.welcomes_again(&entries, domain, now).await?;
        let mut reply = told(Answer::Entries(entries));
        if again {
            // Nothing new in the log; only the outbox is to be looked at.
            reply.wake = vec![domain.domain().to_owned()];
        }
        Ok(reply)
    }

    async fn add_changes(&self, entries: &mut [Entry], domain: &BareJid) -> Result<(), Refusal> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(());
        };
        let found = self
            .shared
            .storage
            .room_changes(first.room.as_str(), domain.domain(), first.seq, last.seq)
            .await
            .map_err(|error| internal(error, "reading changes"))?;
        let base = first.seq;
        for (seq, change) in found {
            let change = change_of(change).map_err(|error| internal(error, "a change"))?;
            // The log has no gaps, so an entry's place follows from its seq.
            let place = usize::try_from(seq - base).unwrap_or(usize::MAX);
            if let Some(entry) = entries.get_mut(place) {
                entry.changes.push(change);
            }
        }
        Ok(())
    }

    async fn welcomes_again(
        &self,
        entries: &[Entry],
        domain: &BareJid,
        now: u64,
    ) -> Result<bool, Refusal> {
        let mut outbox: Vec<Outgoing> = Vec::new();
        for entry in entries
            .iter()
            .filter(|e| e.changes.iter().any(|c| c.joined))
        {
            let found = self
                .shared
                .storage
                .welcome_for_domain(entry.room.as_str(), entry.seq, domain.domain())
                .await
                .map_err(|error| internal(error, "reading a Welcome"))?;
            let Some(row) = found else { continue };
            let welcome = rows::welcome(row).map_err(|error| internal(error, "a Welcome"))?;
            let fanout = Fanout {
                entry: entry.clone(),
                welcome: Some(welcome),
            };
            outbox.push(fanout::outgoing(
                domain.domain(),
                &fanout,
                self.shared.surroundings.as_ref(),
                &self.shared.limits,
                now,
            )?);
        }
        if outbox.is_empty() {
            return Ok(false);
        }
        self.shared
            .storage
            .write(EnqueueForRoom { outbox })
            .await
            .map_err(|error| internal(error, "sending Welcomes again"))?;
        Ok(true)
    }

    /// What a domain holds.
    pub(super) async fn acknowledge(
        &self,
        room: &BareJid,
        domain: &BareJid,
        held: &Held<'_>,
        now: u64,
    ) -> Result<Answer, Refusal> {
        if domain.local().is_some() {
            return Err(Refusal::NoRoom);
        }
        // A domain speaks for its own devices; of several the first was there last.
        let own = held.active.iter().zip(0..);
        let own = own.filter(|(member, _)| member.account.domain() == domain.domain());
        let active = own.map(|(member, place)| rows_of::Active {
            account: member.account.as_str().to_owned(),
            device: member.device.into_bytes(),
            time: now.saturating_sub(place),
        });
        let change = AcknowledgeDomain {
            room: room.as_str().to_owned(),
            domain: domain.domain().to_owned(),
            seq: held.seq,
            welcomes: held.welcomes.iter().map(|id| id.into_bytes()).collect(),
            active: active.collect(),
        };
        match self.shared.storage.write(change).await {
            Ok(true) => Ok(Answer::Acknowledged),
            Ok(false) => Err(Refusal::NoRoom),
            Err(error) => Err(internal(error, "noting an acknowledgement")),
        }
    }
}

fn change_of(row: rows_of::Change) -> Result<Change, rows::Corrupt> {
    Ok(Change {
        member: Member {
            account: rows::address(&row.account)?,
            device: Uuid::from_bytes(row.device),
        },
        joined: row.joined,
    })
}
