//! A domain's issuing CA, devices with real certificates, and batches good and bad.

mod cases;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use comity_mls_credential::certificate::issuer_id;
use comity_mls_credential::issue::{self, Issuer, Validity};
use comity_mls_credential::keys::{Algorithm, PrivateKey};
use comity_mls_credential::leaf::{IssuerId, Issuers};
use comity_mls_credential::signed;
use comity_mls_wire::keys::Published;
use comity_mls_wire::policy::EXTENSION_TYPE;
use comity_storage::{
    ChangeSubscription, CreateAccount, RegisterDevice, RevokeDevice, Storage, Subscription,
    SubscriptionState, UpdateRequest,
};
use mls_rs::Client;
use mls_rs::extension::recommended::LastResortKeyPackageExt;
use mls_rs_core::crypto::{CipherSuite, SignatureSecretKey};
use mls_rs_core::extension::{ExtensionList, ExtensionType};
use mls_rs_core::group::ProposalType;
use mls_rs_core::identity::{CertificateChain, Credential, SigningIdentity};
use mls_rs_core::time::MlsTime;
use mls_rs_crypto_openssl::OpensslCryptoProvider;

use super::*;

const DAY_S: u64 = 86_400;
const NOW_S: u64 = 1_700_000_000;
const NOW_MS: u64 = NOW_S * 1000;

/// The one issuing CA of one domain.
struct Anchors {
    domain: &'static str,
    id: IssuerId,
    certificate: Arc<[u8]>,
}

impl Issuers for Anchors {
    fn issuer(&self, domain: &str, id: &IssuerId) -> Option<Arc<[u8]>> {
        (domain == self.domain && *id == self.id).then(|| Arc::clone(&self.certificate))
    }
}

/// A domain with one account that has one device.
struct World {
    storage: Storage,
    directory: Directory,
    issuing: Issuer,
    alice: BareJid,
    phone: Uuid,
    device_key: PrivateKey,
}

fn jid(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}

fn authority() -> Issuer {
    let key = || PrivateKey::generate(Algorithm::P256).unwrap();
    let validity = Validity {
        not_before: NOW_S - DAY_S,
        not_after: NOW_S + 1000 * DAY_S,
    };
    let root = issue::root("a.example", key(), validity).unwrap();
    let issuing = key();
    let certificate =
        issue::issuing("a.example", &issuing.public().unwrap(), &root, validity).unwrap();
    Issuer {
        key: issuing,
        certificate,
    }
}

async fn world(limits: Limits) -> World {
    let issuing = authority();
    let anchors = Anchors {
        domain: "a.example",
        id: issuer_id(&issuing.key.public().unwrap()).unwrap(),
        certificate: issuing.certificate.clone().into(),
    };
    let provider = Provider::new(Arc::new(anchors));
    world_of(
        issuing,
        provider,
        limits,
        jid("alice@a.example"),
        Uuid::from_u128(7),
    )
    .await
}

async fn world_of(
    issuing: Issuer,
    provider: Provider,
    limits: Limits,
    alice: BareJid,
    phone: Uuid,
) -> World {
    let storage = Storage::open(Path::new(":memory:")).await.unwrap();
    let world = World {
        directory: Directory::new(storage.clone(), provider, limits),
        storage,
        issuing,
        alice,
        phone,
        device_key: PrivateKey::generate(Algorithm::Ed25519).unwrap(),
    };
    let account = CreateAccount {
        account: world.alice.as_str().to_owned(),
        domain: "a.example".to_owned(),
        created: NOW_MS,
        keys: Vec::new(),
    };
    world.storage.write(account).await.unwrap();
    let device = RegisterDevice {
        id: *world.phone.as_bytes(),
        account: world.alice.as_str().to_owned(),
        name: "Phone".to_owned(),
        device_key: world.device_key.public().unwrap().to_spki(),
        now: NOW_S,
        limit: 10,
    };
    world.storage.write(device).await.unwrap();
    world
}

/// What a KeyPackage is made of; each test spoils one thing.
struct Recipe {
    account: BareJid,
    device: Uuid,
    suite: CipherSuite,
    last_resort_extension: bool,
    lifetime_s: u64,
    made_s: u64,
    certificate_ends_s: u64,
    policy_extension: bool,
    self_remove: bool,
}

impl World {
    fn recipe(&self) -> Recipe {
        Recipe {
            account: self.alice.clone(),
            device: self.phone,
            suite: CipherSuite::P256_AES128,
            last_resort_extension: false,
            lifetime_s: 84 * DAY_S,
            made_s: NOW_S,
            certificate_ends_s: NOW_S + 120 * DAY_S,
            policy_extension: true,
            self_remove: true,
        }
    }

    fn make(&self, recipe: &Recipe) -> Bytes {
        self.make_with(recipe, &self.issuing)
    }

    fn make_with(&self, recipe: &Recipe, issuing: &Issuer) -> Bytes {
        let key = PrivateKey::generate(Algorithm::of_suite(recipe.suite).unwrap()).unwrap();
        let public = key.public().unwrap();
        let validity = Validity {
            not_before: NOW_S - DAY_S,
            not_after: recipe.certificate_ends_s,
        };
        let device = Some(recipe.device);
        let leaf = issue::leaf(&recipe.account, device, &public, issuing, validity).unwrap();
        let identity = SigningIdentity::new(
            Credential::X509(CertificateChain::from(vec![leaf])),
            public.to_mls(),
        );
        let secret = secret(&key);
        let mut builder = Client::builder()
            .identity_provider(self.directory.provider.clone())
            .crypto_provider(OpensslCryptoProvider::default())
            .key_package_lifetime(Duration::from_secs(recipe.lifetime_s))
            .signing_identity(identity, secret, recipe.suite);
        if recipe.policy_extension {
            builder = builder.extension_type(ExtensionType::new(EXTENSION_TYPE));
        }
        if recipe.self_remove {
            builder = builder.custom_proposal_type(ProposalType::SELF_REMOVE);
        }
        let mut extensions = ExtensionList::new();
        if recipe.last_resort_extension {
            extensions.set_from(LastResortKeyPackageExt).unwrap();
        }
        let time = Some(MlsTime::from(recipe.made_s));
        builder
            .build()
            .generate_key_package_message(extensions, ExtensionList::new(), time)
            .unwrap()
            .to_bytes()
            .unwrap()
            .into()
    }

    fn ordinary(&self) -> Published {
        Published {
            last_resort: false,
            package: self.make(&self.recipe()),
        }
    }

    fn last_resort(&self) -> Published {
        Published {
            last_resort: true,
            package: self.make(&Recipe {
                last_resort_extension: true,
                ..self.recipe()
            }),
        }
    }

    fn sign(&self, batch: &[Published]) -> Vec<u8> {
        let mut parts = vec![
            self.alice.as_str().as_bytes().to_vec(),
            self.phone.as_bytes().to_vec(),
        ];
        for published in batch {
            parts.push(vec![u8::from(published.last_resort)]);
            parts.push(published.package.to_vec());
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        self.device_key
            .sign(&signed::content(signed::PUBLISH, &parts))
            .unwrap()
    }

    async fn examine(&self, batch: &[Published]) -> Result<Examined, Refusal> {
        let publisher = self.directory.publisher(&self.alice, self.phone).await?;
        publisher.examine(batch, &self.sign(batch), NOW_S)
    }

    async fn publish(&self, batch: &[Published]) -> Result<Vec<Count>, Refusal> {
        let examined = self.examine(batch).await?;
        self.directory.publish(examined, false, NOW_MS).await
    }

    async fn claim_as(&self, requester: &str, target: &str) -> Result<Served, Refusal> {
        let claim = Claim {
            room: jid("~aaaaaaaaaaaaaaaaaaaaaaaaaa@b.example"),
            suites: vec![2],
            extensions: vec![EXTENSION_TYPE],
            devices: Vec::new(),
        };
        self.directory
            .claim(&jid(requester), &jid(target), &claim, NOW_MS)
            .await
    }

    async fn claim(&self) -> Result<Served, Refusal> {
        self.claim_as("bob@b.example", "alice@a.example").await
    }
}

/// As mls-rs's OpenSSL provider holds its secrets: DER for P-256, seed and public key for Ed25519.
fn secret(key: &PrivateKey) -> SignatureSecretKey {
    let suite = match key.algorithm() {
        Algorithm::P256 => CipherSuite::P256_AES128,
        Algorithm::Ed25519 => CipherSuite::CURVE25519_AES128,
    };
    use mls_rs::CryptoProvider as _;
    OpensslCryptoProvider::default()
        .cipher_suite_provider(suite)
        .unwrap()
        .import_der_private_signing_key(&key.to_pkcs8().unwrap())
        .unwrap()
}

#[tokio::test]
async fn what_was_published_is_claimed_once_and_the_last_resort_again() {
    let world = world(Limits::default()).await;
    let batch = [world.ordinary(), world.last_resort(), world.ordinary()];
    let counts = world.publish(&batch).await.unwrap();
    let count = |ordinary, last_resort| Count {
        device: world.phone,
        suite: 2,
        ordinary,
        last_resort,
    };
    assert_eq!(counts, [count(2, true)]);
    for (package, last_resort, left) in [
        (&batch[0].package, false, count(1, true)),
        (&batch[2].package, false, count(0, true)),
        (&batch[1].package, true, count(0, false)),
        (&batch[1].package, true, count(0, false)),
    ] {
        let served = world.claim().await.unwrap();
        let result = ClaimResult::Package {
            package: package.clone(),
            last_resort,
        };
        let device = world.phone;
        assert_eq!(served.claimed, [Claimed { device, result }]);
        let mut notices = vec![(device, Notice::LowStock(left))];
        if last_resort {
            notices.push((device, Notice::LastResortUsed { device, suite: 2 }));
        }
        assert_eq!(served.notices, notices);
    }
    let left = world.directory.count(&world.alice, NOW_MS).await;
    assert_eq!(left, Ok(vec![count(0, false)]));
}

#[tokio::test]
async fn both_suites_are_taken_in() {
    let world = world(Limits::default()).await;
    let ed25519 = Published {
        last_resort: false,
        package: world.make(&Recipe {
            suite: CipherSuite::CURVE25519_AES128,
            ..world.recipe()
        }),
    };
    let counts = world.publish(&[world.ordinary(), ed25519]).await.unwrap();
    let suites: Vec<_> = counts.iter().map(|c| (c.suite, c.ordinary)).collect();
    assert_eq!(suites, [(1, 1), (2, 1)]);
}

/// What the directory says of a package after one good one.
async fn refused(world: &World, spoiled: Published) -> String {
    let batch = [world.ordinary(), spoiled];
    let refusal = world.publish(&batch).await.unwrap_err();
    let left = world.directory.count(&world.alice, NOW_MS).await.unwrap();
    assert_eq!(left, [], "a refused batch leaves nothing: {refusal}");
    refusal.to_string()
}

/// Each is refused, by its place in the batch and for the reason given.
async fn check_spoiled(world: &World, cases: &[(Recipe, &str)]) {
    for (spoiled, why) in cases {
        let spoiled = Published {
            last_resort: false,
            package: world.make(spoiled),
        };
        let refusal = refused(world, spoiled).await;
        assert!(refusal.contains(why), "{why}: {refusal}");
        assert!(refusal.contains("KeyPackage 2 of the batch"), "{refusal}");
    }
}

#[tokio::test]
async fn packages_with_another_credential_are_refused() {
    let world = world(Limits::default()).await;
    let recipe = || world.recipe();
    let cases = [
        (
            Recipe {
                account: jid("mallory@a.example"),
                ..recipe()
            },
            "mallory@a.example device",
        ),
        (
            Recipe {
                device: Uuid::from_u128(8),
                ..recipe()
            },
            "00000000-0000-0000-0000-000000000008",
        ),
        (
            Recipe {
                account: jid("alice@b.example"),
                ..recipe()
            },
            "of b.example is known here",
        ),
        (
            Recipe {
                certificate_ends_s: NOW_S - 3600,
                ..recipe()
            },
            "is valid from",
        ),
        (
            Recipe {
                certificate_ends_s: NOW_S + 10 * DAY_S,
                ..recipe()
            },
            "after that of its certificate",
        ),
    ];
    check_spoiled(&world, &cases).await;
}

#[tokio::test]
async fn packages_that_could_not_be_used_are_refused() {
    let world = world(Limits::default()).await;
    let recipe = || world.recipe();
    let cases = [
        (
            Recipe {
                lifetime_s: 85 * DAY_S,
                ..recipe()
            },
            "at most 7257600 s are allowed",
        ),
        (
            Recipe {
                made_s: NOW_S - 40 * DAY_S,
                lifetime_s: 30 * DAY_S,
                ..recipe()
            },
            "ifetime",
        ),
        (
            Recipe {
                made_s: NOW_S + 10 * DAY_S,
                lifetime_s: 30 * DAY_S,
                ..recipe()
            },
            "ifetime",
        ),
        (
            Recipe {
                policy_extension: false,
                ..recipe()
            },
            "extension 0xf1c0",
        ),
        (
            Recipe {
                self_remove: false,
                ..recipe()
            },
            "proposal 0xf003",
        ),
        (
            Recipe {
                last_resort_extension: true,
                ..recipe()
            },
            "published as an ordinary one",
        ),
    ];
    check_spoiled(&world, &cases).await;
}

#[tokio::test]
async fn spoiled_bytes_and_marks_are_refused() {
    let world = world(Limits::default()).await;
    let good = world.make(&world.recipe());
    let mut flipped = good.to_vec();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    let longer = [&good[..], &[0]].concat();
    let by_another_ca = world.make_with(&world.recipe(), &authority());
    let unmarked = world.make(&world.recipe());
    for (last_resort, package, why) in [
        (false, Bytes::from_static(b"hello"), "KeyPackage 2"),
        (false, good.slice(..good.len() - 1), "KeyPackage 2"),
        (false, longer.into(), "KeyPackage 2"),
        (false, flipped.into(), "KeyPackage 2"),
        (false, by_another_ca, "is known here"),
        (true, unmarked, "lacks the last_resort extension"),
    ] {
        let refusal = refused(
            &world,
            Published {
                last_resort,
                package,
            },
        )
        .await;
        assert!(refusal.contains(why), "{why}: {refusal}");
    }
    let batch = [world.last_resort(), world.last_resort()];
    let refusal = world.publish(&batch).await.unwrap_err().to_string();
    assert!(refusal.contains("another last resort"), "{refusal}");
}

#[tokio::test]
async fn only_the_device_key_publishes() {
    let world = world(Limits::default()).await;
    let batch = vec![world.ordinary()];
    let publisher = world.directory.publisher(&world.alice, world.phone).await;
    let publisher = publisher.unwrap();
    let signature = world.sign(&batch);
    let mut marked = batch.clone();
    marked[0].last_resort = true;
    let mut bad = signature.clone();
    bad[4] ^= 1;
    for (batch, signature) in [
        (&batch, &bad),
        (&marked, &signature),
        (&Vec::new(), &signature),
    ] {
        let refusal = publisher.examine(batch, signature, NOW_S).err();
        assert_eq!(refusal, Some(Refusal::BadSignature));
    }
    assert!(publisher.examine(&batch, &signature, NOW_S).is_ok());
}

#[tokio::test]
async fn unknown_and_revoked_devices_cannot_publish() {
    let world = world(Limits::default()).await;
    for (account, device) in [
        (jid("alice@a.example"), Uuid::from_u128(8)),
        (jid("mallory@a.example"), world.phone),
    ] {
        let refusal = world.directory.publisher(&account, device).await.err();
        assert_eq!(refusal, Some(Refusal::UnknownDevice));
    }
    let examined = world.examine(&[world.ordinary()]).await.unwrap();
    let revoke = RevokeDevice {
        account: world.alice.as_str().to_owned(),
        id: *world.phone.as_bytes(),
        now: NOW_S,
    };
    world.storage.write(revoke).await.unwrap();
    let refusal = world.directory.publish(examined, false, NOW_MS).await;
    assert_eq!(refusal, Err(Refusal::UnknownDevice));
    let refusal = world.directory.publisher(&world.alice, world.phone).await;
    assert_eq!(refusal.err(), Some(Refusal::UnknownDevice));
}

#[tokio::test]
async fn a_full_directory_says_how_full() {
    let world = world(Limits {
        per_device: 1,
        ..Limits::default()
    })
    .await;
    let batch = [world.ordinary(), world.ordinary()];
    let refusal = world.publish(&batch).await;
    assert!(
        matches!(refusal, Err(Refusal::LimitReached { .. })),
        "{refusal:?}"
    );
    assert!(world.publish(&batch[..1]).await.is_ok());
}

#[tokio::test]
async fn deleting_is_for_the_proved_device() {
    let world = world(Limits::default()).await;
    world.publish(&[world.ordinary()]).await.unwrap();
    let delete = |proved| {
        world
            .directory
            .delete(&world.alice, proved, world.phone, &[], NOW_MS)
    };
    assert_eq!(delete(None).await, Err(Refusal::NoDevice));
    let other = Some(Uuid::from_u128(8));
    assert_eq!(delete(other).await, Err(Refusal::NoDevice));
    assert_eq!(delete(Some(world.phone)).await, Ok(Vec::new()));
}

#[tokio::test]
async fn unknown_accounts_and_refusals_look_the_same() {
    let world = world(Limits {
        strangers: false,
        ..Limits::default()
    })
    .await;
    world
        .publish(&[world.ordinary(), world.ordinary()])
        .await
        .unwrap();
    for target in ["alice@a.example", "nobody@a.example"] {
        let refusal = world.claim_as("bob@b.example", target).await;
        let account = jid(target);
        assert_eq!(refusal, Err(Refusal::NoKeyPackages { account }));
    }
    for (subscription, allowed) in [
        (Subscription::None, false),
        (Subscription::To, false),
        (Subscription::From, true),
    ] {
        befriend(&world, subscription).await;
        assert_eq!(world.claim().await.is_ok(), allowed, "{subscription:?}");
    }
    let own = world.claim_as("alice@a.example", "alice@a.example").await;
    assert!(own.is_ok(), "{own:?}");
}

/// Alice's roster says so of Bob.
async fn befriend(world: &World, subscription: Subscription) {
    let (alice, bob) = ("alice@a.example", "bob@b.example");
    let expected = world.storage.subscription_state(alice, bob).await.unwrap();
    let change = ChangeSubscription {
        account: alice.to_owned(),
        contact: bob.to_owned(),
        expected,
        next: SubscriptionState {
            in_roster: true,
            subscription,
            ..expected
        },
        request: UpdateRequest::Keep,
        outbox: Vec::new(),
        limit: 10,
    };
    world.storage.write(change).await.unwrap();
}

#[tokio::test]
async fn claims_are_limited() {
    let world = world(Limits {
        claims_per_requester: 1,
        claims_per_target: 2,
        ..Limits::default()
    })
    .await;
    let limited = |refusal: Result<Served, Refusal>| {
        matches!(
            refusal,
            Err(Refusal::RateLimited {
                retry_after_s: 1..=3600
            })
        )
    };
    let target = "alice@a.example";
    assert!(!limited(world.claim_as("bob@b.example", target).await));
    assert!(limited(world.claim_as("bob@b.example", target).await));
    assert!(!limited(world.claim_as("eve@b.example", target).await));
    assert!(limited(world.claim_as("joe@b.example", target).await));
    assert!(
        !limited(world.claim_as("alice@a.example", target).await),
        "one's own"
    );
}

#[tokio::test]
async fn a_claim_is_for_a_room() {
    let world = world(Limits::default()).await;
    let claim = Claim {
        room: jid("bob@b.example"),
        suites: vec![2],
        extensions: Vec::new(),
        devices: Vec::new(),
    };
    let refusal = world
        .directory
        .claim(&jid("bob@b.example"), &world.alice, &claim, NOW_MS)
        .await;
    assert!(
        matches!(refusal, Err(Refusal::BadRequest { .. })),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn what_ends_within_minutes_is_not_served() {
    let world = world(Limits::default()).await;
    let brief = Published {
        last_resort: false,
        package: world.make(&Recipe {
            lifetime_s: CLAIM_MARGIN_S - 1,
            ..world.recipe()
        }),
    };
    world.publish(&[brief]).await.unwrap();
    let served = world.claim().await.unwrap();
    assert_eq!(served.claimed[0].result, ClaimResult::Exhausted);
}
