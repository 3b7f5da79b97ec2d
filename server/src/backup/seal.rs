//! A stream sealed under a passphrase, of any length and in little memory.
//!
//! AES-256-GCM under a key that scrypt (RFC 7914) makes of the passphrase, as for a CA's backup, over
//! chunks of 64 KiB. A chunk's nonce has its number and whether it is the last, the construction
//! STREAM of Hoang, Reyhanitabar, Rogaway and Vizár (2015): chunks cannot be exchanged, left out, or
//! cut off at the end.

use std::io::{self, BufRead, Read, Write};

use comity_mls_service::authority::ca::backup::{SALT_BYTES, passphrase_key};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use super::BackupError;

const MAGIC: &[u8; 16] = b"comity backup\r\n\0";
pub(super) const VERSION: u8 = 1;
const PREFIX_BYTES: usize = 7;
const HEADER_BYTES: usize = MAGIC.len() + 1 + SALT_BYTES + PREFIX_BYTES;
const CHUNK_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;

/// Key, and the nonces in their order.
struct Chunks {
    key: LessSafeKey,
    header: [u8; HEADER_BYTES],
    number: u32,
}

impl Chunks {
    fn of(header: [u8; HEADER_BYTES], passphrase: &str) -> Result<Self, BackupError> {
        let salt = &header[MAGIC.len() + 1..][..SALT_BYTES];
        let crypto = |error: String| BackupError::Crypto(error);
        let key = passphrase_key(passphrase, salt).map_err(|error| crypto(error.to_string()))?;
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|error| crypto(error.to_string()))?;
        Ok(Self {
            key: LessSafeKey::new(key),
            header,
            number: 0,
        })
    }

    fn nonce(&mut self, last: bool) -> io::Result<Nonce> {
        let mut nonce = [0; NONCE_LEN];
        nonce[..PREFIX_BYTES].copy_from_slice(&self.header[HEADER_BYTES - PREFIX_BYTES..]);
        nonce[PREFIX_BYTES..NONCE_LEN - 1].copy_from_slice(&self.number.to_be_bytes());
        nonce[NONCE_LEN - 1] = u8::from(last);
        // No nonce serves twice: 256 TiB are enough for one file.
        self.number = (self.number.checked_add(1))
            .ok_or_else(|| io::Error::other("a backup cannot be larger than 256 TiB"))?;
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}

/// Seals what is written.
pub(super) struct Sealer<W> {
    to: W,
    chunks: Chunks,
    chunk: Vec<u8>,
}

impl<W: Write> Sealer<W> {
    pub(super) fn start(to: W, passphrase: &str) -> Result<Self, BackupError> {
        let mut header = [0; HEADER_BYTES];
        header[..MAGIC.len()].copy_from_slice(MAGIC);
        header[MAGIC.len()] = VERSION;
        SystemRandom::new()
            .fill(&mut header[MAGIC.len() + 1..])
            .map_err(|_| BackupError::Crypto("the system gives no randomness".to_owned()))?;
        let chunks = Chunks::of(header, passphrase)?;
        let chunk = Vec::with_capacity(CHUNK_BYTES + TAG_BYTES);
        Ok(Self { to, chunks, chunk })
    }

    /// Without this the file is not whole.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        Ok(self.to)
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        if self.chunks.number == 0 {
            self.to.write_all(&self.chunks.header)?;
        }
        let nonce = self.chunks.nonce(last)?;
        let header = Aad::from(self.chunks.header);
        let sealed = (self.chunks.key).seal_in_place_append_tag(nonce, header, &mut self.chunk);
        sealed.map_err(|_| io::Error::other("a chunk could not be sealed"))?;
        self.to.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits: it may be the last.
        if self.chunk.len() == CHUNK_BYTES && !bytes.is_empty() {
            self.seal(false)?;
        }
        let taken = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives what was sealed; an error as soon as a chunk is not as it was.
pub(super) struct Opener<R> {
    from: R,
    chunks: Chunks,
    chunk: Vec<u8>,
    given: usize,
    over: bool,
}

/// Why a file is not even begun.
pub(super) enum NotOpened {
    Io(io::Error),
    NoBackup,
    Other(BackupError),
}

impl<R: BufRead> Opener<R> {
    pub(super) fn start(mut from: R, passphrase: &str) -> Result<Self, NotOpened> {
        let mut header = [0; HEADER_BYTES];
        match from.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(NotOpened::NoBackup);
            }
            other => other.map_err(NotOpened::Io)?,
        }
        if !header.starts_with(MAGIC) {
            return Err(NotOpened::NoBackup);
        }
        match header[MAGIC.len()] {
            VERSION => {}
            other => return Err(NotOpened::Other(BackupError::Version { found: other })),
        }
        Ok(Self {
            from,
            chunks: Chunks::of(header, passphrase).map_err(NotOpened::Other)?,
            chunk: Vec::with_capacity(CHUNK_BYTES + TAG_BYTES),
            given: 0,
            over: false,
        })
    }

    fn open(&mut self) -> io::Result<()> {
        self.given = 0;
        self.chunk.clear();
        let whole = u64::try_from(CHUNK_BYTES + TAG_BYTES).unwrap_or(u64::MAX);
        (&mut self.from).take(whole).read_to_end(&mut self.chunk)?;
        self.over = self.from.fill_buf()?.is_empty();
        let first = self.chunks.number == 0;
        let nonce = self.chunks.nonce(self.over)?;
        let header = Aad::from(self.chunks.header);
        let opened = self
            .chunks
            .key
            .open_in_place(nonce, header, &mut self.chunk);
        let Ok(opened) = opened.map(|opened| opened.len()) else {
            let why = match first {
                true => "the passphrase is another one, or the file is damaged",
                false => "the file is damaged, or not all of it is there",
            };
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        };
        self.chunk.truncate(opened);
        Ok(())
    }
}

impl<R: BufRead> Read for Opener<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.given == self.chunk.len() {
            if self.over || to.is_empty() {
                return Ok(0);
            }
            self.open()?;
        }
        let left = &self.chunk[self.given..];
        let count = left.len().min(to.len());
        to[..count].copy_from_slice(&left[..count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(content: &[u8]) -> Vec<u8> {
        let mut sealer = Sealer::start(Vec::new(), "horse").unwrap();
        sealer.write_all(content).unwrap();
        sealer.finish().unwrap()
    }

    fn open(sealed: &[u8], passphrase: &str) -> io::Result<Vec<u8>> {
        let opener = Opener::start(sealed, passphrase);
        let mut opener = opener.map_err(|_| io::Error::other("not begun"))?;
        let mut content = Vec::new();
        opener.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn what_is_sealed_is_opened_and_nothing_else() {
        // Under one chunk, exactly one, exactly two, and more.
        for length in [0, 5, CHUNK_BYTES, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 1] {
            let content: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let sealed = seal(&content);
            assert_eq!(open(&sealed, "horse").unwrap(), content, "{length}");
        }
    }

    /// Each derivation of a key takes a tenth of a second and more: few cases, well chosen.
    #[test]
    fn nothing_is_left_out_exchanged_or_cut_off() {
        let sealed = seal(&vec![7; 3 * CHUNK_BYTES]);
        let whole = CHUNK_BYTES + TAG_BYTES;
        let (first, second) = (HEADER_BYTES, HEADER_BYTES + whole);
        let mut exchanged = sealed[..first].to_vec();
        exchanged.extend_from_slice(&sealed[second..second + whole]);
        exchanged.extend_from_slice(&sealed[first..second]);
        exchanged.extend_from_slice(&sealed[second + whole..]);
        let mut flipped = sealed.clone();
        flipped[second + 9] ^= 1;
        let mut salted = sealed.clone();
        salted[MAGIC.len() + 3] ^= 1;
        let cases = [
            ("another passphrase", sealed.clone(), "battery"),
            ("cut off between chunks", sealed[..second].to_vec(), "horse"),
            (
                "cut off within a chunk",
                sealed[..second + 99].to_vec(),
                "horse",
            ),
            (
                "left out",
                [&sealed[..first], &sealed[second..]].concat(),
                "horse",
            ),
            ("exchanged", exchanged, "horse"),
            ("a bit of a chunk", flipped, "horse"),
            ("a bit of the header", salted, "horse"),
            ("more behind", [&sealed[..], b"x"].concat(), "horse"),
        ];
        for (what, sealed, passphrase) in cases {
            let refused = open(&sealed, passphrase).unwrap_err();
            assert_eq!(
                refused.kind(),
                io::ErrorKind::InvalidData,
                "{what}: {refused}"
            );
        }
        let none = Opener::start(&b"PK\x03\x04"[..], "horse");
        assert!(matches!(none, Err(NotOpened::NoBackup)));
        let mut newer = sealed;
        newer[MAGIC.len()] = 9;
        let newer = Opener::start(&newer[..], "horse");
        assert!(matches!(
            newer,
            Err(NotOpened::Other(BackupError::Version { found: 9 }))
        ));
    }
}
