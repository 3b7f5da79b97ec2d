//! Who may do what in a room: the roles of the policy component, which its owners change by a commit.

use comity_mls_wire::policy::{Policy, Role};
use comity_xmpp::jid::BareJid;
use mls_rs::ExtensionList;
use mls_rs::group::NewEpoch;

use crate::commit::members;
use crate::engine::Engine;
use crate::error::Error;
use crate::event::{Device, RoleChange, What};
use crate::mls::Group;
use crate::room::{Plan, RolePlan, Stage};
use crate::rules;

impl Engine {
    /// What the members of a room have agreed on, its roles among it. `None`: the room is none that
    /// this device follows now.
    pub fn policy(&mut self, room: &BareJid) -> Result<Option<Policy>, Error> {
        let record = self.known_room(room)?;
        if !matches!(record.stage, Stage::Active | Stage::Creating) {
            return Ok(None);
        }
        let group = self.take_group(room, &record)?;
        let policy = rules::agreed(&group);
        self.keep_group(room, group);
        Ok(Some(policy))
    }

    /// Gives an account of the room a role. Whether one's own is enough the room's policy says; the
    /// last owner stays one, for nobody could name another.
    pub fn set_role(
        &mut self,
        room: &BareJid,
        account: &BareJid,
        role: Role,
        now: u64,
    ) -> Result<(), Error> {
        let present = self.members(room)?;
        if !present.iter().any(|member| member.account == *account) {
            return Err(Error::NoMember(account.clone()));
        }
        let mut policy = self.policy(room)?.unwrap_or_default();
        if policy.role(&self.account.clone()) < policy.rights.change_policy {
            return Err(Error::NotAllowed {
                deed: "changing roles",
                needs: policy.rights.change_policy,
            });
        }
        policy.set_role(account, role);
        let owned = |policy: &Policy| {
            let owner = |account: &BareJid| policy.role(account) == Role::Owner;
            present.iter().any(|member| owner(&member.account))
        };
        if !owned(&policy) {
            return Err(Error::LastOwner);
        }
        let plan = RolePlan {
            account: account.as_str().to_owned(),
            role,
        };
        self.want(room, Plan::Role(plan), now)
    }
}

/// The context with that role in it; `None` where it is there already, or the account is gone, or nobody
/// would own the room.
pub(crate) fn context_with(
    group: &Group,
    plan: &RolePlan,
) -> Result<Option<ExtensionList>, mls_rs::error::MlsError> {
    let Ok(account) = BareJid::parse(&plan.account) else {
        return Ok(None);
    };
    let before = rules::agreed(group);
    let mut policy = before.clone();
    policy.set_role(&account, plan.role);
    let present = members(group);
    let there = present.iter().any(|(member, _)| *member == account);
    let owned = present
        .iter()
        .any(|(member, _)| policy.role(member) == Role::Owner);
    if policy == before || !there || !owned {
        return Ok(None);
    }
    let mut context = group.context().extensions.clone();
    context.set_from(policy)?;
    Ok(Some(context))
}

/// What a commit that changed the context did to the roles.
pub(crate) fn changes(new: &NewEpoch, next: &ExtensionList, by: Option<&Device>) -> Vec<What> {
    let before = Policy::of(&new.prior_state().context.extensions).unwrap_or_default();
    let after = Policy::of(next).unwrap_or_default();
    let mut accounts: Vec<&String> = before
        .roles
        .iter()
        .chain(&after.roles)
        .map(|entry| &entry.account)
        .collect();
    accounts.sort();
    accounts.dedup();
    accounts
        .into_iter()
        .filter_map(|account| {
            let jid = BareJid::parse(account).ok()?;
            let (was, is) = (before.role(&jid), after.role(&jid));
            (was != is).then(|| {
                What::Role(RoleChange {
                    account: account.clone(),
                    was,
                    is,
                    by: by.cloned(),
                })
            })
        })
        .collect()
}
