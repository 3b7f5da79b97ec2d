//! The table of a hostile server's lies. Each row is one: what the server does, what Bob is told of it,
//! and how the room stands afterwards.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "hostile_server/authority.rs"]
mod authority;
#[path = "hostile_server/joining.rs"]
mod joining;
mod lies;
#[path = "hostile_server/log.rs"]
mod log;
mod world;

#[test]
fn the_log_is_followed_by_nothing_but_what_fits() {
    lies::run(log::TABLE);
}

#[test]
fn nobody_joins_by_what_does_not_hold() {
    lies::run(joining::TABLE);
}

#[test]
fn an_authority_is_believed_what_it_can_show() {
    lies::run(authority::TABLE);
}
