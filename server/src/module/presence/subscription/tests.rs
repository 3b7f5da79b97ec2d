//! Every cell of RFC 6121 appendix A, in its order of rows.

use super::Verb::{Subscribe, Subscribed, Unsubscribe, Unsubscribed};
use super::*;

/// The nine states, by the short names used in the tables below: O pending out, I pending in.
fn state(name: &str) -> State {
    let (subscription, pending) = name.split_once('+').unwrap_or((name, ""));
    State {
        to: matches!(subscription, "To" | "Both"),
        from: matches!(subscription, "From" | "Both"),
        pending_out: pending.contains('O'),
        pending_in: pending.contains('I'),
        approved: false,
    }
}

type Row = (&'static str, bool, &'static str);

#[track_caller]
fn check_sent(verb: Verb, rows: [Row; 9]) {
    for (before, route, after) in rows {
        let expected = Sent {
            state: state(after),
            route,
        };
        let mut found = sent(verb, state(before));
        // Pre-approval is no part of the appendix's states: its own test is below.
        found.state.approved = false;
        assert_eq!(found, expected, "{verb:?} sent in {before}");
    }
}

#[track_caller]
fn check_received(verb: Verb, rows: [Row; 9]) {
    for (before, deliver, after) in rows {
        let found = received(verb, state(before));
        assert_eq!(
            (found.state, found.deliver),
            (state(after), deliver),
            "{verb:?} in {before}"
        );
        // RFC 6121 §3.1.3: answered by the server where the contact is subscribed already.
        let subscribed = verb == Subscribe && state(before).from;
        assert_eq!(found.agree, subscribed, "{verb:?} in {before}");
    }
}

#[test]
fn sent_subscribe() {
    check_sent(
        Subscribe,
        [
            ("None", true, "None+O"),
            ("None+O", true, "None+O"),
            ("None+I", true, "None+OI"),
            ("None+OI", true, "None+OI"),
            ("To", true, "To"),
            ("To+I", true, "To+I"),
            ("From", true, "From+O"),
            ("From+O", true, "From+O"),
            ("Both", true, "Both"),
        ],
    );
}

#[test]
fn sent_unsubscribe() {
    check_sent(
        Unsubscribe,
        [
            ("None", true, "None"),
            ("None+O", true, "None"),
            ("None+I", true, "None+I"),
            ("None+OI", true, "None+I"),
            ("To", true, "None"),
            ("To+I", true, "None+I"),
            ("From", true, "From"),
            ("From+O", true, "From"),
            ("Both", true, "From"),
        ],
    );
}

#[test]
fn sent_subscribed() {
    check_sent(
        Subscribed,
        [
            ("None", false, "None"),
            ("None+O", false, "None+O"),
            ("None+I", true, "From"),
            ("None+OI", true, "From+O"),
            ("To", false, "To"),
            ("To+I", true, "Both"),
            ("From", false, "From"),
            ("From+O", false, "From+O"),
            ("Both", false, "Both"),
        ],
    );
}

#[test]
fn sent_unsubscribed() {
    check_sent(
        Unsubscribed,
        [
            ("None", false, "None"),
            ("None+O", false, "None+O"),
            ("None+I", true, "None"),
            ("None+OI", true, "None+O"),
            ("To", false, "To"),
            ("To+I", true, "To"),
            ("From", true, "None"),
            ("From+O", true, "None+O"),
            ("Both", true, "To"),
        ],
    );
}

#[test]
fn received_subscribe() {
    check_received(
        Subscribe,
        [
            ("None", true, "None+I"),
            ("None+O", true, "None+OI"),
            ("None+I", false, "None+I"),
            ("None+OI", false, "None+OI"),
            ("To", true, "To+I"),
            ("To+I", false, "To+I"),
            ("From", false, "From"),
            ("From+O", false, "From+O"),
            ("Both", false, "Both"),
        ],
    );
}

#[test]
fn received_unsubscribe() {
    check_received(
        Unsubscribe,
        [
            ("None", false, "None"),
            ("None+O", false, "None+O"),
            ("None+I", true, "None"),
            ("None+OI", true, "None+O"),
            ("To", false, "To"),
            ("To+I", true, "To"),
            ("From", true, "None"),
            ("From+O", true, "None+O"),
            ("Both", true, "To"),
        ],
    );
}

#[test]
fn received_subscribed() {
    check_received(
        Subscribed,
        [
            ("None", false, "None"),
            ("None+O", true, "To"),
            ("None+I", false, "None+I"),
            ("None+OI", true, "To+I"),
            ("To", false, "To"),
            ("To+I", false, "To+I"),
            ("From", false, "From"),
            ("From+O", true, "Both"),
            ("Both", false, "Both"),
        ],
    );
}

#[test]
fn received_unsubscribed() {
    check_received(
        Unsubscribed,
        [
            ("None", false, "None"),
            ("None+O", true, "None"),
            ("None+I", false, "None+I"),
            ("None+OI", true, "None+I"),
            ("To", true, "None"),
            ("To+I", true, "None+I"),
            ("From", false, "From"),
            ("From+O", true, "From"),
            ("Both", true, "From"),
        ],
    );
}

/// RFC 6121 §3.4.2: agreed before being asked; taken back; used.
#[test]
fn agreement_given_beforehand() {
    for name in ["None", "None+O", "To"] {
        let noted = sent(Subscribed, state(name));
        assert!(noted.state.approved && !noted.route, "{name}");

        let asked = received(Subscribe, noted.state);
        assert!(asked.agree && !asked.deliver && asked.state.from, "{name}");
        assert!(!asked.state.pending_in, "{name}");

        let back = sent(Unsubscribed, noted.state);
        assert_eq!((back.state, back.route), (state(name), false), "{name}");
    }
    for name in ["From", "From+O", "Both"] {
        assert!(!sent(Subscribed, state(name)).state.approved, "{name}");
    }
    for name in ["None+I", "None+OI", "To+I"] {
        assert!(!sent(Subscribed, state(name)).state.approved, "{name}");
    }
}
