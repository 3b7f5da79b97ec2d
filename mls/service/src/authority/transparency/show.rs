//! What the log shows: heads and consistency to everybody, the entries of an account to itself,
//! and that a certificate was logged to whoever names its key.

use bytes::Bytes;
use comity_mls_credential::transparency::proof::{self, Part};
use comity_mls_credential::transparency::{AccountEvidence, Hash, Inclusion, SignedHead, tree};
use comity_mls_wire::limits;
use comity_mls_wire::refusal::Refusal;
use comity_storage::transparency::LoggedEntry;
use comity_xmpp::jid::BareJid;

use super::super::{Authority, internal};
use super::compute::{DEPTHS, damaged, map_places, node_place, node_places, prove};

/// Evidence for keys, in the order they were named; none for a key that is not in the log as one
/// of that account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    pub head: Bytes,
    pub keys: Vec<Option<Bytes>>,
}

/// An account's part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountLog {
    pub head: Bytes,
    pub evidence: Bytes,
    /// From the one that was named on.
    pub entries: Vec<Bytes>,
}

impl Authority {
    /// The newest signed head.
    pub async fn log_head(&self) -> Result<Bytes, Refusal> {
        Ok(self.sized_head().await?.1)
    }

    async fn sized_head(&self) -> Result<(u64, Bytes), Refusal> {
        let newest = self.inner.storage.transparency_head(self.domain()).await;
        let newest = newest.map_err(|error| internal(&error))?;
        let (size, head) = newest.ok_or_else(|| internal(&damaged()))?;
        Ok((size, head.into()))
    }

    /// That the log of `second` entries begins with that of `first`.
    pub async fn log_consistency(&self, first: u64, second: u64) -> Result<Vec<Hash>, Refusal> {
        let (size, _) = self.sized_head().await?;
        if first > second || second > size {
            return Err(Refusal::BadRequest {
                why: format!("the log has {size} entries, and the first size is not the greater"),
            });
        }
        self.assembled(&proof::consistency(first, second)).await
    }

    /// That the certificates of these keys were issued to `account` and logged. Whoever knows a
    /// key holds its certificate, which only members of the account's rooms and those who may
    /// claim its KeyPackages do: that is what entitles to the account's salt.
    pub async fn included(&self, account: &BareJid, keys: &[Hash]) -> Result<Included, Refusal> {
        if keys.len() > limits::LOG_KEYS {
            return Err(Refusal::LimitReached {
                limit: format!("{} keys are looked up at once", limits::LOG_KEYS),
            });
        }
        let (size, head) = self.sized_head().await?;
        let storage = &self.inner.storage;
        let owner = storage.transparency_account(account.as_str()).await;
        let owner = owner.map_err(|error| internal(&error))?;
        let mut all = Vec::with_capacity(keys.len());
        for key in keys {
            let found = storage.transparency_of_key(self.domain(), key).await;
            let found = found.map_err(|error| internal(&error))?;
            let shown = match (&owner, found) {
                (Some(owner), Some((entry, place))) if entry.account == owner.hash => {
                    self.evidence(owner.salt, entry, place, size).await?
                }
                _ => None,
            };
            all.push(shown);
        }
        Ok(Included { head, keys: all })
    }

    async fn evidence(
        &self,
        salt: [u8; 32],
        logged: LoggedEntry,
        place: u32,
        size: u64,
    ) -> Result<Option<Bytes>, Refusal> {
        if logged.index >= size {
            // It came after the head that is shown; it is there the next time.
            return Ok(None);
        }
        let batch = u32::try_from(logged.leaves.len()).unwrap_or(u32::MAX);
        let leaves: Vec<Hash> = logged.leaves.iter().map(|key| tree::leaf(key)).collect();
        let parts = proof::inclusion(place.into(), batch.into());
        let inclusion = Inclusion {
            salt,
            index: logged.index,
            path: self
                .assembled(&proof::inclusion(logged.index, size))
                .await?,
            place,
            batch,
            batch_path: within(&leaves, &parts),
            entry: logged.entry,
        };
        let encoded = inclusion.encode().map_err(|error| internal(&error))?;
        Ok(Some(encoded.into()))
    }

    async fn assembled(&self, parts: &[Part]) -> Result<Vec<Hash>, Refusal> {
        let places = node_places(proof::needed(parts));
        let found = self
            .inner
            .storage
            .transparency_nodes(self.domain(), &places)
            .await
            .map_err(|error| internal(&error))?;
        proof::assemble(parts, |place| found.get(&node_place(place)).copied())
            .ok_or_else(|| internal(&damaged()))
    }

    /// Entries of an account from the `from`-th on, and the proof of how many there are.
    pub async fn account_log(&self, account: &BareJid, from: u64) -> Result<AccountLog, Refusal> {
        let storage = &self.inner.storage;
        let owner = self.logged_account(account.as_str()).await?;
        for depth in DEPTHS {
            let shown = storage
                .transparency_entries_of(
                    self.domain(),
                    &owner.hash,
                    from,
                    limits::LOG_ENTRIES,
                    &map_places(&owner.hash, depth),
                )
                .await
                .map_err(|error| internal(&error))?;
            let proof = prove(&owner.hash, &shown.map, depth).map_err(|error| internal(&error))?;
            let (Some(proof), Some(head)) = (proof, shown.head) else {
                continue;
            };
            let evidence = AccountEvidence {
                salt: owner.salt,
                proof,
            };
            return Ok(AccountLog {
                head: head.into(),
                evidence: evidence.encode().map_err(|error| internal(&error))?.into(),
                entries: shown.entries.into_iter().map(Bytes::from).collect(),
            });
        }
        Err(internal(&damaged()))
    }

    /// The newest head as the anchors statement carries it.
    pub(in crate::authority) async fn published_head(
        &self,
    ) -> Result<Option<Vec<u8>>, comity_storage::Error> {
        let newest = self.inner.storage.transparency_head(self.domain()).await?;
        // What cannot be read would make the whole statement useless.
        Ok(newest
            .map(|(_, head)| head)
            .filter(|head| SignedHead::read(head).is_ok()))
    }
}

/// The proof within a batch, whose leaves are all at hand.
fn within(leaves: &[Hash], parts: &[Part]) -> Vec<Hash> {
    let of = |place: &tree::Place| {
        let start = usize::try_from(place.index << place.level).ok()?;
        let end = start.checked_add(1 << place.level)?;
        leaves.get(start..end).map(tree::root)
    };
    proof::assemble(parts, of).unwrap_or_default()
}
