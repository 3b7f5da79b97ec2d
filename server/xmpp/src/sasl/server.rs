//! The server's side of SCRAM (RFC 5802 §5): each step consumes the one before.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::failure::{Condition, Failure};
use super::keys::equal;
use super::{Bindings, ScramKeys, message};

/// Bytes of a client's nonce.
const NONCE_BYTES: usize = 256;

/// The client's first message, understood. It waits for the account's keys.
#[derive(Debug)]
pub struct ScramFirst {
    /// As the client wrote it: the caller makes it an address and so canonical.
    pub username: String,
    /// Whom to act as, if not `username`; the caller refuses whom that is not.
    pub authzid: Option<String>,
    /// `c=` of the client's final message must be exactly this, decoded.
    binding: Vec<u8>,
    bare: String,
    nonce: String,
}

/// The challenge is out; it waits for the client's final message.
#[derive(Debug)]
pub struct ScramWaiting {
    keys: ScramKeys,
    binding: Vec<u8>,
    nonce: String,
    /// `client-first-message-bare "," server-first-message ","`.
    auth_message: String,
}

/// The client has proved that it knows the password.
#[derive(Debug)]
pub struct Accepted {
    /// The server-final-message, for `<success/>`.
    pub message: Vec<u8>,
}

impl ScramFirst {
    /// Reads the client's first message. `plus` says that the -PLUS mechanism was chosen;
    /// `bindings` are those of the connection, empty where no -PLUS mechanism was offered.
    pub fn parse(message: &[u8], plus: bool, bindings: &Bindings) -> Result<Self, Failure> {
        let text = message::text(message).ok_or_else(malformed)?;
        let mut parts = text.splitn(3, ',');
        let (Some(flag), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed());
        };
        let data = binding_data(flag, plus, bindings)?;
        let authzid = match authzid {
            "" => None,
            _ => {
                let name = authzid.strip_prefix("a=").ok_or_else(malformed)?;
                Some(message::unescape_name(name).ok_or_else(malformed)?)
            }
        };
        let header = &text[..text.len() - bare.len()];
        let mut binding = header.as_bytes().to_vec();
        binding.extend_from_slice(data);
        // A mandatory extension (`m=`) comes first, and none is known (RFC 5802 §5.1).
        let mut attributes = bare.split(',');
        let username = attributes
            .next()
            .and_then(|a| a.strip_prefix("n="))
            .and_then(message::unescape_name)
            .ok_or_else(malformed)?;
        let nonce = attributes
            .next()
            .and_then(|a| a.strip_prefix("r="))
            .filter(|nonce| message::is_nonce(nonce) && nonce.len() <= NONCE_BYTES)
            .ok_or_else(malformed)?;
        if !attributes.all(message::is_attribute) {
            return Err(malformed());
        }
        Ok(Self {
            username,
            authzid,
            binding,
            nonce: nonce.to_owned(),
            bare: bare.to_owned(),
        })
    }

    /// Answers with salt and iterations. `nonce` is fresh, random and printable ASCII without a
    /// comma (base64 will do). Returns the server-first-message and the next step.
    #[must_use]
    pub fn challenge(self, keys: ScramKeys, nonce: &str) -> (Vec<u8>, ScramWaiting) {
        let nonce = self.nonce + nonce;
        let salt = STANDARD.encode(&keys.salt);
        let message = format!("r={nonce},s={salt},i={}", keys.iterations);
        let auth_message = format!("{},{message},", self.bare);
        let waiting = ScramWaiting {
            keys,
            binding: self.binding,
            nonce,
            auth_message,
        };
        (message.into_bytes(), waiting)
    }
}

impl ScramWaiting {
    /// Verifies the client's final message.
    pub fn finish(self, message: &[u8]) -> Result<Accepted, Failure> {
        let text = message::text(message).ok_or_else(malformed)?;
        // The proof comes last (RFC 5802 §7).
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or_else(malformed)?;
        let proof = STANDARD.decode(proof).map_err(|_| malformed())?;
        let mut attributes = without_proof.split(',');
        let binding = attributes
            .next()
            .and_then(|a| a.strip_prefix("c="))
            .and_then(|c| STANDARD.decode(c).ok())
            .ok_or_else(malformed)?;
        let nonce = attributes
            .next()
            .and_then(|a| a.strip_prefix("r="))
            .ok_or_else(malformed)?;
        if !attributes.all(message::is_attribute) {
            return Err(malformed());
        }
        if nonce != self.nonce {
            return Err(refused());
        }
        if !equal(&binding, &self.binding) {
            // RFC 5802 §6: what the client saw is not what we see.
            return Err(refused());
        }
        let hash = self.keys.hash;
        let auth_message = self.auth_message + without_proof;
        let signature = hash.hmac(&self.keys.stored_key, auth_message.as_bytes());
        if proof.len() != signature.len() {
            return Err(refused());
        }
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(p, s)| p ^ s).collect();
        if !equal(&hash.digest(&client_key), &self.keys.stored_key) {
            return Err(refused());
        }
        let verifier = hash.hmac(&self.keys.server_key, auth_message.as_bytes());
        Ok(Accepted {
            message: format!("v={}", STANDARD.encode(verifier)).into_bytes(),
        })
    }
}

/// RFC 5802 §6: what the flag asks for, and whether that can be.
fn binding_data<'b>(flag: &str, plus: bool, bindings: &'b Bindings) -> Result<&'b [u8], Failure> {
    match (flag, plus) {
        ("n", false) => Ok(&[]),
        // The client can bind and believes that we cannot. If we offered it, somebody in between
        // has removed the offer.
        ("y", false) if bindings.0.is_empty() => Ok(&[]),
        ("y", false) => Err(refused()),
        (flag, true) => {
            let name = flag.strip_prefix("p=").ok_or_else(malformed)?;
            bindings.data(name).ok_or_else(|| {
                Failure::new(Condition::MalformedRequest)
                    .with_text("this connection has no such channel binding")
            })
        }
        _ => Err(malformed()),
    }
}

fn malformed() -> Failure {
    Failure::new(Condition::MalformedRequest).with_text("not a SCRAM message (RFC 5802, section 7)")
}

/// One answer for a wrong password, an unknown account and a broken binding.
fn refused() -> Failure {
    Failure::new(Condition::NotAuthorized)
}
