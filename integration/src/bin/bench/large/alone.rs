//! What joining such a room takes mls-rs alone: a group of the same KeyPackages, whose certificates
//! are verified for the first time, as who joins a room does it.

use std::error::Error;
use std::time::{Duration, Instant};

use comity_mls_credential::leaf::CredentialError;
use comity_mls_credential::provider::Provider;
use mls_rs::client_builder::MlsConfig;
use mls_rs::mls_rules::{CommitOptions, DefaultMlsRules};
use mls_rs::{CipherSuite, Client, ExtensionList, MlsMessage};
use mls_rs_core::crypto::SignatureSecretKey;
use mls_rs_core::group::ProposalType;
use mls_rs_core::identity::{
    CredentialType, IdentityProvider, MemberValidationContext, SigningIdentity,
};
use mls_rs_core::time::MlsTime;
use mls_rs_crypto_openssl::OpensslCryptoProvider;

use super::crowds::Crowds;

const SUITE: CipherSuite = CipherSuite::P256_AES128;

pub(super) fn join(crowds: &Crowds) -> Result<Duration, Box<dyn Error>> {
    let [maker, joiner] = &crowds.identities[..] else {
        return Err("each domain has somebody".into());
    };
    let joiner = client(crowds, joiner);
    let package = joiner.generate_key_package_message(
        ExtensionList::default(),
        ExtensionList::default(),
        None,
    )?;
    let mut group = client(crowds, maker).create_group(
        ExtensionList::default(),
        ExtensionList::default(),
        None,
    )?;
    let mut adding = group.commit_builder().add_member(package)?;
    for device in crowds.gaps.iter().flat_map(|gap| &gap.devices) {
        for package in &device.packages {
            adding = adding.add_member(MlsMessage::from_bytes(package)?)?;
        }
    }
    let made = adding.build()?;
    group.apply_pending_commit()?;
    let tree = group.export_tree().into_owned();
    let welcome = made.welcome_messages.first().ok_or("there is no Welcome")?;
    let started = Instant::now();
    let (group, _) = joiner.join_group(Some(tree), welcome, None)?;
    let taken = started.elapsed();
    drop(group);
    Ok(taken)
}

fn client(
    crowds: &Crowds,
    (identity, key): &(SigningIdentity, SignatureSecretKey),
) -> Client<impl MlsConfig + use<>> {
    let options = CommitOptions::new().with_ratchet_tree_extension(false);
    let fresh = crowds.providers.iter().map(Provider::afresh);
    Client::builder()
        .crypto_provider(OpensslCryptoProvider::with_enabled_cipher_suites(vec![
            SUITE,
        ]))
        .identity_provider(Domains(fresh.collect()))
        .custom_proposal_type(ProposalType::SELF_REMOVE)
        .mls_rules(DefaultMlsRules::new().with_commit_options(options))
        .signing_identity(identity.clone(), key.clone(), SUITE)
        .build()
}

/// Each domain's certificates by what that domain knows.
#[derive(Clone)]
struct Domains(Vec<Provider>);

impl Domains {
    fn any<T>(
        &self,
        ask: impl Fn(&Provider) -> Result<T, CredentialError>,
    ) -> Result<T, CredentialError> {
        let mut answer = Err(CredentialError::Malformed("nobody knows it"));
        for provider in &self.0 {
            answer = ask(provider);
            if !matches!(answer, Err(CredentialError::UnknownIssuer { .. })) {
                break;
            }
        }
        answer
    }
}

impl IdentityProvider for Domains {
    type Error = CredentialError;

    fn validate_member(
        &self,
        identity: &SigningIdentity,
        timestamp: Option<MlsTime>,
        context: MemberValidationContext<'_>,
    ) -> Result<(), CredentialError> {
        self.any(|provider| provider.validate_member(identity, timestamp, context))
    }

    fn validate_external_sender(
        &self,
        identity: &SigningIdentity,
        timestamp: Option<MlsTime>,
        extensions: Option<&ExtensionList>,
    ) -> Result<(), CredentialError> {
        self.any(|provider| provider.validate_external_sender(identity, timestamp, extensions))
    }

    fn identity(
        &self,
        identity: &SigningIdentity,
        extensions: &ExtensionList,
    ) -> Result<Vec<u8>, CredentialError> {
        self.any(|provider| provider.identity(identity, extensions))
    }

    fn valid_successor(
        &self,
        predecessor: &SigningIdentity,
        successor: &SigningIdentity,
        extensions: &ExtensionList,
    ) -> Result<bool, CredentialError> {
        self.any(|provider| provider.valid_successor(predecessor, successor, extensions))
    }

    fn supported_types(&self) -> Vec<CredentialType> {
        self.0
            .first()
            .map(Provider::supported_types)
            .unwrap_or_default()
    }
}
