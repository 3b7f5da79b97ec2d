//! Requests that ask for what they must not get: each refused with its reason, counted, and nothing
//! issued.

use openssl::asn1::Asn1Object;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::Private;
use openssl::rsa::Rsa;
use openssl::stack::Stack;
use openssl::x509::X509Extension;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

use super::*;

const OTHER_DEVICE: &str = "URI:urn:uuid:00000000-0000-4000-8000-000000000009";

fn p256() -> PKey<Private> {
    PKey::private_key_from_pkcs8(&key().to_pkcs8().unwrap()).unwrap()
}

/// A request as OpenSSL makes it, with one extension or none.
fn foreign(key: &PKey<Private>, extension: Option<X509Extension>) -> Bytes {
    let mut builder = X509Req::builder().unwrap();
    builder.set_pubkey(key).unwrap();
    if let Some(extension) = extension {
        let mut stack = Stack::new().unwrap();
        stack.push(extension).unwrap();
        builder.add_extensions(&stack).unwrap();
    }
    builder.sign(key, MessageDigest::sha256()).unwrap();
    builder.build().to_der().unwrap().into()
}

fn names(write: impl FnOnce(&mut SubjectAlternativeName)) -> X509Extension {
    let mut names = SubjectAlternativeName::new();
    write(&mut names);
    let builder = X509Req::builder().unwrap();
    names.build(&builder.x509v3_context(None)).unwrap()
}

/// Each request with words of the reason.
fn requests() -> Vec<(Bytes, &'static str)> {
    let rsa = |bits| PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
    let group = EcGroup::from_curve_name(Nid::SECP384R1).unwrap();
    let p384 = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let authority = BasicConstraints::new().critical().ca().build().unwrap();
    let purpose = ExtendedKeyUsage::new().server_auth().build().unwrap();
    let signing = KeyUsage::new().key_cert_sign().crl_sign().build().unwrap();
    let (mine, theirs) = (key(), key());
    let stolen: Result<_, std::convert::Infallible> =
        csr::create(&theirs.public().unwrap(), |content| {
            Ok(mine.sign(content).unwrap())
        });
    let mut trailing = request(&key()).to_vec();
    trailing.push(0);
    vec![
        (
            foreign(
                &p256(),
                Some(names(|names| {
                    let address = Asn1Object::from_str("1.3.6.1.5.5.7.8.5").unwrap();
                    // An UTF8String, as DER.
                    names.other_name2(address, b"\x0c\x0dbob@a.example");
                })),
            ),
            "names something other than alice@a.example",
        ),
        (
            foreign(
                &p256(),
                Some(names(|names| {
                    names.uri(OTHER_DEVICE.trim_start_matches("URI:"));
                })),
            ),
            "names something other than",
        ),
        (
            foreign(
                &p256(),
                Some(names(|names| {
                    names.dns("a.example");
                })),
            ),
            "names something other than",
        ),
        (foreign(&rsa(1024), None), "neither P-256 nor Ed25519"),
        (foreign(&rsa(2048), None), "neither P-256 nor Ed25519"),
        (foreign(&p384, None), "neither P-256 nor Ed25519"),
        (stolen.unwrap().into(), "not signed by the key"),
        (foreign(&p256(), Some(authority)), "asks for a CA"),
        (
            foreign(&p256(), Some(purpose)),
            "which no certificate here has",
        ),
        (
            foreign(&p256(), Some(signing)),
            "which no certificate here has",
        ),
        (vec![0x30; 9 * 1024].into(), "larger than 8 KiB"),
        (Bytes::from_static(b"garbage"), "cannot be read"),
        (trailing.into(), "octets follow"),
    ]
}

#[tokio::test]
async fn what_must_not_be_had_is_refused_counted_and_not_issued() {
    let stage = Stage::new("a.example").await;
    let alice = stage.client("alice").await;
    let bob = stage.client("bob").await;
    let taken = key();
    bob.enrol(std::slice::from_ref(&taken), NOW).await.unwrap();
    let head = || async { stage.storage.transparency_head("a.example").await.unwrap() };
    let before = head().await;

    let mut cases = requests();
    cases.push((request(&taken), "certified before"));
    cases.push((request(&alice.key), "the device key"));
    for (place, (request, words)) in (1..).zip(&cases) {
        // A good request beside a bad one is not certified either.
        let good = key();
        let batch = [self::request(&good), request.clone()];
        bad_credential(alice.enrol_requests(&batch, NOW).await, words);
        assert_eq!(counted(&stage, "request"), place, "{words}");
        let hash = issuer_id(&good.public().unwrap()).unwrap().0;
        let issued = stage.storage.certificates_of_keys(&[hash]).await.unwrap();
        assert!(issued.is_empty(), "{words}");
    }
    let twice = key();
    bad_credential(
        alice.enrol(&[twice.clone(), twice], NOW).await,
        "in the batch already",
    );
    let many = vec![request(&key()); MAX_BATCH + 1];
    let refused = alice.enrol_requests(&many, NOW).await;
    assert!(matches!(refused, Err(Refusal::LimitReached { .. })));
    assert_eq!(counted(&stage, "limit"), 1);

    // With the password of the account and another key than the device's.
    let mut thief = alice.clone();
    thief.key = key();
    let refused = thief.enrol(&[key()], NOW).await;
    assert_eq!(refused, Err(Refusal::BadSignature));
    assert_eq!(thief.prove(None).await, Err(Refusal::BadSignature));
    assert_eq!(counted(&stage, "signature"), 2);
    assert_eq!(head().await, before);
}

fn counted(stage: &Stage, reason: &str) -> u64 {
    let mut counts = stage.authority.refusals();
    counts.find(|(known, _)| *known == reason).unwrap().1
}
