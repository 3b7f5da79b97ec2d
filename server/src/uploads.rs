//! Files that people have uploaded (XEP-0363), on the disk. Who may, and whose they are, is the
//! business of [`crate::module::http_upload`]; how they come and go over HTTP is that of
//! [`crate::web`].
//!
//! A file gets its name when all of it is on the disk, and nobody is told of it before. What lies
//! here without being known to the storage goes at the next sweep, and what the storage knows without
//! its lying here does.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use comity_net::http::Pieces;
use comity_storage::UploadId;
use tokio::io::AsyncWriteExt as _;

use crate::counters::Counter;

mod sweep;

pub(crate) use sweep::sweep;

/// Uploads that are received at a time: each has an open file.
const RECEIVED_AT_ONCE: usize = 200;
/// The end of the name of what is not whole.
const PART: &str = ".part";

/// What may be uploaded.
#[derive(Clone, Debug)]
pub struct Rules {
    /// 0: nothing.
    pub file_bytes: u64,
    pub account_bytes: u64,
    pub total_bytes: u64,
    pub retention: Duration,
}

pub struct Uploads {
    pub rules: Rules,
    folder: PathBuf,
    /// Those that come in right now.
    receiving: Mutex<HashSet<UploadId>>,
    /// Octets that have come and gone.
    pub received: Counter,
    pub sent: Counter,
}

/// Why a file was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum Unreceived {
    #[error("this place is being written to: wait for that to end")]
    Busy,
    #[error("too many files are coming in: try again in a minute")]
    Crowded,
    #[error("the file broke off: send it again from its beginning")]
    BrokeOff,
    #[error("the file came too slowly: send it again from its beginning")]
    Slow,
    #[error("{0} octets were promised, and others came: ask for another place")]
    Size(u64),
    #[error("the file cannot be kept: {0}")]
    Disk(io::Error),
}

impl Uploads {
    #[must_use]
    pub fn new(folder: PathBuf, rules: Rules) -> Self {
        Self {
            rules,
            folder,
            receiving: Mutex::default(),
            received: Counter::default(),
            sent: Counter::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes in all of a file; on the disk when this returns.
    ///
    /// # Errors
    /// Why not; then nothing of it is left.
    pub async fn receive(
        &self,
        id: &UploadId,
        size: u64,
        pieces: &mut Pieces,
    ) -> Result<(), Unreceived> {
        let _turn = self.turn(id)?;
        let path = self.path(id);
        let part = path.with_extension(&PART[1..]);
        let received = self.write(&part, size, pieces).await;
        let named = match received {
            Ok(()) => self.name(&part, &path).await.map_err(Unreceived::Disk),
            Err(why) => Err(why),
        };
        if named.is_err() {
            // What stays goes at the next sweep.
            let _ = tokio::fs::remove_file(&part).await;
        }
        named
    }

    /// A file that is whole, for reading.
    ///
    /// # Errors
    /// It is not there, or the disk fails.
    pub async fn open(&self, id: &UploadId) -> io::Result<tokio::fs::File> {
        tokio::fs::File::open(self.path(id)).await
    }

    /// Removes one that nobody shall have.
    pub async fn remove(&self, id: &UploadId) {
        if let Err(error) = tokio::fs::remove_file(self.path(id)).await
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "an uploaded file cannot be removed; it is tried again");
        }
    }

    async fn write(&self, part: &Path, size: u64, pieces: &mut Pieces) -> Result<(), Unreceived> {
        let folder = part.parent().unwrap_or(&self.folder).to_owned();
        let made = tokio::task::spawn_blocking(move || {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(folder)
        });
        made.await
            .unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
            .map_err(Unreceived::Disk)?;
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = tokio::fs::OpenOptions::from(options).open(part).await;
        let mut file = file.map_err(Unreceived::Disk)?;
        let mut come = 0_u64;
        while let Some(piece) = pieces.next().await.map_err(broken)? {
            come = come.saturating_add(piece.len() as u64);
            if come > size {
                return Err(Unreceived::Size(size));
            }
            file.write_all(&piece).await.map_err(Unreceived::Disk)?;
            self.received.add(piece.len());
        }
        if come != size {
            return Err(Unreceived::Size(size));
        }
        file.flush().await.map_err(Unreceived::Disk)?;
        file.sync_all().await.map_err(Unreceived::Disk)
    }

    /// The name is there after a loss of power, too.
    async fn name(&self, part: &Path, path: &Path) -> io::Result<()> {
        tokio::fs::rename(part, path).await?;
        for folder in path.ancestors().skip(1).take(2) {
            tokio::fs::File::open(folder).await?.sync_all().await?;
        }
        Ok(())
    }

    fn turn(&self, id: &UploadId) -> Result<Turn<'_>, Unreceived> {
        let mut receiving = self.receiving();
        if receiving.len() >= RECEIVED_AT_ONCE {
            return Err(Unreceived::Crowded);
        }
        match receiving.insert(*id) {
            true => Ok(Turn {
                uploads: self,
                id: *id,
            }),
            false => Err(Unreceived::Busy),
        }
    }

    fn receiving(&self) -> std::sync::MutexGuard<'_, HashSet<UploadId>> {
        self.receiving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Below a folder of its first octet: file systems like it, and people who look.
    fn path(&self, id: &UploadId) -> PathBuf {
        let name = hex(id);
        self.folder.join(&name[..2]).join(name)
    }
}

/// One file that comes in, which nobody else writes to.
struct Turn<'a> {
    uploads: &'a Uploads,
    id: UploadId,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.uploads.receiving().remove(&self.id);
    }
}

fn broken(error: io::Error) -> Unreceived {
    match error.kind() {
        io::ErrorKind::TimedOut => Unreceived::Slow,
        _ => Unreceived::BrokeOff,
    }
}

/// As it is in paths and URLs.
pub(crate) fn hex(id: &UploadId) -> String {
    id.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The reverse, of exactly what [`hex`] gives.
pub(crate) fn unhex(text: &str) -> Option<UploadId> {
    let digit = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 32 || !text.bytes().all(digit) {
        return None;
    }
    Some(u128::from_str_radix(text, 16).ok()?.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_one_way() {
        let id = 0x00ff_u128.to_be_bytes();
        let text = "000000000000000000000000000000ff";
        assert_eq!((hex(&id).as_str(), unhex(text)), (text, Some(id)));
        for other in [
            "",
            "ff",
            "000000000000000000000000000000FF",
            "+00000000000000000000000000000ff",
            "0000000000000000000000000000000ff",
            "../../../../../../../etc/passwd.",
        ] {
            assert_eq!(unhex(other), None, "{other}");
        }
    }
}
