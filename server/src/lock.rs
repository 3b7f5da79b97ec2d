//! One server, or one command that writes, for each data directory: a lock of the system's on a file
//! in it, which ends with its process whatever end that has.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::mishap;

/// Its name in the data directory.
pub(crate) const FILE: &str = "comity.lock";
/// Octets of the number of a process.
const NUMBER_BYTES: u64 = 20;

/// Held as long as this lives.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock is the file's")] File);

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "another server{} is running on {}: stop it first, or give this one a data directory of its \
         own (server.data_dir)", Process(*process), data_dir.display()
    )]
    Taken {
        data_dir: PathBuf,
        process: Option<u32>,
    },
    #[error("{} cannot be locked: {source}; {}", path.display(), mishap::of_io(source))]
    Unusable { path: PathBuf, source: io::Error },
}

struct Process(Option<u32>);

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(process) => write!(f, " (process {process})"),
            None => Ok(()),
        }
    }
}

impl Lock {
    /// Takes the data directory, which is there.
    ///
    /// # Errors
    /// [`LockError::Taken`] names who has it.
    pub fn take(data_dir: &Path) -> Result<Self, LockError> {
        let path = data_dir.join(FILE);
        let unusable = |source| LockError::Unusable {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Taken {
                    data_dir: data_dir.to_owned(),
                    process: holder(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        // For people alone: that it cannot be written, on a full disk say, takes nothing away.
        let _ = sign(&mut file);
        Ok(Self(file))
    }
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(NUMBER_BYTES).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_at_a_time_and_is_named() {
        let directory = std::env::temp_dir().join(format!("comity-lock-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let lock = Lock::take(&directory).unwrap();
        let refused = Lock::take(&directory).unwrap_err().to_string();
        let process = format!("(process {})", std::process::id());
        assert!(refused.contains(&process), "{refused}");
        assert!(
            refused.contains(&directory.display().to_string()),
            "{refused}"
        );
        drop(lock);
        // What it has written stays, and is no lock.
        assert!(directory.join(FILE).exists());
        drop(Lock::take(&directory).unwrap());
        std::fs::remove_dir_all(&directory).unwrap();
        let gone = Lock::take(&directory).unwrap_err();
        assert!(matches!(gone, LockError::Unusable { .. }), "{gone}");
    }
}
