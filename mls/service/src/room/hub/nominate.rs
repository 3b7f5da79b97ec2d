//! The hub asks a device to commit what is pending.

use std::sync::Arc;

use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Answer, Member};
use comity_storage::rooms::Appended;
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use super::{ATTEMPTS, Asked, Decided, Hub, Pool, Reply, destinations};
use crate::error::{Refused, internal};
use crate::room::nominate::{self, Active, Next};
use crate::room::rows;
use crate::room::state::Room;

/// Devices of a room that are looked at, those that were there last.
const MAX_ACTIVE: usize = 1_024;

/// What came of it.
#[derive(Debug)]
pub struct Nomination {
    /// The device that was asked, and who is to be told.
    pub asked: Option<(Member, Reply)>,
    /// When to look again, in milliseconds since 1970; none: when there is another proposal.
    pub again: Option<u64>,
}

impl<P: Pool> Hub<P> {
    /// Asks the next device of a room to commit what is pending, if it is time to, at `now`
    /// (milliseconds since 1970).
    pub async fn nominate(&self, room: &BareJid, now: u64) -> Result<Nomination, Refused> {
        let done = |asked, again| Nomination { asked, again };
        let Some(hub) = self.shared.surroundings.hub_key(room.domain()) else {
            return Ok(done(None, None));
        };
        let asked = Asked {
            room: room.clone(),
            hub,
            digest: [0; 32],
            now,
        };
        let mut slot = self.cache.lock(room).await;
        for _ in 0..ATTEMPTS {
            let Some(loaded) = self.load(&mut slot, room).await? else {
                return Ok(done(None, None));
            };
            let member = match nominate::next(&loaded.state, &self.active(room).await?, now) {
                Next::Nothing => return Ok(done(None, None)),
                Next::At(time) => return Ok(done(None, Some(time))),
                Next::Now(member) => member,
            };
            let decided = self.decide_nomination(&asked, loaded, &member).await?;
            match self.shared.storage.write(decided.append.clone()).await {
                Ok(Appended::Done) => {
                    let again = match nominate::next(&decided.next.state, &Active::new(), now) {
                        Next::At(time) => Some(time),
                        Next::Nothing | Next::Now(_) => None,
                    };
                    *slot = Some(decided.next);
                    let reply = Reply {
                        answer: Answer::Accepted(decided.accepted),
                        entry: Some(decided.entry),
                        wake: destinations(&decided.append),
                        sweep: false,
                        snapshot: false,
                        ephemeral: None,
                    };
                    return Ok(done(Some((member, reply)), again));
                }
                // Another process has lengthened the log: it is read anew.
                Ok(Appended::Moved) => *slot = None,
                Err(error) => {
                    *slot = None;
                    return Err(internal(error, "asking a device to commit").into());
                }
            }
        }
        Err(internal(
            "the room is never where it was read",
            "asking a device to commit",
        )
        .into())
    }

    async fn active(&self, room: &BareJid) -> Result<Active, Refusal> {
        let found = self.shared.storage.room_active(room.as_str(), MAX_ACTIVE);
        let found = found
            .await
            .map_err(|error| internal(error, "reading who is there"))?;
        let read = |row: comity_storage::rooms::Active| {
            let account = rows::address(&row.account).ok()?;
            let device = Uuid::from_bytes(row.device);
            Some((Member { account, device }, row.time))
        };
        Ok(found.into_iter().filter_map(read).collect())
    }

    async fn decide_nomination(
        &self,
        asked: &Asked,
        room: Room,
        member: &Member,
    ) -> Result<Decided, Refused> {
        let (shared, asked) = (Arc::clone(&self.shared), asked.clone());
        let member = member.clone();
        let work = move || nominate::nominate(&shared.deciding(&asked), &room, &member);
        match self.pool.run(work).await {
            Some(decided) => decided,
            None => Err(internal("the pool is gone", "asking a device to commit").into()),
        }
    }
}
