//! What is fuzzed: each function takes any bytes, as a stranger might send them, and panics when
//! something that must always hold does not. The corpus runs through the same functions as an
//! ordinary test (`tests/corpus.rs`).

#![allow(dead_code, reason = "each fuzz target uses one of these")]

use std::sync::Arc;

use comity_mls_credential::anchors::{Pinned, Signed, TlsRoots};
use comity_mls_credential::certificate::Certificate;
use comity_mls_credential::crl::Crl;
use comity_mls_credential::csr;
use comity_mls_credential::keys::PublicKey;
use comity_mls_credential::leaf::{CredentialError, IssuerId, Issuers, Leaf, verify};
use comity_xmpp::jid::BareJid;
use mls_rs_codec::MlsEncode as _;
use uuid::Uuid;

/// A leaf names one account in its one spelling; whoever hands out the certificate itself as an
/// issuer has not made it one.
pub(crate) fn certificate(data: &[u8]) {
    let read = Certificate::read(data);
    if let Ok(leaf) = Leaf::read(data) {
        let certificate = read.expect("a leaf is a certificate");
        assert_eq!(certificate.serial, leaf.serial);
        assert!(!leaf.serial.is_empty() && leaf.serial.len() <= 20);
        assert!(leaf.not_before <= leaf.not_after);
        assert_eq!(
            BareJid::parse(leaf.account.as_str()).as_ref(),
            Ok(&leaf.account)
        );
        let key = leaf.key().expect("the key was read");
        assert_eq!(key.to_spki(), leaf.public_key);
        assert_eq!(
            PublicKey::from_mls(key.algorithm(), key.as_mls()).as_ref(),
            Ok(&key)
        );
        assert!(leaf.succeeds(&leaf).is_ok());
        assert!(
            leaf.identity()
                .starts_with(leaf.account.as_str().as_bytes())
        );
    }
    let itself = Itself(data.into());
    assert!(verify(data, &itself, None).is_err());
    match verify(data, &Nobody, None) {
        Ok(leaf) => panic!("{leaf} was believed without an issuer"),
        Err(CredentialError::UnknownIssuer { .. }) => {
            Leaf::read(data).expect("only leaves have issuers");
        }
        Err(_) => {}
    }
}

struct Itself(Arc<[u8]>);

impl Issuers for Itself {
    fn issuer(&self, _: &str, _: &IssuerId) -> Option<Arc<[u8]>> {
        Some(Arc::clone(&self.0))
    }
}

struct Nobody;

impl Issuers for Nobody {
    fn issuer(&self, _: &str, _: &IssuerId) -> Option<Arc<[u8]>> {
        None
    }
}

/// A request that is taken is one spelling of one key.
pub(crate) fn request(data: &[u8]) {
    let account = BareJid::parse("alice@a.example").expect("an address");
    if let Ok(key) = csr::read(data, &account, Uuid::from_u128(1)) {
        assert_eq!(PublicKey::from_spki(&key.to_spki()), Ok(key));
        assert!(data.len() <= csr::MAX_REQUEST_BYTES);
    }
}

/// A statement has one encoding, is believed by nobody who knows no TLS root, and what was stored
/// of it is restored as it was.
pub(crate) fn anchors(data: &[u8]) {
    let domain = match Signed::read(data) {
        Ok((signed, statement)) => {
            let again = signed
                .mls_encode_to_vec()
                .expect("what was read is written");
            assert_eq!(again, data);
            statement.domain
        }
        Err(_) => "a.example".to_owned(),
    };
    assert!(Pinned::first(&domain, data, &TlsRoots::default(), 1_800_000_000).is_err());
    if let Ok(pinned) = Pinned::own(data, &[]) {
        let record = pinned.record().expect("what was read is written");
        let restored = Pinned::restore(&record).expect("what was written is read");
        assert_eq!(restored.hash(), pinned.hash());
        assert_eq!(restored.root(), pinned.root());
    }
    if let Ok(restored) = Pinned::restore(data) {
        assert!(restored.record().is_ok());
    }
}

/// A list says of each of its certificates what it was read to say, and is nobody's word unless an
/// issuer is at hand.
pub(crate) fn crl(data: &[u8]) {
    if let Ok(crl) = Crl::read(data) {
        assert_eq!(&crl.der()[..], data);
        assert!(crl.this_update() < crl.next_update());
        for entry in crl.entries() {
            let revoked = crl.revoked(&entry.serial).expect("it is in the list");
            assert_eq!((revoked.crl_number, revoked.at), (crl.number(), entry.at));
        }
        assert_eq!(crl.news(Some(&crl)).count(), 0);
        assert!(crl.verify(data).is_err());
    }
}
