//! SASL as steps (RFC 6120 §6): SCRAM (RFC 5802, RFC 7677), PLAIN (RFC 4616) and EXTERNAL, for
//! the server's side and for the client's. Nonces and channel-binding data are handed in; who an
//! account is, and what an unknown one is answered, is the caller's business.

pub mod client;
mod encoding;
mod failure;
mod keys;
mod message;
mod plain;
mod server;

pub use encoding::{decode, encode};
pub use failure::{Condition, Failure};
pub use keys::{BadPassword, MAX_ITERATIONS, MIN_ITERATIONS, prepare_password};
pub use plain::{Plain, external_authzid};
pub use server::{Accepted, ScramFirst, ScramWaiting};

/// Bytes of one decoded SASL message: more than any sane user name, password and nonce need.
pub const MESSAGE_BYTES: usize = 4096;

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

/// The mechanisms that are spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    Scram {
        hash: Hash,
        /// With channel binding.
        plus: bool,
    },
    Plain,
    External,
}

impl Mechanism {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scram {
                hash: Hash::Sha256,
                plus: true,
            } => "SCRAM-SHA-256-PLUS",
            Self::Scram {
                hash: Hash::Sha256,
                plus: false,
            } => "SCRAM-SHA-256",
            Self::Scram {
                hash: Hash::Sha1,
                plus: true,
            } => "SCRAM-SHA-1-PLUS",
            Self::Scram {
                hash: Hash::Sha1,
                plus: false,
            } => "SCRAM-SHA-1",
            Self::Plain => "PLAIN",
            Self::External => "EXTERNAL",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "SCRAM-SHA-256-PLUS" => Self::Scram {
                hash: Hash::Sha256,
                plus: true,
            },
            "SCRAM-SHA-256" => Self::Scram {
                hash: Hash::Sha256,
                plus: false,
            },
            "SCRAM-SHA-1-PLUS" => Self::Scram {
                hash: Hash::Sha1,
                plus: true,
            },
            "SCRAM-SHA-1" => Self::Scram {
                hash: Hash::Sha1,
                plus: false,
            },
            "PLAIN" => Self::Plain,
            "EXTERNAL" => Self::External,
            _ => return None,
        })
    }
}

impl Hash {
    /// The name of its SCRAM mechanism without channel binding.
    #[must_use]
    pub fn mechanism(self) -> &'static str {
        Mechanism::Scram {
            hash: self,
            plus: false,
        }
        .as_str()
    }
}

/// The bindings of a TLS connection (RFC 5929, RFC 9266): their registered names and their data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings(pub Vec<(&'static str, Vec<u8>)>);

impl Bindings {
    #[must_use]
    pub fn data(&self, name: &str) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, data)| data.as_slice())
    }
}

#[cfg(test)]
mod tests;
