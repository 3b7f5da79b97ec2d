//! What is fuzzed: each function takes any bytes, as a stranger might send them, and panics when
//! something that must always hold does not. The corpus runs through the same functions as an
//! ordinary test (`tests/corpus.rs`).

#![allow(dead_code, reason = "each fuzz target uses one of these")]

use std::fmt::Debug;

use comity_mls_wire::authenticated::{AuthenticatedData, AuthenticatedDataError};
use comity_mls_wire::policy::{Policy, PolicyError};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::{Malformed, authority, keys, room, sync};
use comity_xmpp::element::Element;
use comity_xmpp::error::StanzaError;
use comity_xmpp::ns;
use comity_xmpp::stanza::IqType;
use comity_xmpp::stream::Header;
use comity_xmpp::xml;
use mls_rs_core::extension::MlsExtension as _;

/// What any payload is read as, it is read as again once written; and what is refused says why in
/// a few words.
pub(crate) fn payload(data: &[u8]) {
    let Ok(element) = xml::parse(data, &Header::of(ns::CLIENT)) else {
        return;
    };
    same(
        &element,
        authority::Request::from_element,
        authority::Request::to_element,
    );
    same(
        &element,
        authority::Answer::from_element,
        authority::Answer::to_element,
    );
    same(
        &element,
        authority::Notice::from_element,
        authority::Notice::to_element,
    );
    same(
        &element,
        keys::Request::from_element,
        keys::Request::to_element,
    );
    same(
        &element,
        keys::Answer::from_element,
        keys::Answer::to_element,
    );
    same(
        &element,
        keys::Notice::from_element,
        keys::Notice::to_element,
    );
    same(
        &element,
        room::Request::from_element,
        room::Request::to_element,
    );
    same(
        &element,
        room::Answer::from_element,
        room::Answer::to_element,
    );
    same(
        &element,
        room::Fanout::from_element,
        room::Fanout::to_element,
    );
    same(
        &element,
        sync::Request::from_element,
        sync::Request::to_element,
    );
    same(
        &element,
        sync::Answer::from_element,
        sync::Answer::to_element,
    );
    same(
        &element,
        sync::Notice::from_element,
        sync::Notice::to_element,
    );
    same(&element, stamped, room::Stamped::to_element);
    refusal(&element);
}

fn stamped(element: &Element) -> Result<room::Stamped, Malformed> {
    room::Stamped::from_iq(IqType::Get, element)
        .or_else(|_| room::Stamped::from_iq(IqType::Set, element))
}

fn same<T: PartialEq + Debug>(
    element: &Element,
    read: fn(&Element) -> Result<T, Malformed>,
    write: fn(&T) -> Element,
) {
    match read(element) {
        Ok(value) => assert_eq!(read(&write(&value)).as_ref(), Ok(&value)),
        Err(fault) => {
            assert!(fault.to_string().chars().count() < 1024, "{fault}");
            let refusal = Refusal::from(fault);
            let error = refusal.to_stanza_error();
            assert_eq!(Refusal::from_stanza_error(&error), Some(refusal));
        }
    }
}

fn refusal(element: &Element) {
    let error = StanzaError::from_element(element);
    for refusal in [
        Refusal::from_stanza_error(&error),
        Refusal::from_element(element).ok(),
    ]
    .into_iter()
    .flatten()
    {
        let again = Refusal::from_element(&refusal.to_element());
        let texts = [again.as_ref(), Ok(&refusal)];
        // A reason beyond the bound is shortened once, and stays as it is then.
        if texts[0] != texts[1] {
            let shortened = again.expect("what was written is read");
            assert_eq!(
                Refusal::from_element(&shortened.to_element()),
                Ok(shortened)
            );
        }
    }
}

/// What is read as authenticated data is written as the same octets.
pub(crate) fn authenticated(data: &[u8]) {
    match AuthenticatedData::from_bytes(data) {
        Ok(read) => assert_eq!(read.to_bytes().as_deref(), Ok(data)),
        Err(AuthenticatedDataError::UnknownVersion { found }) => {
            assert_eq!(data.first_chunk::<2>(), Some(&found.to_be_bytes()));
        }
        Err(AuthenticatedDataError::Malformed(_) | AuthenticatedDataError::TooLarge { .. }) => {}
    }
}

/// Each policy has one encoding, and is one that somebody may change.
pub(crate) fn policy(data: &[u8]) {
    match Policy::from_bytes(data) {
        Ok(policy) => {
            assert_eq!(policy.to_bytes().as_deref(), Ok(data));
            assert!(!policy.suites.is_empty());
            assert!(policy.check_successor(&policy).is_ok());
        }
        Err(PolicyError::UnknownVersion { found }) => {
            assert_eq!(data.first_chunk::<2>(), Some(&found.to_be_bytes()));
        }
        Err(PolicyError::Malformed { .. } | PolicyError::Inconsistent(_)) => {}
        Err(PolicyError::Missing) => panic!("it is there"),
    }
}
