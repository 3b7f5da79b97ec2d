mod backup;
mod bad_input;
mod rotation;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use comity_mls_credential::anchors::{Pinned, TlsKey, TlsRoots};
use comity_mls_credential::certificate::issuer_id;
use comity_mls_credential::csr;
use comity_mls_credential::keys::PrivateKey;
use comity_mls_credential::leaf::{Issuers, Leaf, verify};
use comity_mls_credential::signed;
use comity_mls_credential::transparency::entry::batch_root;
use comity_storage::CreateAccount;
use comity_xmpp::jid::BareJid;
use mls_rs_core::identity::IdentityProvider;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509Name, X509Req};
use uuid::Uuid;

use super::*;

mod log;

const NOW: u64 = 1_800_000_000;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// A domain's AS over a database and a directory that outlive it.
struct Stage {
    authority: Authority,
    storage: Storage,
    options: Options,
    tls: Tls,
    directory: PathBuf,
}

/// A TLS certificate that vouches for itself.
#[derive(Clone)]
struct Tls {
    certificate: X509,
    key: PKey<openssl::pkey::Private>,
}

impl Tls {
    fn new(domain: &str) -> Self {
        let key = PrivateKey::generate(Algorithm::P256).unwrap();
        let key = PKey::private_key_from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
        let mut builder = X509::builder().unwrap();
        let mut name = X509Name::builder().unwrap();
        // Two certificates of one name would be mistaken for each other.
        let unique = Uuid::from_bytes(random()).to_string();
        name.append_entry_by_text("CN", &unique).unwrap();
        let name = name.build();
        let time = |at: u64| Asn1Time::from_unix(i64::try_from(at).unwrap()).unwrap();
        let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
        builder.set_version(2).unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_not_before(&time(NOW - DAY)).unwrap();
        builder.set_not_after(&time(NOW + 9000 * DAY)).unwrap();
        builder.set_pubkey(&key).unwrap();
        let context = builder.x509v3_context(None, None);
        let names = SubjectAlternativeName::new().dns(domain).build(&context);
        builder.append_extension(names.unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self {
            certificate: builder.build(),
            key,
        }
    }

    fn key(&self) -> TlsKey {
        let key = self.key.private_key_to_pem_pkcs8().unwrap();
        TlsKey::from_pem(&self.certificate.to_pem().unwrap(), &key).unwrap()
    }
}

impl Stage {
    async fn new(domain: &str) -> Self {
        Self::with(domain, |_| {}).await
    }

    async fn with(domain: &str, change: impl FnOnce(&mut Options)) -> Self {
        let unique = Uuid::from_bytes(random());
        let directory = std::env::temp_dir().join(format!("comity-as-{unique}"));
        std::fs::create_dir(&directory).unwrap();
        let mut options = Options::new(domain, directory.join("ca"));
        change(&mut options);
        let storage = Storage::open(&directory.join("db")).await.unwrap();
        let tls = Tls::new(domain);
        Self {
            authority: open(&options, &storage, &tls, &[], NOW).await.unwrap(),
            storage,
            options,
            tls,
            directory,
        }
    }

    /// The same domain after a restart, which knows these TLS certificates as roots.
    async fn restart(&mut self, roots: &[&Tls], now: u64) -> Result<(), AuthorityError> {
        self.storage.close().await;
        self.storage = Storage::open(&self.directory.join("db")).await.unwrap();
        self.authority = open(&self.options, &self.storage, &self.tls, roots, now).await?;
        Ok(())
    }

    async fn account(&self, local: &str) -> Client<'_> {
        let account = BareJid::parse(&format!("{local}@{}", self.options.domain)).unwrap();
        self.storage
            .write(CreateAccount {
                account: account.to_string(),
                domain: self.options.domain.clone(),
                created: 0,
                keys: Vec::new(),
            })
            .await
            .unwrap();
        Client {
            stage: self,
            account,
            device: Uuid::nil(),
            key: PrivateKey::generate(Algorithm::P256).unwrap(),
        }
    }

    /// An account with a registered device.
    async fn client(&self, local: &str) -> Client<'_> {
        let mut client = self.account(local).await;
        client.device = client.register().await.unwrap().device.id;
        client
    }

    fn file(&self, name: &str) -> PathBuf {
        self.options.directory.join(name)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

async fn open(
    options: &Options,
    storage: &Storage,
    tls: &Tls,
    roots: &[&Tls],
    now: u64,
) -> Result<Authority, AuthorityError> {
    let roots: Vec<Vec<u8>> = roots
        .iter()
        .map(|tls| tls.certificate.to_der().unwrap())
        .collect();
    let trust = Trust::new(TlsRoots::new(roots.iter().map(Vec::as_slice)));
    Authority::open(options.clone(), storage.clone(), trust, tls.key(), now).await
}

/// What a client does, with the keys a client has.
#[derive(Clone)]
struct Client<'a> {
    stage: &'a Stage,
    account: BareJid,
    device: Uuid,
    key: PrivateKey,
}

impl Client<'_> {
    fn sign(&self, label: &str, parts: &[&[u8]]) -> Vec<u8> {
        self.key.sign(&signed::content(label, parts)).unwrap()
    }

    async fn register(&self) -> Result<Registered, Refusal> {
        self.register_as("phone", Uuid::from_bytes(random())).await
    }

    async fn register_as(&self, name: &str, id: Uuid) -> Result<Registered, Refusal> {
        let device_key = self.key.public().unwrap().to_spki();
        let parts: [&[u8]; 3] = [b"nonce", self.account.as_str().as_bytes(), &device_key];
        let registration = Registration {
            id,
            name,
            device_key: &device_key,
            nonce: b"nonce",
            signature: &self.sign(signed::REGISTER, &parts),
        };
        self.stage
            .authority
            .register(&self.account, registration, NOW)
            .await
    }

    async fn enrol(&self, keys: &[PrivateKey], now: u64) -> Result<Vec<Bytes>, Refusal> {
        let requests: Vec<Bytes> = keys.iter().map(request).collect();
        self.enrol_requests(&requests, now).await
    }

    async fn enrol_requests(&self, requests: &[Bytes], now: u64) -> Result<Vec<Bytes>, Refusal> {
        let keys: Vec<[u8; 32]> = requests
            .iter()
            .map(
                |request| match csr::read(request, &self.account, self.device) {
                    Ok(key) => issuer_id(&key).unwrap().0,
                    // It is refused before anybody looks at the signature.
                    Err(_) => [0; 32],
                },
            )
            .collect();
        let account = self.account.as_str().as_bytes();
        let parts: [&[u8]; 3] = [account, self.device.as_bytes(), &batch_root(&keys)];
        let signature = self.sign(signed::ENROL, &parts);
        self.stage
            .authority
            .enrol(&self.account, self.device, requests, &signature, now)
            .await
    }

    async fn prove(&self, exporter: Option<&[u8; 32]>) -> Result<(), Refusal> {
        let bound: &[u8] = exporter.map_or(&[], |exporter| exporter);
        let account = self.account.as_str().as_bytes();
        let parts: [&[u8]; 4] = [b"nonce", account, self.device.as_bytes(), bound];
        let signature = self.sign(signed::PROVE, &parts);
        let proof = Proof {
            device: self.device,
            nonce: b"nonce",
            exporter,
            signature: &signature,
        };
        self.stage.authority.prove(&self.account, proof).await
    }

    async fn revoke(&self, revoked: Uuid) -> Result<bool, Refusal> {
        let account = self.account.as_str().as_bytes();
        let parts: [&[u8]; 3] = [account, self.device.as_bytes(), revoked.as_bytes()];
        let signature = self.sign(signed::REVOKE, &parts);
        self.stage
            .authority
            .revoke(&self.account, self.device, revoked, &signature, NOW + 9)
            .await
    }
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    openssl::rand::rand_bytes(&mut bytes).unwrap();
    bytes
}

fn key() -> PrivateKey {
    PrivateKey::generate(Algorithm::P256).unwrap()
}

fn request(key: &PrivateKey) -> Bytes {
    let public = key.public().unwrap();
    csr::create(&public, |content| key.sign(content))
        .unwrap()
        .into()
}

#[track_caller]
fn bad_credential<T: std::fmt::Debug>(result: Result<T, Refusal>, word: &str) {
    match result {
        Err(Refusal::BadCredential { why }) if why.contains(word) => {}
        other => panic!("expected a bad credential: {word}, found {other:?}"),
    }
}

#[tokio::test]
async fn a_domain_certifies_its_accounts() {
    for algorithm in [Algorithm::P256, Algorithm::Ed25519] {
        let stage = Stage::with("a.example", |options| options.algorithm = algorithm).await;
        let alice = stage.client("alice").await;
        let keys = [key(), PrivateKey::generate(Algorithm::Ed25519).unwrap()];
        let certificates = alice.enrol(&keys, NOW).await.unwrap();
        for (certificate, key) in certificates.iter().zip(&keys) {
            let anchors = stage.authority.anchors().as_ref();
            let leaf = verify(certificate, anchors, Some(NOW)).unwrap();
            assert_eq!(leaf.account, alice.account);
            assert_eq!(leaf.device, Some(alice.device));
            assert_eq!(leaf.key().unwrap(), key.public().unwrap());
            assert_eq!(leaf.not_after, NOW + 120 * DAY);
        }
    }
}

#[tokio::test]
async fn a_device_is_registered_by_its_key() {
    let stage = Stage::with("a.example", |options| options.devices = 2).await;
    let alice = stage.client("alice").await;
    // The answer was lost: the same key is the same device.
    let again = alice.register().await.unwrap();
    assert_eq!((again.device.id, again.new), (alice.device, false));

    let mut second = alice.clone();
    second.key = key();
    second.device = second.register().await.unwrap().device.id;
    let mut third = alice.clone();
    third.key = key();
    assert!(matches!(
        third.register().await,
        Err(Refusal::LimitReached { .. })
    ));

    let mut bob = stage.account("bob").await;
    bob.key = alice.key.clone();
    assert!(matches!(
        bob.register().await,
        Err(Refusal::BadRequest { .. })
    ));
    let carol = stage.account("carol").await;
    for name in ["", "a\nb", &"x".repeat(129)] {
        assert!(matches!(
            carol.register_as(name, Uuid::nil()).await,
            Err(Refusal::BadRequest { .. })
        ));
    }
    let names = stage.authority.devices(&alice.account).await.unwrap();
    let ids: Vec<Uuid> = names.iter().map(|device| device.id).collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.contains(&alice.device) && ids.contains(&second.device));
}

#[tokio::test]
async fn a_registration_is_signed_by_the_key_it_brings() {
    let stage = Stage::new("a.example").await;
    let alice = stage.account("alice").await;
    let device_key = alice.key.public().unwrap().to_spki();
    let register = |device_key: Vec<u8>, nonce: &'static [u8], signature: Vec<u8>| {
        let (authority, account) = (&stage.authority, &alice.account);
        async move {
            let registration = Registration {
                id: Uuid::from_u128(1),
                name: "phone",
                device_key: &device_key,
                nonce,
                signature: &signature,
            };
            authority.register(account, registration, NOW).await
        }
    };
    let account = alice.account.as_str().as_bytes();
    let signature = alice.sign(signed::REGISTER, &[b"nonce", account, &device_key]);
    let other_nonce = register(device_key.clone(), b"other", signature.clone()).await;
    assert_eq!(other_nonce, Err(Refusal::BadSignature));
    let other_key = key().public().unwrap().to_spki();
    let other_key = register(other_key, b"nonce", signature.clone()).await;
    assert_eq!(other_key, Err(Refusal::BadSignature));
    let no_key = register(vec![1, 2, 3], b"nonce", signature.clone()).await;
    assert!(matches!(no_key, Err(Refusal::BadRequest { .. })));
    register(device_key, b"nonce", signature).await.unwrap();
}

#[tokio::test]
async fn a_session_proves_its_device() {
    let stage = Stage::new("a.example").await;
    let alice = stage.client("alice").await;
    alice.prove(None).await.unwrap();
    alice.prove(Some(&[7; 32])).await.unwrap();

    // A signature over one stream's exporter is none on another's.
    let account = alice.account.as_str().as_bytes();
    let parts: [&[u8]; 4] = [b"nonce", account, alice.device.as_bytes(), &[7; 32]];
    let signature = alice.sign(signed::PROVE, &parts);
    for exporter in [None, Some(&[8; 32])] {
        let proof = Proof {
            device: alice.device,
            nonce: b"nonce",
            exporter,
            signature: &signature,
        };
        let refused = stage.authority.prove(&alice.account, proof).await;
        assert_eq!(refused, Err(Refusal::BadSignature));
    }
    let mut unknown = alice.clone();
    unknown.device = Uuid::from_u128(9);
    assert_eq!(unknown.prove(None).await, Err(Refusal::UnknownDevice));
    // The device of another account is none of one's own.
    let mut bob = stage.account("bob").await;
    (bob.device, bob.key) = (alice.device, alice.key.clone());
    assert_eq!(bob.prove(None).await, Err(Refusal::UnknownDevice));
}

#[tokio::test]
async fn what_a_batch_must_hold() {
    let stage = Stage::new("a.example").await;
    let alice = stage.client("alice").await;
    let one = key();
    let good = request(&one);

    assert!(matches!(
        alice.enrol(&[], NOW).await,
        Err(Refusal::LimitReached { .. })
    ));
    let many = vec![good.clone(); MAX_BATCH + 1];
    assert!(matches!(
        alice.enrol_requests(&many, NOW).await,
        Err(Refusal::LimitReached { .. })
    ));
    let twice = alice.enrol(&[one.clone(), one.clone()], NOW).await;
    bad_credential(twice, "in the batch already");
    let device_key = alice.enrol(std::slice::from_ref(&alice.key), NOW).await;
    bad_credential(device_key, "the device key");
    let (mine, theirs) = (key(), key());
    let stolen: Result<_, std::convert::Infallible> =
        csr::create(&theirs.public().unwrap(), |content| {
            Ok(mine.sign(content).unwrap())
        });
    let stolen = alice.enrol_requests(&[stolen.unwrap().into()], NOW).await;
    bad_credential(stolen, "request 1: the certificate request is not signed");
    let garbage = [good.clone(), Bytes::from_static(b"garbage")];
    bad_credential(
        alice.enrol_requests(&garbage, NOW).await,
        "request 2: the certificate request cannot be read",
    );

    let mut impostor = alice.clone();
    impostor.key = key();
    let refused = impostor.enrol(&[key()], NOW).await;
    assert_eq!(refused, Err(Refusal::BadSignature));
    impostor.device = Uuid::from_u128(9);
    let refused = impostor.enrol(&[key()], NOW).await;
    assert_eq!(refused, Err(Refusal::UnknownDevice));

    // Nothing of all that has used up the key.
    alice.enrol_requests(&[good], NOW).await.unwrap();
}

#[tokio::test]
async fn a_key_is_certified_once() {
    let stage = Stage::new("a.example").await;
    let alice = stage.client("alice").await;
    let bob = stage.client("bob").await;
    let (old, new) = (key(), key());
    let first = alice.enrol(std::slice::from_ref(&old), NOW).await.unwrap();
    // The answer was lost, and the batch comes again, with more.
    let both = alice.enrol(&[new, old.clone()], NOW + 5).await.unwrap();
    assert_eq!(both[1], first[0]);
    assert_ne!(both[0], both[1]);

    bad_credential(
        bob.enrol(std::slice::from_ref(&old), NOW).await,
        "certified before",
    );
    let after_its_end = alice.enrol(&[old], NOW + 121 * DAY).await;
    bad_credential(after_its_end, "certified before");
    // Each refusal is counted.
    assert_eq!(stage.authority.refused(), 2);
}

#[tokio::test]
async fn two_batches_at_once_with_one_key_get_one_certificate() {
    let stage = Stage::new("a.example").await;
    let alice = stage.client("alice").await;
    let keys = [key()];
    let (one, two) = tokio::join!(alice.enrol(&keys, NOW), alice.enrol(&keys, NOW));
    assert_eq!(one.unwrap(), two.unwrap());
}

#[tokio::test]
async fn an_account_is_issued_so_many_a_day() {
    let stage = Stage::with("a.example", |options| options.certificates_per_day = 3).await;
    let alice = stage.client("alice").await;
    alice.enrol(&[key(), key()], NOW).await.unwrap();
    assert!(matches!(
        alice.enrol(&[key(), key()], NOW).await,
        Err(Refusal::LimitReached { .. })
    ));
    alice.enrol(&[key()], NOW).await.unwrap();
    alice.enrol(&[key(), key()], NOW + DAY + 1).await.unwrap();
}

#[tokio::test]
async fn a_revoked_device_is_none() {
    let stage = Stage::new("a.example").await;
    let alice = stage.client("alice").await;
    let mut lost = alice.clone();
    lost.key = key();
    lost.device = lost.register().await.unwrap().device.id;
    let bob = stage.client("bob").await;

    assert_eq!(bob.revoke(lost.device).await, Err(Refusal::UnknownDevice));
    let mut impostor = alice.clone();
    impostor.key = key();
    assert_eq!(
        impostor.revoke(lost.device).await,
        Err(Refusal::BadSignature)
    );
    lost.prove(None).await.unwrap();

    assert_eq!(alice.revoke(lost.device).await, Ok(true));
    assert_eq!(alice.revoke(lost.device).await, Ok(false));
    assert_eq!(lost.prove(None).await, Err(Refusal::UnknownDevice));
    assert_eq!(lost.enrol(&[key()], NOW).await, Err(Refusal::UnknownDevice));
    assert_eq!(lost.revoke(alice.device).await, Err(Refusal::UnknownDevice));
    assert!(matches!(
        lost.register().await,
        Err(Refusal::BadRequest { .. })
    ));
    let devices = stage.authority.devices(&alice.account).await.unwrap();
    let revoked: Vec<_> = devices.iter().map(|d| (d.id, d.revoked)).collect();
    assert!(revoked.contains(&(lost.device, Some(NOW + 9))));
    assert!(revoked.contains(&(alice.device, None)));
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let mut stage = Stage::new("a.example").await;
    let (account, device, device_key, certified) = {
        let alice = stage.client("alice").await;
        let certified = alice.enrol(&[key()], NOW).await.unwrap();
        (alice.account, alice.device, alice.key, certified)
    };
    let statement = stage.authority.statement();
    let hubs = [1, 2].map(|suite| stage.authority.hub(CipherSuite::from(suite)).unwrap());
    stage.restart(&[], NOW + HOUR).await.unwrap();
    assert_eq!(stage.authority.statement(), statement);
    for (suite, hub) in [1, 2].into_iter().zip(hubs) {
        let now = stage.authority.hub(CipherSuite::from(suite)).unwrap();
        assert_eq!(now.certificate, hub.certificate);
    }
    let alice = Client {
        stage: &stage,
        account,
        device,
        key: device_key,
    };
    alice.prove(None).await.unwrap();
    let anchors = stage.authority.anchors().as_ref();
    verify(&certified[0], anchors, Some(NOW)).unwrap();
    let more = alice.enrol(&[key()], NOW).await.unwrap();
    let issuers = [&certified[0], &more[0]].map(|der| Leaf::read(der).unwrap().issuer);
    assert_eq!(issuers[0], issuers[1]);
}

#[tokio::test]
async fn keys_are_their_owners_alone_and_missed_when_gone() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut stage = Stage::new("a.example").await;
    for name in ["root", "issuing-1", "hub-p256", "hub-ed25519"] {
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&stage.file(&format!("{name}.key"))), 0o600);
        assert_eq!(mode(&stage.file(&format!("{name}.pem"))), 0o644);
    }
    let root = stage.file("root.key");
    let kept = std::fs::read(&root).unwrap();
    std::fs::remove_file(&root).unwrap();
    let gone = stage.restart(&[], NOW).await;
    assert!(matches!(
        gone,
        Err(AuthorityError::Ca(CaError::KeyMissing { .. }))
    ));
    std::fs::write(&root, key().to_pem().unwrap()).unwrap();
    let other = stage.restart(&[], NOW).await;
    assert!(matches!(
        other,
        Err(AuthorityError::Ca(CaError::Certificate { .. }))
    ));
    std::fs::write(&root, kept).unwrap();
    // A crash between key and certificate of something new is healed.
    std::fs::remove_file(stage.file("hub-p256.pem")).unwrap();
    stage.restart(&[], NOW).await.unwrap();
}

#[tokio::test]
async fn the_hub_is_believed_as_external_sender() {
    let stage = Stage::new("a.example").await;
    for suite in [CipherSuite::P256_AES128, CipherSuite::CURVE25519_AES128] {
        let hub = stage.authority.hub(suite).unwrap();
        let provider = stage.authority.provider();
        let judged = provider.validate_external_sender(&hub.identity, None, None);
        judged.unwrap();
        let signature = hub.key.sign(b"head").unwrap();
        let leaf = Leaf::read(&hub.certificate).unwrap();
        assert!(leaf.key().unwrap().verifies(b"head", &signature));
        assert_eq!(leaf.account.as_str(), "a.example");
    }
    assert!(stage.authority.hub(CipherSuite::P384_AES256).is_none());
}

#[tokio::test]
async fn statements_follow_each_other_day_by_day() {
    let stage = Stage::new("a.example").await;
    let own = |stage: &Stage| Pinned::own(&stage.authority.statement(), &[]).unwrap();
    let first = own(&stage);
    assert_eq!(first.sequence(), NOW);
    stage.authority.maintain(NOW + 23 * HOUR).await.unwrap();
    assert_eq!(own(&stage).hash(), first.hash());
    stage.authority.maintain(NOW + DAY).await.unwrap();
    let second = own(&stage);
    assert_eq!(second.sequence(), NOW + DAY);

    let mut observer = Stage::new("b.example").await;
    observer.restart(&[&stage.tls], NOW).await.unwrap();
    let shown = |signed: Bytes| {
        let authority = &observer.authority;
        async move { authority.shown("a.example", &signed, None, NOW + DAY).await }
    };
    let seen = shown(first.signed().to_vec().into()).await.unwrap();
    assert_eq!(seen.sequence(), NOW);
    assert_eq!(
        shown(stage.authority.statement()).await.unwrap().sequence(),
        NOW + DAY
    );

    // A new TLS certificate, and a clock that went back, are reasons too.
    stage.authority.set_tls(Tls::new("a.example").key());
    stage.authority.maintain(NOW + DAY).await.unwrap();
    assert_eq!(own(&stage).sequence(), NOW + DAY + 1);
    stage.authority.maintain(NOW).await.unwrap();
    assert_eq!(own(&stage).sequence(), NOW + DAY + 2);
}

#[tokio::test]
async fn a_new_issuing_ca_comes_in_time_and_the_old_stays_listed() {
    let mut stage = Stage::new("a.example").await;
    let old = {
        let alice = stage.client("alice").await;
        alice.enrol(&[key()], NOW).await.unwrap().remove(0)
    };
    let hub = stage.authority.hub(CipherSuite::P256_AES128).unwrap();
    let late = NOW + (730 - 239) * DAY;
    stage.authority.maintain(late).await.unwrap();
    let bob = stage.client("bob").await;
    let new = bob.enrol(&[key()], late).await.unwrap().remove(0);
    let (old_leaf, new_leaf) = (Leaf::read(&old).unwrap(), Leaf::read(&new).unwrap());
    assert_ne!(old_leaf.issuer, new_leaf.issuer);
    assert_eq!(new_leaf.not_after, late + 120 * DAY);
    // The hub keeps its key, so rooms need not hear of it at once.
    let renewed = stage.authority.hub(CipherSuite::P256_AES128).unwrap();
    assert_ne!(renewed.certificate, hub.certificate);
    assert_eq!(renewed.identity.signature_key, hub.identity.signature_key);
    let listed = Pinned::own(&stage.authority.statement(), &[]).unwrap();
    for leaf in [&old_leaf, &new_leaf] {
        assert!(listed.issuer(&leaf.issuer).is_some());
    }
    // After its end the old one is no longer listed, but known.
    let end = NOW + 731 * DAY;
    stage.restart(&[], end).await.unwrap();
    let listed = Pinned::own(&stage.authority.statement(), &[]).unwrap();
    assert!(listed.issuer(&old_leaf.issuer).is_none());
    let anchors = stage.authority.anchors();
    assert!(anchors.issuer("a.example", &old_leaf.issuer).is_some());
}

#[tokio::test]
async fn another_domain_is_pinned_and_speaks_for_itself_alone() {
    let b = Stage::new("b.example").await;
    let mut a = Stage::new("a.example").await;
    let bob = b.client("bob").await;
    let certificate = bob.enrol(&[key()], NOW).await.unwrap().remove(0);
    let statement = b.authority.statement();

    // Its TLS certificate is nobody's that a believes.
    let refused = a.authority.shown("b.example", &statement, None, NOW).await;
    assert!(matches!(
        refused,
        Err(ShownError::Anchors(AnchorsError::Tls { .. }))
    ));
    assert!(a.authority.believed("b.example").await.unwrap().is_none());

    a.restart(&[&b.tls], NOW).await.unwrap();
    a.authority
        .shown("b.example", &statement, None, NOW)
        .await
        .unwrap();
    let anchors = Arc::clone(a.authority.anchors());
    verify(&certificate, anchors.as_ref(), Some(NOW)).unwrap();
    // It says nothing about a domain it is not.
    let refused = a.authority.shown("c.example", &statement, None, NOW).await;
    assert!(matches!(
        refused,
        Err(ShownError::Anchors(AnchorsError::OtherDomain { .. }))
    ));

    // A CA of b names a user of a: nobody believes it.
    let key = key().public().unwrap();
    let ca = b.authority.ca();
    let (issuer, until) = ca.issuer().unwrap();
    let alice = BareJid::parse("alice@a.example").unwrap();
    let forged = comity_mls_credential::issue::leaf(&alice, Some(bob.device), &key, issuer, until);
    let forged = forged.unwrap();
    for authority in [&a.authority, &b.authority] {
        let judged = verify(&forged, authority.anchors().as_ref(), Some(NOW));
        assert!(judged.is_err());
    }

    // After a restart it is believed without being asked again, and its root is still pinned.
    a.restart(&[&b.tls], NOW + HOUR).await.unwrap();
    verify(&certificate, a.authority.anchors().as_ref(), Some(NOW)).unwrap();
    let usurper = Stage::new("b.example").await;
    usurper.authority.maintain(NOW + DAY).await.unwrap();
    a.restart(&[&b.tls, &usurper.tls], NOW + DAY).await.unwrap();
    let shown = usurper.authority.statement();
    let refused = a
        .authority
        .shown("b.example", &shown, None, NOW + DAY)
        .await;
    assert!(matches!(
        refused,
        Err(ShownError::Anchors(AnchorsError::RootChanged { .. }))
    ));
    let ending = |now| a.authority.ending(now, 10);
    assert!(ending(NOW + DAY).await.unwrap().is_empty());
    assert_eq!(ending(NOW + 3 * DAY).await.unwrap(), ["b.example"]);
    assert!(ending(NOW + 60 * DAY).await.unwrap().is_empty());

    // The operators have compared it, and it is their new root after all.
    let root = *Pinned::own(&shown, &[]).unwrap().root();
    let accept = |root| {
        a.authority
            .shown("b.example", &shown, Some(root), NOW + DAY)
    };
    accept([7; 32]).await.unwrap_err();
    let accepted = accept(root).await.unwrap();
    assert_eq!(accepted.root(), &root);
    let known = a.authority.believed("b.example").await.unwrap().unwrap();
    assert_eq!(known.root(), &root);
    let stored = a.storage.pinned_anchors("b.example").await.unwrap();
    assert_eq!(stored.unwrap().root, root);
}

#[tokio::test]
async fn a_revocation_is_in_the_list_at_once_and_reaches_other_domains() {
    let mut b = Stage::new("b.example").await;
    let mut a = Stage::new("a.example").await;
    a.restart(&[&b.tls], NOW).await.unwrap();
    let statement = b.authority.statement();
    let shown = a.authority.shown("b.example", &statement, None, NOW).await;
    shown.unwrap();
    let (kept, lost, spare) = {
        let bob = b.client("bob").await;
        let kept = bob.enrol(&[key()], NOW).await.unwrap().remove(0);
        let mut other = bob.clone();
        other.key = key();
        other.device = other.register().await.unwrap().device.id;
        let lost = other.enrol(&[key(), key()], NOW).await.unwrap();
        bob.revoke(other.device).await.unwrap();
        let [lost, spare] = <[Bytes; 2]>::try_from(lost).unwrap();
        (kept, lost, spare)
    };
    let issuer = Leaf::read(&lost).unwrap().issuer;
    let believed = |stage: &Stage, der: &Bytes, at| {
        verify(der, stage.authority.anchors().as_ref(), Some(at)).map(drop)
    };
    believed(&b, &lost, NOW).unwrap();
    let news = b.authority.publish_crls(NOW + 10).await.unwrap();
    let [news] = news.as_slice() else {
        panic!("{news:?}")
    };
    assert_eq!((news.issuer, news.entries.len()), (issuer, 2));
    for der in [&lost, &spare] {
        believed(&b, der, NOW + 10).unwrap_err();
    }
    believed(&b, &kept, NOW + 10).unwrap();
    // The list before is signed for the hour, and nothing is new in the next.
    let first = b.authority.crl(&issuer).unwrap();
    assert_eq!(first.number(), news.crl_number);
    assert!(b.authority.publish_crls(NOW + 20).await.unwrap().is_empty());
    assert_eq!(b.authority.crl(&issuer).unwrap(), first);

    // Elsewhere it counts once it is shown.
    believed(&a, &lost, NOW + 10).unwrap();
    let shown = a.authority.crl_shown("a.example", first.der(), NOW + 10);
    shown.await.unwrap_err();
    let shown = a.authority.crl_shown("b.example", first.der(), NOW + 10);
    assert_eq!(shown.await.unwrap().as_ref(), Some(news));
    let refused = believed(&a, &lost, NOW + 10).unwrap_err();
    assert!(refused.to_string().contains("was revoked"), "{refused}");
    verify(&lost, a.authority.anchors().as_ref(), None).unwrap();

    // Both know it after a restart; the list goes forward by the hour.
    a.restart(&[&b.tls], NOW + HOUR).await.unwrap();
    believed(&a, &lost, NOW + HOUR).unwrap_err();
    b.restart(&[], NOW + 2 * HOUR).await.unwrap();
    let second = b.authority.crl(&issuer).unwrap();
    assert!(second.number() > first.number());
    assert_eq!(second.this_update(), NOW + 2 * HOUR);
    assert_eq!(second.entries(), first.entries());
    let shown = a
        .authority
        .crl_shown("b.example", second.der(), NOW + 2 * HOUR);
    assert_eq!(shown.await.unwrap(), None);
    let back = a
        .authority
        .crl_shown("b.example", first.der(), NOW + 2 * HOUR);
    assert!(matches!(
        back.await,
        Err(ShownError::Crl(CrlError::Older { .. }))
    ));
    // Expired certificates leave the list, a day later.
    b.authority.maintain(NOW + 200 * DAY).await.unwrap();
    let last = b.authority.crl(&issuer).unwrap();
    assert!(last.entries().is_empty());
}

#[tokio::test]
async fn the_end_of_an_account_revokes_its_certificates() {
    let stage = Stage::new("a.example").await;
    let alice = stage.client("alice").await;
    let certificate = alice.enrol(&[key()], NOW).await.unwrap().remove(0);
    let delete = comity_storage::DeleteAccount {
        account: alice.account.to_string(),
    };
    stage.storage.write(delete).await.unwrap();
    let news = stage.authority.maintain(NOW + 60).await.unwrap();
    let leaf = Leaf::read(&certificate).unwrap();
    assert_eq!(news.len(), 1);
    assert_eq!(news[0].entries[0].serial, leaf.serial);
    let anchors = stage.authority.anchors();
    let revoked = anchors.revoked(&leaf.issuer, &leaf.serial).unwrap();
    assert_eq!(revoked.crl_number, news[0].crl_number);
}
