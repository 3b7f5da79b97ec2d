//! Accounts as files that other servers read and write (XEP-0227, version 1.1): password keys, roster
//! and requests, private XML and vCard, nodes of personal eventing, whom an account blocks, messages
//! that wait for it and its archive. What hangs on keys of devices (the MLS extension) stays here.

pub mod document;
pub mod read;
pub mod write;

/// XEP-0227 §4, and its extensions for SCRAM keys (§4.3) and archives (§4.11).
pub(crate) const PIE: &str = "urn:xmpp:pie:0";
pub(crate) const PIE_SCRAM: &str = "urn:xmpp:pie:0#scram";
pub(crate) const PIE_MAM: &str = "urn:xmpp:pie:0#mam";
/// XEP-0049, XEP-0016, XEP-0054.
pub(crate) const PRIVATE: &str = "jabber:iq:private";
pub(crate) const PRIVACY: &str = "jabber:iq:privacy";
pub(crate) const VCARD: &str = "vcard-temp";
/// What no XEP has a word for: that an account may not log in.
pub(crate) const OWN: &str = "urn:xmpp:comity:export:0";
/// The privacy list that stands for whom an account blocks.
pub(crate) const BLOCKED: &str = "blocked";

#[cfg(test)]
mod tests;
