//! Messages outside the log: looked at as any message is, counted, and handed on to who is there.
//! Nothing of them is written.

use std::collections::HashMap;
use std::sync::PoisonError;

use bytes::Bytes;
use comity_mls_wire::limits::EPHEMERAL_BYTES;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Answer, Ephemeral, Member};
use comity_xmpp::jid::BareJid;

use super::{Hub, Pool, Reply, told};
use crate::error::Refused;
use crate::room::{order, send};

/// Rooms of which it is counted how much a device has sent; beyond, counting begins anew.
const ROOMS: usize = 16_384;

/// What devices have sent in the epochs that their rooms are in. In memory alone: it protects the
/// receivers' ratchets, and each sender counts for itself as well.
#[derive(Default)]
pub(super) struct Passed(HashMap<BareJid, (u64, HashMap<u32, u32>)>);

impl Passed {
    /// One more of the leaf; false if it has sent as many as the policy allows.
    fn take(&mut self, room: &BareJid, epoch: u64, leaf: u32, most: u32) -> bool {
        if self.0.len() >= ROOMS && !self.0.contains_key(room) {
            self.0.clear();
        }
        let counted = self.0.entry(room.clone()).or_default();
        if counted.0 != epoch {
            *counted = (epoch, HashMap::new());
        }
        let sent = counted.1.entry(leaf).or_default();
        let fits = *sent < most;
        *sent += u32::from(fits);
        fits
    }
}

impl<P: Pool> Hub<P> {
    pub(super) async fn ephemeral(
        &self,
        room: &BareJid,
        sender: Member,
        epoch: u64,
        message: Bytes,
    ) -> Result<Reply, Refused> {
        let state = self.for_member(room, &sender).await?.state;
        let leaf = order::admit(&state, &sender, epoch)?;
        let limit = |limit: String| Refusal::LimitReached { limit };
        if message.len() > EPHEMERAL_BYTES {
            let most = format!("{EPHEMERAL_BYTES} octets in a message outside the log");
            return Err(limit(most).into());
        }
        send::check_framing(&state, epoch, &message, true)?;
        let most = state.policy.ephemeral_per_epoch;
        // Nothing panics while it holds the lock.
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if !passed.take(room, epoch, leaf, most) {
            let most = format!("{most} messages outside the log of a device in an epoch");
            return Err(limit(most).into());
        }
        let ephemeral = Ephemeral {
            room: room.clone(),
            epoch,
            sender: sender.account,
            device: sender.device,
            message,
        };
        Ok(Reply {
            ephemeral: Some((ephemeral, state.domains())),
            ..told(Answer::Relayed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(number: usize) -> BareJid {
        BareJid::parse(&format!("r{number}@a.example")).unwrap()
    }

    #[test]
    fn so_many_in_an_epoch_and_as_many_in_the_next() {
        let mut passed = Passed::default();
        let mut take = |epoch, leaf| passed.take(&room(0), epoch, leaf, 2);
        assert!(take(1, 0) && take(1, 0) && !take(1, 0));
        assert!(take(1, 1));
        assert!(take(2, 0) && take(2, 0) && !take(2, 0));
    }

    #[test]
    fn a_bounded_number_of_rooms_is_counted() {
        let mut passed = Passed::default();
        for number in 0..ROOMS + 10 {
            assert!(passed.take(&room(number), 1, 0, 1));
        }
        assert!(passed.0.len() <= ROOMS);
    }
}
