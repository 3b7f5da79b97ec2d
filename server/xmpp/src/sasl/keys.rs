//! What is kept of a password (RFC 5802 §3).

use std::fmt;
use std::num::NonZeroU32;

use ring::{digest, hmac, pbkdf2};

use super::{Hash, ScramKeys};
use crate::precis;

/// RFC 5802 §5.1, RFC 7677 §4: fewer are not safe.
pub const MIN_ITERATIONS: u32 = 4096;
/// More would let whoever names the number keep the other side busy for seconds.
pub const MAX_ITERATIONS: u32 = 1_000_000;
/// Bytes of a password: what is beyond has no use but to keep us busy.
const PASSWORD_BYTES: usize = 1024;

/// Why a password cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the password is empty, longer than {PASSWORD_BYTES} bytes, or holds characters that cannot \
     be typed (RFC 8265 §4.2)"
)]
pub struct BadPassword;

/// The password as it is hashed, whatever keyboard typed it: RFC 8265 §4.2, which follows the
/// SASLprep of RFC 5802 and agrees with it on what people type.
pub fn prepare_password(password: &str) -> Result<String, BadPassword> {
    if password.len() > PASSWORD_BYTES {
        return Err(BadPassword);
    }
    precis::opaque_string(password)
        .map(Into::into)
        .ok_or(BadPassword)
}

impl ScramKeys {
    /// Derives them from a prepared password. Takes as long as `iterations` ask for: run it where
    /// it may block.
    #[must_use]
    pub fn derive(hash: Hash, password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        let salted = SaltedPassword::derive(hash, password, salt, iterations);
        Self {
            hash,
            salt: salt.to_vec(),
            iterations: iterations.get(),
            // StoredKey := H(ClientKey)
            stored_key: hash.digest(&salted.client_key()),
            server_key: salted.server_key(),
        }
    }

    /// Is this the password, as its owner typed it? As slow as [`ScramKeys::derive`].
    #[must_use]
    pub fn verify_password(&self, password: &str) -> bool {
        let Some(iterations) = NonZeroU32::new(self.iterations) else {
            return false;
        };
        prepare_password(password).is_ok_and(|password| {
            let keys = Self::derive(self.hash, &password, &self.salt, iterations);
            equal(&keys.stored_key, &self.stored_key)
        })
    }
}

impl fmt::Debug for ScramKeys {
    /// Keys stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys")
            .field("hash", &self.hash)
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// RFC 5802 §2.2: SaltedPassword := Hi(Normalize(password), salt, i).
pub(super) struct SaltedPassword {
    hash: Hash,
    bytes: Vec<u8>,
}

impl SaltedPassword {
    pub(super) fn derive(hash: Hash, password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut bytes = vec![0; hash.length()];
        pbkdf2::derive(
            hash.pbkdf2(),
            iterations,
            salt,
            password.as_bytes(),
            &mut bytes,
        );
        Self { hash, bytes }
    }

    pub(super) fn client_key(&self) -> Vec<u8> {
        self.hash.hmac(&self.bytes, b"Client Key")
    }

    pub(super) fn server_key(&self) -> Vec<u8> {
        self.hash.hmac(&self.bytes, b"Server Key")
    }
}

/// In constant time for a given length, which is public.
pub(super) fn equal(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && difference == 0
}

impl Hash {
    /// Bytes of its output.
    #[must_use]
    pub fn length(self) -> usize {
        match self {
            Self::Sha1 => digest::SHA1_OUTPUT_LEN,
            Self::Sha256 => digest::SHA256_OUTPUT_LEN,
        }
    }

    #[must_use]
    pub fn hmac(self, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        };
        let key = hmac::Key::new(algorithm, key);
        hmac::sign(&key, bytes).as_ref().to_vec()
    }

    #[must_use]
    pub fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    /// The exchanges of RFC 5802 §5 and RFC 7677 §3: the server signature over their messages
    /// comes out only if the server key is right.
    #[test]
    fn derives_the_keys_of_the_rfcs() {
        let check = |hash, salt: &str, auth: &str, signature: &str| {
            let salt = BASE64_STANDARD.decode(salt).unwrap();
            let rounds = NonZeroU32::new(4096).unwrap();
            let keys = ScramKeys::derive(hash, "pencil", &salt, rounds);
            let signed = hash.hmac(&keys.server_key, auth.as_bytes());
            assert_eq!(BASE64_STANDARD.encode(signed), signature);
            assert_eq!(keys.stored_key.len(), hash.length());
            assert!(keys.verify_password("pencil"));
            assert!(!keys.verify_password("Pencil"));
        };
        check(
            Hash::Sha1,
            "QSXCR+Q6sek8bf92",
            "n=user,r=fyko+d2lbbFgONRv9qkxdawL,\
             r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096,\
             c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
            "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        );
        check(
            Hash::Sha256,
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            "n=user,r=rOprNGfwEbeRWgbNEkqO,\
             r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
             c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        );
    }

    #[test]
    fn a_password_is_the_same_from_every_keyboard() {
        // U+00A0 is a space typed otherwise; composed and decomposed letters are one.
        assert_eq!(prepare_password("a\u{a0}b"), prepare_password("a b"));
        assert_eq!(prepare_password("u\u{308}"), Ok("\u{fc}".to_owned()));
        assert_eq!(prepare_password(""), Err(BadPassword));
        assert_eq!(prepare_password("a\u{7}b"), Err(BadPassword));
    }
}
