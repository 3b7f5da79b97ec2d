//! The KeyPackage directory (RFC 9750 §5.1): devices publish in batches, others claim one package
//! of each device, and none but a last resort is handed out twice.
//!
//! A publication is `Directory::publisher`, then [`Publisher::examine`] (which verifies signatures
//! and may take long: not on a thread that serves sockets), then [`Directory::publish`].

mod examine;
pub(crate) mod package;

use std::collections::BTreeMap;

use comity_mls_credential::provider::Provider;
use comity_mls_wire::keys::{Claim, ClaimResult, Claimed, Count, Notice};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::{policy, room};
use comity_storage::Storage;
use comity_storage::key_packages as stored;
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

pub use examine::{Examined, Publisher};

/// How quotas count: so many claims in each window of this length.
const WINDOW_S: u64 = 3600;
/// A package that ends sooner is not handed out: the commit that adds it would come too late.
const CLAIM_MARGIN_S: u64 = 600;

/// What the operator has in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Ordinary packages of one device.
    pub per_device: u32,
    /// A device that has fewer ordinary packages of a suite is told.
    pub low_stock: u32,
    /// The longest lifetime of a package, in seconds.
    pub lifetime_s: u64,
    /// Claims in an hour: by one account, of one account's packages, by one other domain.
    pub claims_per_requester: u32,
    pub claims_per_target: u32,
    pub claims_per_domain: u32,
    /// May those claim whose presence subscription the target has not approved?
    pub strangers: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_device: 100,
            low_stock: 20,
            lifetime_s: u64::from(policy::Policy::default().key_package_lifetime_s),
            claims_per_requester: 600,
            claims_per_target: 1_000,
            claims_per_domain: 10_000,
            strangers: true,
        }
    }
}

/// The packages of the accounts of this server.
#[derive(Clone)]
pub struct Directory {
    storage: Storage,
    provider: Provider,
    limits: Limits,
}

/// What a claim gives to the requester, and what the target's devices are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    pub claimed: Vec<Claimed>,
    /// By device.
    pub notices: Vec<(Uuid, Notice)>,
}

impl Directory {
    #[must_use]
    pub fn new(storage: Storage, provider: Provider, limits: Limits) -> Self {
        Self {
            storage,
            provider,
            limits,
        }
    }

    /// What is needed to judge a batch of this device: the first step of a publication.
    pub async fn publisher(&self, account: &BareJid, device: Uuid) -> Result<Publisher, Refusal> {
        let found = self
            .storage
            .device(account.as_str(), device.as_bytes())
            .await
            .map_err(failed)?;
        match found {
            Some(found) if found.revoked.is_none() => Ok(Publisher {
                account: account.clone(),
                device,
                device_key: found.device_key,
                provider: self.provider.clone(),
                lifetime_s: self.limits.lifetime_s,
            }),
            _ => Err(Refusal::UnknownDevice),
        }
    }

    /// Makes a batch visible as a whole, and gives what the device has now. `replace` drops its
    /// other ordinary packages. The same batch may be sent again.
    pub async fn publish(
        &self,
        examined: Examined,
        replace: bool,
        now_ms: u64,
    ) -> Result<Vec<Count>, Refusal> {
        let limit = u64::from(self.limits.per_device);
        let change = stored::PublishKeyPackages {
            account: examined.account.as_str().to_owned(),
            device: *examined.device.as_bytes(),
            replace,
            packages: examined.packages,
            limit,
            now_ms,
        };
        match self.storage.write(change).await.map_err(failed)? {
            stored::Published::Done(counts) => Ok(counts.iter().map(count).collect()),
            stored::Published::NoDevice => Err(Refusal::UnknownDevice),
            stored::Published::TooMany { would_be } => Err(Refusal::LimitReached {
                limit: format!(
                    "{limit} KeyPackages of a device, and it would have {would_be}: publish fewer, \
                     or replace"
                ),
            }),
            stored::Published::KeyReused { place } => Err(Refusal::BadCredential {
                why: format!(
                    "KeyPackage {} of the batch has the signature key of another: each needs its \
                     own",
                    place + 1
                ),
            }),
        }
    }

    /// What could be claimed of an account, for its owner.
    pub async fn count(&self, account: &BareJid, now_ms: u64) -> Result<Vec<Count>, Refusal> {
        let counts = self
            .storage
            .key_package_counts(account.as_str(), now_ms / 1000)
            .await
            .map_err(failed)?;
        Ok(counts.iter().map(count).collect())
    }

    /// Takes out packages of the device that the session has proved to be; all where none are
    /// named. Gives what is left.
    pub async fn delete(
        &self,
        account: &BareJid,
        proved: Option<Uuid>,
        device: Uuid,
        references: &[bytes::Bytes],
        now_ms: u64,
    ) -> Result<Vec<Count>, Refusal> {
        if proved != Some(device) {
            return Err(Refusal::NoDevice);
        }
        let change = stored::DeleteKeyPackages {
            account: account.as_str().to_owned(),
            device: *device.as_bytes(),
            references: references.iter().map(|r| r.to_vec()).collect(),
            now_ms,
        };
        let left = self.storage.write(change).await.map_err(failed)?;
        Ok(left.iter().map(count).collect())
    }

    /// Hands out one package of each device of `target`. Who asks for an account that does not
    /// exist, has no devices or does not let them gets one and the same answer.
    pub async fn claim(
        &self,
        requester: &BareJid,
        target: &BareJid,
        claim: &Claim,
        now_ms: u64,
    ) -> Result<Served, Refusal> {
        if !room::is_room(&claim.room) {
            return Err(Refusal::BadRequest {
                why: format!("a room was expected, and {} is none", claim.room),
            });
        }
        let allowed = self.consents(requester, target).await?;
        let change = stored::ClaimKeyPackages {
            // An account that does not let them has no name here, so that its refusal takes the
            // same way, the same time and the same quotas as an unknown one.
            account: if allowed { target.as_str() } else { "" }.to_owned(),
            claim: stored::Claim {
                devices: claim.devices.iter().map(|id| *id.as_bytes()).collect(),
                suites: claim.suites.clone(),
                extensions: claim.extensions.clone(),
                valid_until_s: now_ms / 1000 + CLAIM_MARGIN_S,
            },
            quotas: self.quotas(requester, target),
            window_s: WINDOW_S,
            now_ms,
        };
        match self.storage.write(change).await.map_err(failed)? {
            stored::ClaimsOutcome::Done(claims) if claims.devices.is_empty() => {
                Err(Refusal::NoKeyPackages {
                    account: target.clone(),
                })
            }
            stored::ClaimsOutcome::Done(claims) => Ok(self.served(claims)),
            stored::ClaimsOutcome::Limited { retry_after_s, .. } => Err(Refusal::RateLimited {
                retry_after_s: u32::try_from(retry_after_s).unwrap_or(u32::MAX),
            }),
        }
    }

    /// Forgets what has expired; call it now and then. One chunk at a time: true while there is
    /// more.
    pub async fn purge(&self, now_ms: u64) -> Result<bool, Refusal> {
        let change = stored::PurgeKeyPackages {
            now_s: now_ms / 1000,
            window_s: WINDOW_S,
        };
        let purged = self.storage.write(change).await.map_err(failed)?;
        Ok(purged >= stored::KEY_PACKAGE_PURGE_CHUNK as u64)
    }

    /// Oneself, and those who may see the target's presence: they can invite. Others as the
    /// operator says.
    async fn consents(&self, requester: &BareJid, target: &BareJid) -> Result<bool, Refusal> {
        if requester == target || self.limits.strangers {
            return Ok(true);
        }
        let contact = self
            .storage
            .contact(target.as_str(), requester.as_str())
            .await
            .map_err(failed)?;
        Ok(contact.is_some_and(|contact| contact.subscription.from()))
    }

    /// Of one's own devices nothing is used up by others, so there only the requester's counts.
    fn quotas(&self, requester: &BareJid, target: &BareJid) -> Vec<stored::Quota> {
        let quota = |limit, name: &str, most| stored::Quota {
            limit,
            name: name.to_owned(),
            most,
        };
        let limits = &self.limits;
        let mut quotas = vec![quota(
            stored::ClaimLimit::Requester,
            requester.as_str(),
            limits.claims_per_requester,
        )];
        if requester != target {
            quotas.push(quota(
                stored::ClaimLimit::Target,
                target.as_str(),
                limits.claims_per_target,
            ));
        }
        if requester.domain() != target.domain() {
            quotas.push(quota(
                stored::ClaimLimit::Domain,
                requester.domain(),
                limits.claims_per_domain,
            ));
        }
        quotas
    }

    fn served(&self, claims: stored::Claims) -> Served {
        let mut notices = Vec::new();
        let mut last_resorts = BTreeMap::new();
        let mut claimed = Vec::with_capacity(claims.devices.len());
        for (device, result) in claims.devices {
            let device = Uuid::from_bytes(device);
            if let stored::Claimed::Package {
                suite,
                last_resort: true,
                ..
            } = result
            {
                last_resorts.insert(device, suite);
            }
            claimed.push(Claimed {
                device,
                result: claim_result(result),
            });
        }
        for left in &claims.left {
            let left = count(left);
            if left.ordinary < self.limits.low_stock {
                notices.push((left.device, Notice::LowStock(left)));
            }
        }
        let used = last_resorts
            .into_iter()
            .map(|(device, suite)| (device, Notice::LastResortUsed { device, suite }));
        notices.extend(used);
        Served { claimed, notices }
    }
}

fn claim_result(claimed: stored::Claimed) -> ClaimResult {
    match claimed {
        stored::Claimed::Package {
            package,
            last_resort,
            ..
        } => ClaimResult::Package {
            package: package.into(),
            last_resort,
        },
        stored::Claimed::Exhausted => ClaimResult::Exhausted,
        stored::Claimed::Incompatible => ClaimResult::Incompatible,
    }
}

fn count(stored: &stored::KeyPackageCount) -> Count {
    Count {
        device: Uuid::from_bytes(stored.device),
        suite: stored.suite,
        ordinary: u32::try_from(stored.ordinary).unwrap_or(u32::MAX),
        last_resort: stored.last_resort,
    }
}

fn failed(error: comity_storage::Error) -> Refusal {
    tracing::error!(%error, "the KeyPackage directory cannot reach its storage");
    Refusal::Internal
}

#[cfg(test)]
mod tests;
