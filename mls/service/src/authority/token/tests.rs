//! What can be told without a token; what a token does is played with SoftHSM.

use super::*;

fn place(sessions: usize) -> Place {
    Place {
        module: "/nowhere/libtoken.so".into(),
        label: "vault".to_owned(),
        slot: None,
        pin_file: None,
        key_prefix: "comity".to_owned(),
        sessions,
    }
}

#[test]
fn a_module_that_is_not_there_is_said_and_counted() {
    let token = Token::at(place(2));
    let error = token.public("a.example", "root").unwrap_err().to_string();
    assert!(error.contains("/nowhere/libtoken.so"), "{error}");
    assert!(error.contains("install"), "{error}");
    assert_eq!(token.failures(), 1);
    // The same place is the same token, with one count.
    assert!(Token::at(place(2)).check().is_err());
    assert_eq!(token.failures(), 2);
    assert_eq!(Token::at(place(3)).failures(), 0);
}

#[test]
fn whoever_finds_all_sessions_busy_waits_and_gives_up() {
    let token = Token::at(place(1));
    let turn = token.turn().unwrap();
    let error = token.turn().err().unwrap();
    assert!(matches!(error, TokenError::Busy { sessions: 1, .. }));
    drop(turn);
    assert!(token.turn().is_ok());
}

#[test]
fn what_cannot_pass_is_not_tried_twice() {
    let label = "vault".to_owned();
    let error = "CKR_PIN_INCORRECT".to_owned();
    assert!(!TokenError::Pin { label, error }.may_pass());
    let present = Vec::new();
    let label = "vault".to_owned();
    assert!(TokenError::Absent { label, present }.may_pass());
}
