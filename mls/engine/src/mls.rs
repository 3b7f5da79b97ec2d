//! mls-rs, set up our way: its storage traits write into the transaction under way, its signature
//! keys are handles, its rules are the policy's.

use std::sync::Arc;
use std::time::Duration;

use comity_mls_credential::leaf::{CredentialError, identity};
use comity_mls_credential::provider::Provider;
use comity_mls_wire::room::Member;
use mls_rs::client_builder::{
    BaseConfig, WithCryptoProvider, WithGroupStateStorage, WithIdentityProvider,
    WithKeyPackageRepo, WithMlsRules, WithPskStore,
};
use mls_rs::error::MlsError;
use mls_rs::external_client::builder::{self as external, ExternalBaseConfig as Base};
use mls_rs::external_client::{ExternalClient, ExternalGroup, ExternalSnapshot};
use mls_rs::group::proposal::ProposalType;
use mls_rs::group::{ExportedTree, ReceivedMessage};
use mls_rs::{Client, MlsMessage};
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use mls_rs_core::crypto::{CipherSuite, CryptoProvider, SignatureSecretKey};
use mls_rs_core::group::{EpochRecord, GroupState, GroupStateStorage};
use mls_rs_core::identity::{CertificateChain, Credential, SigningIdentity};
use mls_rs_core::key_package::{KeyPackageData, KeyPackageStorage};
use zeroize::Zeroizing;

use crate::crypto::{Crypto, Suite};
use crate::error::Error;
use crate::keys::{KeyHandle, SignatureKeys};
use crate::pieces::Pieces;
use crate::psk::Psks;
use crate::rows::Rows;
use crate::rules::Rules;
use crate::store::Space;

pub(crate) type Config = WithMlsRules<
    Rules,
    WithCryptoProvider<
        Crypto,
        WithIdentityProvider<
            Provider,
            WithKeyPackageRepo<
                KeyPackages,
                WithPskStore<Psks, WithGroupStateStorage<Groups, BaseConfig>>,
            >,
        >,
    >,
>;
pub(crate) type Group = mls_rs::Group<Config>;
type PublicConfig =
    external::WithMlsRules<Rules, WithCrypto<external::WithIdentityProvider<Provider, Base>>>;
type WithCrypto<C> = external::WithCryptoProvider<Crypto, C>;
/// A group as anyone sees it who reads its handshakes: without secrets.
pub(crate) type PublicGroup = ExternalGroup<PublicConfig>;
/// An attempt to come to a group by an external commit.
type Attempt = Option<[u8; 16]>;

/// A signature key that a certificate speaks for.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct Certified {
    pub(crate) suite: u16,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) handle: Vec<u8>,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) certificate: Vec<u8>,
    /// Seconds since 1970.
    pub(crate) not_after: u64,
}

impl Certified {
    pub(crate) fn key(&self) -> KeyHandle {
        KeyHandle(self.handle.clone())
    }

    pub(crate) fn signer(&self) -> SignatureSecretKey {
        SignatureSecretKey::new(self.handle.clone())
    }
}

/// What all clients of mls-rs in one engine share.
#[derive(Clone)]
pub(crate) struct Mls {
    rows: Rows,
    crypto: Crypto,
    provider: Provider,
    keys: Arc<dyn SignatureKeys>,
}

impl Mls {
    pub(crate) fn new(rows: Rows, keys: Arc<dyn SignatureKeys>, provider: Provider) -> Self {
        Self {
            rows,
            crypto: Crypto::new(Arc::clone(&keys)),
            provider,
            keys,
        }
    }

    pub(crate) fn provider(&self) -> &Provider {
        &self.provider
    }

    pub(crate) fn suite(&self, suite: CipherSuite) -> Result<Suite, Error> {
        self.crypto
            .cipher_suite_provider(suite)
            .ok_or_else(|| Error::Mls(format!("cipher suite {suite:?} is not in use here")))
    }

    fn builder(&self, of: Place) -> mls_rs::client_builder::ClientBuilder<Config> {
        Client::builder()
            .group_state_storage(Groups(self.rows.clone(), of))
            .psk_store(Psks(self.rows.clone()))
            .key_package_repo(KeyPackages(self.rows.clone()))
            .identity_provider(self.provider.clone())
            .crypto_provider(self.crypto.clone())
            .mls_rules(Rules)
            .extension_type(crate::rules::POLICY)
            .custom_proposal_type(ProposalType::SELF_REMOVE)
    }

    /// A client that only loads groups, which know their signer.
    fn loader(&self, of: Place) -> Client<Config> {
        self.builder(of).build()
    }

    /// A client that speaks as that certified key; what it makes lives for `lifetime_s`.
    pub(crate) fn client(
        &self,
        certified: &Certified,
        lifetime_s: u64,
    ) -> Result<Client<Config>, Error> {
        self.client_for(certified, lifetime_s, None)
    }

    fn client_for(
        &self,
        certified: &Certified,
        lifetime_s: u64,
        attempt: Attempt,
    ) -> Result<Client<Config>, Error> {
        Ok(self
            .builder(Place::Group(attempt))
            .key_package_lifetime(Duration::from_secs(lifetime_s))
            .signing_identity(
                self.identity(certified)?,
                certified.signer(),
                CipherSuite::new(certified.suite),
            )
            .build())
    }

    pub(crate) fn identity(&self, certified: &Certified) -> Result<SigningIdentity, Error> {
        let key = self.keys.public(&certified.key())?.to_mls();
        Ok(SigningIdentity::new(
            credential(&certified.certificate),
            key,
        ))
    }

    /// A group with its tree. It seals and opens no messages: see [`Self::speaker`].
    pub(crate) fn load(&self, group_id: &[u8]) -> Result<Group, Error> {
        let tree = self
            .rows
            .get(Space::Tree, group_id)?
            .ok_or(Error::Corrupt { space: "tree" })?;
        let tree =
            ExportedTree::mls_decode(&mut &*tree).map_err(|_| Error::Corrupt { space: "tree" })?;
        let loader = self.loader(Place::Group(None));
        Ok(loader.load_group_with_ratchet_tree(group_id, tree)?)
    }

    /// The same group as it seals messages, and opens those of who is in these nodes.
    pub(crate) fn speaker(&self, group_id: &[u8], nodes: &[u8]) -> Result<Group, Error> {
        let nodes = ExportedTree::from_bytes(nodes)?;
        let loader = self.loader(Place::Speaker);
        Ok(loader.load_group_with_ratchet_tree(group_id, nodes)?)
    }

    /// Opens a message, of that device as it is said. The ratchets are spent once they are saved.
    pub(crate) fn open(
        &self,
        group: &Group,
        message: MlsMessage,
        by: &Member,
    ) -> Result<Result<(Group, ReceivedMessage), MlsError>, Error> {
        let identity = identity(&by.account, Some(by.device));
        if let Ok(member) = group.member_with_identity(&identity)
            && let Some(nodes) = leaf_alone(group, member.index)?
        {
            let mut speaker = self.speaker(group.group_id(), &nodes)?;
            if let Ok(received) = speaker.process_incoming_message(message.clone()) {
                return Ok(Ok((speaker, received)));
            }
        }
        // Whoever it is of, then.
        let nodes = group.export_tree().to_bytes()?;
        let mut speaker = self.speaker(group.group_id(), &nodes)?;
        let received = speaker.process_incoming_message(message);
        Ok(received.map(|received| (speaker, received)))
    }

    /// Writes a group in a new epoch. What is left of it in memory has no ratchets.
    pub(crate) fn save_epoch(&self, group: &mut Group) -> Result<(), Error> {
        self.write_epoch(group, None)?;
        *group = self.load(group.group_id())?;
        Ok(())
    }

    fn write_epoch(&self, group: &mut Group, attempt: Attempt) -> Result<(), Error> {
        let key = place(group.group_id(), attempt);
        let whole = self.written(group, &key)?;
        let (pieces, looked_up) = Pieces::of(&whole).ok_or_else(unknown_state)?;
        let mut tree = group.export_tree().to_bytes()?;
        tree.extend_from_slice(looked_up);
        self.rows.put(Space::Tree, &key, tree);
        self.rows.write(Space::Group, &key, &pieces)
    }

    /// Writes a group that knows of other proposals; its tree and its ratchets are as they were.
    pub(crate) fn save_proposals(&self, group: &mut Group) -> Result<(), Error> {
        let key = group.group_id().to_vec();
        let stored: Pieces = self
            .rows
            .read(Space::Group, &key)?
            .ok_or(Error::Corrupt { space: "group" })?;
        let whole = self.written(group, &key)?;
        let (pieces, _) = Pieces::of(&whole).ok_or_else(unknown_state)?;
        let pieces = pieces.with_ratchets_of(stored);
        self.rows.write(Space::Group, &key, &pieces)
    }

    /// Writes what a speaker has left of the ratchets.
    pub(crate) fn save_ratchets(&self, speaker: &mut Group) -> Result<(), Error> {
        let key = speaker.group_id().to_vec();
        let whole = self.written(speaker, &key)?;
        let (pieces, _) = Pieces::of(&whole).ok_or_else(unknown_state)?;
        self.rows.write(Space::Group, &key, &pieces)
    }

    /// A group as mls-rs writes it.
    fn written(&self, group: &mut Group, key: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        group.write_to_storage_without_ratchet_tree()?;
        let whole = self.rows.get(Space::Group, key)?;
        let whole = whole.ok_or(Error::Corrupt { space: "group" })?;
        Ok(Zeroizing::new(whole))
    }

    pub(crate) fn forget(&self, group_id: &[u8]) {
        self.rows.delete(Space::Group, group_id);
        self.rows.delete(Space::Tree, group_id);
    }

    /// Whoever comes to a group as that certified key by an external commit: what it writes lies
    /// beside what is there, under the attempt.
    pub(crate) fn comer(
        &self,
        certified: &Certified,
        attempt: [u8; 16],
    ) -> Result<Client<Config>, Error> {
        self.client_for(certified, 0, Some(attempt))
    }

    /// Writes the group of an attempt.
    pub(crate) fn save_attempt(&self, group: &mut Group, attempt: [u8; 16]) -> Result<(), Error> {
        self.write_epoch(group, Some(attempt))
    }

    /// The attempt was accepted: its group takes the place of what was there.
    pub(crate) fn adopt(&self, group_id: &[u8], attempt: [u8; 16]) -> Result<Group, Error> {
        let key = place(group_id, Some(attempt));
        for space in [Space::Group, Space::Tree] {
            let row = self.rows.get(space, &key)?;
            let row = row.ok_or(Error::Corrupt {
                space: space.name(),
            })?;
            self.rows.put(space, group_id, row);
        }
        self.forget_attempt(group_id, attempt);
        self.load(group_id)
    }

    pub(crate) fn forget_attempt(&self, group_id: &[u8], attempt: [u8; 16]) {
        self.forget(&place(group_id, Some(attempt)));
    }

    fn observer(&self) -> ExternalClient<PublicConfig> {
        ExternalClient::builder()
            .crypto_provider(self.crypto.clone())
            .identity_provider(self.provider.clone())
            .mls_rules(Rules)
            .extension_type(crate::rules::POLICY)
            .custom_proposal_types([ProposalType::SELF_REMOVE])
            .build()
    }

    /// Begins to follow a group as anyone can, from the epoch that this member holds.
    pub(crate) fn observe(&self, group: &Group) -> Result<PublicGroup, Error> {
        let info = group.group_info_message_allowing_ext_commit(false)?;
        let tree = ExportedTree::from_bytes(&group.export_tree().to_bytes()?)?.into_owned();
        let mut public = self.observe_served(info, tree)?;
        for proposal in group.get_cached_proposals() {
            public.insert_proposal(proposal);
        }
        Ok(public)
    }

    /// The group as a GroupInfo and a tree show it, all in it checked.
    pub(crate) fn observe_served(
        &self,
        info: MlsMessage,
        tree: ExportedTree<'static>,
    ) -> Result<PublicGroup, MlsError> {
        // Without a time: a member whose KeyPackage has expired since must not keep us out.
        self.observer().observe_group(info, Some(tree), None)
    }

    pub(crate) fn load_public(&self, snapshot: &[u8]) -> Result<PublicGroup, Error> {
        let snapshot = ExternalSnapshot::from_bytes(snapshot)?;
        Ok(self.observer().load_group(snapshot)?)
    }
}

/// Where the rows of a group lie; an attempt's beside those of the group it comes back to.
fn place(group_id: &[u8], attempt: Attempt) -> Vec<u8> {
    let mut key = group_id.to_vec();
    key.extend_from_slice(attempt.as_ref().map_or(&[], |attempt| &attempt[..]));
    key
}

/// The nodes up to a leaf, all but this one blank.
fn leaf_alone(group: &Group, leaf: u32) -> Result<Option<Vec<u8>>, MlsError> {
    let tree = group.export_tree();
    let place = usize::try_from(leaf)
        .unwrap_or(usize::MAX)
        .saturating_mul(2);
    let Some(Some(node)) = tree.nodes().get(place) else {
        return Ok(None);
    };
    // RFC 9420 §12.4.3.3: an optional node is an octet and, if it is 1, the node.
    let mut nodes = vec![0; place];
    nodes.push(1);
    nodes.extend(node.mls_encode_to_vec()?);
    let mut encoded = Vec::with_capacity(nodes.len() + 4);
    mls_rs_codec::byte_vec::mls_encode(&nodes, &mut encoded)?;
    Ok(Some(encoded))
}

/// A tree without nodes: who seals needs none.
pub(crate) const NO_NODES: [u8; 1] = [0];

fn unknown_state() -> Error {
    Error::Mls("the state of a group is not built as this version knows it".to_owned())
}

/// An X.509 credential of exactly one certificate; issuers come from the anchors.
pub(crate) fn credential(certificate: &[u8]) -> Credential {
    Credential::X509(CertificateChain::from(vec![certificate.to_vec()]))
}

/// The domain whose anchors lack the issuer of some certificate, if that is all that is wrong.
pub(crate) fn unknown_issuer(error: &MlsError) -> Option<String> {
    let MlsError::IdentityProviderError(inner) = error else {
        return None;
    };
    match inner.inner_dyn_error().downcast_ref::<CredentialError>() {
        Some(CredentialError::UnknownIssuer { domain, .. }) => Some(domain.clone()),
        _ => None,
    }
}

/// Handshakes are followed without a time: expiry must never make an accepted commit inapplicable.
pub(crate) fn follow(group: &mut Group, message: MlsMessage) -> Result<ReceivedMessage, MlsError> {
    group.process_incoming_message(message)
}

/// Group state in the transaction under way. Of past epochs nothing is kept: the log's order makes
/// their secrets useless to us, and what is erased cannot be stolen.
#[derive(Clone)]
pub(crate) struct Groups(Rows, Place);

/// Whose rows they are, and what is made of them.
#[derive(Clone, Copy)]
enum Place {
    /// A group's, or those of an attempt to come to it: the group with its tree.
    Group(Attempt),
    /// A group's: what seals and opens messages.
    Speaker,
}

impl Place {
    fn key(self, group_id: &[u8]) -> Vec<u8> {
        match self {
            Self::Group(attempt) => place(group_id, attempt),
            Self::Speaker => place(group_id, None),
        }
    }
}

impl GroupStateStorage for Groups {
    type Error = Error;

    fn state(&self, group_id: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let key = self.1.key(group_id);
        let Some(pieces) = self.0.read::<Pieces>(Space::Group, &key)? else {
            return Ok(None);
        };
        if matches!(self.1, Place::Speaker) {
            return Ok(Some(pieces.speaking()));
        }
        let tree = self.0.get(Space::Tree, &key)?;
        let following = tree.and_then(|tree| pieces.following(&tree));
        following.map(Some).ok_or(Error::Corrupt { space: "tree" })
    }

    fn epoch(&self, _: &[u8], _: u64) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        Ok(None)
    }

    fn write(
        &mut self,
        state: GroupState,
        _inserts: Vec<EpochRecord>,
        _updates: Vec<EpochRecord>,
    ) -> Result<(), Error> {
        let key = self.1.key(&state.id);
        self.0.put(Space::Group, &key, state.data.to_vec());
        Ok(())
    }

    fn max_epoch_id(&self, _: &[u8]) -> Result<Option<u64>, Error> {
        Ok(None)
    }
}

/// The private half of a KeyPackage, and what certifies it.
#[derive(Clone, Debug, PartialEq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct OwnPackage {
    pub(crate) data: KeyPackageData,
    /// Set right after mls-rs has stored the package.
    pub(crate) certified: Option<Certified>,
    pub(crate) last_resort: bool,
}

#[derive(Clone)]
pub(crate) struct KeyPackages(Rows);

impl KeyPackageStorage for KeyPackages {
    type Error = Error;

    fn delete(&mut self, id: &[u8]) -> Result<(), Error> {
        self.0.delete(Space::KeyPackage, id);
        Ok(())
    }

    fn insert(&mut self, id: Vec<u8>, data: KeyPackageData) -> Result<(), Error> {
        let row = OwnPackage {
            data,
            certified: None,
            last_resort: false,
        };
        self.0.write(Space::KeyPackage, &id, &row)
    }

    fn get(&self, id: &[u8]) -> Result<Option<KeyPackageData>, Error> {
        let row: Option<OwnPackage> = self.0.read(Space::KeyPackage, id)?;
        Ok(row.map(|row| row.data))
    }
}
