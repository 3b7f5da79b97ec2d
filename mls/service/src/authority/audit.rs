//! Checks a whole log against everything else that is stored: for the operator who wants to know
//! whether it is as it should be, and what to do where it is not.

use std::collections::HashMap;

use comity_mls_credential::anchors::Signed;
use comity_mls_credential::keys::PublicKey;
use comity_mls_credential::leaf::{Issuers, Leaf};
use comity_mls_credential::transparency::entry::batch_root;
use comity_mls_credential::transparency::map::{self, Node, Place, Value};
use comity_mls_credential::transparency::{
    Entry, Frontier, Hash, Kind, LogError, SignedHead, account_hash, tree,
};
use comity_storage::transparency::{LoggedAccount, LoggedEntry, MapPlace, NodePlace};
use comity_storage::{Error, Storage};
use uuid::Uuid;

/// Faults that are told; there are hardly more kinds of them.
const MAX_FAULTS: usize = 100;
/// Rows read at once.
const PAGE: usize = 500;

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    pub entries: u64,
    pub accounts: u64,
    pub certificates: u64,
    /// What is wrong, and what to do about it.
    pub faults: Vec<String>,
    /// Further faults that are not listed.
    pub more: u64,
}

impl Audit {
    fn fault(&mut self, what: String) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(what);
        } else {
            self.more += 1;
        }
    }
}

/// The log computed anew, and what is known besides.
struct Auditor<'a> {
    storage: &'a Storage,
    domain: &'a str,
    issuers: &'a dyn Issuers,
    audit: Audit,
    frontier: Frontier,
    accounts: HashMap<Hash, Known>,
    map: HashMap<Place, Node>,
    map_root: Hash,
    keys: HashMap<[u8; 16], Option<PublicKey>>,
}

/// An account as it is stored, and its entries as they are found.
struct Known {
    stored: LoggedAccount,
    frontier: Frontier,
}

/// Checks the log of a domain. `issuers`: its issuing CAs, those of old among them.
pub async fn audit(storage: &Storage, domain: &str, issuers: &dyn Issuers) -> Result<Audit, Error> {
    let mut auditor = Auditor {
        storage,
        domain,
        issuers,
        audit: Audit::default(),
        frontier: Frontier::default(),
        accounts: HashMap::new(),
        map: HashMap::new(),
        map_root: map::empty(),
        keys: HashMap::new(),
    };
    auditor.read_accounts().await?;
    auditor.entries().await?;
    auditor.ends().await?;
    auditor.stored_map().await?;
    auditor.certificates().await?;
    auditor.revocations().await?;
    auditor.anchors().await?;
    Ok(auditor.audit)
}

const RESTORE: &str = "the database was changed behind the server's back, or is damaged: restore it \
                       from a backup, and find out who can write to it";

impl Auditor<'_> {
    async fn read_accounts(&mut self) -> Result<(), Error> {
        let mut after = Vec::new();
        loop {
            let page = self
                .storage
                .transparency_accounts_page(self.domain, &after, PAGE)
                .await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.hash.to_vec();
            for stored in page {
                self.audit.accounts += 1;
                if account_hash(&stored.salt, &stored.account) != stored.hash {
                    let account = &stored.account;
                    self.audit.fault(format!(
                        "the log's name of {account} is not made of its salt: {RESTORE}"
                    ));
                }
                let known = Known {
                    frontier: Frontier::default(),
                    stored,
                };
                self.accounts.insert(known.stored.hash, known);
            }
        }
    }

    async fn entries(&mut self) -> Result<(), Error> {
        loop {
            let from = self.audit.entries;
            let page = self
                .storage
                .transparency_page(self.domain, from, PAGE)
                .await?;
            if page.is_empty() {
                return Ok(());
            }
            let mut made = Vec::new();
            for (logged, head) in page {
                let index = self.audit.entries;
                if logged.index != index {
                    let found = logged.index;
                    self.audit.fault(format!(
                        "entry {found} follows where entry {index} should be: {RESTORE}"
                    ));
                    return Ok(());
                }
                self.entry(&logged).await?;
                made.extend(self.grow(&logged));
                self.head(index + 1, head.as_deref());
                self.audit.entries += 1;
            }
            self.stored_nodes(&made).await?;
        }
    }

    /// Is an entry what it should be, by itself?
    async fn entry(&mut self, logged: &LoggedEntry) -> Result<(), Error> {
        let index = logged.index;
        let entry = match Entry::read(&logged.entry) {
            Ok(entry) => entry,
            Err(error) => {
                self.audit
                    .fault(format!("entry {index} cannot be read ({error}): {RESTORE}"));
                return Ok(());
            }
        };
        let revoked = entry.kind == Kind::Revocation;
        let same = entry.account == logged.account
            && entry.device == logged.device
            && revoked == logged.revoked;
        if !same || batch_root(&logged.leaves) != entry.root {
            self.audit.fault(format!(
                "what is stored beside entry {index} is not what the entry says: {RESTORE}"
            ));
        }
        let Some(by) = entry.by() else {
            if !revoked {
                self.audit.fault(format!(
                    "entry {index} certifies keys for a device that no device asked for: look for \
                     whoever has the key of your issuing CA"
                ));
            }
            return Ok(());
        };
        let account = self.accounts.get(&entry.account);
        let Some(account) = account.map(|known| known.stored.account.clone()) else {
            return Ok(());
        };
        let key = self.device_key(&account, by).await?;
        let content = entry.signed_content(&account).unwrap_or_default();
        if !key.is_some_and(|key| key.verifies(&content, &entry.signature)) {
            self.audit.fault(format!(
                "entry {index} bears no signature by device {by} of {account}, which it names: its \
                 certificates were not asked for; revoke device {} and look for whoever has the key \
                 of your issuing CA",
                entry.device()
            ));
        }
        Ok(())
    }

    async fn device_key(&mut self, account: &str, id: Uuid) -> Result<Option<PublicKey>, Error> {
        if let Some(known) = self.keys.get(id.as_bytes()) {
            return Ok(known.clone());
        }
        let device = self.storage.device(account, id.as_bytes()).await?;
        let key = device.and_then(|device| PublicKey::from_spki(&device.device_key).ok());
        self.keys.insert(id.into_bytes(), key.clone());
        Ok(key)
    }

    /// The log one entry on; the subtrees that are complete by it.
    fn grow(&mut self, logged: &LoggedEntry) -> Vec<tree::Placed> {
        let leaf = tree::leaf(&logged.entry);
        let made = self.frontier.push(leaf);
        let Some(known) = self.accounts.get_mut(&logged.account) else {
            self.audit.fault(format!(
                "entry {} is of an account that the log does not know: {RESTORE}",
                logged.index
            ));
            return made;
        };
        known.frontier.push(leaf);
        let value = Value {
            count: known.frontier.size(),
            root: known.frontier.root(),
        };
        let proof = map::prove(&logged.account, |place| {
            Ok::<_, LogError>(self.map.get(place).copied())
        });
        if let Ok(proof) = proof {
            let (root, changed) = map::update(&logged.account, value, &proof);
            self.map_root = root;
            self.map.extend(changed);
        }
        made
    }

    fn head(&mut self, size: u64, signed: Option<&[u8]>) {
        let Some(signed) = signed else {
            self.audit.fault(format!(
                "the head of the log at {size} entries is missing: {RESTORE}"
            ));
            return;
        };
        let why = match SignedHead::verify(signed, self.domain, self.issuers) {
            Err(error) => format!("is not believed ({error})"),
            Ok(head) if head.size != size => format!("says {} entries", head.size),
            Ok(head) if head.root != self.frontier.root() => {
                "is not that of the entries before it".to_owned()
            }
            Ok(head) if head.map_root != self.map_root => {
                "is not that of the accounts' entries".to_owned()
            }
            Ok(_) => return,
        };
        self.audit.fault(format!(
            "the head of the log at {size} entries {why}, and clients have seen it: {RESTORE}"
        ));
    }

    async fn stored_nodes(&mut self, made: &[tree::Placed]) -> Result<(), Error> {
        let places: Vec<NodePlace> = made
            .iter()
            .map(|placed| NodePlace {
                level: placed.place.level,
                index: placed.place.index,
            })
            .collect();
        let stored = self
            .storage
            .transparency_nodes(self.domain, &places)
            .await?;
        for (place, placed) in places.iter().zip(made) {
            if stored.get(place) != Some(&placed.hash) {
                self.audit.fault(format!(
                    "the stored hash of entries from {} on is wrong or missing, and proofs made \
                     with it do not hold: {RESTORE}",
                    place.index << place.level
                ));
            }
        }
        Ok(())
    }

    /// The newest head, and the accounts as they are at the end.
    async fn ends(&mut self) -> Result<(), Error> {
        let newest = self.storage.transparency_head(self.domain).await?;
        match newest {
            Some((size, _)) if size == self.audit.entries => {}
            Some((size, _)) => {
                let entries = self.audit.entries;
                self.audit.fault(format!(
                    "a head was signed for {size} entries, and {entries} are there: {RESTORE}"
                ));
            }
            None => self
                .audit
                .fault("there is no log: start the server, which begins one".to_owned()),
        }
        for known in self.accounts.values() {
            let fits = known.stored.count == known.frontier.size()
                && known.stored.frontier == known.frontier.hashes();
            if !fits {
                self.audit.fault(format!(
                    "{} has {} entries, and {} are counted: {RESTORE}",
                    known.stored.account,
                    known.frontier.size(),
                    known.stored.count
                ));
            }
        }
        Ok(())
    }

    async fn stored_map(&mut self) -> Result<(), Error> {
        let mut after = None;
        let mut seen = 0;
        loop {
            let page = self
                .storage
                .transparency_map_page(self.domain, after, PAGE)
                .await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (place, node) in &page {
                let MapPlace { depth, prefix } = *place;
                let expected = self.map.get(&Place { depth, prefix });
                if expected.is_some_and(|expected| expected.hash == node.hash) {
                    seen += 1;
                } else {
                    self.audit.fault(format!(
                        "a hash of the map at depth {depth} is wrong: {RESTORE}"
                    ));
                }
            }
        }
        if seen < self.map.len() {
            let missing = self.map.len() - seen;
            self.audit.fault(format!(
                "{missing} hashes of the map are missing or wrong: {RESTORE}"
            ));
        }
        Ok(())
    }

    async fn certificates(&mut self) -> Result<(), Error> {
        let mut after = Vec::new();
        loop {
            let page = self
                .storage
                .transparency_keys_page(self.domain, &after, PAGE)
                .await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.key_hash.to_vec();
            for key in page {
                self.audit.certificates += 1;
                let (account, device) = (&key.account, Uuid::from_bytes(key.device));
                if !key.logged {
                    self.audit.fault(format!(
                        "a certificate of device {device} of {account} is not in the log: it was \
                         made behind the server's back; revoke the device, and look for whoever can \
                         write to the database or has the key of your issuing CA"
                    ));
                }
                let fits = Leaf::read(&key.certificate).is_ok_and(|leaf| {
                    leaf.account.as_str() == account
                        && leaf.device == Some(device)
                        && openssl::sha::sha256(&leaf.public_key) == key.key_hash
                });
                if !fits {
                    self.audit.fault(format!(
                        "a certificate stored for device {device} of {account} is for something \
                         else: {RESTORE}"
                    ));
                }
            }
        }
    }

    async fn revocations(&mut self) -> Result<(), Error> {
        let late = self
            .storage
            .unlogged_revocations(self.domain, MAX_FAULTS)
            .await?;
        for late in late {
            let device = Uuid::from_bytes(late.device);
            self.audit.fault(format!(
                "the end of device {device} is not in the log yet: the running server adds it \
                 within a quarter of an hour"
            ));
        }
        Ok(())
    }

    /// The head that the domain's anchors name.
    async fn anchors(&mut self) -> Result<(), Error> {
        let Some(published) = self.storage.published_anchors(self.domain).await? else {
            return Ok(());
        };
        let named = Signed::read(&published.signed).ok();
        let named = named.and_then(|(_, statement)| statement.log_head);
        let Some(named) = named else {
            self.audit.fault(
                "the anchors statement names no head of the log: restart the server; if that does \
                 not help, its version is older than the log"
                    .to_owned(),
            );
            return Ok(());
        };
        let size = SignedHead::read(&named.0).map(|(_, head)| head.size);
        let stored = match size {
            Ok(size) => self.storage.transparency_head_at(self.domain, size).await?,
            Err(_) => None,
        };
        if stored.as_deref() != Some(&named.0) {
            self.audit.fault(format!(
                "the head that the anchors statement names was never the log's: {RESTORE}"
            ));
        }
        Ok(())
    }
}
