//! The policy component: every parameter and policy of RFC 9750 §7 in one GroupContext extension,
//! agreed by all members, enforced by hub and engine with this one copy of the rules.
