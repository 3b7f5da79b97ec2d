//! SASL as steps (RFC 6120 §6): SCRAM (RFC 5802, RFC 7677), PLAIN (RFC 4616) and EXTERNAL, for
//! the server's side and for the client's.

mod keys;

pub use keys::{BadPassword, prepare_password};

/// The hash of a SCRAM mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hash {
    Sha1,
    Sha256,
}

/// What a server keeps of a password (RFC 5802 §3): enough to verify, not enough to log in.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    pub hash: Hash,
    pub salt: Vec<u8>,
    pub iterations: u32,
    pub stored_key: Vec<u8>,
    pub server_key: Vec<u8>,
}
