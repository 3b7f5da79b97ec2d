//! Signature keys behind a trait, so that they may lie in a file, an OS keyring or a token, and
//! never in a group's stored state: MLS sees only handles.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use comity_mls_credential::keys::{Algorithm, PrivateKey, PublicKey};
use uuid::Uuid;

/// Names a key in its [`SignatureKeys`]; at most 64 octets, no secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHandle(pub Vec<u8>);

/// Why a key could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    #[error("there is no signature key of that handle here")]
    Missing,
    #[error("the signature keys cannot be reached: {0}")]
    Unavailable(String),
}

pub trait SignatureKeys: Send + Sync {
    /// Makes a key; it is durable when this returns.
    fn generate(&self, algorithm: Algorithm) -> Result<KeyHandle, KeyFault>;
    fn public(&self, key: &KeyHandle) -> Result<PublicKey, KeyFault>;
    /// ECDSA as DER, Ed25519 as 64 octets.
    fn sign(&self, key: &KeyHandle, content: &[u8]) -> Result<Vec<u8>, KeyFault>;
    /// Forgets a key for good; a key already gone is no fault.
    fn delete(&self, key: &KeyHandle) -> Result<(), KeyFault>;
}

/// Keys in memory; clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryKeys {
    keys: Arc<Mutex<HashMap<KeyHandle, PrivateKey>>>,
}

impl MemoryKeys {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<KeyHandle, PrivateKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, handle: &KeyHandle) -> Result<PrivateKey, KeyFault> {
        self.keys().get(handle).cloned().ok_or(KeyFault::Missing)
    }

    /// A copy of the keys as they are now, no longer shared.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        let keys = self.keys().clone();
        Self {
            keys: Arc::new(Mutex::new(keys)),
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.keys().len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl SignatureKeys for MemoryKeys {
    fn generate(&self, algorithm: Algorithm) -> Result<KeyHandle, KeyFault> {
        let key = PrivateKey::generate(algorithm).map_err(unavailable)?;
        let handle = fresh_handle()?;
        self.keys().insert(handle.clone(), key);
        Ok(handle)
    }

    fn public(&self, key: &KeyHandle) -> Result<PublicKey, KeyFault> {
        self.key(key)?.public().map_err(unavailable)
    }

    fn sign(&self, key: &KeyHandle, content: &[u8]) -> Result<Vec<u8>, KeyFault> {
        self.key(key)?.sign(content).map_err(unavailable)
    }

    fn delete(&self, key: &KeyHandle) -> Result<(), KeyFault> {
        self.keys().remove(key);
        Ok(())
    }
}

/// Keys as PKCS#8 files in a directory that only its owner can read. For programs without a
/// keyring; the files are as safe as the disk they lie on.
#[derive(Clone, Debug)]
pub struct FileKeys {
    directory: PathBuf,
}

impl FileKeys {
    /// Opens the directory, which is made if it is missing.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    fn path(&self, handle: &KeyHandle) -> Result<PathBuf, KeyFault> {
        // The handle comes from the store: it must not lead out of the directory.
        let id = Uuid::from_slice(&handle.0).map_err(|_| KeyFault::Missing)?;
        Ok(self.directory.join(format!("{id}.key")))
    }

    fn key(&self, handle: &KeyHandle) -> Result<PrivateKey, KeyFault> {
        let der = fs::read(self.path(handle)?).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => KeyFault::Missing,
            _ => unavailable(e),
        })?;
        PrivateKey::from_pkcs8(&der).map_err(unavailable)
    }

    /// Written under another name and moved, so that a crash leaves no half key.
    fn write(&self, path: &Path, der: &[u8]) -> io::Result<()> {
        let draft = path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&draft)?;
        file.write_all(der)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        fs::File::open(&self.directory)?.sync_all()
    }
}

impl SignatureKeys for FileKeys {
    fn generate(&self, algorithm: Algorithm) -> Result<KeyHandle, KeyFault> {
        let key = PrivateKey::generate(algorithm).map_err(unavailable)?;
        let handle = fresh_handle()?;
        let der = key.to_pkcs8().map_err(unavailable)?;
        self.write(&self.path(&handle)?, &der)
            .map_err(unavailable)?;
        Ok(handle)
    }

    fn public(&self, key: &KeyHandle) -> Result<PublicKey, KeyFault> {
        self.key(key)?.public().map_err(unavailable)
    }

    fn sign(&self, key: &KeyHandle, content: &[u8]) -> Result<Vec<u8>, KeyFault> {
        self.key(key)?.sign(content).map_err(unavailable)
    }

    fn delete(&self, key: &KeyHandle) -> Result<(), KeyFault> {
        match fs::remove_file(self.path(key)?) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(unavailable(e)),
            _ => Ok(()),
        }
    }
}

fn unavailable(error: impl std::fmt::Display) -> KeyFault {
    KeyFault::Unavailable(error.to_string())
}

fn fresh_handle() -> Result<KeyHandle, KeyFault> {
    Ok(KeyHandle(
        crate::random::uuid()
            .map_err(unavailable)?
            .into_bytes()
            .into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &dyn SignatureKeys) {
        for algorithm in [Algorithm::P256, Algorithm::Ed25519] {
            let handle = keys.generate(algorithm).unwrap();
            let signature = keys.sign(&handle, b"content").unwrap();
            let public = keys.public(&handle).unwrap();
            assert!(public.verifies(b"content", &signature));
            keys.delete(&handle).unwrap();
            keys.delete(&handle).unwrap();
            assert_eq!(keys.sign(&handle, b"content"), Err(KeyFault::Missing));
        }
        assert_eq!(
            keys.public(&KeyHandle(b"../../etc/passwd".to_vec())),
            Err(KeyFault::Missing)
        );
    }

    #[test]
    fn keys_in_memory() {
        check(&MemoryKeys::new());
    }

    #[test]
    fn keys_in_files() {
        let id = crate::random::uuid().unwrap();
        let directory = std::env::temp_dir().join(format!("comity-keys-{id}"));
        check(&FileKeys::open(&directory).unwrap());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        fs::remove_dir(&directory).unwrap();
    }
}
