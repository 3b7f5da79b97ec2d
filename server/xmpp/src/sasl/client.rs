//! The client's side of SCRAM (RFC 5802 §5): each step consumes the one before.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::keys::{
    BadPassword, MAX_ITERATIONS, MIN_ITERATIONS, SaltedPassword, equal, prepare_password,
};
use super::{Failure, Hash, message};

/// Why a client gives up on a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the server's {0} is not a SCRAM message (RFC 5802, section 7)")]
    Malformed(&'static str),
    #[error("the server has not made its nonce from ours: somebody replays an old login")]
    Nonce,
    #[error(transparent)]
    Password(#[from] BadPassword),
    #[error("the server's message cannot be decoded: {0}")]
    Encoding(#[from] Failure),
    #[error("the server asks for {0} iterations, not {MIN_ITERATIONS} to {MAX_ITERATIONS}")]
    Iterations(u32),
    #[error("the server refused: {0}")]
    Refused(String),
    #[error("the server does not know the password's keys: it is not the one the account is on")]
    Impostor,
}

/// What channel binding the client asks for (RFC 5802 §6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requested {
    /// The client cannot bind.
    Unsupported,
    /// The client could, and the server offered no -PLUS mechanism.
    NotOffered,
    /// By this registered name, with the connection's data.
    Bound(String, Vec<u8>),
}

/// The first message is out; it waits for the server's.
pub struct Scram {
    hash: Hash,
    password: String,
    nonce: String,
    bare: String,
    /// What `c=` is made of.
    binding: Vec<u8>,
}

/// The proof is out; it waits for the server's own.
pub struct Expect {
    expected: Vec<u8>,
}

impl Scram {
    /// `nonce` is fresh, random and printable ASCII without a comma (base64 will do). Returns the
    /// next step and the client-first-message.
    pub fn new(
        hash: Hash,
        username: &str,
        password: &str,
        nonce: &str,
        requested: &Requested,
    ) -> Result<(Self, Vec<u8>), Fault> {
        let (header, data): (_, &[u8]) = match requested {
            Requested::Unsupported => ("n,,".to_owned(), &[]),
            Requested::NotOffered => ("y,,".to_owned(), &[]),
            Requested::Bound(name, data) => (format!("p={name},,"), data),
        };
        let bare = format!("n={},r={nonce}", message::escape_name(username));
        let message = format!("{header}{bare}").into_bytes();
        let mut binding = header.into_bytes();
        binding.extend_from_slice(data);
        let first = Self {
            hash,
            password: prepare_password(password)?,
            nonce: nonce.to_owned(),
            bare,
            binding,
        };
        Ok((first, message))
    }

    /// Answers the server's first message with the proof: as slow as the server's iteration
    /// count says, within our own bounds.
    pub fn respond(self, message: &[u8]) -> Result<(Expect, Vec<u8>), Fault> {
        let malformed = || Fault::Malformed("first message");
        let server_first = message::text(message).ok_or_else(malformed)?;
        let mut attributes = server_first.split(',');
        let nonce = attributes
            .next()
            .and_then(|a| a.strip_prefix("r="))
            .ok_or_else(malformed)?;
        // RFC 5802 §5.1: the nonce begins with ours, and goes on.
        if !message::is_nonce(nonce)
            || !nonce.starts_with(&self.nonce)
            || nonce.len() == self.nonce.len()
        {
            return Err(Fault::Nonce);
        }
        let salt = attributes
            .next()
            .and_then(|a| a.strip_prefix("s="))
            .and_then(|s| STANDARD.decode(s).ok())
            .ok_or_else(malformed)?;
        let iterations = attributes
            .next()
            .and_then(|a| a.strip_prefix("i="))
            .filter(|i| i.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|i| i.parse::<NonZeroU32>().ok())
            .ok_or_else(malformed)?;
        // Too few would show the password to whoever listens, too many would stop us.
        if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&iterations.get()) {
            return Err(Fault::Iterations(iterations.get()));
        }
        let salted = SaltedPassword::derive(self.hash, &self.password, &salt, iterations);
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(&self.binding));
        let auth_message = format!("{},{server_first},{without_proof}", self.bare);
        let client_key = salted.client_key();
        let stored_key = self.hash.digest(&client_key);
        let signature = self.hash.hmac(&stored_key, auth_message.as_bytes());
        let proof: Vec<u8> = client_key
            .iter()
            .zip(&signature)
            .map(|(k, s)| k ^ s)
            .collect();
        let message = format!("{without_proof},p={}", STANDARD.encode(proof));
        let expected = self
            .hash
            .hmac(&salted.server_key(), auth_message.as_bytes());
        Ok((Expect { expected }, message.into_bytes()))
    }
}

impl Expect {
    /// Verifies the server's proof. Without it, `<success/>` means nothing.
    pub fn verify(self, message: &[u8]) -> Result<(), Fault> {
        let malformed = || Fault::Malformed("final message");
        let text = message::text(message).ok_or_else(malformed)?;
        let first = text.split(',').next().unwrap_or_default();
        if let Some(error) = first.strip_prefix("e=") {
            return Err(Fault::Refused(error.to_owned()));
        }
        let verifier = first
            .strip_prefix("v=")
            .and_then(|v| STANDARD.decode(v).ok())
            .ok_or_else(malformed)?;
        if equal(&verifier, &self.expected) {
            Ok(())
        } else {
            Err(Fault::Impostor)
        }
    }
}
