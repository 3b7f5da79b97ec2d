//! An XMPP client with the MLS engine, as a library; the binary `comity-chat` is its terminal.
//!
//! Start at [`agent::Chat`], one device of one account. [`stream`] is the client's side of an XMPP
//! stream as a machine, [`connection`] puts it on a socket, [`speech`] turns the engine's requests
//! into IQs and back, [`store`] keeps what the engine must not forget, [`content`] is what a
//! message carries.

pub mod agent;
pub mod connection;
pub mod content;
pub mod speech;
pub mod store;
pub mod stream;
pub mod terminal;
