//! The identity provider of mls-rs: the rules of [`crate::leaf`] where MLS asks for them.
//!
//! What mls-rs passes as time is judged as it is given: a time where something is made or accepted,
//! none where something is followed, and then validity and revocation are nobody's concern.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use mls_rs_core::crypto::CipherSuite;
use mls_rs_core::error::IntoAnyError;
use mls_rs_core::extension::ExtensionList;
use mls_rs_core::identity::{
    Credential, CredentialType, IdentityProvider, MemberValidationContext, SigningIdentity,
};
use mls_rs_core::time::MlsTime;

use crate::certificate::sha256;
use crate::crl::Revoked;
use crate::keys::Algorithm;
use crate::leaf::{CredentialError, Issuers, Leaf, verify_with_issuer};

/// How many verified certificates are remembered: two generations of at most this many. A
/// verification costs half a millisecond, and joining verifies every leaf of the tree.
const REMEMBERED: usize = 16_384;

/// Believes members and external senders by the anchors of their domains. Cheap to clone; clones
/// share what they remember.
#[derive(Clone)]
pub struct Provider {
    issuers: Arc<dyn Issuers>,
    verified: Arc<Mutex<Generations>>,
}

impl Provider {
    #[must_use]
    pub fn new(issuers: Arc<dyn Issuers>) -> Self {
        Self {
            issuers,
            verified: Arc::default(),
        }
    }

    /// Believes by the same anchors, and remembers nothing yet: for who measures.
    #[must_use]
    pub fn afresh(&self) -> Self {
        Self::new(Arc::clone(&self.issuers))
    }

    /// Believes a member's credential and key or says why not; what mls-rs asks, for callers that
    /// are not mls-rs (the directory, invitations).
    pub fn member(
        &self,
        identity: &SigningIdentity,
        at: Option<u64>,
    ) -> Result<Leaf, CredentialError> {
        let leaf = self.believe(identity)?;
        if leaf.account.local().is_none() || leaf.device.is_none() {
            return Err(CredentialError::Malformed(
                "a member's certificate names an account and a device",
            ));
        }
        if let Some(at) = at {
            leaf.valid_at(at)?;
            leaf.not_revoked(self.issuers.as_ref())?;
        }
        Ok(leaf)
    }

    /// Believes a hub: its certificate names a domain and no device. Expiry is not judged, since a
    /// hub's key lives in the GroupContext until an owner commits another.
    pub fn hub(&self, identity: &SigningIdentity) -> Result<Leaf, CredentialError> {
        let leaf = self.believe(identity)?;
        if leaf.account.local().is_some() || leaf.device.is_some() {
            return Err(CredentialError::Malformed(
                "an external sender's certificate names a domain and no device",
            ));
        }
        Ok(leaf)
    }

    /// Has the certificate of this leaf been taken back, by the newest list that is known?
    #[must_use]
    pub fn revoked(&self, leaf: &Leaf) -> Option<Revoked> {
        self.issuers.revoked(&leaf.issuer, &leaf.serial)
    }

    fn believe(&self, identity: &SigningIdentity) -> Result<Leaf, CredentialError> {
        let leaf = self.verified(certificate(&identity.credential)?)?;
        // RFC 9420 §5.3: the signature key is the one in the end-entity certificate.
        if leaf.key()?.as_mls() != identity.signature_key.as_ref() {
            return Err(CredentialError::Malformed(
                "the signature key is not the certificate's",
            ));
        }
        Ok(leaf)
    }

    fn verified(&self, der: &[u8]) -> Result<Leaf, CredentialError> {
        let digest = sha256(der)?;
        let known = self.lock().get(&digest);
        if let Some((leaf, issuer)) = known {
            // Remembered belief hangs on the issuer being believed still.
            let current = self.issuers.issuer(leaf.account.domain(), &leaf.issuer);
            if current.is_some_and(|current| current == issuer) {
                return Ok(leaf);
            }
        }
        let (leaf, issuer) = verify_with_issuer(der, self.issuers.as_ref())?;
        self.lock().insert(digest, (leaf.clone(), issuer));
        Ok(leaf)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        // Nothing under the lock can leave it half done.
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one certificate of an X.509 credential.
pub fn certificate(credential: &Credential) -> Result<&[u8], CredentialError> {
    let Credential::X509(chain) = credential else {
        return Err(CredentialError::Malformed("the credential is not X.509"));
    };
    match chain.as_slice() {
        [leaf] => Ok(leaf.as_ref()),
        _ => Err(CredentialError::Malformed(
            "the credential holds not exactly one certificate",
        )),
    }
}

/// Does a key of that leaf sign as the suite wants?
pub fn fits(leaf: &Leaf, suite: CipherSuite) -> Result<(), CredentialError> {
    if Algorithm::of_suite(suite) == Some(leaf.key()?.algorithm()) {
        return Ok(());
    }
    Err(CredentialError::Malformed(
        "the certificate's key is not of the cipher suite's signature algorithm",
    ))
}

impl IdentityProvider for Provider {
    type Error = CredentialError;

    fn validate_member(
        &self,
        signing_identity: &SigningIdentity,
        timestamp: Option<MlsTime>,
        context: MemberValidationContext<'_>,
    ) -> Result<(), CredentialError> {
        let at = timestamp.map(|time| time.seconds_since_epoch());
        let leaf = self.member(signing_identity, at)?;
        match context {
            MemberValidationContext::ForCommit {
                current_context, ..
            }
            | MemberValidationContext::ForNewGroup { current_context } => {
                fits(&leaf, current_context.cipher_suite)
            }
            // No group, no suite: mls-rs checks the signature with the suite it has.
            _ => Ok(()),
        }
    }

    fn validate_external_sender(
        &self,
        signing_identity: &SigningIdentity,
        _timestamp: Option<MlsTime>,
        _extensions: Option<&ExtensionList>,
    ) -> Result<(), CredentialError> {
        self.hub(signing_identity).map(drop)
    }

    fn identity(
        &self,
        signing_identity: &SigningIdentity,
        _extensions: &ExtensionList,
    ) -> Result<Vec<u8>, CredentialError> {
        Ok(Leaf::read(certificate(&signing_identity.credential)?)?.identity())
    }

    fn valid_successor(
        &self,
        predecessor: &SigningIdentity,
        successor: &SigningIdentity,
        _extensions: &ExtensionList,
    ) -> Result<bool, CredentialError> {
        let before = Leaf::read(certificate(&predecessor.credential)?)?;
        let after = Leaf::read(certificate(&successor.credential)?)?;
        Ok(after.succeeds(&before).is_ok())
    }

    fn supported_types(&self) -> Vec<CredentialType> {
        vec![CredentialType::X509]
    }
}

impl IntoAnyError for CredentialError {
    fn into_dyn_error(self) -> Result<Box<dyn std::error::Error + Send + Sync>, Self> {
        Ok(Box::new(self))
    }
}

type Verified = (Leaf, Arc<[u8]>);

/// A map that forgets what was not asked for in a whole generation.
#[derive(Default)]
struct Generations {
    young: HashMap<[u8; 32], Verified>,
    old: HashMap<[u8; 32], Verified>,
}

impl Generations {
    fn get(&mut self, digest: &[u8; 32]) -> Option<Verified> {
        if let Some(found) = self.young.get(digest) {
            return Some(found.clone());
        }
        let found = self.old.remove(digest)?;
        self.insert(*digest, found.clone());
        Some(found)
    }

    fn insert(&mut self, digest: [u8; 32], verified: Verified) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, verified);
    }
}

#[cfg(test)]
mod tests;
