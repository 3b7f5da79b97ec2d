//! A member says that it cannot apply a commit.

use std::sync::Arc;

use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Answer, Hash, Member};
use comity_storage::rooms::{Appended, ReportCommit};

use super::{ATTEMPTS, Asked, Decided, Hub, Pool, Reply, destinations, told};
use crate::error::{Refused, internal};
use crate::room::report::{self, Reported};
use crate::room::state::Room;

impl<P: Pool> Hub<P> {
    pub(super) async fn report(
        &self,
        asked: Asked,
        sender: &Member,
        seq: u64,
        hash: Hash,
        why: String,
    ) -> Result<Reply, Refused> {
        self.for_member(&asked.room, sender).await?;
        let storage = &self.shared.storage;
        let row = storage.room_entry(asked.room.as_str(), seq).await;
        let row = row.map_err(|error| internal(error, "reading an entry"))?;
        let reported = report::read(row, &hash)?;
        let change = ReportCommit {
            room: asked.room.as_str().to_owned(),
            seq,
            account: sender.account.as_str().to_owned(),
            device: sender.device.into_bytes(),
            why,
            except: reported.committer.account.as_str().to_owned(),
            now: asked.now,
        };
        let accounts = storage.write(change).await;
        let accounts = accounts.map_err(|error| internal(error, "writing a report"))?;
        tracing::warn!(
            room = %asked.room, seq, reporter = %sender.account, accounts,
            committer = %reported.committer.account, "a commit cannot be applied, says a member"
        );
        self.bar(&asked, &reported, accounts).await
    }

    async fn bar(
        &self,
        asked: &Asked,
        reported: &Reported,
        accounts: u64,
    ) -> Result<Reply, Refused> {
        let mut slot = self.cache.lock(&asked.room).await;
        for _ in 0..ATTEMPTS {
            let room = self.load(&mut slot, &asked.room).await?;
            let room = room.ok_or(Refusal::NoRoom)?;
            if !report::bars(&room, reported, accounts) {
                return Ok(told(Answer::Reported));
            }
            let decided = self.decide_bar(asked, room, reported).await?;
            match self.shared.storage.write(decided.append.clone()).await {
                Ok(Appended::Done) => {
                    *slot = Some(decided.next);
                    return Ok(Reply {
                        answer: Answer::Reported,
                        entry: Some(decided.entry),
                        wake: destinations(&decided.append),
                        sweep: false,
                        snapshot: false,
                        ephemeral: None,
                    });
                }
                // Another process has lengthened the log: it is read anew.
                Ok(Appended::Moved) => *slot = None,
                Err(error) => {
                    *slot = None;
                    return Err(internal(error, "barring a device").into());
                }
            }
        }
        Err(internal("the room is never where it was read", "barring a device").into())
    }

    async fn decide_bar(
        &self,
        asked: &Asked,
        room: Room,
        reported: &Reported,
    ) -> Result<Decided, Refused> {
        let (shared, asked) = (Arc::clone(&self.shared), asked.clone());
        let reported = reported.clone();
        let work = move || report::bar(&shared.deciding(&asked), &room, &reported);
        match self.pool.run(work).await {
            Some(decided) => decided,
            None => Err(internal("the pool is gone", "barring a device").into()),
        }
    }
}
