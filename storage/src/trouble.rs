//! What is the matter with a database, as far as an operator can do something about it.

use std::io;

use crate::Error;

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no room left on the disk, or in the quota.
    Full,
    /// The file system, or the file, is not to be written.
    ReadOnly,
    /// It may not be opened by this user.
    Forbidden,
    /// It is damaged, or no database.
    Damaged,
    /// The disk fails.
    Disk,
    /// Another program holds it.
    Busy,
    /// A newer version has written it.
    Newer,
    Other,
}

impl Trouble {
    /// What the operator does next.
    #[must_use]
    pub fn todo(self) -> &'static str {
        match self {
            Self::Full => "make room on the disk of the database (`df -h` shows how much there is)",
            Self::ReadOnly => {
                "see why its file system or file is read-only (`findmnt -T FILE`, `dmesg`), and make \
                 it writable"
            }
            Self::Forbidden => {
                "let the user that the server runs as own it and its folder (`ls -ld`, `chown`), or \
                 run this as that user"
            }
            Self::Damaged => {
                "stop the server, keep a copy of the file, and put the last backup in its place \
                 (`comity restore`)"
            }
            Self::Disk => "see what `dmesg` says of the disk",
            Self::Busy => "end the other program that holds it (`fuser FILE` shows which)",
            Self::Newer => "run the version of comity that has written it, or a newer one",
            Self::Other => "look at the log",
        }
    }
}

/// <https://www.sqlite.org/rescode.html>: the lowest octet is the primary code.
const PRIMARY: i64 = 0xff;

impl Error {
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Database(error) => of(error),
            Self::NewerSchema { .. } => Trouble::Newer,
            Self::Damaged(_) => Trouble::Damaged,
            Self::NoRoom => Trouble::Full,
            Self::NoCopy { source, .. } => source.trouble(),
            Self::Closed | Self::Full | Self::Panicked => Trouble::Other,
        }
    }
}

pub(crate) fn of(error: &sqlx::Error) -> Trouble {
    match error {
        sqlx::Error::Io(error) => of_io(error),
        sqlx::Error::Database(error) => {
            let code = error.code().and_then(|code| code.parse::<i64>().ok());
            code.map_or(Trouble::Other, of_code)
        }
        _ => Trouble::Other,
    }
}

fn of_io(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Trouble::Full,
        io::ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly,
        io::ErrorKind::PermissionDenied => Trouble::Forbidden,
        _ => Trouble::Other,
    }
}

fn of_code(code: i64) -> Trouble {
    match code & PRIMARY {
        // SQLITE_BUSY, SQLITE_LOCKED
        5 | 6 => Trouble::Busy,
        // SQLITE_READONLY
        8 => Trouble::ReadOnly,
        // SQLITE_IOERR
        10 => Trouble::Disk,
        // SQLITE_CORRUPT, SQLITE_NOTADB
        11 | 26 => Trouble::Damaged,
        // SQLITE_FULL
        13 => Trouble::Full,
        // SQLITE_PERM, SQLITE_CANTOPEN, SQLITE_AUTH
        3 | 14 | 23 => Trouble::Forbidden,
        _ => Trouble::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_kinds_have_their_trouble() {
        let check = |code, expected| assert_eq!(of_code(code), expected, "{code}");
        check(13, Trouble::Full);
        check(8, Trouble::ReadOnly);
        // SQLITE_READONLY_DBMOVED, SQLITE_IOERR_WRITE, SQLITE_CORRUPT_INDEX
        check(1032, Trouble::ReadOnly);
        check(778, Trouble::Disk);
        check(779, Trouble::Damaged);
        check(26, Trouble::Damaged);
        check(14, Trouble::Forbidden);
        check(5, Trouble::Busy);
        check(1, Trouble::Other);
        let io = |kind| of(&sqlx::Error::Io(io::Error::from(kind)));
        assert_eq!(io(io::ErrorKind::StorageFull), Trouble::Full);
        assert_eq!(io(io::ErrorKind::ReadOnlyFilesystem), Trouble::ReadOnly);
        assert_eq!(io(io::ErrorKind::PermissionDenied), Trouble::Forbidden);
        assert_eq!(Error::NoRoom.trouble(), Trouble::Full);
    }
}
