//! How a room stands is written down whole now and then: what follows is only what changes it.

use std::sync::Arc;

use comity_storage::rooms::{KeepSnapshot, Snapshot};
use comity_xmpp::jid::BareJid;

use super::{Hub, Pool};
use crate::room::public_tree::Fault;
use crate::room::state::{Room, Since};

impl<P: Pool> Hub<P> {
    /// Writes a snapshot of a room, if it is time for one at `now` (milliseconds since 1970). Whatever goes wrong, nothing is lost: what
    /// is stored is followed from the snapshot before.
    pub async fn snapshot(&self, room: &BareJid, now: u64) {
        let mut slot = self.cache.lock(room).await;
        let Ok(Some(loaded)) = self.load(&mut slot, room).await else {
            return;
        };
        let since = loaded.state.since;
        if !since.is_long() && !since.is_old(now) {
            return;
        }
        let (address, tree) = (room.as_str().to_owned(), Arc::clone(&loaded.tree));
        let seq = loaded.state.seq;
        let make = move || -> Result<KeepSnapshot, Fault> {
            let snapshot = Snapshot {
                seq,
                state: tree.state()?,
                tree: tree.tree()?,
            };
            Ok(KeepSnapshot {
                room: address,
                snapshot,
            })
        };
        let keep = match self.pool.run(make).await {
            Some(Ok(keep)) => keep,
            Some(Err(error)) => {
                tracing::error!(%room, %error, "a snapshot of a room cannot be made");
                return;
            }
            None => return,
        };
        let octets = keep.snapshot.state.len() + keep.snapshot.tree.len();
        match self.shared.storage.write(keep).await {
            Ok(true) => {
                if let Some(Room { state, .. }) = &mut *slot {
                    state.since = Since::snapshot(octets);
                }
            }
            // Another process has written a newer one: the room is read anew.
            Ok(false) => *slot = None,
            Err(error) => tracing::error!(%room, %error, "a snapshot of a room cannot be written"),
        }
    }
}
