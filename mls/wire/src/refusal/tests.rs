use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::ns;

use super::*;

fn all() -> Vec<Refusal> {
    let why = || "because \"of\" <this> & that".to_owned();
    vec![
        Refusal::StaleEpoch { epoch: 8, seq: 42 },
        Refusal::MissingProposals { seqs: vec![40, 41] },
        Refusal::InvalidCommit { why: why() },
        Refusal::InvalidMessage { why: why() },
        Refusal::NotAllowed { rule: why() },
        Refusal::GroupInfoMismatch { why: why() },
        Refusal::BadCredential { why: why() },
        Refusal::BadSignature,
        Refusal::NoDevice,
        Refusal::UnknownDevice,
        Refusal::NoRoom,
        Refusal::RoomExists,
        Refusal::NoKeyPackages {
            account: BareJid::parse("bob@b.example").unwrap(),
        },
        Refusal::UnreachableDomain {
            domain: "b.example".to_owned(),
        },
        Refusal::KeyReused,
        Refusal::LimitReached { limit: why() },
        Refusal::RateLimited { retry_after_s: 30 },
        Refusal::BadRequest { why: why() },
        Refusal::Internal,
    ]
}

#[test]
fn each_survives_its_stanza_error_and_says_itself_in_words() {
    for refusal in all() {
        let error = refusal.to_stanza_error();
        assert_eq!(error.text, Some(refusal.to_string()));
        assert_eq!(Refusal::from_stanza_error(&error), Some(refusal));
    }
}

#[test]
fn a_stanza_error_of_others_is_no_refusal() {
    let plain = StanzaError::new(ErrorType::Cancel, StanzaCondition::ItemNotFound);
    assert_eq!(Refusal::from_stanza_error(&plain), None);
    for foreign in [
        Element::new(ns::MLS, "revolution"),
        Element::new("urn:other", "no-room"),
        Element::new(ns::MLS, "stale-epoch").with_attr("epoch", "8"),
    ] {
        let error = plain.clone().with_application(foreign);
        assert_eq!(Refusal::from_stanza_error(&error), None);
    }
}

#[test]
fn foreign_words_in_a_reason_stay_within_bounds() {
    let refusal = Refusal::InvalidCommit {
        why: "ß".repeat(100_000),
    };
    let read = Refusal::from_stanza_error(&refusal.to_stanza_error());
    let Some(Refusal::InvalidCommit { why }) = read else {
        panic!("{read:?}");
    };
    assert_eq!(why.chars().count(), crate::limits::REASON_CHARACTERS);
}
