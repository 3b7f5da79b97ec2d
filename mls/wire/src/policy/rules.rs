//! What a policy allows: pure functions, asked by the hub before it accepts and by engines before
//! they make and when they follow. Endorsements, signatures and credentials are judged elsewhere.

use comity_xmpp::jid::BareJid;

use super::{ExternalJoins, Policy, Role};
use crate::limits;
use crate::refusal::Refusal;

/// Who made a proposal or a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender<'a> {
    /// A leaf of this account.
    Member(&'a BareJid),
    /// The hub, as external sender.
    Hub,
    /// A leaf that is not in the group yet (RFC 9420 §6, new_member_commit, new_member_proposal).
    Joiner(&'a BareJid),
}

/// A proposal, as far as the rules look into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposed<'a> {
    Add {
        account: &'a BareJid,
    },
    Remove {
        account: &'a BareJid,
    },
    SelfRemove,
    Update,
    /// GroupContextExtensions: the policy that would hold, if the new context has one.
    Context {
        next: Option<&'a Policy>,
    },
    /// A pre-shared key: external, or of an earlier epoch (RFC 9420 §8.4, resumption).
    Psk {
        external: bool,
    },
    ReInit {
        suite: u16,
    },
    ExternalInit,
    Other(u16),
}

/// A proposal and its author. By value, the author is the committer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    pub by: Sender<'a>,
    pub by_reference: bool,
    pub proposal: Proposed<'a>,
}

/// A commit, as far as the rules look into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit<'a> {
    pub committer: Sender<'a>,
    /// Of a Joiner: whether its account has a leaf in the group already.
    pub account_is_in: bool,
    pub proposals: &'a [Item<'a>],
    pub has_path: bool,
    /// Leaves once it is applied.
    pub leaves_after: usize,
}

/// The rule that a proposal or commit breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("{deed} needs the role of {needed:?}, and {account} has that of {has:?}")]
    Role {
        deed: &'static str,
        account: BareJid,
        needed: Role,
        has: Role,
    },
    #[error("{account} has a higher role than {by}, who would remove it")]
    HigherRole { by: BareJid, account: BareJid },
    #[error("{account} is not admitted to this room")]
    NotAdmitted { account: BareJid },
    #[error("{0} proposals are not used: a leaf is updated by the path of its own commit")]
    Update(&'static str),
    #[error("{0} travels by value, in its author's own commit")]
    ByValueOnly(&'static str),
    #[error("SelfRemove travels by reference, and is committed by somebody else")]
    ByReferenceOnly,
    #[error("the hub may propose {0}")]
    Hub(&'static str),
    #[error("the hub does not commit")]
    HubCommits,
    #[error("who is not in the room may not propose")]
    OutsideProposal,
    #[error("external commits are for {0} in this room")]
    ExternalJoin(&'static str),
    #[error(
        "an external commit may carry ExternalInit, the removal of its own old leaf and pending SelfRemoves, not {0}"
    )]
    InExternalCommit(&'static str),
    #[error("ExternalInit belongs into an external commit")]
    ExternalInit,
    #[error("proposal type {0:#06x} is not allowed in this room")]
    ProposalType(u16),
    #[error("cipher suite {0} is not allowed in this room")]
    Suite(u16),
    #[error("the new context has no policy of this version")]
    PolicyMissing,
    #[error("{0} of a room cannot be changed")]
    Fixed(&'static str),
    #[error("every commit in this room carries an update path")]
    PathRequired,
    #[error("members keep no keys of epochs that have ended, so no PSK of one is used")]
    ResumptionPsk,
    #[error(
        "who is added by a commit has none of the PSKs it uses, and could not open the Welcome: \
         commit them one after the other"
    )]
    PskWithAdd,
    #[error("the commit uses {found} PSKs, at most {max} are allowed in one")]
    Psks { found: usize, max: usize },
    #[error("the room would have {found} leaves, at most {max} are allowed")]
    Leaves { found: usize, max: u32 },
    #[error("the commit adds {found} devices, at most {max} are allowed in one")]
    Adds { found: usize, max: usize },
}

impl From<Broken> for Refusal {
    fn from(broken: Broken) -> Self {
        Self::NotAllowed {
            rule: broken.to_string(),
        }
    }
}

impl Policy {
    /// May this account bring a pre-shared key?
    pub fn check_psk(&self, author: &BareJid) -> Result<(), Broken> {
        self.check_role(author, self.rights.psk, "injecting a PSK")
    }

    /// May this proposal be sent by reference, to be committed by others?
    pub fn check_proposal(&self, by: Sender<'_>, proposal: &Proposed<'_>) -> Result<(), Broken> {
        let author = match by {
            Sender::Joiner(_) => return Err(Broken::OutsideProposal),
            Sender::Hub => return self.check_hub(proposal),
            Sender::Member(author) => author,
        };
        match *proposal {
            Proposed::Add { account } => {
                self.check_add(author, account, self.rights.propose_add, "proposing an Add")
            }
            Proposed::Remove { account } => self.check_remove(author, account),
            Proposed::SelfRemove => Ok(()),
            Proposed::Update => Err(Broken::Update("Update")),
            Proposed::Context { .. } => Err(Broken::ByValueOnly("GroupContextExtensions")),
            Proposed::Psk { .. } => Err(Broken::ByValueOnly("PreSharedKey")),
            Proposed::ReInit { .. } => Err(Broken::ByValueOnly("ReInit")),
            Proposed::ExternalInit => Err(Broken::ExternalInit),
            Proposed::Other(number) => self.check_other(number),
        }
    }

    /// May this commit end the epoch?
    pub fn check_commit(&self, commit: &Commit<'_>) -> Result<(), Broken> {
        match commit.committer {
            Sender::Hub => return Err(Broken::HubCommits),
            Sender::Joiner(account) => self.check_external(account, commit)?,
            Sender::Member(committer) => {
                for item in commit.proposals {
                    self.check_item(committer, item)?;
                }
                if self.full_commits && !commit.has_path {
                    return Err(Broken::PathRequired);
                }
            }
        }
        let count = |is: fn(&Proposed<'_>) -> bool| {
            let proposals = commit.proposals.iter();
            proposals.filter(|item| is(&item.proposal)).count()
        };
        let adds = count(|proposed| matches!(proposed, Proposed::Add { .. }));
        check_psks(
            count(|proposed| matches!(proposed, Proposed::Psk { .. })),
            adds,
        )?;
        if adds > limits::JOINERS {
            return Err(Broken::Adds {
                found: adds,
                max: limits::JOINERS,
            });
        }
        let fits = u32::try_from(commit.leaves_after).is_ok_and(|found| found <= self.max_leaves);
        if fits {
            Ok(())
        } else {
            Err(Broken::Leaves {
                found: commit.leaves_after,
                max: self.max_leaves,
            })
        }
    }

    /// Must this pending proposal be in a commit of that author? All those it may commit; an Add
    /// that waits for a higher role than the committer's stays behind.
    #[must_use]
    pub fn must_include(&self, committer: Sender<'_>, pending: &Item<'_>) -> bool {
        match committer {
            Sender::Hub => false,
            // RFC 9420 §12.4.3.2 allows little by reference there; SelfRemove is among it.
            Sender::Joiner(_) => pending.proposal == Proposed::SelfRemove,
            Sender::Member(committer) => self.check_item(committer, pending).is_ok(),
        }
    }

    /// May the context change so? The policy in it is the new one.
    pub fn check_successor(&self, next: &Self) -> Result<(), Broken> {
        if next.handshakes != self.handshakes {
            return Err(Broken::Fixed("the wire format"));
        }
        // The direct room of two accounts stays theirs.
        if !self.accounts.is_empty() && next.accounts != self.accounts {
            return Err(Broken::Fixed("the list of admitted accounts"));
        }
        Ok(())
    }

    fn check_item(&self, committer: &BareJid, item: &Item<'_>) -> Result<(), Broken> {
        if !item.by_reference {
            return self.check_by_value(committer, &item.proposal);
        }
        self.check_proposal(item.by, &item.proposal)?;
        match (item.by, item.proposal) {
            // Proposed by one whose role may not commit it: then the committer's must.
            (Sender::Member(author), Proposed::Add { account })
                if author != account && self.role(author) < self.rights.add =>
            {
                self.check_add(committer, account, self.rights.add, "committing an Add")
            }
            _ => Ok(()),
        }
    }

    fn check_by_value(&self, author: &BareJid, proposal: &Proposed<'_>) -> Result<(), Broken> {
        match *proposal {
            Proposed::Add { account } => {
                self.check_add(author, account, self.rights.add, "committing an Add")
            }
            Proposed::Remove { account } => self.check_remove(author, account),
            Proposed::SelfRemove => Err(Broken::ByReferenceOnly),
            Proposed::Update => Err(Broken::Update("Update")),
            Proposed::Context { next } => {
                self.check_role(author, self.rights.change_policy, "changing the context")?;
                self.check_successor(next.ok_or(Broken::PolicyMissing)?)
            }
            Proposed::Psk { external: false } => Err(Broken::ResumptionPsk),
            Proposed::Psk { external: true } => self.check_psk(author),
            Proposed::ReInit { suite } => {
                self.check_role(author, self.rights.reinit, "ReInit")?;
                if self.suites.contains(&suite) {
                    Ok(())
                } else {
                    Err(Broken::Suite(suite))
                }
            }
            Proposed::ExternalInit => Err(Broken::ExternalInit),
            Proposed::Other(number) => self.check_other(number),
        }
    }

    fn check_external(&self, joiner: &BareJid, commit: &Commit<'_>) -> Result<(), Broken> {
        match self.external_joins {
            ExternalJoins::Nobody => return Err(Broken::ExternalJoin("nobody")),
            ExternalJoins::OwnAccount if !commit.account_is_in => {
                return Err(Broken::ExternalJoin("devices of members"));
            }
            ExternalJoins::OwnAccount | ExternalJoins::Anyone => {}
        }
        if !self.admits(joiner) {
            return Err(Broken::NotAdmitted {
                account: joiner.clone(),
            });
        }
        let mut removed = 0;
        for item in commit.proposals {
            match item.proposal {
                Proposed::ExternalInit if !item.by_reference => {}
                Proposed::Remove { account } if !item.by_reference && account == joiner => {
                    removed += 1;
                }
                Proposed::SelfRemove if item.by_reference => {
                    self.check_proposal(item.by, &item.proposal)?;
                }
                ref other => return Err(Broken::InExternalCommit(other.name())),
            }
        }
        // A resync replaces exactly the leaf of the one that comes back.
        if removed > 1 {
            return Err(Broken::InExternalCommit("the removal of several leaves"));
        }
        Ok(())
    }

    fn check_hub(&self, proposal: &Proposed<'_>) -> Result<(), Broken> {
        match proposal {
            Proposed::Remove { .. } if self.hub_removes => Ok(()),
            _ if self.hub_removes => Err(Broken::Hub("removals, and nothing else")),
            _ => Err(Broken::Hub("nothing in this room")),
        }
    }

    fn check_add(
        &self,
        author: &BareJid,
        account: &BareJid,
        needed: Role,
        deed: &'static str,
    ) -> Result<(), Broken> {
        if !self.admits(account) {
            return Err(Broken::NotAdmitted {
                account: account.clone(),
            });
        }
        if author == account {
            return Ok(());
        }
        self.check_role(author, needed, deed)
    }

    fn check_remove(&self, author: &BareJid, account: &BareJid) -> Result<(), Broken> {
        if author == account {
            return Ok(());
        }
        self.check_role(author, self.rights.remove, "removing another account")?;
        if self.role(account) > self.role(author) {
            return Err(Broken::HigherRole {
                by: author.clone(),
                account: account.clone(),
            });
        }
        Ok(())
    }

    fn check_role(
        &self,
        account: &BareJid,
        needed: Role,
        deed: &'static str,
    ) -> Result<(), Broken> {
        let has = self.role(account);
        if has >= needed {
            return Ok(());
        }
        Err(Broken::Role {
            deed,
            account: account.clone(),
            needed,
            has,
        })
    }

    fn check_other(&self, number: u16) -> Result<(), Broken> {
        if self.other_proposals.contains(&number) {
            Ok(())
        } else {
            Err(Broken::ProposalType(number))
        }
    }
}

/// RFC 9420 §12.4.3.1: a Welcome names the PSKs of its commit, and who lacks one cannot join.
fn check_psks(psks: usize, adds: usize) -> Result<(), Broken> {
    match psks {
        0 => Ok(()),
        1..=limits::PSKS if adds == 0 => Ok(()),
        1..=limits::PSKS => Err(Broken::PskWithAdd),
        found => Err(Broken::Psks {
            found,
            max: limits::PSKS,
        }),
    }
}

impl Proposed<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Add { .. } => "Add",
            Self::Remove { .. } => "Remove",
            Self::SelfRemove => "SelfRemove",
            Self::Update => "Update",
            Self::Context { .. } => "GroupContextExtensions",
            Self::Psk { .. } => "PreSharedKey",
            Self::ReInit { .. } => "ReInit",
            Self::ExternalInit => "ExternalInit",
            Self::Other(_) => "another type",
        }
    }
}

/// How a leaf stands, by the time of its last update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    Fresh,
    /// Its device should commit an update.
    Due,
    /// The hub may propose its removal.
    Idle,
}

impl Policy {
    /// Both times in seconds since 1970.
    #[must_use]
    pub fn freshness(&self, updated: u64, now: u64) -> Freshness {
        let age = now.saturating_sub(updated);
        if self.idle_removal_s != 0 && age >= u64::from(self.idle_removal_s) {
            Freshness::Idle
        } else if age >= u64::from(self.leaf_update_s) {
            Freshness::Due
        } else {
            Freshness::Fresh
        }
    }
}

#[cfg(test)]
#[path = "rules/tests.rs"]
mod tests;
