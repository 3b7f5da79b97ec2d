//! The policy component where mls-rs asks for rules: the same functions the hub asks
//! (`comity_mls_wire::policy`), so that hub and members judge a commit alike.

use comity_mls_credential::leaf::{CredentialError, Leaf};
use comity_mls_credential::provider::certificate;
use comity_mls_wire::policy::{
    self, Broken, Commit, Handshakes, Item, Policy, PolicyError, Proposed, Sender as Author,
};
use comity_xmpp::jid::BareJid;
use mls_rs::client_builder::PaddingMode;
use mls_rs::group::proposal::Proposal;
use mls_rs::group::{GroupContext, Roster, Sender};
use mls_rs::mls_rules::{
    CommitDirection, CommitOptions, CommitSource, EncryptionOptions, ProposalBundle, ProposalInfo,
};
use mls_rs::{ExtensionList, MlsRules};
use mls_rs_core::error::IntoAnyError;
use mls_rs_core::extension::ExtensionType;
use mls_rs_core::identity::SigningIdentity;

/// The policy component's extension type.
pub(crate) const POLICY: ExtensionType = ExtensionType::new(policy::EXTENSION_TYPE);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuleError {
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("the room's policy forbids it: {0}")]
    Broken(#[from] Broken),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error("a proposal names a leaf that does not exist")]
    NoLeaf,
}

impl IntoAnyError for RuleError {
    fn into_dyn_error(self) -> Result<Box<dyn std::error::Error + Send + Sync>, Self> {
        Ok(self.into())
    }
}

/// The account a leaf speaks for, by its certificate.
pub(crate) fn account(identity: &SigningIdentity) -> Result<BareJid, CredentialError> {
    Ok(Leaf::read(certificate(&identity.credential)?)?.account)
}

/// What the members of a group have agreed on; a group without it is not joined.
pub(crate) fn agreed(group: &crate::mls::Group) -> Policy {
    Policy::of(&group.context().extensions).unwrap_or_default()
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules;

/// A proposal whose accounts have been looked up.
struct Judged {
    by: Who,
    by_reference: bool,
    what: Deed,
}

enum Who {
    Member(BareJid),
    Hub,
    Joiner(BareJid),
}

enum Deed {
    Add(BareJid),
    Remove(BareJid),
    Context(Option<Box<Policy>>),
    Plain(Proposed<'static>),
}

impl Who {
    fn author(&self) -> Author<'_> {
        match self {
            Self::Member(account) => Author::Member(account),
            Self::Hub => Author::Hub,
            Self::Joiner(account) => Author::Joiner(account),
        }
    }
}

impl Judged {
    fn item(&self) -> Item<'_> {
        Item {
            by: self.by.author(),
            by_reference: self.by_reference,
            proposal: match &self.what {
                Deed::Add(account) => Proposed::Add { account },
                Deed::Remove(account) => Proposed::Remove { account },
                Deed::Context(next) => Proposed::Context {
                    next: next.as_deref(),
                },
                Deed::Plain(proposed) => *proposed,
            },
        }
    }
}

fn judge(
    info: &ProposalInfo<Proposal>,
    roster: &Roster<'_>,
    committer: &Who,
) -> Result<Judged, RuleError> {
    let member = |index| -> Result<BareJid, RuleError> {
        let member = roster
            .member_with_index(index)
            .map_err(|_| RuleError::NoLeaf)?;
        Ok(account(&member.signing_identity)?)
    };
    let by = match info.sender {
        Sender::Member(index) => Who::Member(member(index)?),
        Sender::External(_) => Who::Hub,
        _ => Who::Joiner(match committer {
            Who::Member(account) | Who::Joiner(account) => account.clone(),
            Who::Hub => return Err(RuleError::NoLeaf),
        }),
    };
    let what = match &info.proposal {
        Proposal::Add(add) => Deed::Add(account(add.signing_identity())?),
        Proposal::Remove(remove) => Deed::Remove(member(remove.to_remove())?),
        Proposal::GroupContextExtensions(next) => {
            Deed::Context(Policy::of(next).ok().map(Box::new))
        }
        Proposal::SelfRemove(_) => Deed::Plain(Proposed::SelfRemove),
        Proposal::Update(_) => Deed::Plain(Proposed::Update),
        Proposal::Psk(psk) => Deed::Plain(Proposed::Psk {
            external: psk.external_psk_id().is_some(),
        }),
        Proposal::ReInit(reinit) => Deed::Plain(Proposed::ReInit {
            suite: reinit.new_cipher_suite().into(),
        }),
        Proposal::ExternalInit(_) => Deed::Plain(Proposed::ExternalInit),
        other => Deed::Plain(Proposed::Other(other.proposal_type().raw_value())),
    };
    Ok(Judged {
        by,
        by_reference: info.is_by_reference(),
        what,
    })
}

impl MlsRules for Rules {
    type Error = RuleError;

    fn filter_proposals(
        &self,
        direction: CommitDirection,
        source: CommitSource,
        roster: &Roster<'_>,
        context: &GroupContext,
        mut proposals: ProposalBundle,
    ) -> Result<ProposalBundle, RuleError> {
        let policy = Policy::of(&context.extensions)?;
        let (committer, account_is_in) = committer(&source, roster)?;
        if direction == CommitDirection::Send {
            // What this committer may not commit stays behind for one who may.
            proposals.retain(|info| {
                let info = info.clone().map(Proposal::from);
                let judged = judge(&info, roster, &committer)?;
                Ok::<_, RuleError>(
                    !judged.by_reference || policy.must_include(committer.author(), &judged.item()),
                )
            })?;
        }
        let judged = proposals
            .clone()
            .into_proposals()
            .filter(|info| !is_of_a_successor(context, &info.proposal))
            .map(|info| judge(&info, roster, &committer))
            .collect::<Result<Vec<_>, _>>()?;
        let items: Vec<_> = judged.iter().map(Judged::item).collect();
        policy.check_commit(&Commit {
            committer: committer.author(),
            account_is_in,
            proposals: &items,
            // Whether there must be one is checked where the message is at hand.
            has_path: true,
            leaves_after: leaves_after(roster.members_iter().count(), &committer, &items),
        })?;
        Ok(proposals)
    }

    fn commit_options(
        &self,
        _: &Roster<'_>,
        context: &GroupContext,
        _: &ProposalBundle,
    ) -> Result<CommitOptions, RuleError> {
        let policy = Policy::of(&context.extensions)?;
        Ok(CommitOptions::new()
            .with_path_required(policy.full_commits)
            // Quadratic in bulk adds; the hub serves the tree instead.
            .with_ratchet_tree_extension(false)
            .with_single_welcome_message(true)
            // The GroupInfo the hub stores comes with the commit.
            .with_allow_external_commit(true))
    }

    fn encryption_options(
        &self,
        _: &Roster<'_>,
        context: &GroupContext,
    ) -> Result<EncryptionOptions, RuleError> {
        let policy = Policy::of(&context.extensions)?;
        let encrypt = policy.handshakes == Handshakes::Private;
        // The content is padded to the policy's steps before it is encrypted.
        Ok(EncryptionOptions::new(encrypt, PaddingMode::None))
    }
}

/// RFC 9420 §11.2: the first commit of a successor group carries the PSK of the group before, beside
/// all whom it adds. Nobody follows that commit; they join by its Welcome.
fn is_of_a_successor(context: &GroupContext, proposal: &Proposal) -> bool {
    context.epoch == 0 && matches!(proposal, Proposal::Psk(psk) if psk.external_psk_id().is_none())
}

fn committer(source: &CommitSource, roster: &Roster<'_>) -> Result<(Who, bool), RuleError> {
    match source {
        CommitSource::ExistingMember(member) => {
            Ok((Who::Member(account(&member.signing_identity)?), true))
        }
        CommitSource::NewMember(identity) => {
            let joiner = account(identity)?;
            let is_in = roster
                .members_iter()
                .any(|m| account(&m.signing_identity).is_ok_and(|account| account == joiner));
            Ok((Who::Joiner(joiner), is_in))
        }
    }
}

fn leaves_after(now: usize, committer: &Who, items: &[Item<'_>]) -> usize {
    let mut added = usize::from(matches!(committer, Who::Joiner(_)));
    let mut removed = 0;
    for item in items {
        match item.proposal {
            Proposed::Add { .. } => added += 1,
            Proposed::Remove { .. } | Proposed::SelfRemove => removed += 1,
            _ => {}
        }
    }
    (now + added).saturating_sub(removed)
}

/// What every group of ours carries in its GroupContext from the first epoch on.
pub(crate) fn context(
    policy: &Policy,
    hub: SigningIdentity,
) -> Result<ExtensionList, mls_rs::error::MlsError> {
    use mls_rs::extension::built_in::{ExternalSendersExt, RequiredCapabilitiesExt};
    use policy::required_capabilities::{CREDENTIALS, EXTENSIONS, PROPOSALS};

    let mut extensions = ExtensionList::new();
    extensions.set_from(policy.clone())?;
    extensions.set_from(RequiredCapabilitiesExt::new(
        EXTENSIONS.map(ExtensionType::new).to_vec(),
        PROPOSALS
            .map(mls_rs::group::proposal::ProposalType::new)
            .to_vec(),
        CREDENTIALS
            .map(mls_rs_core::identity::CredentialType::new)
            .to_vec(),
    ))?;
    extensions.set_from(ExternalSendersExt::new(vec![hub]))?;
    Ok(extensions)
}
