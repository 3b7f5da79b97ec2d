//! What is kept of a password (RFC 5802 §3).

use std::num::NonZeroU32;

use precis_profiles::OpaqueString;
use precis_profiles::precis_core::profile::Profile;
use ring::{digest, hmac, pbkdf2};

use super::{Hash, ScramKeys};

/// Why a password cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the password is empty or holds characters that cannot be typed (RFC 8265 §4.2)")]
pub struct BadPassword;

/// The password as it is hashed, whatever keyboard typed it: RFC 8265 §4.2, which follows the
/// SASLprep of RFC 5802 and agrees with it on what people type.
pub fn prepare_password(password: &str) -> Result<String, BadPassword> {
    OpaqueString::new()
        .enforce(password)
        .map(Into::into)
        .map_err(|_| BadPassword)
}

impl ScramKeys {
    /// Derives them from a prepared password. Takes as long as `iterations` ask for: run it where
    /// it may block.
    #[must_use]
    pub fn derive(hash: Hash, password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        let salted = salted_password(hash, password.as_bytes(), salt, iterations);
        let key = hmac::Key::new(hash.hmac(), &salted);
        // StoredKey := H(ClientKey)
        let client_key = hmac::sign(&key, b"Client Key");
        let stored_key = digest::digest(hash.digest(), client_key.as_ref());
        let server_key = hmac::sign(&key, b"Server Key");
        Self {
            hash,
            salt: salt.to_vec(),
            iterations: iterations.get(),
            stored_key: stored_key.as_ref().to_vec(),
            server_key: server_key.as_ref().to_vec(),
        }
    }
}

/// RFC 5802 §2.2: SaltedPassword := Hi(Normalize(password), salt, i).
pub(crate) fn salted_password(
    hash: Hash,
    password: &[u8],
    salt: &[u8],
    iterations: NonZeroU32,
) -> Vec<u8> {
    let mut salted = vec![0; hash.digest().output_len()];
    pbkdf2::derive(hash.pbkdf2(), iterations, salt, password, &mut salted);
    salted
}

impl Hash {
    pub(crate) fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        }
    }

    pub(crate) fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        }
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
            let key = hmac::Key::new(hash.hmac(), &keys.server_key);
            let signed = hmac::sign(&key, auth.as_bytes());
            assert_eq!(BASE64_STANDARD.encode(signed), signature);
            assert_eq!(keys.stored_key.len(), hash.digest().output_len());
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
