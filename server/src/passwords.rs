//! From a password to what is kept of it.

use std::num::NonZeroU32;
use std::sync::Arc;

use comity_storage::{KeptScramKeys, ScramHash};
use comity_xmpp::sasl::{BadPassword, Hash, ScramKeys, prepare_password};
use tokio::sync::Semaphore;

/// Derivations at a time: each keeps a core busy for some ten milliseconds.
const AT_A_TIME: usize = 2;
const SALT_BYTES: usize = 16;
/// 100 bits.
const GENERATED_LETTERS: usize = 20;

/// Turns passwords into keys away from the runtime's threads, a few at a time.
#[derive(Clone)]
pub struct Passwords {
    iterations: NonZeroU32,
    permits: Arc<Semaphore>,
}

#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error(transparent)]
    Bad(#[from] BadPassword),
    #[error("the server is stopping")]
    Stopping,
}

impl Passwords {
    /// `iterations` of PBKDF2 for new keys; existing ones carry their own number.
    #[must_use]
    pub fn new(iterations: u32) -> Self {
        Self {
            iterations: NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN),
            permits: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    /// The keys of a password for every hash function we know, each with a salt of its own.
    ///
    /// # Errors
    /// For a password that cannot be one.
    pub async fn keys(&self, password: &str) -> Result<Vec<KeptScramKeys>, PasswordError> {
        let password = prepare_password(password)?;
        let iterations = self.iterations;
        // Never closed while we hold it.
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| PasswordError::Stopping)?;
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            [Hash::Sha256, Hash::Sha1]
                .map(|hash| {
                    let salt = comity_net::random::bytes::<SALT_BYTES>();
                    kept(ScramKeys::derive(hash, &password, &salt, iterations))
                })
                .to_vec()
        })
        .await
        .map_err(|_| PasswordError::Stopping)
    }
}

/// As storage keeps them.
#[must_use]
pub fn kept(keys: ScramKeys) -> KeptScramKeys {
    KeptScramKeys {
        hash: match keys.hash {
            Hash::Sha1 => ScramHash::Sha1,
            Hash::Sha256 => ScramHash::Sha256,
        },
        salt: keys.salt,
        iterations: keys.iterations,
        stored_key: keys.stored_key,
        server_key: keys.server_key,
    }
}

/// As SASL takes them.
#[must_use]
pub fn usable(keys: KeptScramKeys) -> ScramKeys {
    ScramKeys {
        hash: match keys.hash {
            ScramHash::Sha1 => Hash::Sha1,
            ScramHash::Sha256 => Hash::Sha256,
        },
        salt: keys.salt,
        iterations: keys.iterations,
        stored_key: keys.stored_key,
        server_key: keys.server_key,
    }
}

/// A password nobody can guess, in letters that cannot be mistaken for each other.
#[must_use]
pub fn generate() -> String {
    // 32 of them: no bias.
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let random = comity_net::random::bytes::<GENERATED_LETTERS>();
    let letters = random.map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    let groups: Vec<String> = letters
        .chunks(5)
        .map(|group| group.iter().collect())
        .collect();
    groups.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keys_are_made_for_each_hash_with_a_salt_of_its_own() {
        let passwords = Passwords::new(4096);
        let first = passwords.keys("secret").await.unwrap();
        let again = passwords.keys("secret").await.unwrap();
        let hashes: Vec<ScramHash> = first.iter().map(|keys| keys.hash).collect();
        assert_eq!(hashes, [ScramHash::Sha256, ScramHash::Sha1]);
        let salts: std::collections::HashSet<&[u8]> = first
            .iter()
            .chain(&again)
            .map(|keys| &keys.salt[..])
            .collect();
        assert_eq!(salts.len(), 4);
        let rounds = NonZeroU32::new(4096).unwrap();
        for keys in first {
            let keys = usable(keys);
            assert!(keys == ScramKeys::derive(keys.hash, "secret", &keys.salt, rounds));
        }
    }

    #[tokio::test]
    async fn an_empty_password_is_refused() {
        let refused = Passwords::new(4096).keys("").await;
        assert!(matches!(refused, Err(PasswordError::Bad(_))));
    }

    #[test]
    fn generated_passwords_are_long_and_differ() {
        let password = generate();
        assert_eq!(password.len(), 23);
        assert_ne!(password, generate());
        assert_eq!(prepare_password(&password), Ok(password));
    }
}
