//! A domain's server as far as rooms go: its hub, its copies of other domains' rooms, its directory of
//! KeyPackages, and the file in which it keeps them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use comity_mls_credential::certificate::issuer_id;
use comity_mls_credential::keys::Algorithm;
use comity_mls_credential::leaf::{IssuerId, Issuers};
use comity_mls_credential::provider::Provider;
use comity_mls_service::key_packages::{self, Directory};
use comity_mls_service::room::{Copies, Hub, HubKey, Limits, Pool, Surroundings};
use comity_mls_wire::room::Fanout;
use comity_storage::Storage;
use comity_xmpp::jid::BareJid;

use super::domain::Domain;

/// A device that has fewer packages is told.
const LOW_STOCK: u32 = 2;

type Issued = HashMap<(String, IssuerId), Arc<[u8]>>;

/// The CAs of all domains, as everybody believes them.
#[derive(Clone, Default)]
pub(super) struct AllIssuers(Arc<Mutex<Issued>>);

impl AllIssuers {
    pub(super) fn know(&self, domain: &Domain) {
        let id = issuer_id(&domain.issuing.key.public().unwrap()).unwrap();
        let certificate = domain.issuing.certificate.clone().into();
        let mut issuers = self.0.lock().unwrap();
        issuers.insert((domain.name.clone(), id), certificate);
    }
}

impl Issuers for AllIssuers {
    fn issuer(&self, domain: &str, id: &IssuerId) -> Option<Arc<[u8]>> {
        let issuers = self.0.lock().unwrap();
        issuers.get(&(domain.to_owned(), *id)).cloned()
    }
}

/// Works where it stands.
pub(super) struct Inline;

impl Pool for Inline {
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        Some(work())
    }
}

/// What is on its way between domains; an outbox holds its number.
#[derive(Clone, Default)]
pub(super) struct Stanzas(Arc<Mutex<Vec<Fanout>>>);

impl Stanzas {
    pub(super) fn read(&self, stanza: &[u8]) -> Fanout {
        let number = usize::from_be_bytes(stanza.try_into().unwrap());
        self.0.lock().unwrap()[number].clone()
    }
}

struct Around {
    domain: String,
    key: Arc<HubKey>,
    stanzas: Stanzas,
}

impl Surroundings for Around {
    fn serves(&self, domain: &str) -> bool {
        self.domain == domain
    }

    fn hub_key(&self, domain: &str) -> Option<Arc<HubKey>> {
        self.serves(domain).then(|| Arc::clone(&self.key))
    }

    fn stanza(&self, _room: &BareJid, _domain: &str, fanout: &Fanout) -> Vec<u8> {
        let mut stanzas = self.stanzas.0.lock().unwrap();
        stanzas.push(fanout.clone());
        (stanzas.len() - 1).to_be_bytes().to_vec()
    }
}

pub(super) struct Server {
    pub(super) domain: Domain,
    pub(super) storage: Storage,
    pub(super) hub: Hub<Inline>,
    pub(super) copies: Copies,
    pub(super) directory: Directory,
    around: Arc<Around>,
    issuers: AllIssuers,
    file: PathBuf,
}

impl Server {
    pub(super) async fn new(
        name: &str,
        now: u64,
        directory: &Path,
        issuers: &AllIssuers,
        stanzas: &Stanzas,
    ) -> Self {
        let domain = Domain::new(name, Algorithm::P256, now / 1_000);
        issuers.know(&domain);
        let public = domain.hub_key.public().unwrap();
        let around = Arc::new(Around {
            domain: name.to_owned(),
            key: Arc::new(HubKey {
                certificate: domain.hub_certificate.clone(),
                public_key: Bytes::copy_from_slice(public.as_mls()),
                key: domain.hub_key.clone(),
                suites: vec![2],
            }),
            stanzas: stanzas.clone(),
        });
        let file = directory.join(format!("{name}.sqlite"));
        let (storage, hub, copies, directory) = open(&file, &around, issuers).await;
        Self {
            domain,
            storage,
            hub,
            copies,
            directory,
            around,
            issuers: issuers.clone(),
            file,
        }
    }

    /// The server dies where it stands, and is there again with what it had written.
    pub(super) async fn kill(&mut self) {
        let opened = open(&self.file, &self.around, &self.issuers).await;
        (self.storage, self.hub, self.copies, self.directory) = opened;
    }
}

async fn open(
    file: &Path,
    around: &Arc<Around>,
    issuers: &AllIssuers,
) -> (Storage, Hub<Inline>, Copies, Directory) {
    let storage = Storage::open(file).await.unwrap();
    let surroundings: Arc<dyn Surroundings> = Arc::clone(around) as _;
    let provider = || Provider::new(Arc::new(issuers.clone()));
    let hub = Hub::new(
        storage.clone(),
        provider(),
        Arc::clone(&surroundings),
        Limits::default(),
        Inline,
    );
    let copies = Copies::new(storage.clone(), surroundings);
    let limits = key_packages::Limits {
        low_stock: LOW_STOCK,
        ..key_packages::Limits::default()
    };
    let directory = Directory::new(storage.clone(), provider(), limits);
    (storage, hub, copies, directory)
}
