//! Why the hub removes somebody, and whether it is so: looked up where anyone can look it up.

use comity_mls_credential::endorsement::Present;
use comity_mls_credential::leaf::{IssuerId, Leaf};
use comity_mls_credential::provider::certificate;
use comity_mls_credential::signed;
use comity_mls_wire::authenticated::{Ground, Idle, Revocation, SignedRequest};
use comity_mls_wire::policy::{Policy, Proposed, Sender};
use comity_xmpp::jid::BareJid;

use crate::engine::{Engine, seconds};
use crate::error::Error;
use crate::event::{Because, Device};
use crate::history::MAX_HISTORY;
use crate::mls::Group;
use crate::newcomers::Leaves;
use crate::rules::agreed;

/// The newest list of an issuing CA of that domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) domain: String,
    pub(crate) issuer: IssuerId,
}

/// What looking it up has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    Proven(Because),
    /// The revocation list that is named, or a later one, has to be had first.
    Awaits(Wanted),
    Unproven(String),
}

impl Engine {
    /// Is this a ground to remove that leaf of the group? `now` is looked at for idleness alone.
    pub(crate) fn look_up(
        &self,
        room: &BareJid,
        group: &Group,
        leaf: u32,
        ground: Option<&Ground>,
        now: u64,
    ) -> Looked {
        let member = group.member_at_index(leaf);
        let member = member.and_then(|member| {
            let der = certificate(&member.signing_identity.credential).ok()?;
            Leaf::read(der).ok()
        });
        let Some(member) = member else {
            return unproven("there is no such member");
        };
        match ground {
            None => unproven("it gives no reason"),
            Some(Ground::Revocation(revocation)) => self.look_up_revocation(&member, revocation),
            Some(Ground::Departure(request)) if request.by != request.account => {
                unproven("somebody else has asked for the departure")
            }
            Some(Ground::Departure(request)) => requested(
                group,
                &member,
                request,
                signed::DEPARTURE,
                Because::Departed,
            ),
            Some(Ground::Ban(request)) => {
                let because = Because::Banned(request.by.clone());
                match may_remove(group, request) {
                    true => requested(group, &member, request, signed::BAN, because),
                    false => unproven("who asks for it may not remove the account"),
                }
            }
            Some(Ground::Idle(idle)) => self.look_up_idleness(room, group, &member, *idle, now),
        }
    }

    /// Was the leaf not updated for as long as the policy allows? Who was there all the time has seen
    /// its commits; and anybody sees its certificate, which an update replaces after a third of its
    /// life, so that one of an active leaf does not become that old.
    fn look_up_idleness(
        &self,
        room: &BareJid,
        group: &Group,
        member: &Leaf,
        idle: Idle,
        now: u64,
    ) -> Looked {
        let limit_s = agreed(group).idle_removal_s;
        if limit_s == 0 || idle.limit_s != limit_s {
            return unproven("the policy does not remove who is idle for that long");
        }
        let since = seconds(now).saturating_sub(u64::from(limit_s));
        if member.not_before > since {
            return unproven("the device has had a new certificate since");
        }
        match self.has_committed(room, member, since.saturating_mul(1_000)) {
            Ok(false) => Looked::Proven(Because::Idle),
            Ok(true) => unproven("the device was seen to commit since"),
            Err(error) => unproven(&error.to_string()),
        }
    }

    /// Does this device's own history show a commit of that leaf's device since then?
    fn has_committed(&self, room: &BareJid, member: &Leaf, since_ms: u64) -> Result<bool, Error> {
        let device = member
            .device
            .map(uuid::Uuid::into_bytes)
            .unwrap_or_default();
        let by = Device {
            account: member.account.as_str().to_owned(),
            device,
        };
        let mut after = 0;
        loop {
            let page = self.history(room, after, MAX_HISTORY)?;
            let Some(last) = page.last() else {
                return Ok(false);
            };
            after = last.seq;
            let mut recent = page.iter().filter(|item| item.time >= since_ms);
            if recent.any(|item| item.what.committed_by() == Some(&by)) {
                return Ok(true);
            }
        }
    }

    fn look_up_revocation(&self, member: &Leaf, revocation: &Revocation) -> Looked {
        if member.serial != revocation.serial {
            return unproven("it names the certificate of another leaf");
        }
        if self.mls.provider().revoked(member).is_some() {
            return Looked::Proven(Because::Revoked);
        }
        let held = self.anchors.crl(&member.issuer).map(|crl| crl.number());
        if held.is_some_and(|held| held >= revocation.crl_number) {
            return unproven("the revocation list that it names does not name the certificate");
        }
        Looked::Awaits(Wanted {
            domain: member.account.domain().to_owned(),
            issuer: member.issuer,
        })
    }
}

fn unproven(why: &str) -> Looked {
    Looked::Unproven(why.to_owned())
}

fn may_remove(group: &Group, request: &SignedRequest) -> bool {
    let (Ok(by), Ok(account)) = (
        BareJid::parse(&request.by),
        BareJid::parse(&request.account),
    ) else {
        return false;
    };
    let proposed = Proposed::Remove { account: &account };
    Policy::of(&group.context().extensions).is_ok_and(|policy| {
        policy
            .check_proposal(Sender::Member(&by), &proposed)
            .is_ok()
    })
}

/// Has a leaf of the one who asks signed that the account goes?
fn requested(
    group: &Group,
    member: &Leaf,
    request: &SignedRequest,
    label: &str,
    because: Because,
) -> Looked {
    if request.account != member.account.as_str() {
        return unproven("the request is about another account");
    }
    let leaves = Leaves::new(group.group_id(), group.cipher_suite(), group.roster());
    let signer = |leaf: &&Present| leaf.device == request.device();
    let present = match BareJid::parse(&request.by) {
        Ok(by) => leaves.present(&by),
        Err(_) => Vec::new(),
    };
    let Some(leaf) = present.iter().find(signer) else {
        return unproven("who asks for it is not in the room");
    };
    let content = signed::content(
        label,
        &[
            group.group_id(),
            request.account.as_bytes(),
            &request.time.to_be_bytes(),
        ],
    );
    match leaf.key.verifies(&content, &request.signature) {
        true => Looked::Proven(because),
        false => unproven("the signature of who asks for it does not verify"),
    }
}
