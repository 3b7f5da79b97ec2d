//! Who commits what is pending in a room where nobody is sending: the hub asks one device after the
//! other, first the one that was there last. So the members do not all commit at once, and none of
//! them has to wait for the others.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use comity_mls_wire::policy::Sender;
use comity_mls_wire::room::{self, EntryKind, Member, Notice};
use comity_storage::rooms::{self as rows_of, Append, At};
use comity_xmpp::jid::BareJid;

use super::fanout::{self, Audience};
use super::hub::{Decided, Deciding};
use super::log::{Draft, End, accepted, advanced};
use super::state::{Nominated, Pending, Room, State};
use crate::error::{Refused, internal};

/// Whoever has something to send commits first: so long they are left to it, or as long as the room
/// gives each that is asked, where that is less.
pub const FIRST_AFTER_MS: u64 = 2_000;
/// So many are asked one after the other; then it is likely that nobody is there, and one more is
/// asked every hour. Those who come back find that they were asked.
pub const IN_A_ROW: usize = 10;
pub const LATER_MS: u64 = 3_600_000;
/// In an epoch; the log is not filled with what nobody reads.
pub const IN_AN_EPOCH: usize = 100;

/// When each device was there last, milliseconds since 1970.
pub type Active = HashMap<Member, u64>;

/// What is to be done about what is pending.
pub enum Next {
    /// Nothing is, or nobody may commit it.
    Nothing,
    /// Nothing before this time (milliseconds since 1970).
    At(u64),
    /// This device is asked.
    Now(Member),
}

/// Who is to be asked now, if anybody.
#[must_use]
pub fn next(state: &State, active: &Active, now: u64) -> Next {
    let Some(first) = state.pending.iter().map(|pending| pending.time).min() else {
        return Next::Nothing;
    };
    // The next one is asked when the last has not committed within this time.
    let each = u64::from(state.policy.nomination_s.max(1)) * 1_000;
    let asked = state.nominated.len();
    let due = match state.nominated.last() {
        None => first.saturating_add(FIRST_AFTER_MS.min(each)),
        Some(last) if asked < IN_A_ROW => last.time.saturating_add(each),
        Some(_) if asked >= IN_AN_EPOCH => return Next::Nothing,
        Some(last) => last.time.saturating_add(each.max(LATER_MS)),
    };
    if now < due {
        return Next::At(due);
    }
    match candidate(state, active) {
        Some(member) => Next::Now(member),
        None => Next::Nothing,
    }
}

/// Of those who may commit: who was asked least often; who may commit all that is pending; and who
/// was there last.
fn candidate(state: &State, active: &Active) -> Option<Member> {
    let ranked = state.members.iter();
    let ranked =
        ranked.filter_map(|(leaf, member)| Some((rank(state, active, *leaf, member)?, member)));
    let (_, member) = ranked.min_by_key(|(rank, _)| *rank)?;
    Some(member.clone())
}

type Rank = (usize, usize, Reverse<u64>, u32);

/// None: it commits nothing of what is pending.
fn rank(state: &State, active: &Active, leaf: u32, member: &Member) -> Option<Rank> {
    let by = Sender::Member(&member.account);
    let may = |pending: &&Pending| state.policy.must_include(by, &pending.item());
    let carries = state.pending.iter().filter(may).count();
    if carries == 0 || state.leaving(leaf) || state.check_barred(member).is_err() {
        return None;
    }
    let asked = state.nominated.iter().filter(|n| n.member == *member);
    let updated = state.updates.get(&leaf).map_or(0, |updated| updated.time);
    let there = active.get(member).copied().unwrap_or(0).max(updated);
    let rest = state.pending.len() - carries;
    Some((asked.count(), rest, Reverse(there), leaf))
}

/// Asks a device to commit, in the log, where it finds it whenever it comes.
pub fn nominate(deciding: &Deciding<'_>, room: &Room, member: &Member) -> Result<Decided, Refused> {
    let state = &room.state;
    let hub = BareJid::parse(state.room.domain())
        .map_err(|error| internal(error, "naming the hub of a room"))?;
    let notice = Notice::Nominated(room::Nominated::new(member));
    let payload = Bytes::from(notice.to_bytes());
    let draft = Draft {
        kind: EntryKind::Notice,
        epoch: state.epoch,
        sender: &hub,
        device: None,
        payload: &payload,
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
    let at = At::Seq {
        epoch: state.epoch,
        seq: state.seq,
        next: None,
    };
    let append = Append {
        nominated: Some(rows_of::Nomination {
            account: member.account.as_str().to_owned(),
            device: member.device.into_bytes(),
            time: deciding.now,
        }),
        ..deciding.append(at, &entry, None, plan)
    };
    let mut all = Vec::clone(&state.nominated);
    all.push(Nominated {
        member: member.clone(),
        time: deciding.now,
    });
    let mut next = advanced(state, &entry);
    next.nominated = Arc::new(all);
    Ok(Decided {
        append,
        accepted: accepted(&entry, state.epoch),
        next: Room {
            state: next,
            tree: Arc::clone(&room.tree),
        },
        entry,
    })
}
