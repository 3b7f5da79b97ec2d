//! Why the hub removes somebody, and whether it is so: looked up where anyone can look it up.

use comity_mls_credential::endorsement::Present;
use comity_mls_credential::leaf::{IssuerId, Leaf};
use comity_mls_credential::provider::certificate;
use comity_mls_credential::signed;
use comity_mls_wire::authenticated::{Ground, Revocation, SignedRequest};
use comity_mls_wire::policy::{Policy, Proposed, Sender};
use comity_xmpp::jid::BareJid;

use crate::engine::Engine;
use crate::event::Because;
use crate::mls::Group;
use crate::newcomers::Leaves;

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
    /// Is this a ground to remove that leaf of the group?
    pub(crate) fn look_up(&self, group: &Group, leaf: u32, ground: Option<&Ground>) -> Looked {
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
            Some(Ground::Idle(_)) => unproven("how long the device was idle cannot be told here"),
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
    let leaves = Leaves {
        group_id: group.group_id(),
        suite: group.cipher_suite(),
        roster: group.roster(),
    };
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
