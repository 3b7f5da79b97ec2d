//! Certificates of any shape, made with OpenSSL and without the crate's own writer.

use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::{X509, X509Extension, X509Name};
use uuid::Uuid;

use super::Shelf;
use crate::certificate::{Certificate, issuer_id};
use crate::der;
use crate::issue::{self, Issuer, Validity};
use crate::keys::{Algorithm, PrivateKey};

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const DAY: u64 = 86_400;
pub(crate) const DEVICE: Uuid = Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0001);

/// Two domains with their CAs.
pub(crate) struct Workshop {
    pub(crate) root: Issuer,
    pub(crate) ca: Issuer,
    pub(crate) ed25519_ca: Issuer,
    pub(crate) b_ca: Issuer,
    pub(crate) leaf_as_ca: Issuer,
    pub(crate) ed25519: PrivateKey,
    pub(crate) key: PrivateKey,
    pub(crate) shelf: Shelf,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let validity = Validity {
            not_before: NOW - DAY,
            not_after: NOW + 730 * DAY,
        };
        let new = |algorithm| PrivateKey::generate(algorithm).unwrap();
        let authority = |domain: &str, algorithm| {
            let root = issue::root(domain, new(Algorithm::P256), validity).unwrap();
            let key = new(algorithm);
            let public = key.public().unwrap();
            let certificate = issue::issuing(domain, &public, &root, validity).unwrap();
            (root, Issuer { key, certificate })
        };
        let (root, ca) = authority("a.example", Algorithm::P256);
        let (_, ed25519_ca) = authority("a.example", Algorithm::Ed25519);
        let (_, b_ca) = authority("b.example", Algorithm::P256);
        let mut shelf = Shelf::default();
        shelf.put("a.example", &ca.certificate);
        shelf.put("a.example", &ed25519_ca.certificate);
        shelf.put("b.example", &b_ca.certificate);
        let mut workshop = Self {
            leaf_as_ca: ca.clone(),
            ed25519: new(Algorithm::Ed25519),
            key: new(Algorithm::P256),
            root,
            ca,
            ed25519_ca,
            b_ca,
            shelf,
        };
        let certificate = workshop.good().make();
        workshop.shelf.put("a.example", &certificate);
        workshop.leaf_as_ca = Issuer {
            key: workshop.key.clone(),
            certificate,
        };
        workshop
    }

    pub(crate) fn ca_id(&self) -> [u8; 32] {
        issuer_id(&self.ca.key.public().unwrap()).unwrap().0
    }

    /// A certificate that is believed.
    pub(crate) fn good(&self) -> Recipe {
        Recipe {
            key: self.key.clone(),
            foreign_key: None,
            signer: self.ca.key.clone(),
            issuer_name: self.ca.certificate.clone(),
            authority_key: Some(self.ca_id().to_vec()),
            names: vec![xmpp("alice@a.example"), uri(&DEVICE.urn().to_string())],
            usage: Some(0x80),
            ca: None,
            extensions: Vec::new(),
            version: 2,
            serial: vec![0x55; 16],
            not_before: NOW - DAY,
            not_after: NOW + 100 * DAY,
            judged_at: None,
            sha384: false,
            trailing: Vec::new(),
            cut: 0,
            damage: None,
        }
    }
}

pub(crate) struct Recipe {
    pub(crate) key: PrivateKey,
    pub(crate) foreign_key: Option<PKey<Private>>,
    pub(crate) signer: PrivateKey,
    /// The certificate whose subject is named.
    pub(crate) issuer_name: Vec<u8>,
    pub(crate) authority_key: Option<Vec<u8>>,
    pub(crate) names: Vec<Vec<u8>>,
    /// The first octet of the KeyUsage bits.
    pub(crate) usage: Option<u8>,
    pub(crate) ca: Option<bool>,
    pub(crate) extensions: Vec<(String, bool, Vec<u8>)>,
    pub(crate) version: i32,
    pub(crate) serial: Vec<u8>,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    pub(crate) judged_at: Option<u64>,
    pub(crate) sha384: bool,
    pub(crate) trailing: Vec<u8>,
    /// Octets missing at the end.
    pub(crate) cut: usize,
    /// The octet from the end that is changed.
    pub(crate) damage: Option<usize>,
}

impl Recipe {
    pub(crate) fn issued_by(&mut self, issuer: &Issuer) {
        self.signer = issuer.key.clone();
        self.issuer_name = issuer.certificate.clone();
        let key = Certificate::read(&issuer.certificate).unwrap().public_key;
        self.authority_key = Some(issuer_id(&key).unwrap().0.to_vec());
    }

    pub(crate) fn extension(&mut self, oid: &str, critical: bool, value: &[u8]) {
        self.extensions
            .push((oid.to_owned(), critical, value.to_vec()));
    }

    pub(crate) fn purposes(&mut self, oids: &[&str]) {
        let mut value = Vec::new();
        for oid in oids {
            let oid = Asn1Object::from_str(oid).unwrap();
            value.extend(der::tlv(0x06, &[oid.as_slice()]));
        }
        self.extension("2.5.29.37", false, &der::tlv(der::SEQUENCE, &[&value]));
    }

    pub(crate) fn expired(&mut self, judged_at: Option<u64>) {
        self.not_after = NOW - DAY / 2;
        self.judged_at = judged_at;
    }

    pub(crate) fn make(&self) -> Vec<u8> {
        let mut builder = X509::builder().unwrap();
        builder.set_version(self.version).unwrap();
        let serial = BigNum::from_slice(&self.serial).unwrap();
        let serial = serial.to_asn1_integer().unwrap();
        builder.set_serial_number(&serial).unwrap();
        let issuer = X509::from_der(&self.issuer_name).unwrap();
        builder.set_issuer_name(issuer.subject_name()).unwrap();
        let nobody = X509Name::builder().unwrap().build();
        builder.set_subject_name(&nobody).unwrap();
        let time = |at: u64| Asn1Time::from_unix(i64::try_from(at).unwrap()).unwrap();
        builder.set_not_before(&time(self.not_before)).unwrap();
        builder.set_not_after(&time(self.not_after)).unwrap();
        match &self.foreign_key {
            Some(key) => builder.set_pubkey(key).unwrap(),
            None => builder.set_pubkey(self.key.as_openssl()).unwrap(),
        }
        for (oid, critical, value) in self.all_extensions() {
            let oid = Asn1Object::from_str(&oid).unwrap();
            let value = Asn1OctetString::new_from_bytes(&value).unwrap();
            let extension = X509Extension::new_from_der(&oid, critical, &value).unwrap();
            builder.append_extension(extension).unwrap();
        }
        let digest = if self.sha384 {
            MessageDigest::sha384()
        } else {
            self.signer.algorithm().digest()
        };
        builder.sign(self.signer.as_openssl(), digest).unwrap();
        let mut made = builder.build().to_der().unwrap();
        made.truncate(made.len().saturating_sub(self.cut));
        made.extend_from_slice(&self.trailing);
        if let Some(place) = self.damage {
            let place = made.len() - place;
            made[place] ^= 1;
        }
        made
    }

    fn all_extensions(&self) -> Vec<(String, bool, Vec<u8>)> {
        let mut all = Vec::new();
        if let Some(bits) = self.usage {
            let unused = u8::try_from(bits.trailing_zeros()).unwrap();
            let value = der::tlv(der::BIT_STRING, &[&[unused, bits]]);
            all.push(("2.5.29.15".to_owned(), true, value));
        }
        if let Some(ca) = self.ca {
            let flag = if ca { vec![1, 1, 0xff] } else { Vec::new() };
            let value = der::tlv(der::SEQUENCE, &[&flag]);
            all.push(("2.5.29.19".to_owned(), true, value));
        }
        if let Some(id) = &self.authority_key {
            let value = der::tlv(der::SEQUENCE, &[&der::tlv(0x80, &[id])]);
            all.push(("2.5.29.35".to_owned(), false, value));
        }
        if !self.names.is_empty() {
            let value = der::tlv(der::SEQUENCE, &[&self.names.concat()]);
            all.push(("2.5.29.17".to_owned(), true, value));
        }
        all.extend(self.extensions.iter().cloned());
        all
    }
}

pub(crate) fn xmpp(address: &str) -> Vec<u8> {
    other_name(&der::tlv(der::UTF8_STRING, &[address.as_bytes()]))
}

/// An id-on-xmppAddr with any value.
pub(crate) fn other_name(value: &[u8]) -> Vec<u8> {
    let oid = Asn1Object::from_str("1.3.6.1.5.5.7.8.5").unwrap();
    let oid = der::tlv(0x06, &[oid.as_slice()]);
    der::tlv(0xa0, &[&oid, &der::tlv(0xa0, &[value])])
}

pub(crate) fn uri(uri: &str) -> Vec<u8> {
    der::tlv(0x86, &[uri.as_bytes()])
}

pub(crate) fn dns(name: &str) -> Vec<u8> {
    der::tlv(0x82, &[name.as_bytes()])
}

pub(crate) fn p384() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::SECP384R1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

pub(crate) fn rsa() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

pub(crate) fn x25519() -> PKey<Private> {
    PKey::generate_x25519().unwrap()
}
