//! The public side of a room's group, followed as RFC 9420 lets anyone follow it who sees its
//! handshakes. What cannot be seen from here: whether confirmation and membership tags are right,
//! and whether path secrets are what they should be; members find that out.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use comity_mls_credential::crl::Revoked;
use comity_mls_credential::keys::{Algorithm, PublicKey};
use comity_mls_credential::leaf::{CredentialError, IssuerId, Leaf};
use comity_mls_credential::provider::{Provider, certificate};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Member, Tree};
use comity_storage::rooms::{Entry, Snapshot};
use mls_rs::error::MlsError;
use mls_rs::external_client::builder::{
    ExternalBaseConfig, ExternalClientBuilder, WithCryptoProvider, WithIdentityProvider,
};
use mls_rs::external_client::{
    ExternalClient, ExternalGroup, ExternalReceivedMessage, ExternalSnapshot,
};
use mls_rs::group::proposal::Proposal;
use mls_rs::group::{
    CommitEffect, CommitMessageDescription, ExportedTree, GroupContext, Node,
    ProposalMessageDescription,
};
use mls_rs::identity::x509::CertificateChain;
use mls_rs::identity::{Credential, SigningIdentity};
use mls_rs::mls_rules::ProposalInfo;
use mls_rs::time::MlsTime;
use mls_rs::{CipherSuite, CryptoProvider, MlsMessage};
use mls_rs_codec::MlsEncode as _;
use mls_rs_core::group::ProposalType;
use mls_rs_crypto_openssl::OpensslCryptoProvider;

use super::hub::HubKey;
use super::replay::{ReplayError, Replayer};
use crate::error::Refused;
use crate::key_packages::package::Said;

type Config =
    WithCryptoProvider<OpensslCryptoProvider, WithIdentityProvider<Provider, ExternalBaseConfig>>;

/// Why something cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A certificate is not believed.
    #[error("{0}")]
    Credential(String),
    /// Nor can it be, before its domain's anchors are here.
    #[error("no CA {issuer:?} of {domain} is known here")]
    Issuer { domain: String, issuer: IssuerId },
    #[error("{0}")]
    Invalid(String),
}

impl From<MlsError> for Fault {
    fn from(error: MlsError) -> Self {
        match error {
            MlsError::IdentityProviderError(cause) => {
                match cause.inner_dyn_error().downcast_ref::<CredentialError>() {
                    Some(known) => Self::from(known.clone()),
                    None => Self::Credential(cause.to_string()),
                }
            }
            other => Self::Invalid(other.to_string()),
        }
    }
}

impl From<CredentialError> for Fault {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::UnknownIssuer { domain, issuer } => Self::Issuer { domain, issuer },
            other => Self::Credential(other.to_string()),
        }
    }
}

impl Fault {
    /// The refusal it comes to, where `invalid` says what else is wrong.
    pub fn refused(self, invalid: impl FnOnce(String) -> Refusal) -> Refused {
        match self {
            Self::Credential(why) => Refusal::BadCredential { why }.into(),
            Self::Issuer { domain, issuer } => Refused::Issuer { domain, issuer },
            Self::Invalid(why) => invalid(why).into(),
        }
    }
}

/// Follows groups. One for all rooms.
pub struct Observer {
    client: ExternalClient<Config>,
    crypto: OpensslCryptoProvider,
    provider: Provider,
    replayer: Replayer,
}

/// One group as it stands. Cloned before it is advanced, so that a refusal leaves it alone.
#[derive(Clone)]
pub struct PublicTree {
    group: ExternalGroup<Config>,
    /// The tree as it travels, made when somebody needs it first: once in an epoch.
    packed: Arc<OnceLock<Tree>>,
}

/// What a commit has done.
pub struct Committed {
    pub tree: PublicTree,
    pub committer: u32,
    pub applied: Vec<ProposalInfo<Proposal>>,
    /// The group ends with this commit, in favour of a successor.
    pub reinit: bool,
}

fn builder(provider: &Provider, crypto: &OpensslCryptoProvider) -> ExternalClientBuilder<Config> {
    ExternalClientBuilder::new()
        .identity_provider(provider.clone())
        .crypto_provider(crypto.clone())
        .custom_proposal_types([ProposalType::SELF_REMOVE])
        .extension_type(comity_mls_wire::policy::EXTENSION_TYPE.into())
}

impl Observer {
    #[must_use]
    pub fn new(provider: Provider, suites: &[u16]) -> Self {
        let suites = suites
            .iter()
            .map(|suite| CipherSuite::new(*suite))
            .collect();
        let crypto = OpensslCryptoProvider::with_enabled_cipher_suites(suites);
        Self {
            client: builder(&provider, &crypto).build(),
            replayer: Replayer::new(&provider, &crypto),
            crypto,
            provider,
        }
    }

    /// Has the certificate of a leaf been taken back, as far as is known here?
    #[must_use]
    pub fn revoked(&self, leaf: &Leaf) -> Option<Revoked> {
        self.provider.revoked(leaf)
    }

    /// Begins to follow a group at `at` (seconds since 1970): everything in it is checked.
    pub fn observe(
        &self,
        group_info: MlsMessage,
        tree: &[u8],
        at: u64,
    ) -> Result<PublicTree, Fault> {
        let tree = ExportedTree::from_bytes(tree)?;
        let time = MlsTime::from(at);
        let group = self
            .client
            .observe_group(group_info, Some(tree), Some(time))?;
        Ok(PublicTree::of(group))
    }

    /// Takes up what [`PublicTree::state`] and [`PublicTree::tree`] gave.
    pub fn load(&self, state: &[u8], tree: &[u8]) -> Result<PublicTree, Fault> {
        let group = self.client.load_group_with_ratchet_tree(
            ExternalSnapshot::from_bytes(state)?,
            ExportedTree::from_bytes(tree)?,
        )?;
        Ok(PublicTree::of(group))
    }

    /// Takes up a snapshot, and follows what was accepted since.
    pub fn resume(&self, snapshot: Snapshot, since: &[Entry]) -> Result<PublicTree, ReplayError> {
        let (state, tree) = self.replayer.follow(snapshot, since)?;
        self.load(&state, &tree).map_err(ReplayError::Snapshot)
    }

    /// The KeyPackageRef of a package (RFC 9420 §5.2).
    pub fn reference(&self, package: &mls_rs::KeyPackage) -> Result<Vec<u8>, Fault> {
        let suite = self.suite(package.cipher_suite)?;
        Ok(package.to_reference(&suite)?.to_vec())
    }

    /// A package that is to be added at `at` (seconds since 1970).
    pub fn check_key_package(&self, package: &mls_rs::KeyPackage, at: u64) -> Result<(), Fault> {
        // RFC 9420 §6: mls10, mls_key_package; mls-rs takes the package only as a message.
        let mut message = vec![0, 1, 0, 5];
        message.extend(package.mls_encode_to_vec().map_err(MlsError::from)?);
        let message = MlsMessage::from_bytes(&message)?;
        self.client
            .validate_key_package(message, Some(MlsTime::from(at)))?;
        Ok(())
    }

    fn suite(
        &self,
        suite: CipherSuite,
    ) -> Result<<OpensslCryptoProvider as CryptoProvider>::CipherSuiteProvider, Fault> {
        self.crypto
            .cipher_suite_provider(suite)
            .ok_or_else(|| Fault::Invalid(format!("cipher suite {} is not followed here", *suite)))
    }
}

impl PublicTree {
    fn of(group: ExternalGroup<Config>) -> Self {
        Self {
            group,
            packed: Arc::default(),
        }
    }

    #[must_use]
    pub fn context(&self) -> &GroupContext {
        self.group.group_context()
    }

    /// All that [`Observer::load`] needs beside the tree, proposals included.
    pub fn state(&self) -> Result<Vec<u8>, Fault> {
        // The tree is taken out for the while, which needs a group of one's own.
        Ok(self
            .group
            .clone()
            .snapshot_without_ratchet_tree()
            .to_bytes()?)
    }

    /// As the ratchet_tree extension encodes it.
    pub fn tree(&self) -> Result<Vec<u8>, Fault> {
        Ok(self.group.export_tree()?)
    }

    /// The tree as it travels.
    pub fn packed(&self) -> Result<Tree, Fault> {
        if let Some(packed) = self.packed.get() {
            return Ok(packed.clone());
        }
        let packed = Tree::pack(self.tree()?);
        Ok(self.packed.get_or_init(|| packed).clone())
    }

    /// The leaves by index, as their certificates name them.
    pub fn members(&self) -> Result<BTreeMap<u32, Member>, Fault> {
        self.group
            .roster()
            .members_iter()
            .map(|member| Ok((member.index, named(&member.signing_identity)?)))
            .collect()
    }

    /// The leaves that are not as they were before a commit, and whose they are now. Certificates of
    /// the others are not read again.
    pub fn changed(&self, before: &Self) -> Result<BTreeMap<u32, Option<Member>>, Fault> {
        let (now, then) = (self.group.exported_tree(), before.group.exported_tree());
        let leaves = now.total_leaf_count().max(then.total_leaf_count());
        let mut changed = BTreeMap::new();
        for index in 0..leaves {
            let (now, then) = (leaf_at(&now, index), leaf_at(&then, index));
            if now != then {
                changed.insert(index, now.map(named).transpose()?);
            }
        }
        Ok(changed)
    }

    /// What the certificate of a leaf says.
    pub fn certificate(&self, leaf: u32) -> Result<Leaf, Fault> {
        let member = self.group.roster().member_with_index(leaf)?;
        let der = certificate(&member.signing_identity.credential)?;
        Ok(Leaf::read(der)?)
    }

    /// The identity of a leaf.
    pub fn identity(&self, leaf: u32) -> Result<SigningIdentity, Fault> {
        let member = self.group.roster().member_with_index(leaf)?;
        Ok(member.signing_identity)
    }

    /// The hub's own proposal to remove a leaf, not taken in yet.
    pub fn remove_as_hub(
        &self,
        observer: &Observer,
        hub: &HubKey,
        leaf: u32,
        authenticated_data: Vec<u8>,
    ) -> Result<MlsMessage, Fault> {
        let chain = CertificateChain::from(vec![hub.certificate.to_vec()]);
        let key = hub.public_key.to_vec().into();
        let identity = SigningIdentity::new(Credential::X509(chain), key);
        let secret = hub
            .key
            .to_mls()
            .map_err(|e| Fault::Invalid(e.to_string()))?;
        // mls-rs signs for a client that it was told of beforehand; ours follow rooms of all our
        // domains, each with a key of its own.
        let mut group = builder(&observer.provider, &observer.crypto)
            .signer(secret, identity)
            .build()
            .load_group_with_ratchet_tree(
                ExternalSnapshot::from_bytes(&self.state()?)?,
                ExportedTree::from_bytes(&self.tree()?)?,
            )?;
        Ok(group.propose_remove(leaf, authenticated_data)?)
    }

    /// The key a leaf signs with.
    pub fn signature_key(&self, leaf: u32) -> Result<PublicKey, Fault> {
        let member = self.group.roster().member_with_index(leaf)?;
        let algorithm = Algorithm::of_suite(self.context().cipher_suite())
            .ok_or_else(|| Fault::Invalid("the cipher suite is not known here".to_owned()))?;
        let key = member.signing_identity.signature_key.as_ref();
        PublicKey::from_mls(algorithm, key).map_err(|error| Fault::Invalid(error.to_string()))
    }

    /// Is this key in a node already, or proposed to be (RFC 9420 §7.3: keys are unique in a tree)?
    pub fn holds_key(&self, encryption_key: &[u8], signature_key: &[u8]) -> Result<bool, Fault> {
        let in_tree = self
            .group
            .exported_tree()
            .nodes()
            .iter()
            .flatten()
            .any(|node| match node {
                Node::Leaf(leaf) => {
                    leaf.public_key.as_ref() == encryption_key
                        || leaf.signing_identity.signature_key.as_ref() == signature_key
                }
                Node::Parent(parent) => parent.public_key.as_ref() == encryption_key,
            });
        if in_tree {
            return Ok(true);
        }
        for (_, proposal) in self.proposals() {
            let Proposal::Add(add) = proposal else {
                continue;
            };
            let other = add.key_package();
            let said = said(other)?;
            if said.encryption_key == encryption_key
                || other.signing_identity().signature_key.as_ref() == signature_key
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The proposals that may be committed by reference: reference and proposal.
    #[must_use]
    pub fn proposals(&self) -> Vec<(Vec<u8>, Proposal)> {
        self.group
            .get_cached_proposals()
            .iter()
            .map(|cached| (cached.proposal_ref().to_vec(), cached.proposal().clone()))
            .collect()
    }

    /// The group after a commit made at `at` (seconds since 1970).
    pub fn commit(&self, commit: MlsMessage, at: u64) -> Result<Committed, Fault> {
        let mut next = Self::of(self.group.clone());
        let received = next
            .group
            .process_incoming_message_with_time(commit, MlsTime::from(at))?;
        let ExternalReceivedMessage::Commit(CommitMessageDescription {
            committer, effect, ..
        }) = received
        else {
            return Err(Fault::Invalid("it is no commit".to_owned()));
        };
        let (applied, reinit) = match effect {
            CommitEffect::NewEpoch(epoch) => (epoch.applied_proposals, false),
            CommitEffect::Removed { new_epoch, .. } => (new_epoch.applied_proposals, false),
            CommitEffect::ReInit(_) => (Vec::new(), true),
        };
        Ok(Committed {
            tree: next,
            committer,
            applied,
            reinit,
        })
    }

    /// The group with one more proposal that may be committed by reference.
    pub fn propose(
        &self,
        proposal: MlsMessage,
        at: u64,
    ) -> Result<(Self, ProposalMessageDescription), Fault> {
        let mut next = self.clone();
        let received = next
            .group
            .process_incoming_message_with_time(proposal, MlsTime::from(at))?;
        match received {
            ExternalReceivedMessage::Proposal(proposal) => Ok((next, proposal)),
            _ => Err(Fault::Invalid("it is no proposal".to_owned())),
        }
    }

    /// Is this the GroupInfo of the group as it stands: signed by a member, with the same context
    /// (and so tree hash and transcript) and confirmation tag? Gives the leaf that signed it.
    pub fn check_group_info(&mut self, group_info: MlsMessage) -> Result<u32, Fault> {
        match self.group.process_incoming_message(group_info)? {
            ExternalReceivedMessage::GroupInfo(info) => Ok(info.sender()),
            _ => Err(Fault::Invalid("it is no GroupInfo".to_owned())),
        }
    }
}

fn leaf_at<'a>(tree: &'a ExportedTree<'_>, index: u32) -> Option<&'a SigningIdentity> {
    let place = usize::try_from(index).ok()?.checked_mul(2)?;
    match tree.nodes().get(place) {
        Some(Some(Node::Leaf(leaf))) => Some(&leaf.signing_identity),
        _ => None,
    }
}

/// What a package's leaf says of itself.
pub(super) fn said(package: &mls_rs::KeyPackage) -> Result<Said, Fault> {
    let bytes = package.mls_encode_to_vec().map_err(MlsError::from)?;
    crate::key_packages::package::read(&bytes).map_err(Fault::Invalid)
}

/// Account and device that a member's certificate names. That it tells the truth was found out
/// when the leaf was accepted.
pub fn named(identity: &SigningIdentity) -> Result<Member, Fault> {
    let leaf = Leaf::read(certificate(&identity.credential)?)?;
    let device = leaf.device.ok_or_else(|| {
        Fault::Credential(format!(
            "the certificate of {} names no device",
            leaf.account
        ))
    })?;
    Ok(Member {
        account: leaf.account,
        device,
    })
}
