//! What the hub does unasked: it proposes the removal of leaves that have to go.

use std::sync::Arc;

use comity_mls_wire::room::Answer;
use comity_storage::rooms::Appended;
use comity_xmpp::jid::BareJid;

use super::{Asked, Decided, Hub, Pool, Reply, destinations};
use crate::error::{Refused, internal};
use crate::room::removal;
use crate::room::state::Room;

impl<P: Pool> Hub<P> {
    /// Proposes every removal that is due in a room at `now` (milliseconds since 1970), and gives
    /// what has come of it, also where something failed in the end.
    pub async fn sweep(&self, room: &BareJid, now: u64) -> Vec<Reply> {
        let mut replies = Vec::new();
        let Some(hub) = self.shared.surroundings.hub_key(room.domain()) else {
            return replies;
        };
        let asked = Asked {
            room: room.clone(),
            hub,
            digest: [0; 32],
            now,
        };
        let mut slot = self.cache.lock(room).await;
        // Each proposal finds one place of those that may wait.
        for _ in 0..=self.shared.limits.pending {
            let Ok(Some(loaded)) = self.load(&mut slot, room).await else {
                return replies;
            };
            let decided = match self.next_removal(&asked, loaded).await {
                Ok(Some(decided)) => decided,
                Ok(None) => return replies,
                Err(refused) => {
                    tracing::error!(%room, error = %refused.refusal(), "a removal cannot be proposed");
                    return replies;
                }
            };
            match self.shared.storage.write(decided.append.clone()).await {
                Ok(Appended::Done) => {
                    *slot = Some(decided.next);
                    replies.push(Reply {
                        answer: Answer::Accepted(decided.accepted),
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
                    tracing::error!(%room, %error, "a removal cannot be written");
                    return replies;
                }
            }
        }
        replies
    }

    async fn next_removal(&self, asked: &Asked, room: Room) -> Result<Option<Decided>, Refused> {
        let (shared, asked) = (Arc::clone(&self.shared), asked.clone());
        let work = move || removal::next(&shared.deciding(&asked), &room);
        match self.pool.run(work).await {
            Some(decided) => decided,
            None => Err(internal("the pool is gone", "proposing a removal").into()),
        }
    }
}
