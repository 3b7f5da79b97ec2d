//! A room begins: a group of one, at epoch 0, whose GroupInfo is entry 1 of the log.

use std::collections::BTreeSet;
use std::sync::Arc;

use comity_mls_wire::policy::{Policy, Role};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{self, Create, EntryKind, Member, direct, direct_domain, is_room};
use comity_storage::rooms::{Append, At, Begin};
use comity_xmpp::jid::BareJid;
use mls_rs::{MlsMessage, WireFormat};

use super::fanout::{self, Audience};
use super::hub::{Decided, Deciding};
use super::log::{Draft, End, accepted};
use super::public_tree::{Fault, PublicTree};
use super::state::{Room, Since, State, domains};
use crate::error::Refused;

/// Decides on the creation of a room that does not exist.
pub fn create(
    deciding: &Deciding<'_>,
    room: &BareJid,
    sender: &Member,
    request: &Create,
) -> Result<Decided, Refused> {
    check_address(deciding, room, sender, request)?;
    let (tree, message) = observe(deciding, request)?;
    let members = tree.members().map_err(invalid)?;
    let sole = members.len() == 1 && members.values().next() == Some(sender);
    if !sole {
        return Err(bad("the group's one leaf must be the device that creates the room").into());
    }
    let context = tree.context();
    if context.epoch() != 0 {
        return Err(bad("a room begins at epoch 0").into());
    }
    if context.group_id().is_empty() || context.group_id().len() > u8::MAX.into() {
        return Err(bad("a group_id has 1 to 255 octets").into());
    }
    debug_assert_eq!(message.group_id(), Some(context.group_id()));
    let policy = super::context::check(context, None, deciding.hub)?;
    check_policy(&policy, sender, request)?;
    decide(deciding, room, sender, request, tree, policy)
}

fn check_address(
    deciding: &Deciding<'_>,
    room: &BareJid,
    sender: &Member,
    request: &Create,
) -> Result<(), Refusal> {
    if !is_room(room) {
        return Err(bad("a room's name is ~ and 26 base32 characters"));
    }
    match &request.direct_with {
        Some(other) => {
            if *other == sender.account || other.local().is_none() {
                return Err(bad("a direct room is for two accounts"));
            }
            // RFC 6120 has no rooms host; ours is the domain itself by default.
            let ours = direct_domain(&sender.account, other);
            let at_home = room.domain() == ours || room.domain().ends_with(&format!(".{ours}"));
            if !at_home || *room != direct(room, &sender.account, other) {
                return Err(Refusal::NotAllowed {
                    rule: format!(
                        "the direct room of {} and {other} has one address, at {ours}",
                        sender.account
                    ),
                });
            }
            Ok(())
        }
        None if deciding.surroundings.serves(sender.account.domain()) => Ok(()),
        None => Err(Refusal::NotAllowed {
            rule: format!(
                "rooms at {} are created by its own users; create yours at {}",
                room.domain(),
                sender.account.domain()
            ),
        }),
    }
}

fn observe(deciding: &Deciding<'_>, request: &Create) -> Result<(PublicTree, MlsMessage), Refused> {
    let message = MlsMessage::from_bytes(&request.group_info)
        .map_err(|error| bad(format!("the GroupInfo cannot be decoded: {error}")))?;
    if message.wire_format() != WireFormat::GroupInfo {
        return Err(bad("a GroupInfo is expected").into());
    }
    let suite = message.cipher_suite().map_or(0, |suite| *suite);
    if !deciding.hub.suites.contains(&suite) {
        return Err(Refusal::NotAllowed {
            rule: format!(
                "cipher suite {suite} is not followed here, only {:?}",
                deciding.hub.suites
            ),
        }
        .into());
    }
    super::commit::refuse_inner_tree(&message).map_err(bad)?;
    let tree = deciding
        .observer
        .observe(message.clone(), &request.tree, deciding.at())
        .map_err(invalid)?;
    Ok((tree, message))
}

fn check_policy(policy: &Policy, sender: &Member, request: &Create) -> Result<(), Refusal> {
    if policy.role(&sender.account) != Role::Owner {
        return Err(not_allowed("who creates a room owns it"));
    }
    if !policy.admits(&sender.account) {
        return Err(not_allowed("the policy does not admit the creator"));
    }
    let Some(other) = &request.direct_with else {
        return Ok(());
    };
    let expected = Policy::of_direct(&sender.account, other);
    if policy.accounts != expected.accounts || policy.roles != expected.roles {
        return Err(not_allowed(
            "a direct room admits its two accounts, and both own it",
        ));
    }
    Ok(())
}

fn decide(
    deciding: &Deciding<'_>,
    room: &BareJid,
    sender: &Member,
    request: &Create,
    tree: PublicTree,
    policy: Policy,
) -> Result<Decided, Refused> {
    let draft = Draft {
        kind: EntryKind::Notice,
        epoch: 0,
        sender: &sender.account,
        device: Some(sender.device),
        payload: &request.group_info,
        now: deciding.now,
        changes: fanout::changes([], [sender]),
    };
    let entry = End::START.append(room, deciding.hub, draft)?;
    let members = tree.members().map_err(invalid)?;
    let audience = Audience {
        before: BTreeSet::new(),
        after: domains(members.values()),
    };
    let plan = fanout::plan(deciding, &entry, None, &audience)?;
    let accepted = accepted(&entry, 0);
    let begin = Begin {
        group_id: tree.context().group_id().to_vec(),
        epoch: 0,
        state: tree.state().map_err(invalid)?,
        tree: tree.tree().map_err(invalid)?,
        group_info: request.group_info.to_vec(),
        direct: request.direct_with.as_ref().map(|other| {
            let (one, other) = (sender.account.as_str(), other.as_str());
            (one.min(other).to_owned(), one.max(other).to_owned())
        }),
    };
    let state = State {
        room: room.clone(),
        group_id: begin.group_id.as_slice().into(),
        epoch: 0,
        seq: entry.seq,
        head: entry.head,
        time: entry.time,
        epoch_seq: entry.seq,
        updates: Arc::new(super::commit::came(members.keys(), 0, entry.time)),
        domains: Arc::new(audience.after),
        members: Arc::new(members),
        pending: Arc::default(),
        policy: Arc::new(policy),
        group_info: begin.group_info.as_slice().into(),
        barred: Arc::default(),
        nominated: Arc::default(),
        since: Since::snapshot(begin.state.len() + begin.tree.len()),
        signed: entry.time,
    };
    let at = At::Nowhere(Box::new(begin));
    let append = Append {
        come: super::commit::leaves(&state.members),
        ..deciding.append(at, &entry, Some((sender, request.key, &accepted)), plan)
    };
    Ok(Decided {
        append,
        next: Room {
            state,
            tree: Arc::new(tree),
        },
        entry,
        accepted,
    })
}

fn invalid(fault: Fault) -> Refused {
    fault.refused(|why| bad(format!("the group cannot be followed: {why}")))
}

fn bad(why: impl Into<String>) -> Refusal {
    Refusal::BadRequest { why: why.into() }
}

fn not_allowed(rule: &str) -> Refusal {
    Refusal::NotAllowed {
        rule: rule.to_owned(),
    }
}

/// What a creator has to know beforehand.
#[must_use]
pub fn describe(hub: &super::hub::HubKey, exists: bool) -> room::Hub {
    room::Hub {
        certificate: hub.certificate.clone(),
        suites: hub.suites.clone(),
        exists,
    }
}
