//! What modules keep in memory beside storage: keys, caches, locks. One field for each service of
//! the extension, opened once at start.

use std::sync::Arc;

use comity_conf::Conf;
use comity_storage::Storage;

use crate::home::Clock;

/// The services behind the modules of the MLS extension.
pub struct Services {}

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
        Ok(Self {})
    }
}
