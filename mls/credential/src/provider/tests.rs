use std::collections::HashMap;
use std::sync::RwLock;

use comity_xmpp::jid::BareJid;
use mls_rs_core::crypto::SignaturePublicKey;
use mls_rs_core::identity::{BasicCredential, CertificateChain};
use uuid::Uuid;

use super::*;
use crate::issue::{self, Validity};
use crate::keys::PublicKey;
use crate::leaf::IssuerId;
use crate::leaf::tests::recipe::{DAY, DEVICE, NOW, Workshop};

/// Issuers that can be taken away.
struct Taken(RwLock<Held>);

type Held = HashMap<(String, IssuerId), Arc<[u8]>>;

impl Issuers for Taken {
    fn issuer(&self, domain: &str, id: &IssuerId) -> Option<Arc<[u8]>> {
        let held = self.0.read().unwrap();
        held.get(&(domain.to_owned(), *id)).cloned()
    }
}

struct Stage {
    workshop: Workshop,
    issuers: Arc<Taken>,
    provider: Provider,
}

impl Stage {
    fn new() -> Self {
        let mut workshop = Workshop::new();
        let shelf = std::mem::take(&mut workshop.shelf.0);
        let issuers = Arc::new(Taken(RwLock::new(shelf)));
        Self {
            provider: Provider::new(issuers.clone()),
            issuers,
            workshop,
        }
    }

    fn leaf(&self, account: &str, device: Option<Uuid>, until: u64) -> SigningIdentity {
        let key = self.workshop.key.public().unwrap();
        self.leaf_of(account, device, until, &key)
    }

    fn leaf_of(
        &self,
        account: &str,
        device: Option<Uuid>,
        until: u64,
        key: &PublicKey,
    ) -> SigningIdentity {
        let validity = Validity {
            not_before: NOW - DAY,
            not_after: until,
        };
        let account = BareJid::parse(account).unwrap();
        let der = issue::leaf(&account, device, key, &self.workshop.ca, validity).unwrap();
        SigningIdentity::new(chain(&[der]), key.to_mls())
    }

    fn alice(&self) -> SigningIdentity {
        self.leaf("alice@a.example", Some(DEVICE), NOW + DAY)
    }

    fn hub(&self) -> SigningIdentity {
        self.leaf("a.example", None, NOW - DAY / 2)
    }
}

fn chain(certificates: &[Vec<u8>]) -> Credential {
    Credential::X509(CertificateChain::from(certificates.to_vec()))
}

fn refusal<T: std::fmt::Debug>(result: Result<T, CredentialError>) -> String {
    result.unwrap_err().to_string()
}

fn member(
    stage: &Stage,
    identity: &SigningIdentity,
    at: Option<u64>,
) -> Result<(), CredentialError> {
    let context = MemberValidationContext::None;
    stage
        .provider
        .validate_member(identity, at.map(MlsTime::from), context)
}

#[test]
fn a_member_has_an_account_and_a_device() {
    let stage = Stage::new();
    member(&stage, &stage.alice(), None).unwrap();
    member(&stage, &stage.alice(), Some(NOW)).unwrap();
    for (account, device) in [
        ("alice@a.example", None),
        ("a.example", Some(DEVICE)),
        ("a.example", None),
    ] {
        let identity = stage.leaf(account, device, NOW + DAY);
        let why = refusal(member(&stage, &identity, None));
        assert!(why.contains("an account and a device"), "{why}");
    }
}

#[test]
fn expiry_is_judged_where_a_time_is_given_remembered_or_not() {
    let stage = Stage::new();
    let expired = stage.leaf("alice@a.example", Some(DEVICE), NOW - DAY / 2);
    for _ in 0..2 {
        member(&stage, &expired, None).unwrap();
        assert!(matches!(
            member(&stage, &expired, Some(NOW)),
            Err(CredentialError::OutsideValidity { .. })
        ));
    }
}

#[test]
fn a_hub_is_its_domain_and_does_not_expire() {
    let stage = Stage::new();
    let external = |identity: &SigningIdentity| {
        let now = Some(MlsTime::from(NOW));
        stage.provider.validate_external_sender(identity, now, None)
    };
    external(&stage.hub()).unwrap();
    let why = refusal(external(&stage.alice()));
    assert!(why.contains("a domain and no device"), "{why}");
    assert!(member(&stage, &stage.hub(), None).is_err());
}

#[test]
fn the_credential_is_one_certificate_of_the_signature_key() {
    let stage = Stage::new();
    let alice = stage.alice();
    let der = certificate(&alice.credential).unwrap().to_vec();
    let key = || alice.signature_key.clone();
    let basic = Credential::Basic(BasicCredential::new(b"alice@a.example".to_vec()));
    for (credential, key, word) in [
        (basic, key(), "not X.509"),
        (chain(&[]), key(), "exactly one"),
        (
            chain(&[der.clone(), stage.workshop.ca.certificate.clone()]),
            key(),
            "exactly one",
        ),
        (
            chain(&[der]),
            SignaturePublicKey::new(vec![4; 65]),
            "not the certificate's",
        ),
    ] {
        let identity = SigningIdentity::new(credential, key);
        let why = refusal(member(&stage, &identity, None));
        assert!(why.contains(word), "{why}");
    }
}

#[test]
fn a_key_signs_as_its_suite_wants() {
    let stage = Stage::new();
    let p256 = stage.provider.member(&stage.alice(), None).unwrap();
    let key = stage.workshop.ed25519.public().unwrap();
    let identity = stage.leaf_of("alice@a.example", Some(DEVICE), NOW + DAY, &key);
    let ed25519 = stage.provider.member(&identity, None).unwrap();
    fits(&p256, CipherSuite::P256_AES128).unwrap();
    fits(&ed25519, CipherSuite::CURVE25519_AES128).unwrap();
    fits(&p256, CipherSuite::CURVE25519_AES128).unwrap_err();
    fits(&ed25519, CipherSuite::P256_AES128).unwrap_err();
    fits(&p256, CipherSuite::P521_AES256).unwrap_err();
}

#[test]
fn belief_ends_with_its_issuer() {
    let stage = Stage::new();
    let alice = stage.alice();
    member(&stage, &alice, None).unwrap();
    let held = std::mem::take(&mut *stage.issuers.0.write().unwrap());
    assert!(matches!(
        member(&stage, &alice, None),
        Err(CredentialError::UnknownIssuer { .. })
    ));
    *stage.issuers.0.write().unwrap() = held;
    member(&stage, &alice, None).unwrap();
}

#[test]
fn clients_are_told_apart_by_account_and_device() {
    let stage = Stage::new();
    let none = ExtensionList::new();
    let identity = |identity: &SigningIdentity| stage.provider.identity(identity, &none).unwrap();
    let other = Some(Uuid::from_u128(2));
    let alice = stage.alice();
    assert_eq!(
        identity(&alice),
        [b"alice@a.example\0", &DEVICE.as_bytes()[..]].concat()
    );
    assert_eq!(identity(&stage.hub()), b"a.example\0");
    let successor = |after: &SigningIdentity| {
        stage
            .provider
            .valid_successor(&alice, after, &none)
            .unwrap()
    };
    assert!(successor(&stage.alice()));
    assert!(!successor(&stage.leaf("alice@a.example", other, NOW + DAY)));
    assert!(!successor(&stage.leaf(
        "bob@a.example",
        Some(DEVICE),
        NOW + DAY
    )));
    assert_eq!(stage.provider.supported_types(), [CredentialType::X509]);
}

#[test]
fn memory_is_bounded_and_keeps_what_is_used() {
    let stage = Stage::new();
    let leaf = stage.provider.member(&stage.alice(), None).unwrap();
    let issuer: Arc<[u8]> = Arc::from(&[][..]);
    let mut memory = Generations::default();
    let digest = |n: usize| sha256(&n.to_be_bytes()).unwrap();
    for n in 0..3 * REMEMBERED {
        memory.insert(digest(n), (leaf.clone(), issuer.clone()));
        assert!(memory.get(&digest(0)).is_some());
        assert!(memory.young.len() + memory.old.len() <= 2 * REMEMBERED);
    }
    assert!(memory.get(&digest(1)).is_none());
}
