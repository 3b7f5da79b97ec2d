//! Making a commit: validated here as the hub and every member will validate it, kept with its
//! secrets, applied only when the log has it.

use comity_mls_credential::leaf::Leaf;
use comity_mls_credential::provider::certificate;
use comity_xmpp::jid::BareJid;
use mls_rs::ExtensionList;
use mls_rs::group::proposal::Proposal;
use mls_rs::group::{CachedProposal, CommitBuilder, CommitOutput, CommitSecrets, Sender};
use mls_rs::time::MlsTime;
use mls_rs_core::psk::ExternalPskId;
use uuid::Uuid;

use crate::engine::{Engine, seconds};
use crate::error::Error;
use crate::event::Refused;
use crate::flow::TRY_AGAIN_MS;
use crate::joining::Joining;
use crate::mls::{Config, Group, unknown_issuer};
use crate::role;
use crate::room::{Body, CommitBody, Plan, ProposeBody, Record, RemovePlan, StoredJoiner};

/// What became of a plan.
pub(crate) enum Built {
    InFlight,
    /// There is nothing to do; the plan is gone.
    Nothing,
    /// Anchors are awaited.
    Awaits,
    /// The person has been told; the plan is gone.
    Failed,
}

/// What a commit brings about.
#[derive(Default)]
struct Changes {
    joining: Vec<Joining>,
    leaving: Vec<u32>,
    context: Option<ExtensionList>,
    psk: Option<ExternalPskId>,
}

type Builder<'a> = CommitBuilder<'a, Config>;

impl Engine {
    /// Builds the commit of a plan, or of the pending proposals alone, and puts it in flight.
    pub(crate) fn build(
        &mut self,
        room: &BareJid,
        record: &mut Record,
        group: &mut Group,
        plan: Option<(u64, Plan)>,
        now: u64,
    ) -> Result<Built, Error> {
        let number = plan.as_ref().map(|(number, _)| *number);
        let changes = match self.changes_of(room, record, group, plan, now)? {
            Ok(changes) => changes,
            Err(built) => return Ok(built),
        };
        let rotates = self.reserve_leaf(record, now)?;
        let built = self.try_build(record, group, changes, rotates, now);
        match built {
            Ok(mut body) => {
                body.plan = number;
                self.put_in_flight(room, Body::Commit(body))?;
                Ok(Built::InFlight)
            }
            Err(Failure::Engine(error)) => Err(error),
            Err(Failure::Mls(error)) => {
                if let Some(domain) = unknown_issuer(&error) {
                    self.await_issuer(&domain, now);
                    return Ok(Built::Awaits);
                }
                let what = match number {
                    Some(number) => self.drop_plan(room, number)?,
                    None => {
                        self.pause(room, TRY_AGAIN_MS, now);
                        Refused::Proposals
                    }
                };
                self.refused(Some(room), what, error);
                Ok(Built::Failed)
            }
        }
    }

    /// What a plan comes to, or what became of it without a commit.
    fn changes_of(
        &mut self,
        room: &BareJid,
        record: &mut Record,
        group: &mut Group,
        plan: Option<(u64, Plan)>,
        now: u64,
    ) -> Result<Result<Changes, Built>, Error> {
        let mut changes = Changes::default();
        let (number, there_is) = match plan {
            None | Some((_, Plan::Update)) => return Ok(Ok(changes)),
            Some((_, Plan::Psk(plan))) => {
                changes.psk = Some(crate::psk::id(room, &plan));
                return Ok(Ok(changes));
            }
            Some((number, Plan::Add(add))) => {
                match self.choose_joining(room, group, number, add, now)? {
                    Some(chosen) => changes.joining = chosen,
                    None => return Ok(Err(Built::Awaits)),
                }
                (number, !changes.joining.is_empty())
            }
            Some((number, Plan::Remove(remove))) => {
                changes.leaving = self.leaves_of(group, &remove);
                (number, !changes.leaving.is_empty())
            }
            Some((number, Plan::Role(role))) => {
                let context = role::context_with(group, &role);
                changes.context = context.map_err(|error| Error::Mls(error.to_string()))?;
                (number, changes.context.is_some())
            }
            Some((_, Plan::Leave)) => {
                let others = RemovePlan {
                    account: self.account.as_str().to_owned(),
                    device: None,
                };
                changes.leaving = self.leaves_of(group, &others);
                return match changes.leaving.is_empty() {
                    true => self.propose_leaving(room, record, group).map(Err),
                    false => Ok(Ok(changes)),
                };
            }
        };
        if there_is {
            return Ok(Ok(changes));
        }
        self.drop_plan(room, number)?;
        Ok(Err(Built::Nothing))
    }

    fn try_build(
        &self,
        record: &Record,
        group: &mut Group,
        changes: Changes,
        rotates: bool,
        now: u64,
    ) -> Result<CommitBody, Failure> {
        let epoch = group.current_epoch();
        let mut builder = group
            .commit_builder()
            .commit_time(MlsTime::from(seconds(now)));
        let mut joiners = Vec::with_capacity(changes.joining.len());
        for Joining { message, joiner } in changes.joining {
            builder = builder.add_member(message)?;
            joiners.push(joiner);
        }
        for index in changes.leaving {
            builder = builder.remove_member(index)?;
        }
        if let Some(context) = changes.context {
            builder = builder.set_group_context_ext(context)?;
        }
        if let Some(psk) = changes.psk {
            builder = builder.add_external_psk(psk)?;
        }
        if let (true, Some(next)) = (rotates, &record.next_leaf) {
            let identity = self.mls.identity(next).map_err(Failure::Engine)?;
            builder = builder.set_new_signing_identity(next.signer(), identity);
        }
        let (output, secrets) = finish(builder)?;
        body(epoch, &output, &secrets, joiners, rotates)
    }

    /// A new key for the leaf, where the old one is shared or a third of its certificate's life is
    /// over. Without a spare key the leaf keeps its own for now.
    pub(crate) fn reserve_leaf(&mut self, record: &mut Record, now: u64) -> Result<bool, Error> {
        let Some(leaf) = &record.leaf else {
            return Ok(false);
        };
        if !record.rotate && !is_aging(&leaf.certificate, seconds(now)) {
            return Ok(false);
        }
        if record.next_leaf.is_none() {
            record.next_leaf = self.take_spare(leaf.suite, now)?;
        }
        Ok(record.next_leaf.is_some())
    }

    /// The leaves a removal means; never this device's own, nor one that is going anyway.
    fn leaves_of(&self, group: &Group, plan: &RemovePlan) -> Vec<u32> {
        let own = group.current_member_index();
        let going = going(group);
        let is_meant = |leaf: &Leaf| {
            leaf.account.as_str() == plan.account
                && plan
                    .device
                    .is_none_or(|device| leaf.device == Some(Uuid::from_bytes(device)))
        };
        group
            .roster()
            .members_iter()
            .filter(|member| member.index != own && !going.contains(&member.index))
            .filter(|member| {
                certificate(&member.signing_identity.credential)
                    .and_then(Leaf::read)
                    .is_ok_and(|leaf| is_meant(&leaf))
            })
            .map(|member| member.index)
            .collect()
    }

    fn propose_leaving(
        &mut self,
        room: &BareJid,
        record: &mut Record,
        group: &mut Group,
    ) -> Result<Built, Error> {
        if group.roster().members_iter().nth(1).is_none() {
            // Nobody is left to commit it, and nobody to miss this device.
            self.close_room(room, record, None)?;
            return Ok(Built::Awaits);
        }
        let proposal = group.propose_self_remove(Vec::new())?.to_bytes()?;
        self.put_in_flight(room, Body::Propose(ProposeBody { proposal }))?;
        self.send_again(room);
        // mls-rs has noted the proposal already; it counts when the log has it, so the group is
        // read anew.
        Ok(Built::Awaits)
    }

    fn send_again(&mut self, room: &BareJid) {
        self.touched.insert(room.clone());
    }
}

enum Failure {
    Mls(mls_rs::error::MlsError),
    Engine(Error),
}

impl From<mls_rs::error::MlsError> for Failure {
    fn from(error: mls_rs::error::MlsError) -> Self {
        Self::Mls(error)
    }
}

fn finish(builder: Builder<'_>) -> Result<(CommitOutput, CommitSecrets), Failure> {
    Ok(builder.build_detached()?)
}

fn body(
    epoch: u64,
    output: &CommitOutput,
    secrets: &CommitSecrets,
    joiners: Vec<StoredJoiner>,
    rotates: bool,
) -> Result<CommitBody, Failure> {
    let missing = || Failure::Engine(Error::Mls("a commit without GroupInfo".to_owned()));
    let group_info = output.external_commit_group_info.as_ref();
    let welcome = match output.welcome_messages.first() {
        Some(welcome) => welcome.to_bytes()?,
        None => Vec::new(),
    };
    Ok(CommitBody {
        epoch,
        commit: output.commit_message.to_bytes()?,
        welcome,
        joiners,
        group_info: group_info.ok_or_else(missing)?.to_bytes()?,
        secrets: secrets.to_bytes()?,
        plan: None,
        rotates,
    })
}

/// Leaves whose removal is pending already: one commit may not remove them twice.
pub(crate) fn going(group: &Group) -> Vec<u32> {
    let of = |cached: &CachedProposal| match (cached.proposal(), cached.sender()) {
        (Proposal::Remove(remove), _) => Some(remove.to_remove()),
        (Proposal::SelfRemove(_), Sender::Member(index)) => Some(*index),
        _ => None,
    };
    group.get_cached_proposals().iter().filter_map(of).collect()
}

/// Accounts and devices of a group; leaves that cannot be read are left out.
pub(crate) fn members(group: &Group) -> Vec<(BareJid, Uuid)> {
    each_member(group).collect()
}

/// As [`members`], read one by one: for who need not see all.
pub(crate) fn each_member(group: &Group) -> impl Iterator<Item = (BareJid, Uuid)> {
    group.roster().members_iter().filter_map(|member| {
        let leaf = certificate(&member.signing_identity.credential)
            .and_then(Leaf::read)
            .ok()?;
        Some((leaf.account, leaf.device?))
    })
}

/// A third of the certificate's life is over.
pub(crate) fn is_aging(der: &[u8], at: u64) -> bool {
    Leaf::read(der).is_ok_and(|leaf| {
        let life = leaf.not_after.saturating_sub(leaf.not_before);
        at > leaf.not_before.saturating_add(life / 3)
    })
}
