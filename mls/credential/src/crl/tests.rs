//! Lists as they are made and read, and a table of refusals.

use std::sync::Arc;

use openssl::x509::{X509, X509Crl};

use super::*;
use crate::der;
use crate::issue::Issuer;
use crate::leaf::tests::Shelf;
use crate::leaf::tests::recipe::{NOW, Workshop};
use crate::leaf::{Issuers, verify};

fn entry(number: u8) -> Entry {
    Entry {
        serial: vec![0x40, number],
        at: NOW - 100,
    }
}

fn list(issuer: &Issuer, number: u64, revoked: &[Entry]) -> Vec<u8> {
    make(issuer, number, NOW, NOW + LIFETIME_S, revoked).unwrap()
}

#[test]
fn a_list_says_what_was_put_into_it() {
    let workshop = Workshop::new();
    for issuer in [&workshop.ca, &workshop.ed25519_ca] {
        let der = list(issuer, 7, &[entry(9), entry(1)]);
        let crl = Crl::read(&der).unwrap();
        crl.verify(&issuer.certificate).unwrap();
        assert_eq!((crl.number(), crl.this_update()), (7, NOW));
        assert_eq!(crl.next_update(), NOW + LIFETIME_S);
        assert_eq!(crl.entries(), [entry(1), entry(9)]);
        let revoked = crl.revoked(&[0x40, 9]).unwrap();
        assert_eq!((revoked.crl_number, revoked.at), (7, NOW - 100));
        assert_eq!(crl.revoked(&[0x40, 2]), None);
        let empty = Crl::read(&list(issuer, 8, &[])).unwrap();
        assert!(empty.entries().is_empty());
    }
}

#[test]
fn openssl_reads_the_same_and_verifies_it() {
    let workshop = Workshop::new();
    for issuer in [&workshop.ca, &workshop.ed25519_ca] {
        let der = list(issuer, 7, &[entry(9), entry(1)]);
        let theirs = X509Crl::from_der(&der).unwrap();
        let authority = X509::from_der(&issuer.certificate).unwrap();
        assert!(theirs.verify(&authority.public_key().unwrap()).unwrap());
        let serials: Vec<Vec<u8>> = theirs
            .get_revoked()
            .unwrap()
            .iter()
            .map(|one| one.serial_number().to_bn().unwrap().to_vec())
            .collect();
        assert_eq!(serials, [[0x40, 9], [0x40, 1]]);
        assert_eq!(theirs.to_der().unwrap(), der);
    }
}

#[test]
fn a_list_is_the_word_of_its_issuer_alone() {
    let workshop = Workshop::new();
    let crl = Crl::read(&list(&workshop.ca, 1, &[entry(1)])).unwrap();
    for other in [&workshop.b_ca, &workshop.ed25519_ca, &workshop.root] {
        assert_eq!(
            crl.verify(&other.certificate),
            Err(CrlError::Signature(*crl.issuer()))
        );
    }
    // A leaf, even one that somebody holds for a CA, signs no lists.
    let forged = list(&workshop.leaf_as_ca, 1, &[]);
    let forged = Crl::read(&forged).unwrap();
    forged.verify(&workshop.leaf_as_ca.certificate).unwrap_err();
    // Another key in the name of the CA.
    let impostor = Issuer {
        key: workshop.b_ca.key.clone(),
        certificate: workshop.ca.certificate.clone(),
    };
    let forged = Crl::read(&list(&impostor, 9, &[])).unwrap();
    forged.verify(&workshop.ca.certificate).unwrap_err();
}

#[test]
fn no_bit_of_a_list_can_be_changed() {
    let workshop = Workshop::new();
    let good = list(&workshop.ca, 1, &[entry(1)]);
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1 << (place % 8);
        let believed = Crl::read(&bad).and_then(|crl| crl.verify(&workshop.ca.certificate));
        assert!(believed.is_err(), "octet {place} was changed");
        Crl::read(&good[..place]).unwrap_err();
    }
    let mut longer = good;
    longer.push(0);
    Crl::read(&longer).unwrap_err();
}

#[test]
fn forms_that_are_refused() {
    let workshop = Workshop::new();
    let refused = |der: &[u8], word: &str| {
        let error = Crl::read(der).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(&list(&workshop.ca, 1, &[entry(1), entry(1)]), "twice");
    let backwards = make(&workshop.ca, 1, NOW, NOW - 1, &[]).unwrap();
    refused(&backwards, "ends before it begins");
    let negative = Entry {
        serial: vec![0x80],
        at: NOW,
    };
    refused(&list(&workshop.ca, 1, &[negative]), "serial number");
    refused(&vec![0; MAX_CRL_BYTES + 1], "larger");
    // What openssl makes of the same without a number.
    let certificate = der::tlv(der::SEQUENCE, &[b"nothing"]);
    refused(&certificate, "cannot be read");
}

#[test]
fn numbers_go_forward_and_have_one_meaning() {
    let workshop = Workshop::new();
    let read = |number, revoked: &[Entry]| Crl::read(&list(&workshop.ca, number, revoked)).unwrap();
    let known = read(5, &[entry(1)]);
    assert_eq!(known.follows(None, NOW), Ok(()));
    assert_eq!(known.clone().follows(Some(&known), NOW), Ok(()));
    assert_eq!(
        read(4, &[]).follows(Some(&known), NOW),
        Err(CrlError::Older { known: 5, found: 4 })
    );
    assert_eq!(
        read(5, &[]).follows(Some(&known), NOW),
        Err(CrlError::Forked(5))
    );
    let next = read(6, &[entry(1), entry(2)]);
    assert_eq!(next.follows(Some(&known), NOW), Ok(()));
    assert_eq!(next.news(Some(&known)).collect::<Vec<_>>(), [&entry(2)]);
    assert_eq!(next.news(None).count(), 2);
    assert!(matches!(
        next.follows(None, NOW - 1000),
        Err(CrlError::FromTheFuture { .. })
    ));
    // Past its end it is still true.
    assert_eq!(next.follows(Some(&known), NOW + 100 * LIFETIME_S), Ok(()));
    assert!(!next.ended(NOW + LIFETIME_S) && next.ended(NOW + LIFETIME_S + 301));
    assert!(!next.aged(NOW + RENEWED_AFTER_S - 1) && next.aged(NOW + RENEWED_AFTER_S));
}

struct Revoking(Shelf, Arc<Crl>);

impl Issuers for Revoking {
    fn issuer(&self, domain: &str, id: &IssuerId) -> Option<Arc<[u8]>> {
        self.0.issuer(domain, id)
    }

    fn revoked(&self, issuer: &IssuerId, serial: &[u8]) -> Option<Revoked> {
        (issuer == self.1.issuer()).then(|| self.1.revoked(serial))?
    }
}

#[test]
fn a_revoked_certificate_is_refused_where_a_time_is_given() {
    let workshop = Workshop::new();
    let certificate = workshop.good().make();
    let serial = vec![0x55; 16];
    let one = Entry { serial, at: NOW };
    let crl = Crl::read(&list(&workshop.ca, 3, &[one])).unwrap();
    let issuers = Revoking(workshop.shelf, Arc::new(crl));
    assert!(matches!(
        verify(&certificate, &issuers, Some(NOW)),
        Err(CredentialError::Revoked { crl_number: 3, .. })
    ));
    // Who follows what was accepted does not ask.
    verify(&certificate, &issuers, None).unwrap();
}
