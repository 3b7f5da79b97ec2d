use openssl::asn1::{Asn1Object, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509NameBuilder};

use super::*;

const XMPP: &str = "1.3.6.1.5.5.7.8.5";
const SRV: &str = "1.3.6.1.5.5.7.8.7";

/// A certificate with what `fill` puts into its subjectAltName.
fn certificate(fill: impl FnOnce(&mut SubjectAlternativeName)) -> Vec<u8> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "not.looked.at").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(1).unwrap())
        .unwrap();
    let mut san = SubjectAlternativeName::new();
    fill(&mut san);
    let extension = san.build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(extension).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    builder.build().to_der().unwrap()
}

fn other(san: &mut SubjectAlternativeName, oid: &str, der: &[u8]) {
    san.other_name2(Asn1Object::from_str(oid).unwrap(), der);
}

/// A short string of the given ASN.1 tag.
fn string(tag: u8, text: &[u8]) -> Vec<u8> {
    let mut der = vec![tag, u8::try_from(text.len()).unwrap()];
    der.extend_from_slice(text);
    der
}

#[test]
fn every_kind_of_name_is_read() {
    let der = certificate(|san| {
        san.dns("a.example")
            .dns("*.b.example")
            .uri("urn:uuid:1")
            .email("x@y");
        other(san, XMPP, &string(0x0c, "j\u{fc}rgen@a.example".as_bytes()));
        other(san, SRV, &string(0x16, b"_xmpp-server.a.example"));
        other(san, "1.2.3.4", &string(0x0c, b"unknown"));
    });
    let expect = Names {
        dns: vec!["a.example".to_owned(), "*.b.example".to_owned()],
        srv: vec!["_xmpp-server.a.example".to_owned()],
        xmpp: vec!["j\u{fc}rgen@a.example".to_owned()],
        uri: vec!["urn:uuid:1".to_owned()],
    };
    assert_eq!(names(&der), Ok(expect));
}

#[track_caller]
fn refuse(fill: impl FnOnce(&mut SubjectAlternativeName), expect: &str) {
    let error = names(&certificate(fill)).unwrap_err();
    assert!(error.to_string().contains(expect), "{error}");
}

#[test]
fn malformed_names_are_refused() {
    let xmpp =
        |tag, text| move |san: &mut SubjectAlternativeName| other(san, XMPP, &string(tag, text));
    refuse(xmpp(0x16, b"a@b"), "id-on-xmppAddr");
    refuse(xmpp(0x0c, b"a@\xff"), "id-on-xmppAddr");
    refuse(xmpp(0x0c, b"a@b\0.evil"), "id-on-xmppAddr");
    refuse(
        |san| other(san, SRV, &string(0x0c, b"_x.a")),
        "id-on-dnsSRV",
    );
    refuse(
        |san| {
            for i in 0..=MAX_NAMES {
                san.dns(&format!("a{i}.example"));
            }
        },
        "more than 256",
    );
}

#[test]
fn what_is_no_certificate_is_refused() {
    assert!(names(b"").is_err());
    assert!(names(b"\x30\x00").is_err());
    let mut der = certificate(|san| {
        san.dns("a.example");
    });
    assert!(names(&der[..der.len() - 1]).is_err());
    der.push(0);
    assert!(names(&der).is_err());
}
