//! Identifiers nobody can guess, drawn from OpenSSL as mls-rs draws its keys.

use openssl::error::ErrorStack;
use uuid::Uuid;

pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], ErrorStack> {
    let mut bytes = [0; N];
    openssl::rand::rand_bytes(&mut bytes)?;
    Ok(bytes)
}

/// A version 4 UUID (RFC 9562 §5.4).
pub(crate) fn uuid() -> Result<Uuid, ErrorStack> {
    Ok(uuid::Builder::from_random_bytes(bytes()?).into_uuid())
}
