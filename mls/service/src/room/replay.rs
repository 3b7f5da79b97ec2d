//! A room's group, followed again from its snapshot by what the log has accepted since.
//!
//! What was accepted is a fact: neither the time nor what is known of issuers and revocations by now
//! has a say in it, or a room could not be taken up any more when an anchor is gone.

use comity_mls_credential::leaf::CredentialError;
use comity_mls_credential::provider::Provider;
use comity_storage::rooms::{Entry, Snapshot};
use mls_rs::external_client::builder::{
    ExternalBaseConfig, ExternalClientBuilder, WithCryptoProvider, WithIdentityProvider,
};
use mls_rs::external_client::{ExternalClient, ExternalReceivedMessage, ExternalSnapshot};
use mls_rs::group::ExportedTree;
use mls_rs::{ExtensionList, MlsMessage};
use mls_rs_core::group::ProposalType;
use mls_rs_core::identity::{
    CredentialType, IdentityProvider, MemberValidationContext, SigningIdentity,
};
use mls_rs_core::time::MlsTime;
use mls_rs_crypto_openssl::OpensslCryptoProvider;

use super::public_tree::Fault;

/// Why a room cannot be followed from its snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("entry {0} is to be followed, and its payload is gone")]
    Gone(u64),
    #[error("entry {0} cannot be followed: {1}")]
    Entry(u64, Fault),
    #[error("the snapshot: {0}")]
    Snapshot(Fault),
}

/// What a snapshot holds: the state beside the tree, and the tree.
pub(super) type Parts = (Vec<u8>, Vec<u8>);

pub(super) struct Replayer(ExternalClient<Config>);

type Config =
    WithCryptoProvider<OpensslCryptoProvider, WithIdentityProvider<Accepted, ExternalBaseConfig>>;

impl Replayer {
    pub(super) fn new(provider: &Provider, crypto: &OpensslCryptoProvider) -> Self {
        let builder = ExternalClientBuilder::new()
            .identity_provider(Accepted(provider.clone()))
            .crypto_provider(crypto.clone())
            .custom_proposal_types([ProposalType::SELF_REMOVE])
            .extension_type(comity_mls_wire::policy::EXTENSION_TYPE.into());
        Self(builder.build())
    }

    /// The snapshot as it would be after these entries.
    pub(super) fn follow(&self, snapshot: Snapshot, since: &[Entry]) -> Result<Parts, ReplayError> {
        if since.is_empty() {
            return Ok((snapshot.state, snapshot.tree));
        }
        let broken = |error: mls_rs::error::MlsError| ReplayError::Snapshot(error.into());
        let state = ExternalSnapshot::from_bytes(&snapshot.state).map_err(broken)?;
        let tree = ExportedTree::from_bytes(&snapshot.tree).map_err(broken)?;
        let mut group = self
            .0
            .load_group_with_ratchet_tree(state, tree)
            .map_err(broken)?;
        for entry in since {
            let payload = entry.payload.as_ref().ok_or(ReplayError::Gone(entry.seq))?;
            let followed = MlsMessage::from_bytes(payload)
                .and_then(|message| group.process_incoming_message(message))
                .map_err(|error| ReplayError::Entry(entry.seq, error.into()))?;
            match followed {
                ExternalReceivedMessage::Commit(_) | ExternalReceivedMessage::Proposal(_) => {}
                _ => {
                    let why = "it is neither commit nor proposal".to_owned();
                    return Err(ReplayError::Entry(entry.seq, Fault::Invalid(why)));
                }
            }
        }
        let tree = group.export_tree().map_err(broken)?;
        let state = group.snapshot_without_ratchet_tree();
        Ok((state.to_bytes().map_err(broken)?, tree))
    }
}

/// Believes everybody: the hub has judged them when it accepted them.
#[derive(Clone)]
struct Accepted(Provider);

impl IdentityProvider for Accepted {
    type Error = CredentialError;

    fn validate_member(
        &self,
        _: &SigningIdentity,
        _: Option<MlsTime>,
        _: MemberValidationContext<'_>,
    ) -> Result<(), CredentialError> {
        Ok(())
    }

    fn validate_external_sender(
        &self,
        _: &SigningIdentity,
        _: Option<MlsTime>,
        _: Option<&ExtensionList>,
    ) -> Result<(), CredentialError> {
        Ok(())
    }

    fn identity(
        &self,
        identity: &SigningIdentity,
        extensions: &ExtensionList,
    ) -> Result<Vec<u8>, CredentialError> {
        self.0.identity(identity, extensions)
    }

    fn valid_successor(
        &self,
        _: &SigningIdentity,
        _: &SigningIdentity,
        _: &ExtensionList,
    ) -> Result<bool, CredentialError> {
        Ok(true)
    }

    fn supported_types(&self) -> Vec<CredentialType> {
        self.0.supported_types()
    }
}
