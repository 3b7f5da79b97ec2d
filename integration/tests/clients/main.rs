//! Unmodified clients of other people, one file each: what they can do, done with our server.
//!
//! Most of them talk with somebody at another domain: they send, she answers, they read the answer.

#![expect(clippy::unwrap_used, reason = "a play that cannot go on has failed")]

mod go_sendxmpp;
mod itests;
mod mcabber;
mod omemo;
mod plus;
mod profanity;
mod scene;
mod slixmpp;
mod terminal;
mod xmppjs;
