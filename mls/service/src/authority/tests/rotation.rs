//! Roots kept offline, and roots and issuing CAs that are followed by others.

use super::*;
use crate::authority::ca::ceremony;

/// A directory of its own for an offline root.
struct Vault(PathBuf);

impl Vault {
    fn new() -> Self {
        let unique = Uuid::from_bytes(random());
        Self(std::env::temp_dir().join(format!("comity-root-{unique}")))
    }

    fn options(&self, domain: &str) -> Options {
        Options::new(domain, &self.0)
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, CaError>, word: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(word), "{error}");
}

/// What the server asks for, and the root's machine answers.
fn ceremony(stage: &Options, vault: &Options, now: u64) -> [u8; 32] {
    let request = ceremony::request(stage).unwrap();
    let bundle = ceremony::sign(vault, &request, now).unwrap();
    ceremony::import(stage, &bundle).unwrap()
}

/// A server's directory without a root, and a root elsewhere.
async fn offline() -> (Stage, Vault, [u8; 32]) {
    let vault = Vault::new();
    let root = ceremony::init(&vault.options("a.example"), NOW).unwrap();
    // The stage begins with a root of its own; a directory of its own takes its place.
    let mut stage = Stage::new("a.example").await;
    stage.options.directory = stage.directory.join("offline");
    stage.options.root = RootKey::Offline;
    let imported = ceremony(&stage.options, &vault.options("a.example"), NOW);
    assert_eq!(imported, root);
    stage.storage.close().await;
    std::fs::remove_file(stage.directory.join("db")).unwrap();
    stage.restart(&[], NOW).await.unwrap();
    (stage, vault, root)
}

#[tokio::test]
async fn a_domain_whose_root_is_offline_certifies_and_is_believed() {
    let (stage, _vault, root) = offline().await;
    let keys = std::fs::read_dir(&stage.options.directory).unwrap();
    let names: Vec<String> = keys
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        !names
            .iter()
            .any(|name| name.starts_with("root") && name.ends_with("key"))
    );
    let alice = stage.client("alice").await;
    let certificate = alice.enrol(&[key()], NOW).await.unwrap().remove(0);

    // Another domain believes it by what it publishes.
    let mut b = Stage::new("b.example").await;
    b.restart(&[&stage.tls], NOW).await.unwrap();
    let statement = stage.authority.statement();
    let shown = b.authority.shown("a.example", &statement, None, NOW).await;
    assert_eq!(shown.unwrap().root(), &root);
    verify(&certificate, b.authority.anchors().as_ref(), Some(NOW)).unwrap();
    // A statement every day, without the root.
    stage.authority.maintain(NOW + 2 * DAY).await.unwrap();
    let statement = stage.authority.statement();
    let shown = b
        .authority
        .shown("a.example", &statement, None, NOW + 2 * DAY);
    assert_eq!(shown.await.unwrap().sequence(), NOW + 2 * DAY);
}

#[tokio::test]
async fn each_wrong_step_is_named() {
    let vault = Vault::new();
    let there = vault.options("a.example");
    let mut here = Options::new("a.example", vault.0.join("server"));
    here.root = RootKey::Offline;
    refused(ceremony::show(&here, NOW), "comity ca request");
    refused(ceremony::import(&here, "nothing"), "no PEM");
    let request = ceremony::request(&here).unwrap();
    // Asked again, the same key is asked for.
    let der = |pem: &str| X509Req::from_pem(pem.as_bytes()).unwrap();
    let spki = |pem: &str| der(pem).public_key().unwrap().public_key_to_der().unwrap();
    assert_eq!(spki(&request), spki(&ceremony::request(&here).unwrap()));
    refused(ceremony::sign(&there, &request, NOW), "comity ca init");
    ceremony::init(&there, NOW).unwrap();
    refused(ceremony::init(&there, NOW), "comity ca rotate-root");
    let bundle = ceremony::sign(&there, &request, NOW).unwrap();
    refused(
        ceremony::sign(&there, &bundle, NOW),
        "not exactly one request",
    );
    refused(ceremony::import(&here, &request), "not imported");
    let cut = &bundle[..bundle.len() / 2];
    refused(ceremony::import(&here, cut), "");

    // The root of another domain, and the certificate of another key.
    let other = Vault::new();
    let elsewhere = other.options("b.example");
    ceremony::init(&elsewhere, NOW).unwrap();
    let foreign = ceremony::sign(&elsewhere, &request, NOW).unwrap();
    refused(ceremony::import(&here, &foreign), "not that of a.example");
    let mut third = Options::new("a.example", other.0.join("server"));
    third.root = RootKey::Offline;
    refused(ceremony::import(&third, &bundle), "comity ca request");
    ceremony::request(&third).unwrap();
    refused(ceremony::import(&third, &bundle), "another key");
    // Nothing of it was taken.
    refused(ceremony::show(&here, NOW), "comity ca request");

    ceremony::import(&here, &bundle).unwrap();
    refused(ceremony::import(&here, &bundle), "comity ca request");
    let shown = ceremony::show(&here, NOW).unwrap();
    assert_eq!(shown.root_key, ceremony::KeyShown::Offline);
    assert_eq!(shown.issuing.len(), 1);
    refused(ceremony::rotate_issuing(&here, NOW), "comity ca sign");
    refused(ceremony::rotate_root(&here, NOW), "comity ca rotate-root");
    // A second root of the same domain is followed only with the first one's word.
    let usurper = Vault::new();
    let usurping = usurper.options("a.example");
    ceremony::init(&usurping, NOW).unwrap();
    let request = ceremony::request(&here).unwrap();
    let bundle = ceremony::sign(&usurping, &request, NOW).unwrap();
    refused(ceremony::import(&here, &bundle), "handover");
    // Who takes the root away without saying so is asked.
    here.root = RootKey::File;
    refused(ceremony::show(&here, NOW), "root = \"offline\"");
}

/// What another domain makes of the newest statement.
async fn shows(to: &Stage, stage: &Stage, now: u64) -> Arc<Pinned> {
    let statement = stage.authority.statement();
    let shown = to.authority.shown("a.example", &statement, None, now);
    shown.await.unwrap()
}

#[tokio::test]
async fn issuing_ca_and_root_are_followed_and_old_leaves_stay_good() {
    let stage = Stage::new("a.example").await;
    let mut b = Stage::new("b.example").await;
    b.restart(&[&stage.tls], NOW).await.unwrap();
    let first = *shows(&b, &stage, NOW).await.root();
    let alice = stage.client("alice").await;
    let mut leaves = vec![alice.enrol(&[key()], NOW).await.unwrap().remove(0)];
    let good = |leaves: &[Bytes], now| {
        for leaf in leaves {
            for anchors in [b.authority.anchors(), stage.authority.anchors()] {
                verify(leaf, anchors.as_ref(), Some(now)).unwrap();
            }
        }
    };
    good(&leaves, NOW);

    let now = NOW + DAY;
    ceremony::rotate_issuing(&stage.options, now).unwrap();
    stage.authority.maintain(now).await.unwrap();
    leaves.push(alice.enrol(&[key()], now).await.unwrap().remove(0));
    assert_eq!(shows(&b, &stage, now).await.root(), &first);
    good(&leaves, now);

    let now = NOW + 2 * DAY;
    let second = ceremony::rotate_root(&stage.options, now).unwrap();
    assert_ne!(second, first);
    stage.authority.maintain(now).await.unwrap();
    leaves.push(alice.enrol(&[key()], now).await.unwrap().remove(0));
    // b follows without being asked, and still knows whom the old root certified.
    assert_eq!(shows(&b, &stage, now).await.root(), &second);
    good(&leaves, now);
    let issuers: Vec<_> = leaves
        .iter()
        .map(|der| Leaf::read(der).unwrap().issuer)
        .collect();
    assert!(issuers[0] != issuers[1] && issuers[1] != issuers[2] && issuers[0] != issuers[2]);
    // Each of them still takes back what it has issued.
    for issuer in &issuers {
        assert!(stage.authority.crl(issuer).is_some());
    }
    let shown = ceremony::show(&stage.options, now).unwrap();
    assert_eq!(
        (shown.root, shown.earlier_roots, shown.issuing.len()),
        (second, 1, 3)
    );

    // Another one; who slept through both follows too.
    let now = NOW + 3 * DAY;
    let third = ceremony::rotate_root(&stage.options, now).unwrap();
    stage.authority.maintain(now).await.unwrap();
    let mut c = Stage::new("c.example").await;
    c.restart(&[&stage.tls], now).await.unwrap();
    assert_eq!(shows(&c, &stage, now).await.root(), &third);
    assert_eq!(shows(&b, &stage, now).await.root(), &third);
    good(&leaves, now);
}

#[tokio::test]
async fn an_offline_root_is_followed_by_another() {
    let (stage, vault, first) = offline().await;
    let mut b = Stage::new("b.example").await;
    b.restart(&[&stage.tls], NOW).await.unwrap();
    assert_eq!(shows(&b, &stage, NOW).await.root(), &first);
    let alice = stage.client("alice").await;
    let old = alice.enrol(&[key()], NOW).await.unwrap().remove(0);
    let now = NOW + DAY;
    let there = vault.options("a.example");
    let second = ceremony::rotate_root(&there, now).unwrap();
    assert_eq!(ceremony(&stage.options, &there, now), second);
    stage.authority.maintain(now).await.unwrap();
    let new = alice.enrol(&[key()], now).await.unwrap().remove(0);
    assert_eq!(shows(&b, &stage, now).await.root(), &second);
    for leaf in [&old, &new] {
        verify(leaf, b.authority.anchors().as_ref(), Some(now)).unwrap();
    }
    // Twice before the server is told: it follows the whole line.
    ceremony::rotate_root(&there, now + DAY).unwrap();
    let fourth = ceremony::rotate_root(&there, now + DAY).unwrap();
    assert_eq!(ceremony(&stage.options, &there, now + DAY), fourth);
    stage.authority.maintain(now + DAY).await.unwrap();
    assert_eq!(shows(&b, &stage, now + DAY).await.root(), &fourth);
}
