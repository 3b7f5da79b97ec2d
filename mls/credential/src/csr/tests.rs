use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::stack::Stack;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509Extension, X509Req, X509ReqBuilder};

use super::*;
use crate::keys::{Algorithm, PrivateKey};
use crate::leaf::tests::recipe::DEVICE;

fn alice() -> BareJid {
    BareJid::parse("alice@a.example").unwrap()
}

fn made(key: &PrivateKey) -> Vec<u8> {
    create(&key.public().unwrap(), |content| key.sign(content)).unwrap()
}

fn judged(request: &[u8]) -> Result<PublicKey, RequestError> {
    read(request, &alice(), DEVICE)
}

/// A request as OpenSSL makes it.
fn foreign(
    key: &PKey<Private>,
    extension: impl FnOnce(&X509ReqBuilder) -> Option<X509Extension>,
) -> Vec<u8> {
    let mut builder = X509Req::builder().unwrap();
    builder.set_pubkey(key).unwrap();
    if let Some(extension) = extension(&builder) {
        let mut stack = Stack::new().unwrap();
        stack.push(extension).unwrap();
        builder.add_extensions(&stack).unwrap();
    }
    builder.sign(key, MessageDigest::sha256()).unwrap();
    builder.build().to_der().unwrap()
}

fn names(write: fn(&mut SubjectAlternativeName)) -> Result<PublicKey, RequestError> {
    let key = PrivateKey::generate(Algorithm::P256).unwrap();
    judged(&foreign(key.as_openssl(), |builder| {
        let mut names = SubjectAlternativeName::new();
        write(&mut names);
        Some(names.build(&builder.x509v3_context(None)).unwrap())
    }))
}

#[test]
fn a_request_proves_its_key_to_us_and_to_openssl() {
    for algorithm in [Algorithm::P256, Algorithm::Ed25519] {
        let key = PrivateKey::generate(algorithm).unwrap();
        let request = made(&key);
        assert_eq!(judged(&request).unwrap(), key.public().unwrap());
        let parsed = X509Req::from_der(&request).unwrap();
        assert!(parsed.verify(&parsed.public_key().unwrap()).unwrap());
    }
}

#[test]
fn a_request_by_openssl_is_read() {
    let key = PrivateKey::generate(Algorithm::P256).unwrap();
    let request = foreign(key.as_openssl(), |_| None);
    assert_eq!(judged(&request).unwrap(), key.public().unwrap());
}

#[test]
fn names_in_a_request_must_be_right() {
    names(|names| {
        names.uri("urn:uuid:00000000-0000-4000-8000-000000000001");
    })
    .unwrap();
    names(|names| {
        names.uri("xmpp:alice@a.example");
    })
    .unwrap();
    let wrong: [fn(&mut SubjectAlternativeName); 3] = [
        |names| {
            names.uri("urn:uuid:00000000-0000-4000-8000-000000000002");
        },
        |names| {
            names.dns("a.example");
        },
        |names| {
            let oid = openssl::asn1::Asn1Object::from_str("1.3.6.1.5.5.7.8.5").unwrap();
            let bob = der::tlv(der::UTF8_STRING, &[b"bob@a.example"]);
            names.other_name2(oid, &bob);
        },
    ];
    for write in wrong {
        assert!(matches!(names(write), Err(RequestError::Names(_))));
    }
}

#[test]
fn nobody_becomes_a_ca_by_asking() {
    let key = PrivateKey::generate(Algorithm::P256).unwrap();
    let request = foreign(key.as_openssl(), |_| {
        Some(BasicConstraints::new().critical().ca().build().unwrap())
    });
    assert_eq!(judged(&request), Err(RequestError::Authority));
}

#[test]
fn what_nobody_gets_is_refused_by_name() {
    let key = PrivateKey::generate(Algorithm::P256).unwrap();
    let asked = |extension: X509Extension| judged(&foreign(key.as_openssl(), |_| Some(extension)));
    let usage = || openssl::x509::extension::KeyUsage::new();
    asked(usage().critical().digital_signature().build().unwrap()).unwrap();
    let purpose = openssl::x509::extension::ExtendedKeyUsage::new()
        .server_auth()
        .build();
    let oid = openssl::asn1::Asn1Object::from_str("1.2.3.4").unwrap();
    let value = openssl::asn1::Asn1OctetString::new_from_bytes(&[5, 0]).unwrap();
    let unknown = X509Extension::new_from_der(&oid, false, &value);
    for (extension, name) in [
        (usage().key_cert_sign().build(), "2.5.29.15"),
        (usage().digital_signature().crl_sign().build(), "2.5.29.15"),
        (purpose, "2.5.29.37"),
        (unknown, "1.2.3.4"),
    ] {
        let refused = asked(extension.unwrap()).unwrap_err();
        assert_eq!(refused, RequestError::Asks(name.to_owned()));
    }
}

#[test]
fn a_key_that_is_not_at_hand_is_refused() {
    let (mine, theirs) = (
        PrivateKey::generate(Algorithm::P256).unwrap(),
        PrivateKey::generate(Algorithm::P256).unwrap(),
    );
    let request = create(&theirs.public().unwrap(), |content| mine.sign(content)).unwrap();
    assert_eq!(judged(&request), Err(RequestError::Possession));
}

#[test]
fn other_keys_are_refused() {
    let group = EcGroup::from_curve_name(Nid::SECP384R1).unwrap();
    let p384 = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    assert_eq!(judged(&foreign(&p384, |_| None)), Err(RequestError::Key));
}

#[test]
fn no_bit_of_a_request_can_be_changed() {
    let good = made(&PrivateKey::generate(Algorithm::P256).unwrap());
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1 << (place % 8);
        assert!(judged(&bad).is_err(), "octet {place}");
        assert!(judged(&good[..place]).is_err(), "cut to {place}");
    }
    let behind = [&good[..], &[0]].concat();
    assert!(judged(&behind).is_err());
    assert!(judged(&vec![0x30; MAX_REQUEST_BYTES + 1]).is_err());
}
