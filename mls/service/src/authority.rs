//! The Authentication Service of one domain (RFC 9750 §4): its CA, its devices and their
//! certificates, and what it believes of other domains.
//!
//! [`ca`] is the keys on disk; `devices` registers, proves and revokes; `enrol` issues; `publish`
//! tells others of our CAs; `revocations` takes certificates back; `peers` believes other domains;
//! `transparency` keeps the log of all that is issued and revoked. Whatever is acknowledged is durable
//! before.

mod audit;
pub mod ca;
mod devices;
mod enrol;
mod peers;
mod publish;
mod refused;
mod revocations;
pub mod token;
mod transparency;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use comity_mls_credential::anchors::{Anchors, AnchorsError, TlsKey, TlsRoots};
use comity_mls_credential::crl::{CrlError, Revoked};
use comity_mls_credential::issue::IssueError;
use comity_mls_credential::keys::{Algorithm, KeyError};
use comity_mls_credential::leaf::{IssuerId, Issuers as _};
use comity_mls_credential::provider::Provider;
use comity_mls_credential::transparency::LogError;
use comity_mls_wire::refusal::Refusal;
use comity_storage::Storage;
use mls_rs_core::crypto::CipherSuite;
use tokio::sync::Semaphore;

use ca::{Ca, CaError, Hub};
use refused::Refused;
use token::Token;

pub use audit::{Audit, audit};
pub use devices::{Proof, Registered, Registration};
pub use peers::ShownError;
pub use revocations::News;
pub use transparency::{AccountLog, Included};

/// Requests in one batch.
pub const MAX_BATCH: usize = comity_mls_wire::limits::ENROL;

/// Batches that are read or signed at a time: one keeps a core busy for a tenth of a second.
const COMPUTING: usize = 2;

/// How the AS of a domain is kept.
#[derive(Clone, Debug)]
pub struct Options {
    pub domain: String,
    /// Where keys and certificates of the CA lie; made at first start.
    pub directory: PathBuf,
    pub root: RootKey,
    pub issuing: IssuingKey,
    /// Where keys of the CA are that are in no file.
    pub token: Option<Token>,
    /// Of keys made from now on.
    pub algorithm: Algorithm,
    pub root_lifetime_s: u64,
    pub issuing_lifetime_s: u64,
    /// At most 120 days.
    pub certificate_lifetime_s: u64,
    /// At most 7 days.
    pub anchors_lifetime_s: u64,
    /// Devices an account may have that are not revoked.
    pub devices: u32,
    /// Certificates issued to an account in a day.
    pub certificates_per_day: u32,
}

/// Where the root's private key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootKey {
    File,
    Token,
    /// Kept elsewhere; what it signs is imported ([`ca::ceremony`]).
    Offline,
}

/// Where private keys of issuing CAs are made. One that lies in a file is used from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuingKey {
    File,
    Token,
}

impl Options {
    const DAY: u64 = 24 * 60 * 60;

    /// What suits a domain of any size.
    #[must_use]
    pub fn new(domain: impl Into<String>, directory: impl Into<PathBuf>) -> Self {
        Self {
            domain: domain.into(),
            directory: directory.into(),
            root: RootKey::File,
            issuing: IssuingKey::File,
            token: None,
            algorithm: Algorithm::P256,
            root_lifetime_s: 7300 * Self::DAY,
            issuing_lifetime_s: 730 * Self::DAY,
            certificate_lifetime_s: 120 * Self::DAY,
            anchors_lifetime_s: 7 * Self::DAY,
            devices: 32,
            certificates_per_day: 2000,
        }
    }
}

/// Why the AS cannot work; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error("the anchors statement cannot be made: {0}")]
    Anchors(#[from] AnchorsError),
    #[error("the transparency log cannot go on: {0}")]
    Log(#[from] LogError),
    #[error(transparent)]
    Storage(#[from] comity_storage::Error),
    #[error("the revocation list cannot be made: {0}")]
    Crl(#[from] IssueError),
    #[error("the revocation list that was made is not believed: {0}")]
    OwnCrl(#[from] CrlError),
    #[error("a signature was not waited for: {0}")]
    Stopped(#[from] tokio::task::JoinError),
    #[error("other processes of this domain publish anchors faster than this one: see their logs")]
    Contended,
}

impl AuthorityError {
    /// Is it the token's failure, which passes when the token is back?
    fn of_token(&self) -> bool {
        let key = match self {
            Self::Ca(CaError::Token(_)) => return true,
            Self::Ca(CaError::Issue(IssueError::Key(key)))
            | Self::Crl(IssueError::Key(key))
            | Self::Anchors(AnchorsError::Key(key))
            | Self::Log(LogError::Key(key)) => key,
            _ => return false,
        };
        matches!(key, KeyError::Token(_))
    }
}

/// The CAs that are believed, for all domains of a server alike, and the judgement by them. Cheap
/// to clone.
#[derive(Clone)]
pub struct Trust {
    pub anchors: Arc<Anchors>,
    pub provider: Provider,
}

impl Trust {
    /// `roots`: where other domains' TLS chains may end.
    #[must_use]
    pub fn new(roots: TlsRoots) -> Self {
        let anchors = Arc::new(Anchors::new(roots));
        Self {
            provider: Provider::new(anchors.clone()),
            anchors,
        }
    }

    /// Has the certificate with that serial number been taken back by its issuing CA, by the newest
    /// revocation list that is known? The number is the evidence for others.
    #[must_use]
    pub fn revoked(&self, issuer: &IssuerId, serial: &[u8]) -> Option<Revoked> {
        self.anchors.revoked(issuer, serial)
    }
}

/// One domain's AS. Cheap to clone.
#[derive(Clone)]
pub struct Authority {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    storage: Storage,
    ca: RwLock<Arc<Ca>>,
    tls: Mutex<TlsKey>,
    trust: Trust,
    statement: RwLock<Bytes>,
    /// Who may compute at a time; the others wait their turn.
    computing: Semaphore,
    /// One judgement of another domain at a time, so that the first of two first uses is the one
    /// that is pinned.
    judging: tokio::sync::Mutex<()>,
    refused: Refused,
    /// One entry of the log at a time: each is computed over the one before.
    appending: tokio::sync::Mutex<()>,
}

impl Authority {
    /// Opens the CA, making it at first start, publishes anchors where they are due, and remembers
    /// the domains it believes. `tls` signs our statement.
    ///
    /// # Errors
    /// [`AuthorityError`], with what the operator should do.
    pub async fn open(
        options: Options,
        storage: Storage,
        trust: Trust,
        tls: TlsKey,
        now: u64,
    ) -> Result<Self, AuthorityError> {
        let ca = open_ca(&options, now).await?;
        let authority = Self {
            inner: Arc::new(Inner {
                trust,
                ca: RwLock::new(Arc::new(ca)),
                tls: Mutex::new(tls),
                statement: RwLock::default(),
                computing: Semaphore::new(COMPUTING),
                judging: tokio::sync::Mutex::default(),
                refused: Refused::default(),
                appending: tokio::sync::Mutex::default(),
                storage,
                options,
            }),
        };
        authority.begin_log(now).await?;
        authority.tell_late().await?;
        authority.publish(now).await?;
        authority.restore().await?;
        match authority.publish_crls(now).await {
            // Those signed before are good for a day; the token may be back before.
            Err(error) if error.of_token() => {
                tracing::error!(domain = authority.domain(), %error, "no revocation list is signed");
            }
            other => drop(other?),
        }
        Ok(authority)
    }

    #[must_use]
    pub fn domain(&self) -> &str {
        &self.inner.options.domain
    }

    /// The CAs that are believed here, our own among them.
    #[must_use]
    pub fn anchors(&self) -> &Arc<Anchors> {
        &self.inner.trust.anchors
    }

    /// Judges credentials by [`Self::anchors`]; for mls-rs, and for the directory.
    #[must_use]
    pub fn provider(&self) -> &Provider {
        &self.inner.trust.provider
    }

    /// Who this domain is as the external sender of rooms of that suite; None for suites that are
    /// not in use.
    #[must_use]
    pub fn hub(&self, suite: CipherSuite) -> Option<Arc<Hub>> {
        let algorithm = Algorithm::of_suite(suite)?;
        Some(self.ca().hub(algorithm))
    }

    /// The domain's TLS key or chain has changed: the next statement is signed with it.
    pub fn set_tls(&self, tls: TlsKey) {
        *self
            .inner
            .tls
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = tls;
    }

    /// What is due: what the operator has changed in the CA's directory, a new issuing CA, entries of
    /// the log, a new statement, new revocation lists. To be called every quarter of an hour or so.
    /// Gives what is revoked now and was not before.
    pub async fn maintain(&self, now: u64) -> Result<Vec<News>, AuthorityError> {
        let ca = open_ca(&self.inner.options, now).await?;
        *self
            .inner
            .ca
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(ca);
        self.tell_late().await?;
        self.publish(now).await?;
        self.publish_crls(now).await
    }

    /// Runs what takes milliseconds of computing where it holds nobody up.
    async fn computed<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let permit = self.inner.computing.acquire().await;
        let _permit = permit.map_err(|error| internal(&error))?;
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(internal(&error)),
        }
    }

    /// Signs where that holds nobody up, since tokens take their time.
    async fn signed<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Ca) -> Result<T, AuthorityError> + Send + 'static,
    ) -> Result<T, AuthorityError> {
        let ca = self.ca();
        tokio::task::spawn_blocking(move || work(&ca)).await?
    }

    /// What was asked of the token in vain since the start; None where no key is in one.
    #[must_use]
    pub fn token_failures(&self) -> Option<u64> {
        self.inner.options.token.as_ref().map(Token::failures)
    }

    fn ca(&self) -> Arc<Ca> {
        Arc::clone(&self.inner.ca.read().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn open_ca(options: &Options, now: u64) -> Result<Ca, AuthorityError> {
    let options = options.clone();
    Ok(tokio::task::spawn_blocking(move || Ca::open(&options, now)).await??)
}

/// For requests that fail by no fault of the client.
pub(crate) fn internal(error: &dyn std::error::Error) -> Refusal {
    tracing::error!(%error, "a request to the authentication service failed");
    Refusal::Internal
}

#[cfg(test)]
mod tests;
