//! Commits that the hub could follow and members say they cannot apply (RFC 9750 §5.3): what is secret
//! in them, only members can judge. No accepted commit is ever undone. When members of several accounts
//! say so of one, its author commits no more, and somebody else is asked to.

use std::sync::Arc;

use bytes::Bytes;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{self, EntryKind, Hash, Member, Notice};
use comity_storage::rooms::{self as rows_of, Append, At};
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use super::fanout::{self, Audience};
use super::hub::{Decided, Deciding};
use super::log::{Draft, End, accepted, advanced};
use super::state::{Barred, Room};
use super::{external, rows};
use crate::error::{Refused, internal};

/// Accounts, the committer's not counted, that have to say so: one alone may be lying.
pub const ACCOUNTS: u64 = 2;
/// So long nobody is given the GroupInfo of a commit that was reported: another commit is to replace
/// it. If nobody is left who could make one, it is better than none.
const WITHHELD_MS: u64 = 10 * 60 * 1000;
const AGAIN_S: u32 = 5;

/// The commit that a report is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    pub seq: u64,
    pub committer: Member,
    /// Its author came by itself: it made it from a GroupInfo of somebody else's, and is not to be
    /// blamed for what that was worth.
    pub external: bool,
}

/// Reads the entry that is reported.
pub fn read(row: Option<rows_of::Entry>, hash: &Hash) -> Result<Reported, Refusal> {
    let none = || Refusal::BadRequest {
        why: "there is no such commit in the log of this room".to_owned(),
    };
    let row = row.filter(|row| row.kind == EntryKind::Commit.octet() && row.digest == *hash);
    let row = row.ok_or_else(none)?;
    let account = rows::address(&row.sender).map_err(|error| internal(error, "an entry"))?;
    let device = row.device.ok_or_else(none)?;
    // What can no longer be looked at is no ground to bar anybody.
    let external = row.payload.as_deref().is_none_or(external::is_one);
    Ok(Reported {
        seq: row.seq,
        committer: Member {
            account,
            device: Uuid::from_bytes(device),
        },
        external,
    })
}

/// Must its author commit no more, now that so many accounts report it?
#[must_use]
pub fn bars(room: &Room, reported: &Reported, accounts: u64) -> bool {
    let known = |barred: &Barred| barred.member == reported.committer;
    accounts >= ACCOUNTS
        && !reported.external
        && room.state.leaf_of(&reported.committer).is_some()
        && !room.state.barred.iter().any(known)
}

/// Bars the author of a commit, and says so in the log.
pub fn bar(deciding: &Deciding<'_>, room: &Room, reported: &Reported) -> Result<Decided, Refused> {
    let state = &room.state;
    let hub = BareJid::parse(state.room.domain())
        .map_err(|error| internal(error, "naming the hub of a room"))?;
    let notice = Notice::Barred(room::Barred::new(&reported.committer, reported.seq));
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
    let barred = Barred {
        member: reported.committer.clone(),
        seq: reported.seq,
        time: deciding.now,
    };
    let append = Append {
        barred: Some(rows_of::Barred {
            account: barred.member.account.as_str().to_owned(),
            device: barred.member.device.into_bytes(),
            seq: barred.seq,
            time: barred.time,
        }),
        ..deciding.append(at, &entry, None, plan)
    };
    let mut all = Vec::clone(&state.barred);
    all.push(barred);
    let mut next = advanced(state, &entry);
    next.barred = Arc::new(all);
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

/// May the GroupInfo of this epoch be given to anybody?
pub fn check_group_info(state: &super::state::State, now: u64) -> Result<(), Refusal> {
    let withheld = |barred: &Barred| {
        barred.seq == state.epoch_seq && now < barred.time.saturating_add(WITHHELD_MS)
    };
    match state.barred.iter().any(withheld) {
        true => Err(Refusal::RateLimited {
            retry_after_s: AGAIN_S,
        }),
        false => Ok(()),
    }
}
