//! A table of certificates, good and bad, and what `verify` says of each. Each is made by changing
//! one thing of a good one.

mod corpus;
pub(crate) mod recipe;
mod table;

use std::collections::HashMap;
use std::sync::Arc;

use comity_xmpp::jid::BareJid;

use super::*;
use crate::issue;
use crate::keys::{Algorithm, PrivateKey};
use recipe::{DAY, DEVICE, NOW, Recipe, Workshop};
use table::Case;

/// Issuing CAs by domain and id.
#[derive(Default)]
pub(crate) struct Shelf(pub(crate) HashMap<(String, IssuerId), Arc<[u8]>>);

impl Shelf {
    pub(crate) fn put(&mut self, domain: &str, certificate: &[u8]) {
        let key = Certificate::read(certificate).unwrap().public_key;
        let id = issuer_id(&key).unwrap();
        self.0.insert((domain.to_owned(), id), certificate.into());
    }
}

impl Issuers for Shelf {
    fn issuer(&self, domain: &str, id: &IssuerId) -> Option<Arc<[u8]>> {
        self.0.get(&(domain.to_owned(), *id)).cloned()
    }
}

fn check(cases: Vec<Case>) {
    let workshop = Workshop::new();
    for (name, change, expected) in cases {
        let mut recipe = workshop.good();
        change(&mut recipe, &workshop);
        let at = recipe.judged_at;
        let found = verify(&recipe.make(), &workshop.shelf, at);
        match (&found, expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(word)) if error.to_string().contains(word) => {}
            _ => panic!("{name}: expected {expected:?}, found {found:?}"),
        }
    }
}

#[test]
fn what_is_believed() {
    check(table::what_is_believed());
}

#[test]
fn addresses_that_are_refused() {
    check(table::addresses_that_are_refused());
}

#[test]
fn devices_that_are_refused() {
    check(table::devices_that_are_refused());
}

#[test]
fn issuers_that_are_refused() {
    check(table::issuers_that_are_refused());
}

#[test]
fn keys_and_uses_that_are_refused() {
    check(table::keys_and_uses_that_are_refused());
}

#[test]
fn forms_that_are_refused() {
    check(table::forms_that_are_refused());
}

#[test]
fn time_counts_only_where_it_is_given() {
    check(table::time_counts_only_where_it_is_given());
}

#[test]
fn no_bit_of_a_certificate_can_be_changed() {
    let workshop = Workshop::new();
    let good = workshop.good().make();
    verify(&good, &workshop.shelf, None).unwrap();
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1 << (place % 8);
        assert!(
            verify(&bad, &workshop.shelf, None).is_err(),
            "octet {place} was changed and the certificate is believed"
        );
        verify(&good[..place], &workshop.shelf, None).unwrap_err();
    }
}

#[test]
fn what_is_issued_is_believed_and_says_what_was_asked() {
    for algorithm in [Algorithm::P256, Algorithm::Ed25519] {
        let workshop = Workshop::new();
        let key = PrivateKey::generate(algorithm).unwrap().public().unwrap();
        let account = BareJid::parse("алиса@a.example").unwrap();
        let validity = issue::Validity {
            not_before: NOW,
            not_after: NOW + DAY,
        };
        let der = issue::leaf(&account, Some(DEVICE), &key, &workshop.ca, validity).unwrap();
        let leaf = verify(&der, &workshop.shelf, Some(NOW)).unwrap();
        assert_eq!(leaf.account, account);
        assert_eq!(leaf.device, Some(DEVICE));
        assert_eq!((leaf.not_before, leaf.not_after), (NOW, NOW + DAY));
        assert_eq!(leaf.key().unwrap(), key);
        let expected = [account.as_str().as_bytes(), &[0], DEVICE.as_bytes()].concat();
        assert_eq!(leaf.identity(), expected);
        // Kept small: a tree holds thousands of these.
        assert!(der.len() < 480, "{} octets", der.len());
        let again = issue::leaf(&account, Some(DEVICE), &key, &workshop.ca, validity).unwrap();
        assert_ne!(Leaf::read(&again).unwrap().serial, leaf.serial);
    }
}

#[test]
fn only_the_same_account_and_device_may_follow() {
    let workshop = Workshop::new();
    let read = |change: fn(&mut Recipe)| {
        let mut recipe = workshop.good();
        change(&mut recipe);
        Leaf::read(&recipe.make()).unwrap()
    };
    let before = read(|_| {});
    read(|_| {}).succeeds(&before).unwrap();
    let other_device: fn(&mut Recipe) =
        |r| r.names[1] = recipe::uri("urn:uuid:00000000-0000-4000-8000-000000000002");
    for other in [
        read(other_device),
        read(|r| r.names[0] = recipe::xmpp("bob@a.example")),
        read(|r| drop(r.names.remove(1))),
    ] {
        assert!(matches!(
            other.succeeds(&before),
            Err(CredentialError::NotSuccessor { .. })
        ));
    }
}
