//! The extension's words: every request, answer and notice of `mls/PROTOCOL.md` as a type, and its
//! XML. Beside them the policy component of the GroupContext ([`policy`]) and what handshakes say in
//! their authenticated data ([`authenticated`]).
//!
//! Whose request goes where: [`authority`] to one's own domain, [`keys`] to the account's bare JID,
//! [`room`] to the room; [`sync`] to one's own domain. What is too large for a stanza goes by [`blob`].

pub mod authenticated;
pub mod authority;
pub mod blob;
pub mod disco;
pub mod keys;
pub mod limits;
pub mod policy;
mod read;
pub mod refusal;
pub mod room;
pub mod sync;

pub use read::Malformed;
