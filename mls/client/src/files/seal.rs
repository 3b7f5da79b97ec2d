//! A file sealed and opened: AES-256-GCM under a key of its own, the tag behind the text. Before it is
//! sealed it is padded, so that its length says little; what is behind the length that the message
//! names is thrown away again.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use openssl::sha::Sha256;
use openssl::symm::{Cipher, Crypter, Mode};

use super::attachment::{Attachment, Secret, media_type};
use super::place::{Passing, name_of};
use super::{FileError, MAX_FILE, local};

const TAG: u64 = 16;
/// Octets at a time.
const CHUNK: usize = 64 * 1024;
/// The least a file is padded to.
const LEAST: u64 = 1_024;

/// A file ready to leave. It goes when this does.
pub struct Sealed {
    file: Passing,
    /// Of what leaves.
    pub octets: u64,
    /// Without where it will be.
    pub attachment: Attachment,
}

impl Sealed {
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

/// The most octets that a file of this size leaves as.
#[must_use]
pub fn most_octets(size: u64) -> u64 {
    padded(size) + TAG
}

/// Padmé (Nikitin and others, "Reducing Metadata Leakage from Encrypted Files and Communication with
/// PURBs", §4): of a length of n bits only the upper log2 n may be set, which adds 12 % at most and
/// leaves few lengths to tell apart.
fn padded(size: u64) -> u64 {
    let size = size.max(LEAST);
    let exponent = size.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1_u64 << exponent.saturating_sub(kept)) - 1;
    size.saturating_add(mask) & !mask
}

/// Seals a file of this machine, which stays as it is.
pub fn seal(path: &Path) -> Result<Sealed, FileError> {
    let file = File::open(path).map_err(local(path))?;
    let about = file.metadata().map_err(local(path))?;
    if !about.is_file() {
        return Err(FileError::NoFile(path.to_owned()));
    }
    let size = about.len();
    if size > MAX_FILE {
        let most = MAX_FILE;
        return Err(FileError::TooLarge { size, most });
    }
    let (mut key, mut iv) = ([0; 32], [0; 12]);
    openssl::rand::rand_bytes(&mut key)?;
    openssl::rand::rand_bytes(&mut iv)?;
    // Nobody can read what lies there.
    let passing = Passing::in_folder(&std::env::temp_dir())?;
    let to = create(passing.path())?;
    let mut out = Out::new(to, passing.path(), &key, &iv)?;
    let mut plain = Sha256::new();
    let mut left = size;
    // No more than its length, even if somebody writes to it meanwhile.
    let mut from = BufReader::new(file).take(size);
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).map_err(local(path))?;
        if read == 0 {
            break;
        }
        plain.update(&chunk[..read]);
        out.take(&chunk[..read])?;
        left -= read as u64;
    }
    if left > 0 {
        return Err(local(path)(std::io::Error::other("it became shorter")));
    }
    chunk.fill(0);
    let mut pad = padded(size) - size;
    while pad > 0 {
        let some = usize::try_from(pad).unwrap_or(CHUNK).min(CHUNK);
        out.take(&chunk[..some])?;
        pad -= some as u64;
    }
    let sealed_hash = out.end()?;
    let name = name_of(path);
    Ok(Sealed {
        octets: most_octets(size),
        attachment: Attachment {
            media_type: media_type(&name).to_owned(),
            name,
            size,
            hash: plain.finish(),
            sealed_hash,
            key: Secret(key),
            iv,
            url: String::new(),
        },
        file: passing,
    })
}

/// What is sealed, on its way to the disk.
struct Out {
    crypter: Crypter,
    hash: Sha256,
    to: BufWriter<File>,
    path: PathBuf,
    buffer: Vec<u8>,
}

impl Out {
    fn new(to: File, path: &Path, key: &[u8], iv: &[u8]) -> Result<Self, FileError> {
        Ok(Self {
            crypter: Crypter::new(Cipher::aes_256_gcm(), Mode::Encrypt, key, Some(iv))?,
            hash: Sha256::new(),
            to: BufWriter::new(to),
            path: path.to_owned(),
            buffer: vec![0; CHUNK + 32],
        })
    }

    fn take(&mut self, plain: &[u8]) -> Result<(), FileError> {
        let octets = self.crypter.update(plain, &mut self.buffer)?;
        self.write(octets)
    }

    fn write(&mut self, octets: usize) -> Result<(), FileError> {
        self.hash.update(&self.buffer[..octets]);
        let written = self.to.write_all(&self.buffer[..octets]);
        written.map_err(local(&self.path))
    }

    /// The hash of it all.
    fn end(mut self) -> Result<[u8; 32], FileError> {
        let octets = self.crypter.finalize(&mut self.buffer)?;
        self.write(octets)?;
        let mut tag = [0; 16];
        self.crypter.get_tag(&mut tag)?;
        self.buffer[..16].copy_from_slice(&tag);
        self.write(16)?;
        self.to.flush().map_err(local(&self.path))?;
        Ok(self.hash.finish())
    }
}

/// Opens what was fetched; `to` is worth something only if this succeeds.
pub fn open(file: &Attachment, sealed: &Path, to: &Path) -> Result<(), FileError> {
    let from = File::open(sealed).map_err(local(sealed))?;
    let octets = from.metadata().map_err(local(sealed))?.len();
    // Of other clients, files are not padded.
    if octets != most_octets(file.size) && octets != file.size.saturating_add(TAG) {
        return Err(FileError::Forged("another length"));
    }
    let text = octets - TAG;
    let cipher = Cipher::aes_256_gcm();
    let mut crypter = Crypter::new(cipher, Mode::Decrypt, &file.key.0, Some(&file.iv))?;
    let mut out = BufWriter::new(create(to)?);
    let (mut whole, mut plain) = (Sha256::new(), Sha256::new());
    let (mut text_left, mut plain_left) = (text, file.size);
    let mut from = BufReader::new(from);
    let (mut chunk, mut opened) = (vec![0; CHUNK], vec![0; CHUNK + 32]);
    while text_left > 0 {
        let most = usize::try_from(text_left).unwrap_or(CHUNK).min(CHUNK);
        from.read_exact(&mut chunk[..most]).map_err(local(sealed))?;
        text_left -= most as u64;
        whole.update(&chunk[..most]);
        let count = crypter.update(&chunk[..most], &mut opened)?;
        let wanted = usize::try_from(plain_left).unwrap_or(count).min(count);
        plain.update(&opened[..wanted]);
        out.write_all(&opened[..wanted]).map_err(local(to))?;
        plain_left -= wanted as u64;
    }
    let mut tag = [0; 16];
    from.read_exact(&mut tag).map_err(local(sealed))?;
    whole.update(&tag);
    crypter.set_tag(&tag)?;
    let authentic = crypter.finalize(&mut opened).is_ok();
    if whole.finish() != file.sealed_hash || !authentic {
        return Err(FileError::Forged("somebody has changed it"));
    }
    if plain_left > 0 || plain.finish() != file.hash {
        return Err(FileError::Forged("another hash than its sender named"));
    }
    out.flush().map_err(local(to))
}

/// One that is there already, and empty.
fn create(path: &Path) -> Result<File, FileError> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).truncate(true).open(path);
    file.map_err(local(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_says_little_and_costs_little() {
        for (size, expected) in [(0, 1024), (1, 1024), (1025, 1088), (100_000, 100_352)] {
            assert_eq!(padded(size), expected, "{size}");
        }
        let mut lengths = std::collections::BTreeSet::new();
        for size in (2_000..2_000_000).step_by(17) {
            let padded = padded(size);
            assert!(
                padded >= size && padded <= size + size / 8,
                "{size}: {padded}"
            );
            lengths.insert(padded);
        }
        assert!(lengths.len() < 400, "{}", lengths.len());
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("comity-seal-{}", comity_net::random::id());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        fn file(&self, name: &str, octets: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, octets).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_was_sealed_opens_and_nothing_else_does() {
        let folder = Folder::new();
        for size in [0, 1, 1_000, 1_024, CHUNK, CHUNK + 1, 300_000] {
            let octets: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let path = folder.file("tea.jpg", &octets);
            let sealed = seal(&path).unwrap();
            let there = std::fs::read(sealed.path()).unwrap();
            assert_eq!(there.len() as u64, sealed.octets);
            assert!(size < 16 || !there.windows(16).any(|some| *some == octets[..16]));
            let to = folder.file("opened", &[]);
            open(&sealed.attachment, sealed.path(), &to).unwrap();
            assert_eq!(std::fs::read(&to).unwrap(), octets, "{size}");
        }
    }

    /// A server changes what it keeps; a sender names what it did not send.
    #[test]
    fn what_is_forged_is_told_apart() {
        let folder = Folder::new();
        let path = folder.file("tea.txt", b"two lumps, please");
        let sealed = seal(&path).unwrap();
        let there = std::fs::read(sealed.path()).unwrap();
        let to = folder.file("opened", &[]);
        let fails = |file: &Attachment, octets: &[u8]| {
            let path = folder.file("fetched", octets);
            let error = open(file, &path, &to).unwrap_err();
            assert!(matches!(error, FileError::Forged(_)), "{error}");
        };
        let file = &sealed.attachment;
        for at in [0, 500, there.len() - 1] {
            let mut other = there.clone();
            other[at] ^= 1;
            fails(file, &other);
        }
        fails(file, &there[..there.len() - 1]);
        fails(file, &[&there[..], b"x"].concat());
        fails(file, b"");
        let mut other = file.clone();
        other.key.0[0] ^= 1;
        fails(&other, &there);
        let mut other = file.clone();
        other.hash[0] ^= 1;
        fails(&other, &there);
        let mut other = file.clone();
        other.size += 1;
        fails(&other, &there);
        assert!(matches!(seal(&folder.0), Err(FileError::NoFile(_))));
        let nothing = seal(&folder.0.join("nothing"));
        assert!(matches!(nothing, Err(FileError::Local { .. })));
    }
}
