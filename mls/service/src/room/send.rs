//! An application message: the hub sees its framing and nothing else, and gives it its place.

use std::sync::Arc;

use bytes::Bytes;
use comity_mls_wire::authenticated::AuthenticatedData;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{EntryKind, IdempotencyKey, Member};
use comity_storage::rooms::At;

use super::fanout::{self, Audience};
use super::hub::{Decided, Deciding};
use super::log::{Draft, End, accepted, advanced};
use super::order;
use super::state::{Room, State};
use crate::error::Refused;
use crate::framing::{Content, Framing};

/// Decides on an application message.
pub fn send(
    deciding: &Deciding<'_>,
    room: &Room,
    sender: &Member,
    key: IdempotencyKey,
    epoch: u64,
    message: &Bytes,
) -> Result<Decided, Refused> {
    let state = &room.state;
    order::admit(state, sender, epoch)?;
    check(deciding, state, epoch, message)?;
    let draft = Draft {
        kind: EntryKind::Application,
        epoch,
        sender: &sender.account,
        device: Some(sender.device),
        payload: message,
        now: deciding.now,
        changes: Vec::new(),
    };
    let entry = End::of(state).append(&state.room, deciding.hub, draft)?;
    let domains = state.domains();
    let audience = Audience {
        before: domains.clone(),
        after: domains,
    };
    let plan = fanout::plan(deciding, &entry, None, &audience)?;
    let accepted = accepted(&entry, state.epoch);
    let at = At::Seq {
        epoch: state.epoch,
        seq: state.seq,
        next: None,
    };
    let append = deciding.append(at, &entry, Some((sender, key, &accepted)), plan);
    Ok(Decided {
        append,
        next: Room {
            state: advanced(state, &entry),
            tree: Arc::clone(&room.tree),
        },
        entry,
        accepted,
    })
}

fn check(
    deciding: &Deciding<'_>,
    state: &State,
    epoch: u64,
    message: &Bytes,
) -> Result<(), Refusal> {
    let most = deciding.limits.message_bytes;
    if message.len() > most {
        return Err(Refusal::LimitReached {
            limit: format!("{most} octets in a message"),
        });
    }
    check_framing(state, epoch, message, false)
}

/// An application message of this group and epoch, which says of itself whether it is for the log.
pub(super) fn check_framing(
    state: &State,
    epoch: u64,
    message: &[u8],
    ephemeral: bool,
) -> Result<(), Refusal> {
    let invalid = |why: String| Refusal::InvalidMessage { why };
    let Framing::Private {
        group_id,
        epoch: written,
        content: Content::Application,
        authenticated_data,
    } = Framing::read(message).map_err(|error| invalid(error.to_string()))?
    else {
        return Err(invalid(
            "application messages are PrivateMessages".to_owned(),
        ));
    };
    if group_id != &state.group_id[..] {
        return Err(invalid("it belongs to another group".to_owned()));
    }
    if written != epoch {
        return Err(invalid(format!(
            "it was made in epoch {written}, and the request says {epoch}"
        )));
    }
    // What this hub does not know of is between the members.
    let said = AuthenticatedData::from_bytes(authenticated_data).unwrap_or_default();
    if said.ephemeral != ephemeral {
        return Err(invalid(match ephemeral {
            true => "it does not say that it is ephemeral: send it".to_owned(),
            false => "it says that it is ephemeral, and has no place in the log".to_owned(),
        }));
    }
    Ok(())
}
