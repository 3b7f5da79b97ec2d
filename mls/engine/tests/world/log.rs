//! The transparency log of a domain in a test: all of it in memory, and as honest as the test wants.

use std::collections::HashMap;

use bytes::Bytes;
use comity_mls_credential::certificate::issuer_id;
use comity_mls_credential::issue::Issuer;
use comity_mls_credential::transparency::entry::batch_root;
use comity_mls_credential::transparency::map::{self, Node, Place, Value};
use comity_mls_credential::transparency::{
    AccountEvidence, Entry, Frontier, Hash, Head, Inclusion, Kind, LogError, account_hash, proof,
    tree,
};
use comity_mls_wire::authority::Answer;
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

#[derive(Clone, Default)]
pub struct Log {
    entries: Vec<Logged>,
    frontier: Frontier,
    map: HashMap<Place, Node>,
    map_root: Hash,
    time: u64,
    /// Entries in one answer.
    pub page: Option<usize>,
}

#[derive(Clone)]
struct Logged {
    entry: Entry,
    bytes: Vec<u8>,
    keys: Vec<Hash>,
}

fn salt(account: &BareJid) -> [u8; 32] {
    openssl::sha::sha256(account.as_str().as_bytes())
}

fn name(account: &BareJid) -> Hash {
    account_hash(&salt(account), account.as_str())
}

impl Log {
    pub fn issued(
        &mut self,
        account: &BareJid,
        device: Uuid,
        keys: &[Hash],
        signature: &[u8],
        now_s: u64,
    ) {
        let entry = Entry {
            version: 1,
            kind: Kind::Issuance,
            account: name(account),
            device: device.into_bytes(),
            time: now_s,
            root: batch_root(keys),
            by: Some(device.into_bytes()),
            signature: signature.to_vec(),
        };
        self.append(entry, keys, now_s);
    }

    pub fn append(&mut self, entry: Entry, keys: &[Hash], now_s: u64) {
        let account = entry.account;
        let bytes = entry.encode().unwrap();
        self.frontier.push(tree::leaf(&bytes));
        self.entries.push(Logged {
            entry,
            bytes,
            keys: keys.to_vec(),
        });
        let own = self.leaves_of(&account);
        let value = Value {
            count: own.len() as u64,
            root: tree::root(&own),
        };
        let (root, changed) = map::update(&account, value, &self.map_proof(&account));
        self.map.extend(changed);
        self.map_root = root;
        self.time = now_s;
    }

    /// Forgets the newest entries, as a rolled back database does.
    pub fn truncate(&mut self, count: usize) {
        let kept: Vec<Logged> = self.entries[..count].to_vec();
        *self = Self::default();
        for logged in kept {
            let time = logged.entry.time;
            self.append(logged.entry, &logged.keys, time);
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    fn leaves(&self) -> Vec<Hash> {
        let entries = self.entries.iter();
        entries.map(|logged| tree::leaf(&logged.bytes)).collect()
    }

    fn leaves_of(&self, account: &Hash) -> Vec<Hash> {
        let own = self.entries.iter().filter(|l| l.entry.account == *account);
        own.map(|logged| tree::leaf(&logged.bytes)).collect()
    }

    fn map_proof(&self, account: &Hash) -> map::Proof {
        map::prove(account, |place| Ok::<_, ()>(self.map.get(place).copied())).unwrap()
    }

    pub fn head(&self, domain: &str, issuer: &Issuer) -> Bytes {
        let head = Head {
            version: 1,
            domain: domain.to_owned(),
            size: self.entries.len() as u64,
            root: self.frontier.root(),
            map_root: self.map_root,
            time: self.time,
            issuer: issuer_id(&issuer.key.public().unwrap()).unwrap().0,
        };
        head.sign(|content| issuer.key.sign(content).map_err(LogError::from))
            .unwrap()
            .into()
    }

    pub fn consistency(&self, first: u64, second: u64) -> Answer {
        let parts = proof::consistency(first, second);
        Answer::LogConsistency {
            proof: assembled(&self.leaves(), &parts).concat().into(),
        }
    }

    pub fn entries(&self, account: &BareJid, from: u64, head: Bytes) -> Answer {
        let own = name(account);
        let evidence = AccountEvidence {
            salt: salt(account),
            proof: self.map_proof(&own),
        };
        let entries = self.entries.iter().filter(|l| l.entry.account == own);
        Answer::LogEntries {
            head,
            evidence: evidence.encode().unwrap().into(),
            entries: entries
                .skip(usize::try_from(from).unwrap())
                .take(self.page.unwrap_or(256))
                .map(|logged| logged.bytes.clone().into())
                .collect(),
        }
    }

    pub fn inclusion(&self, account: &BareJid, keys: Vec<Hash>, head: Bytes) -> Answer {
        let keys = keys
            .into_iter()
            .map(|key| (key, self.evidence(account, &key)))
            .collect();
        Answer::LogInclusion { head, keys }
    }

    fn evidence(&self, account: &BareJid, key: &Hash) -> Option<Bytes> {
        let own = name(account);
        let index = self
            .entries
            .iter()
            .position(|l| l.entry.account == own && l.keys.contains(key))?;
        let logged = &self.entries[index];
        let place = logged.keys.iter().position(|k| k == key)?;
        let batch: Vec<Hash> = logged.keys.iter().map(|key| tree::leaf(key)).collect();
        let size = self.entries.len() as u64;
        let inclusion = Inclusion {
            salt: salt(account),
            entry: logged.bytes.clone(),
            index: index as u64,
            path: assembled(&self.leaves(), &proof::inclusion(index as u64, size)),
            place: u32::try_from(place).unwrap(),
            batch: u32::try_from(batch.len()).unwrap(),
            batch_path: assembled(&batch, &proof::inclusion(place as u64, batch.len() as u64)),
        };
        Some(inclusion.encode().unwrap().into())
    }
}

fn assembled(leaves: &[Hash], parts: &[proof::Part]) -> Vec<Hash> {
    proof::assemble(parts, |place| {
        let start = usize::try_from(place.index << place.level).ok()?;
        leaves
            .get(start..start + (1 << place.level))
            .map(tree::root)
    })
    .unwrap()
}
