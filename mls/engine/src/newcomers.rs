//! Devices that come to a room where their account is already: another leaf of the account lets
//! them in or vouches for them, and nobody else. The rule itself is `mls/credential`'s, shared with
//! the hub; times are the hub's to judge.

use std::cell::OnceCell;
use std::collections::HashMap;

use comity_mls_credential::endorsement::{self, Newcomer, Offered, Present};
use comity_mls_credential::keys::{Algorithm, PublicKey};
use comity_mls_credential::leaf::Leaf;
use comity_mls_credential::provider::certificate;
use comity_mls_wire::authenticated::{AuthenticatedData, Endorsement};
use comity_xmpp::jid::BareJid;
use mls_rs::group::proposal::Proposal;
use mls_rs::group::{CommitMessageDescription, Member, NewEpoch, Roster, Sender};
use mls_rs::mls_rules::ProposalInfo;
use mls_rs_core::crypto::CipherSuite;
use mls_rs_core::identity::SigningIdentity;
use uuid::Uuid;

use crate::noted::Noted;

/// The leaves of a group in one epoch, as far as this rule looks at them.
pub(crate) struct Leaves<'a> {
    pub(crate) group_id: &'a [u8],
    pub(crate) suite: CipherSuite,
    pub(crate) roster: Roster<'a>,
    /// What their certificates say, read once for all who come.
    read: OnceCell<HashMap<String, Vec<Vouching>>>,
}

/// A device and its leaf's signature key, as MLS writes it.
type Vouching = (Uuid, Vec<u8>);

impl<'a> Leaves<'a> {
    pub(crate) fn new(group_id: &'a [u8], suite: CipherSuite, roster: Roster<'a>) -> Self {
        Self {
            group_id,
            suite,
            roster,
            read: OnceCell::new(),
        }
    }

    /// May a leaf of this identity come, brought by a leaf of `sender`?
    pub(crate) fn admit(
        &self,
        identity: &SigningIdentity,
        sender: Option<&BareJid>,
        data: &AuthenticatedData,
    ) -> Result<(), String> {
        let leaf = read(identity)?;
        let device = leaf
            .device
            .ok_or("the certificate of who comes names no device")?;
        let newcomer = Newcomer {
            account: &leaf.account,
            device,
            signature_key: identity.signature_key.as_ref(),
            sender,
        };
        let present = self.present(&leaf.account);
        let offered = data.endorsements.iter().map(offered);
        endorsement::admit(self.group_id, &newcomer, &present, offered, None)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    /// The leaves of an account. One that cannot be read vouches for nobody.
    pub(crate) fn present(&self, account: &BareJid) -> Vec<Present> {
        let present = |(device, key): &Vouching| {
            let algorithm = Algorithm::of_suite(self.suite)?;
            Some(Present {
                account: account.clone(),
                device: *device,
                key: PublicKey::from_mls(algorithm, key).ok()?,
            })
        };
        let leaves = self.read.get_or_init(|| self.read_all());
        let of_account = leaves.get(account.as_str());
        of_account
            .into_iter()
            .flatten()
            .filter_map(present)
            .collect()
    }

    fn read_all(&self) -> HashMap<String, Vec<Vouching>> {
        let mut leaves: HashMap<String, Vec<Vouching>> = HashMap::new();
        for member in self.roster.members_iter() {
            let identity = &member.signing_identity;
            if let Ok(leaf) = read(identity)
                && let Some(device) = leaf.device
            {
                let key = identity.signature_key.as_ref().to_vec();
                let account = leaf.account.as_str().to_owned();
                leaves.entry(account).or_default().push((device, key));
            }
        }
        leaves
    }

    pub(crate) fn account_of(&self, leaf: u32) -> Option<BareJid> {
        let member = self.roster.member_with_index(leaf).ok()?;
        Some(read(&member.signing_identity).ok()?.account)
    }
}

fn read(identity: &SigningIdentity) -> Result<Leaf, String> {
    certificate(&identity.credential)
        .and_then(Leaf::read)
        .map_err(|error| error.to_string())
}

fn offered(endorsement: &Endorsement) -> Offered<'_> {
    Offered {
        device: endorsement.device(),
        key_hash: &endorsement.key_hash,
        not_after: endorsement.not_after,
        endorser: endorsement.endorser(),
        signature: &endorsement.signature,
    }
}

/// What came with a handshake. Octets that say nothing to this version vouch for nobody.
pub(crate) fn said(data: &[u8]) -> AuthenticatedData {
    AuthenticatedData::from_bytes(data).unwrap_or_default()
}

/// Do all leaves that a commit brings come by right? `noted` is what was found of the proposals it
/// refers to; they were judged when they came, in the same epoch. `comer` is the leaf of the committer
/// once the commit is applied.
pub(crate) fn check_commit(
    new: &NewEpoch,
    description: &CommitMessageDescription,
    comer: Option<Member>,
    noted: &[Noted],
) -> Result<(), String> {
    let context = new.prior_state().context();
    let leaves = Leaves::new(
        &context.group_id,
        context.cipher_suite,
        new.prior_state().roster(),
    );
    let data = said(&description.authenticated_data);
    if description.is_external {
        let member = comer.ok_or("the committer has no leaf")?;
        leaves.admit(&member.signing_identity, None, &data)?;
    }
    for info in new.applied_proposals() {
        let Proposal::Add(add) = &info.proposal else {
            continue;
        };
        if let Some(reference) = info.proposal_ref() {
            match noted.iter().find_map(|n| n.unendorsed(reference)) {
                Some(why) => return Err(why.to_owned()),
                None => continue,
            }
        }
        let sender = by_value(info, description).and_then(|leaf| leaves.account_of(leaf));
        leaves.admit(add.signing_identity(), sender.as_ref(), &data)?;
    }
    Ok(())
}

fn by_value(info: &ProposalInfo<Proposal>, description: &CommitMessageDescription) -> Option<u32> {
    match info.sender {
        Sender::Member(_) if !description.is_external => Some(description.committer),
        _ => None,
    }
}
