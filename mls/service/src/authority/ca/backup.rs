//! A domain's CA in one sealed file, and back: keys, certificates and handovers, and of the database
//! what must never go backwards: anchors statement, revocation lists, and how long the log was.
//!
//! The file is AES-256-GCM under a key that scrypt (RFC 7914) makes of a passphrase. A restored CA
//! stands over whatever database is there; what the database does not know any more is put back
//! into it, and what cannot be put back is refused unless the operator says that it is lost.

mod domain;

use std::io;
use std::path::PathBuf;

use comity_storage::Storage;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};

use crate::authority::Options;

pub use domain::{Consent, Domain, Restored};

const MAGIC: &[u8; 16] = b"comity ca backup";
const VERSION: u8 = 1;
pub const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = MAGIC.len() + 1 + SALT_BYTES + NONCE_BYTES;
/// The largest file that is read: that of hundreds of domains.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;
/// scrypt's cost: 2^17 blocks of 1 KiB, 128 MiB, since the file may lie anywhere for years.
const SCRYPT_N: u64 = 1 << 17;
const SCRYPT_MAX_MEMORY: u64 = 256 << 20;

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} cannot be read or written: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("the file is no backup of a CA, as `comity ca backup` writes them")]
    NoBackup,
    #[error("the backup is of version {0}, and only version {VERSION} is known: upgrade")]
    Version(u8),
    #[error("the passphrase is another one, or the file is damaged: nothing was changed")]
    Closed,
    #[error("the backup holds what no backup holds: {0}")]
    Malformed(String),
    #[error("there is no CA of {domain} in {}: nothing to back up", directory.display())]
    Nothing { domain: String, directory: PathBuf },
    #[error(
        "{} holds a CA already, and not the backup's: {differs} differ; stop and compare, or let \
         --replace set that directory aside", directory.display()
    )]
    Occupied { directory: PathBuf, differs: String },
    #[error(
        "the database knows a root or issuing CA of {domain} that is newer than the backup: what it \
         issued would no longer be believed; take a newer backup, or say --accept-loss"
    )]
    Older { domain: String },
    #[error(
        "the transparency log of {domain} has {here} entries in the database and had {then} at the \
         backup: clients that have seen more will warn of a log that is not continued; restore a \
         newer database first, or say --accept-loss"
    )]
    LogBehind {
        domain: String,
        here: u64,
        then: u64,
    },
    #[error("the database of {domain} changes meanwhile: stop the server first")]
    Contended { domain: String },
    #[error(transparent)]
    Storage(#[from] comity_storage::Error),
    #[error("the cryptographic library failed: {0}")]
    Crypto(#[from] openssl::error::ErrorStack),
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Backup {
    /// Seconds since 1970.
    pub made: u64,
    pub domains: Vec<Domain>,
}

impl Backup {
    /// Gathers what there is of these domains.
    pub async fn gather(
        storage: &Storage,
        domains: &[Options],
        now: u64,
    ) -> Result<Self, BackupError> {
        let mut gathered = Vec::new();
        for options in domains {
            gathered.push(Domain::gather(storage, options).await?);
        }
        Ok(Self {
            made: now,
            domains: gathered,
        })
    }

    /// The file under a passphrase.
    pub fn seal(&self, passphrase: &str) -> Result<Vec<u8>, BackupError> {
        let content = self.mls_encode_to_vec().map_err(malformed)?;
        let mut sealed = MAGIC.to_vec();
        sealed.push(VERSION);
        sealed.resize(HEADER_BYTES, 0);
        openssl::rand::rand_bytes(&mut sealed[MAGIC.len() + 1..])?;
        let (key, nonce) = opened_by(passphrase, &sealed)?;
        let mut tag = [0; TAG_BYTES];
        let cipher = Cipher::aes_256_gcm();
        let secret = encrypt_aead(cipher, &key, Some(nonce), &sealed, &content, &mut tag)?;
        sealed.extend_from_slice(&secret);
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// What a file holds.
    pub fn open(sealed: &[u8], passphrase: &str) -> Result<Self, BackupError> {
        let rest = sealed.strip_prefix(MAGIC).ok_or(BackupError::NoBackup)?;
        match rest.first() {
            Some(&VERSION) => {}
            Some(other) => return Err(BackupError::Version(*other)),
            None => return Err(BackupError::NoBackup),
        }
        let (header, secret) = sealed
            .split_at_checked(HEADER_BYTES)
            .ok_or(BackupError::NoBackup)?;
        let (secret, tag) = secret
            .split_last_chunk::<TAG_BYTES>()
            .ok_or(BackupError::NoBackup)?;
        let (key, nonce) = opened_by(passphrase, header)?;
        let cipher = Cipher::aes_256_gcm();
        let content = decrypt_aead(cipher, &key, Some(nonce), header, secret, tag)
            .map_err(|_| BackupError::Closed)?;
        Self::mls_decode_exhaustive(&content).map_err(malformed)
    }
}

/// Key and nonce of a header.
fn opened_by<'a>(passphrase: &str, header: &'a [u8]) -> Result<([u8; 32], &'a [u8]), BackupError> {
    let random = &header[MAGIC.len() + 1..HEADER_BYTES];
    let (salt, nonce) = random.split_at(SALT_BYTES);
    Ok((passphrase_key(passphrase, salt)?, nonce))
}

/// The key that a passphrase gives with a salt of [`SALT_BYTES`].
///
/// # Errors
/// When there is no memory for it.
pub fn passphrase_key(
    passphrase: &str,
    salt: &[u8],
) -> Result<[u8; 32], openssl::error::ErrorStack> {
    let mut key = [0; 32];
    openssl::pkcs5::scrypt(
        passphrase.as_bytes(),
        salt,
        SCRYPT_N,
        8,
        1,
        SCRYPT_MAX_MEMORY,
        &mut key,
    )?;
    Ok(key)
}

fn malformed(error: mls_rs_codec::Error) -> BackupError {
    BackupError::Malformed(error.to_string())
}
