//! Whose turn it is: one commit ends an epoch, and what comes later has come too late.

use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::Member;

use super::state::State;

/// Lets a request made in `epoch` by a device of the room through, and gives the device's leaf.
///
/// The database decides the same once more, by comparing epoch and seq when the entry is written.
pub fn admit(state: &State, sender: &Member, epoch: u64) -> Result<u32, Refusal> {
    let leaf = state.leaf_of(sender).ok_or(Refusal::NoRoom)?;
    in_time(state, epoch)?;
    Ok(leaf)
}

/// Is it the turn of what was made in `epoch`?
pub fn in_time(state: &State, epoch: u64) -> Result<(), Refusal> {
    if epoch < state.epoch {
        return Err(Refusal::StaleEpoch {
            epoch: state.epoch,
            seq: state.epoch_seq,
        });
    }
    if epoch > state.epoch {
        return Err(Refusal::BadRequest {
            why: format!(
                "it was made in epoch {epoch}, and the room has only come to {}",
                state.epoch
            ),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use comity_mls_wire::policy::Policy;
    use comity_xmpp::jid::BareJid;
    use uuid::Uuid;

    use super::*;

    fn member(account: &str, device: u128) -> Member {
        Member {
            account: BareJid::parse(account).unwrap(),
            device: Uuid::from_u128(device),
        }
    }

    fn state() -> State {
        let alice = member("alice@a.example", 1);
        State {
            room: BareJid::parse("~aaaaaaaaaaaaaaaaaaaaaaaaaa@a.example").unwrap(),
            group_id: Arc::from(&b"g"[..]),
            epoch: 5,
            seq: 42,
            head: [0; 32],
            time: 0,
            epoch_seq: 40,
            policy: Arc::new(Policy::of_creator(&alice.account)),
            members: Arc::new([(3, alice)].into()),
            updates: Arc::default(),
            pending: Arc::default(),
            group_info: Arc::from(&b""[..]),
            barred: Arc::default(),
            nominated: Arc::default(),
            since: crate::room::state::Since::default(),
            domains: Arc::default(),
            signed: 0,
        }
    }

    #[test]
    fn admits_members_in_the_current_epoch_only() {
        let check = |sender: &Member, epoch, expected: Result<u32, Refusal>| {
            assert_eq!(
                admit(&state(), sender, epoch),
                expected,
                "{sender:?} {epoch}"
            );
        };
        let alice = member("alice@a.example", 1);
        check(&alice, 5, Ok(3));
        check(&alice, 4, Err(Refusal::StaleEpoch { epoch: 5, seq: 40 }));
        check(&alice, 0, Err(Refusal::StaleEpoch { epoch: 5, seq: 40 }));
        assert!(matches!(
            admit(&state(), &alice, 6),
            Err(Refusal::BadRequest { .. })
        ));
        // Another device, another account: neither learns that there is a room.
        check(&member("alice@a.example", 2), 5, Err(Refusal::NoRoom));
        check(&member("bob@a.example", 1), 4, Err(Refusal::NoRoom));
    }
}
