//! The key that seals every row of the store: random, itself wrapped under the passphrase.

use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const SALT_BYTES: usize = 16;

/// scrypt's cost: 2^15 blocks of 1 KiB (32 MiB, some 100 ms), RFC 7914 §2.
const SCRYPT_N: u64 = 1 << 15;
const SCRYPT_R: u64 = 8;
const SCRYPT_P: u64 = 1;
const SCRYPT_MAX_MEMORY: u64 = 64 << 20;

/// Why a vault does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    #[error("the passphrase does not open this store")]
    WrongPassphrase,
    #[error("a row of the store is damaged, or was moved from its place")]
    Damaged,
    #[error("the cryptographic library failed: {0}")]
    Crypto(#[from] openssl::error::ErrorStack),
}

/// Seals and opens rows with AES-256-GCM.
pub struct Vault {
    key: [u8; KEY_BYTES],
}

impl Vault {
    /// A new key, and its wrapping to be stored: salt ‖ sealed key.
    pub fn create(passphrase: &[u8]) -> Result<(Self, Vec<u8>), VaultError> {
        let mut key = [0; KEY_BYTES];
        openssl::rand::rand_bytes(&mut key)?;
        let mut wrapping = vec![0; SALT_BYTES];
        openssl::rand::rand_bytes(&mut wrapping)?;
        let wrapper = Self {
            key: stretch(passphrase, &wrapping)?,
        };
        let sealed = wrapper.seal(b"comity store key", &key)?;
        wrapping.extend_from_slice(&sealed);
        Ok((Self { key }, wrapping))
    }

    /// Opens a stored wrapping.
    pub fn unlock(passphrase: &[u8], wrapping: &[u8]) -> Result<Self, VaultError> {
        let (salt, sealed) = wrapping
            .split_at_checked(SALT_BYTES)
            .ok_or(VaultError::Damaged)?;
        let wrapper = Self {
            key: stretch(passphrase, salt)?,
        };
        let key = wrapper
            .open(b"comity store key", sealed)
            .map_err(|_| VaultError::WrongPassphrase)?
            .try_into()
            .map_err(|_| VaultError::Damaged)?;
        Ok(Self { key })
    }

    /// nonce ‖ ciphertext ‖ tag. `place` is authenticated, so that no row passes for another.
    pub fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut nonce = [0; NONCE_BYTES];
        openssl::rand::rand_bytes(&mut nonce)?;
        let mut tag = [0; TAG_BYTES];
        let cipher = Cipher::aes_256_gcm();
        let sealed = encrypt_aead(cipher, &self.key, Some(&nonce), place, plain, &mut tag)?;
        Ok([&nonce[..], &sealed, &tag].concat())
    }

    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        let (nonce, rest) = sealed
            .split_at_checked(NONCE_BYTES)
            .ok_or(VaultError::Damaged)?;
        let middle = rest
            .len()
            .checked_sub(TAG_BYTES)
            .ok_or(VaultError::Damaged)?;
        let (body, tag) = rest.split_at(middle);
        decrypt_aead(
            Cipher::aes_256_gcm(),
            &self.key,
            Some(nonce),
            place,
            body,
            tag,
        )
        .map_err(|_| VaultError::Damaged)
    }
}

fn stretch(passphrase: &[u8], salt: &[u8]) -> Result<[u8; KEY_BYTES], VaultError> {
    let mut key = [0; KEY_BYTES];
    let (n, r, p) = (SCRYPT_N, SCRYPT_R, SCRYPT_P);
    openssl::pkcs5::scrypt(passphrase, salt, n, r, p, SCRYPT_MAX_MEMORY, &mut key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_passphrase_opens_and_only_in_its_place() {
        let (vault, wrapping) = Vault::create(b"correct horse").unwrap();
        let sealed = vault.seal(b"here", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        let again = Vault::unlock(b"correct horse", &wrapping).unwrap();
        assert_eq!(again.open(b"here", &sealed).unwrap(), b"secret");
        assert!(matches!(
            again.open(b"there", &sealed),
            Err(VaultError::Damaged)
        ));
        assert!(matches!(
            again.open(b"here", &sealed[..20]),
            Err(VaultError::Damaged)
        ));
        let wrong = Vault::unlock(b"incorrect", &wrapping);
        assert!(matches!(wrong, Err(VaultError::WrongPassphrase)));
    }
}
