//! The table of a hostile member's lies. Mallory holds the group's secrets, her hub lets her, and her
//! program keeps no rules. Each row is one lie: what Bob is told of it, and how the room stands
//! afterwards.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "hostile_member/handshakes.rs"]
mod handshakes;
mod lies;
#[path = "hostile_member/messages.rs"]
mod messages;
mod world;

#[test]
fn a_member_says_nothing_in_anothers_name_and_nothing_twice() {
    lies::run(messages::TABLE);
}

#[test]
fn a_member_does_nothing_to_the_room_that_the_rules_forbid() {
    lies::run(handshakes::TABLE);
}
