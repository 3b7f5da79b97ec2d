//! What one who comes by itself needs beforehand: GroupInfo and tree of the current epoch, and the
//! proposals that its commit has to carry.

use std::sync::Arc;

use bytes::Bytes;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Answer, Member};
use comity_xmpp::jid::BareJid;

use super::{Hub, Pool};
use crate::error::internal;
use crate::room::policy::Deed;
use crate::room::state::State;
use crate::room::{external, report};

impl<P: Pool> Hub<P> {
    pub(super) async fn group_info(
        &self,
        room: &BareJid,
        sender: &Member,
        now: u64,
    ) -> Result<Answer, Refusal> {
        let room = self
            .for_whom(room, sender, |state| external::may_come(state, sender))
            .await?;
        report::check_group_info(&room.state, now)?;
        let proposals = self.departures(&room.state).await?;
        let tree = Arc::clone(&room.tree);
        let tree = self
            .pool
            .run(move || tree.packed())
            .await
            .ok_or_else(|| internal("the pool is gone", "exporting a tree"))?
            .map_err(|error| internal(error, "exporting a tree"))?;
        Ok(Answer::GroupInfo {
            group_info: Bytes::copy_from_slice(&room.state.group_info),
            tree,
            epoch: room.state.epoch,
            seq: room.state.seq,
            proposals,
        })
    }

    /// The pending SelfRemoves: an external commit carries them and no other proposal by reference.
    async fn departures(&self, state: &State) -> Result<Vec<Bytes>, Refusal> {
        let mut departures = Vec::new();
        for pending in state.pending.iter().filter(|p| p.deed == Deed::SelfRemove) {
            let after = pending.seq.saturating_sub(1);
            let found = self
                .shared
                .storage
                .room_entries(state.room.as_str(), after, pending.seq, 1, usize::MAX)
                .await
                .map_err(|error| internal(error, "reading a proposal"))?;
            let payload = found.into_iter().next().and_then(|entry| entry.payload);
            departures.extend(payload.map(Bytes::from));
        }
        Ok(departures)
    }
}
