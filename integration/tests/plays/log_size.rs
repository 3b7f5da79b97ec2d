//! A transparency log of a million entries (with `--long`; twenty thousand otherwise), made at once
//! and asked for proofs by the server's own code. `COMITY_LONG` shows the times.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use comity_mls_credential::anchors::{TlsKey, TlsRoots};
use comity_mls_credential::certificate::issuer_id;
use comity_mls_credential::keys::PrivateKey;
use comity_mls_credential::transparency::entry::{VERSION, batch_root};
use comity_mls_credential::transparency::map::{Leaf, Place, Value};
use comity_mls_credential::transparency::{
    Entry, Frontier, Hash, Head, Kind, account_hash, head, map, tree,
};
use comity_mls_service::authority::{Authority, Options, Trust};
use comity_storage::Storage;
use comity_xmpp::jid::BareJid;
use integration::home::Home;
use integration::person::Person;
use integration::stage::{PASSWORD, Stage};
use mls_rs_codec::MlsEncode as _;
use openssl::sha::sha256;

const DOMAIN: &str = "montague.example";
const ENTRIES_OF_AN_ACCOUNT: u64 = 10;
const ASKED: u64 = 300;
/// An answer may take so long, at the median, however large the log.
const MILLISECONDS: Duration = Duration::from_millis(20);

fn size() -> u64 {
    match std::env::var("COMITY_LONG").is_ok_and(|long| !long.is_empty()) {
        true => 1_000_000,
        false => 20_000,
    }
}

fn number(octets: &[u8]) -> Hash {
    sha256(octets)
}

fn key_of(index: u64) -> Hash {
    number(&[b"key", &index.to_be_bytes()[..]].concat())
}

fn account_of(index: u64) -> String {
    format!("user{}@{DOMAIN}", index % (size() / ENTRIES_OF_AN_ACCOUNT))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// Rows for one table, many to a statement.
struct Rows<W: std::io::Write> {
    out: W,
    table: &'static str,
    waiting: Vec<String>,
}

impl<W: std::io::Write> Rows<W> {
    fn add(&mut self, table: &'static str, row: String) {
        if self.table != table || self.waiting.len() == 200 {
            self.flush();
            self.table = table;
        }
        self.waiting.push(row);
    }

    fn flush(&mut self) {
        if !self.waiting.is_empty() {
            let rows = self.waiting.join(",");
            writeln!(self.out, "INSERT INTO {} VALUES {rows};", self.table).unwrap();
            self.waiting.clear();
        }
    }
}

/// An account while the log is made.
struct Owner {
    salt: Hash,
    hash: Hash,
    entries: Frontier,
}

/// Writes the log into the stopped server's database, with a head signed by its issuing CA.
fn make(home: &Home) {
    let mut sqlite = Command::new("sqlite3")
        .arg(home.data().join("comity.db"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufWriter::new(sqlite.stdin.take().unwrap());
    writeln!(out, "PRAGMA synchronous=OFF; BEGIN;").unwrap();
    let mut rows = Rows {
        out,
        table: "",
        waiting: Vec::new(),
    };
    let mut owners: BTreeMap<String, Owner> = BTreeMap::new();
    let mut log = Frontier::of(&[]);
    let mut nodes = Vec::new();
    for index in 0..size() {
        let name = account_of(index);
        let owner = owners.entry(name).or_insert_with_key(|name| {
            let salt = number(name.as_bytes());
            Owner {
                salt,
                hash: account_hash(&salt, name),
                entries: Frontier::of(&[]),
            }
        });
        let key = key_of(index);
        let entry = Entry {
            version: VERSION,
            kind: Kind::Issuance,
            account: owner.hash,
            device: [7; 16],
            time: 1_700_000_000 + index,
            root: batch_root(&[key]),
            by: Some([7; 16]),
            signature: vec![9; 70],
        };
        let encoded = entry.encode().unwrap();
        let leaf = tree::leaf(&encoded);
        let place = owner.entries.size();
        owner.entries.push(leaf);
        for placed in log.push(leaf) {
            nodes.push((placed.place.level, placed.place.index, placed.hash));
        }
        rows.add(
            "transparency_entries",
            format!(
                "('{DOMAIN}',{index},X'{}',X'{}',X'{}',{place},X'{}',0)",
                hex(&encoded),
                hex(&key),
                hex(&owner.hash),
                hex(&[7; 16])
            ),
        );
    }
    for (level, index, hash) in nodes {
        let row = format!("('{DOMAIN}',{level},{index},X'{}')", hex(&hash));
        rows.add("transparency_nodes", row);
    }
    for index in 0..size() {
        let row = format!("(X'{}','{DOMAIN}',{index},0)", hex(&key_of(index)));
        rows.add("transparency_keys", row);
    }
    finish(home, rows, &owners, &log);
    assert!(sqlite.wait().unwrap().success());
}

fn finish<W: std::io::Write>(
    home: &Home,
    mut rows: Rows<W>,
    owners: &BTreeMap<String, Owner>,
    log: &Frontier,
) {
    let mut leaves = Vec::new();
    for (name, owner) in owners {
        let value = Value {
            count: owner.entries.size(),
            root: owner.entries.root(),
        };
        leaves.push(Leaf {
            key: owner.hash,
            value,
        });
        let row = format!(
            "('{DOMAIN}',X'{}','{name}',X'{}',{},X'{}',0)",
            hex(&owner.hash),
            hex(&owner.salt),
            value.count,
            hex(&owner.entries.hashes().concat())
        );
        rows.add("transparency_accounts", row);
    }
    leaves.sort_by_key(|leaf| leaf.key);
    map_rows(&mut rows, &leaves, 0);
    let head = signed_head(home, log, map::root(&leaves));
    let row = format!("('{DOMAIN}',{},X'{}')", log.size(), hex(&head));
    rows.add("transparency_heads", row);
    rows.flush();
    writeln!(rows.out, "COMMIT;").unwrap();
}

/// Every subtree that holds something, as the server keeps them.
fn map_rows<W: std::io::Write>(rows: &mut Rows<W>, leaves: &[Leaf], depth: u16) {
    let Some(first) = leaves.first() else {
        return;
    };
    let place = Place::above(&first.key, depth);
    let (hash, leaf) = match leaves {
        [leaf] => {
            let encoded = hex(&leaf.mls_encode_to_vec().unwrap());
            (leaf.hash(), format!("X'{encoded}'"))
        }
        _ => (subtree(leaves, depth), "NULL".to_owned()),
    };
    let row = format!(
        "('{DOMAIN}',{depth},X'{}',X'{}',{leaf})",
        hex(&place.prefix),
        hex(&hash)
    );
    rows.add("transparency_map", row);
    if leaves.len() > 1 {
        let (left, right) = halves(leaves, depth);
        map_rows(rows, left, depth + 1);
        map_rows(rows, right, depth + 1);
    }
}

fn halves(leaves: &[Leaf], depth: u16) -> (&[Leaf], &[Leaf]) {
    let bit = |key: &Hash| key[usize::from(depth / 8)] & (0x80 >> (depth % 8)) != 0;
    leaves.split_at(leaves.partition_point(|leaf| !bit(&leaf.key)))
}

/// The hash over two halves, by the map's own rule (PROTOCOL.md §12.8).
fn subtree(leaves: &[Leaf], depth: u16) -> Hash {
    match leaves {
        [] => map::empty(),
        [leaf] => leaf.hash(),
        _ => {
            let (left, right) = halves(leaves, depth);
            let halves = [subtree(left, depth + 1), subtree(right, depth + 1)].concat();
            number(&[&[0x03], &halves[..]].concat())
        }
    }
}

fn signed_head(home: &Home, log: &Frontier, map_root: Hash) -> Vec<u8> {
    let ca = home.data().join("ca").join(DOMAIN);
    let key = PrivateKey::from_pem(&std::fs::read(ca.join("issuing-1.key")).unwrap()).unwrap();
    let unsigned = Head {
        version: head::VERSION,
        domain: DOMAIN.to_owned(),
        size: log.size(),
        root: log.root(),
        map_root,
        time: 1_700_000_000 + log.size(),
        issuer: issuer_id(&key.public().unwrap()).unwrap().0,
    };
    unsigned
        .sign(|content| {
            let signed = key.sign(content);
            signed.map_err(comity_mls_credential::transparency::LogError::from)
        })
        .unwrap()
}

async fn authority(home: &Home) -> (Authority, Storage) {
    let storage = Storage::open(&home.data().join("comity.db")).await.unwrap();
    let read = |name: String| std::fs::read(home.data().join("tls").join(name)).unwrap();
    let (chain, key) = (read(format!("{DOMAIN}.pem")), read(format!("{DOMAIN}.key")));
    let tls = TlsKey::from_pem(&chain, &key).unwrap();
    let options = Options::new(DOMAIN, home.data().join("ca").join(DOMAIN));
    let trust = Trust::new(TlsRoots::default());
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let opened = Authority::open(
        options,
        storage.clone(),
        trust,
        tls,
        since.unwrap().as_secs(),
    );
    (opened.await.unwrap(), storage)
}

/// Times of one kind of question, asked all over the log.
struct Times(Vec<Duration>);

impl Times {
    fn judge(mut self, what: &str) {
        self.0.sort();
        let at = |part: usize| self.0[self.0.len() * part / 100];
        let (median, late) = (at(50), at(99));
        println!(
            "{what} of {} entries: median {median:?}, 99th {late:?}",
            size()
        );
        assert!(median < MILLISECONDS, "{what}: {median:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_over_a_large_log_take_milliseconds() {
    let mut stage = Stage::set("log-size", &[DOMAIN]);
    stage.homes[0].add_user("romeo", PASSWORD).unwrap();
    stage.homes[0].stop().unwrap();
    let started = Instant::now();
    make(&stage.homes[0]);
    println!("made {} entries in {:?}", size(), started.elapsed());

    let (authority, storage) = authority(&stage.homes[0]).await;
    let (mut inclusion, mut consistency, mut account) = (Vec::new(), Vec::new(), Vec::new());
    for step in 0..ASKED {
        // All over the log, in no order that a cache would like.
        let index = (step * 7_919 * 131) % size();
        let name = BareJid::parse(&account_of(index)).unwrap();
        let before = Instant::now();
        let shown = authority.included(&name, &[key_of(index)]).await.unwrap();
        inclusion.push(before.elapsed());
        assert!(shown.keys[0].is_some());
        let before = Instant::now();
        let proof = authority.log_consistency(index + 1, size()).await.unwrap();
        consistency.push(before.elapsed());
        assert!(index + 1 == size() || !proof.is_empty());
        let before = Instant::now();
        let entries = authority.account_log(&name, 0).await.unwrap().entries;
        account.push(before.elapsed());
        assert_eq!(entries.len(), 10);
    }
    Times(inclusion).judge("proof of inclusion");
    Times(consistency).judge("proof of consistency");
    Times(account).judge("an account's entries and proof");
    storage.close().await;

    // A client is certified, logged and satisfied as in a small one.
    stage.homes[0].start().unwrap();
    let folder = stage.folder().join("romeo");
    let mut romeo = Person::login(&stage.homes[0], "romeo", PASSWORD, "device", &folder)
        .await
        .unwrap();
    romeo.enrolled().await.unwrap();
    romeo.create_room("Balcony").await.unwrap();
}
