//! The domain's CA as files: a root, issuing CAs under it, and the hub's keys.
//!
//! `root.key` and `root.pem`, then `root-2` with `handover-2`, the word of the root before it, and
//! so on; `issuing-1.key` and `.pem`, then `-2` when the first nears its end; `hub-p256` and
//! `hub-ed25519`. Of a root that is kept offline there is no key, nor of one in a PKCS#11 token. [`ceremony`] is what an operator
//! does to them. Keys are readable by their owner alone. A key
//! is written before its certificate, so that a crash between the two is healed by the next start.

pub mod backup;
pub mod ceremony;
mod files;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use comity_mls_credential::anchors::Handover;

use comity_mls_credential::certificate::Certificate;
use comity_mls_credential::issue::{IssueError, Issuer, Validity};
use comity_mls_credential::keys::{Algorithm, KeyError, PrivateKey};
use comity_mls_credential::leaf::CredentialError;
use mls_rs_core::identity::SigningIdentity;

use super::Options;
use super::token::TokenError;
use files::Files;

#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("{path} cannot be read or written: {error}")]
    File { path: PathBuf, error: io::Error },
    #[error("{path} holds no usable certificate: {why}; restore it from a backup")]
    Certificate { path: PathBuf, why: String },
    #[error("{path} holds no usable key: {error}; restore it from a backup")]
    Key { path: PathBuf, error: KeyError },
    #[error(
        "{path} is missing beside its certificate; restore it from a backup, or where it is the \
         root's and kept on another machine, say root = \"offline\" under [mls.authority], or where \
         it lies in a PKCS#11 token, name that under [mls.authority.token]"
    )]
    KeyMissing { path: PathBuf },
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(
        "keys are to be in a PKCS#11 token and none is named: write [mls.authority.token], or say \
         --module and --token"
    )]
    NoToken,
    #[error(
        "no root of {domain} is here, and mls.authority.root says that it is kept offline: run \
         `comity ca request`, sign the request where the root is, and `comity ca import` the answer"
    )]
    NothingImported { domain: String },
    #[error("the root's key is not here: {instead}")]
    RootElsewhere { instead: &'static str },
    #[error("{0}")]
    Ceremony(String),
    #[error(
        "the root of {domain} ends in less than a client certificate's lifetime: make a new one"
    )]
    RootEnds { domain: String },
    #[error("a certificate cannot be made: {0}")]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error("{0:?} is no domain")]
    Domain(String),
}

/// Who the domain is as an external sender of rooms.
#[derive(Clone, Debug)]
pub struct Hub {
    pub key: PrivateKey,
    /// DER: the domain as XmppAddr, and no device.
    pub certificate: Vec<u8>,
    pub identity: SigningIdentity,
}

/// The root as it stands here.
#[derive(Clone, Debug)]
pub(super) struct Root {
    /// DER.
    pub(super) certificate: Vec<u8>,
    /// None: it is kept offline.
    key: Option<PrivateKey>,
    /// Of the roots before it, oldest first.
    pub(super) handovers: Vec<Handover>,
}

/// All keys of the CA.
#[derive(Debug)]
pub struct Ca {
    root: Root,
    /// The newest last; it issues.
    issuing: Vec<(Issuer, Validity)>,
    p256: Arc<Hub>,
    ed25519: Arc<Hub>,
}

impl Ca {
    /// Reads the CA, making what is missing.
    pub(super) fn open(options: &Options, now: u64) -> Result<Self, CaError> {
        let store = Files::open(options)?;
        let root = store.root(now)?;
        let issuing = store.issuing(&root, now)?;
        let Some((issuer, until)) = issuing.last() else {
            return Err(CaError::NothingImported {
                domain: options.domain.clone(),
            });
        };
        Ok(Self {
            p256: store.hub(Algorithm::P256, issuer, *until)?,
            ed25519: store.hub(Algorithm::Ed25519, issuer, *until)?,
            root,
            issuing,
        })
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// Who signs anchors statements: the root, or while it is kept offline, the newest issuing CA.
    pub(super) fn speaker(&self) -> Option<&PrivateKey> {
        let issuing = self.issuing.last().map(|(issuer, _)| &issuer.key);
        self.root.key.as_ref().or(issuing)
    }

    pub(super) fn hub(&self, algorithm: Algorithm) -> Arc<Hub> {
        match algorithm {
            Algorithm::P256 => Arc::clone(&self.p256),
            Algorithm::Ed25519 => Arc::clone(&self.ed25519),
        }
    }

    /// The CA that issues now, and how long it may.
    pub(super) fn issuer(&self) -> Option<(&Issuer, Validity)> {
        self.issuing
            .last()
            .map(|(issuer, validity)| (issuer, *validity))
    }

    /// Issuing CAs whose certificates may be valid still, newest first. A leaf never outlives its
    /// issuer, so an issuer's end is the end of all it issued.
    pub(super) fn listed(&self, now: u64) -> impl Iterator<Item = &[u8]> {
        self.issuing
            .iter()
            .rev()
            .filter(move |(_, validity)| validity.not_after >= now)
            .map(|(issuer, _)| issuer.certificate.as_slice())
    }

    /// The same with their keys, which sign revocation lists until the last certificate is gone.
    pub(super) fn revoking(&self, now: u64) -> impl Iterator<Item = &Issuer> {
        self.issuing
            .iter()
            .filter(move |(_, validity)| validity.not_after >= now)
            .map(|(issuer, _)| issuer)
    }

    /// Every issuing CA there ever was.
    pub(super) fn ever(&self) -> Vec<Vec<u8>> {
        self.issuing
            .iter()
            .map(|(issuer, _)| issuer.certificate.clone())
            .collect()
    }
}

fn ends_soon(validity: &Validity, options: &Options, now: u64) -> bool {
    // Twice, so that the new one is known everywhere before it is needed.
    validity.not_after < now.saturating_add(options.certificate_lifetime_s.saturating_mul(2))
}

fn validity(certificate: &[u8]) -> Result<Validity, CredentialError> {
    let read = Certificate::read(certificate)?;
    Ok(Validity {
        not_before: read.not_before,
        not_after: read.not_after,
    })
}
