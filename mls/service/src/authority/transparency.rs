//! The domain's transparency log: nothing is issued or revoked without an entry in the same
//! transaction, and whoever is entitled gets the proofs.
//!
//! An entry is computed over the log as it is, and stored if it still is that; entries of one
//! process are made one after the other, and one made by another process meanwhile is met by
//! computing anew.

mod compute;
mod show;

use comity_mls_credential::keys::KeyError;
use comity_mls_credential::transparency::entry::{VERSION, batch_root};
use comity_mls_credential::transparency::{Entry, Head, Kind, LogError, account_hash, map, tree};
use comity_mls_wire::refusal::Refusal;
use comity_storage::transparency::{
    Append, AppendedEntry, BeginLog, Effect, Logged, LoggedAccount, LoggedOutcome,
};
use comity_storage::{RevokedDevice, Write};
use uuid::Uuid;

use super::{Authority, AuthorityError, internal};

pub use show::{AccountLog, Included};

/// Processes of one domain that append at the same time: one of them wins each round.
const ATTEMPTS: usize = 8;
/// Revocations told after the fact in one round.
const LATE: usize = 256;

/// What an entry is to say.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) kind: Kind,
    pub(super) device: Uuid,
    pub(super) by: Option<Uuid>,
    pub(super) signature: Vec<u8>,
    /// SHA-256 of the keys of a batch, in order.
    pub(super) keys: Vec<[u8; 32]>,
    pub(super) time: u64,
}

impl Told {
    pub(super) fn revocation(
        device: Uuid,
        by: Option<Uuid>,
        signature: Vec<u8>,
        time: u64,
    ) -> Self {
        Self {
            kind: Kind::Revocation,
            device,
            by,
            signature,
            keys: Vec::new(),
            time,
        }
    }

    fn entry(&self, account: [u8; 32]) -> Entry {
        Entry {
            version: VERSION,
            kind: self.kind,
            account,
            device: self.device.into_bytes(),
            time: self.time,
            root: batch_root(&self.keys),
            by: self.by.map(Uuid::into_bytes),
            signature: self.signature.clone(),
        }
    }
}

impl Authority {
    /// Carries out a change of an account together with its entry.
    pub(super) async fn logged<W>(
        &self,
        account: &str,
        told: &Told,
        change: impl Fn() -> W,
    ) -> Result<W::Outcome, Refusal>
    where
        W: Write,
        W::Outcome: Effect,
    {
        let _one_at_a_time = self.inner.appending.lock().await;
        for _ in 0..ATTEMPTS {
            let owner = self.logged_account(account).await?;
            let append = self.entry_of(owner, told).await?;
            let change = Logged {
                change: change(),
                append,
            };
            let outcome = self.inner.storage.write(change).await;
            if let LoggedOutcome::Done(outcome) = outcome.map_err(|error| internal(&error))? {
                return Ok(outcome);
            }
        }
        Err(Refusal::RateLimited { retry_after_s: 1 })
    }

    /// The first head, so that the domain shows a log from its first day.
    pub(super) async fn begin_log(&self, now: u64) -> Result<(), AuthorityError> {
        let storage = &self.inner.storage;
        if storage.transparency_head(self.domain()).await?.is_some() {
            return Ok(());
        }
        let empty = Head {
            version: comity_mls_credential::transparency::head::VERSION,
            domain: self.domain().to_owned(),
            size: 0,
            root: tree::empty(),
            map_root: map::empty(),
            time: now,
            issuer: [0; 32],
        };
        let begin = BeginLog {
            domain: self.domain().to_owned(),
            head: self.sign_head(empty).await?,
        };
        Ok(storage.write(begin).await?)
    }

    /// Tells the revocations that came about without an entry: a deleted account's devices end with
    /// it.
    pub(super) async fn tell_late(&self) -> Result<(), AuthorityError> {
        let storage = &self.inner.storage;
        for late in storage.unlogged_revocations(self.domain(), LATE).await? {
            let told = Told::revocation(
                Uuid::from_bytes(late.device),
                None,
                Vec::new(),
                late.revoked,
            );
            let _one_at_a_time = self.inner.appending.lock().await;
            let owner = storage
                .transparency_account_by_hash(self.domain(), &late.account)
                .await?;
            let Some(owner) = owner else { continue };
            // What another process has told meanwhile, or cannot be told now, is looked for again
            // in the next round.
            if let Ok(append) = self.entry_of(owner, &told).await {
                storage.write(append).await?;
            }
        }
        Ok(())
    }

    async fn logged_account(&self, account: &str) -> Result<LoggedAccount, Refusal> {
        let known = self.inner.storage.transparency_account(account).await;
        if let Some(known) = known.map_err(|error| internal(&error))? {
            return Ok(known);
        }
        let mut salt = [0; 32];
        openssl::rand::rand_bytes(&mut salt).map_err(|error| internal(&error))?;
        Ok(LoggedAccount {
            account: account.to_owned(),
            hash: account_hash(&salt, account),
            salt,
            count: 0,
            frontier: Vec::new(),
        })
    }

    async fn entry_of(&self, owner: LoggedAccount, told: &Told) -> Result<Append, Refusal> {
        let entry = told.entry(owner.hash);
        let encoded = entry.encode().map_err(|error| internal(&error))?;
        let over = compute::over(&self.inner.storage, self.domain(), &owner).await?;
        let grown = over
            .grow(&owner, &encoded)
            .map_err(|error| internal(&error))?;
        let head = Head {
            version: comity_mls_credential::transparency::head::VERSION,
            domain: self.domain().to_owned(),
            size: grown.index + 1,
            root: grown.root,
            map_root: grown.map_root,
            time: told.time,
            issuer: [0; 32],
        };
        let head = self.sign_head(head).await;
        let head = head.map_err(|error| internal(&error))?;
        Ok(Append {
            domain: self.domain().to_owned(),
            head,
            entry: AppendedEntry {
                index: grown.index,
                entry: encoded,
                leaves: told.keys.clone(),
                device: told.device.into_bytes(),
                revoked: told.kind == Kind::Revocation,
            },
            nodes: grown.nodes,
            map: grown.map,
            account: LoggedAccount {
                count: grown.value.count,
                frontier: grown.account,
                ..owner
            },
        })
    }

    /// Signs with the CA that issues now, whose certificate is in the domain's anchors.
    async fn sign_head(&self, head: Head) -> Result<Vec<u8>, AuthorityError> {
        self.signed(move |ca| {
            let Some((issuer, _)) = ca.issuer() else {
                return Err(LogError::UnknownSigner(head.domain).into());
            };
            let key = issuer.key.public().map_err(LogError::from)?;
            let id = comity_mls_credential::certificate::issuer_id(&key)
                .map_err(|error| LogError::OpenSsl(error.to_string()))?;
            let head = Head {
                issuer: id.0,
                ..head
            };
            let sign = |content: &[u8]| {
                let signed: Result<Vec<u8>, KeyError> = issuer.key.sign(content);
                signed.map_err(LogError::from)
            };
            Ok(head.sign(sign)?)
        })
        .await
    }
}

/// The operator's or a device's revocation, for those that hand it on.
pub(super) fn revoked(outcome: RevokedDevice) -> Result<bool, Refusal> {
    match outcome {
        RevokedDevice::Revoked => Ok(true),
        RevokedDevice::Already(_) => Ok(false),
        RevokedDevice::Unknown => Err(Refusal::UnknownDevice),
    }
}
