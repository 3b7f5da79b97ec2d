//! Where a file comes to lie: under a name that means a file and no place, beside what is there, and
//! never in the place of it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{FileError, local};
use crate::terminal::clean::clean;

/// Octets of a name that every file system takes.
const MAX_NAME: usize = 200;
/// Files of one name: `tea.jpg`, `tea (1).jpg`, and so on.
const MAX_SAME: u32 = 999;

/// What a file on this machine is called, for others.
#[must_use]
pub fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    safe_name(&name.to_string_lossy())
}

/// The last part of a name, without what moves a terminal or hides a file; its extension stays.
#[must_use]
pub fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let odd = |c: char| c == '\u{fffd}' || "<>:\"|?*".contains(c);
    let cleaned: String = clean(last)
        .chars()
        .map(|c| if odd(c) { '_' } else { c })
        .collect();
    let name = cleaned.trim_matches(|c: char| c == '.' || c.is_whitespace());
    let (stem, end) = split(name);
    let mut stem = stem.to_owned();
    while stem.len() + end.len() > MAX_NAME {
        stem.pop();
    }
    match stem.is_empty() {
        true => format!("file{end}"),
        false => format!("{stem}{end}"),
    }
}

/// `tea`, `.jpg`.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if name.len() - at <= 16 => name.split_at(at),
        _ => (name, ""),
    }
}

/// A file that goes unless it is settled.
pub struct Passing(PathBuf);

impl Passing {
    /// Empty, and nobody else's to read.
    pub fn in_folder(folder: &Path) -> Result<Self, FileError> {
        let path = folder.join(format!(".comity-{}.part", comity_net::random::id()));
        create(&path).map_err(local(&path))?;
        Ok(Self(path))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Gives it its name, or the next that is free.
    pub fn settle(self, folder: &Path, name: &str) -> Result<PathBuf, FileError> {
        let name = safe_name(name);
        let (stem, end) = split(&name);
        for n in 0..=MAX_SAME {
            let path = match n {
                0 => folder.join(&name),
                n => folder.join(format!("{stem} ({n}){end}")),
            };
            // A link is made only where there is nothing, and follows none.
            match std::fs::hard_link(&self.0, &path) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(_) if self.copied(&path).map_err(local(&path))? => return Ok(path),
                Err(_) => {}
            }
        }
        Err(FileError::Taken(folder.to_owned()))
    }

    /// For file systems without links. False: there is something of that name.
    fn copied(&self, path: &Path) -> io::Result<bool> {
        let mut to = match create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            created => created?,
        };
        io::copy(&mut File::open(&self.0)?, &mut to)?;
        to.sync_all().map(|()| true)
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // What is settled has another name by now.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_there_is_touched() {
        let folder =
            std::env::temp_dir().join(format!("comity-place-{}", comity_net::random::id()));
        std::fs::create_dir(&folder).unwrap();
        let outside = folder.join("outside");
        std::os::unix::fs::symlink(&outside, folder.join("tea (1).jpg")).unwrap();
        std::fs::write(folder.join("tea.jpg"), "mine").unwrap();
        let passing = Passing::in_folder(&folder).unwrap();
        std::fs::write(passing.path(), "theirs").unwrap();
        let path = passing.settle(&folder, "../tea.jpg").unwrap();
        assert_eq!(path, folder.join("tea (2).jpg"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "theirs");
        assert_eq!(
            std::fs::read_to_string(folder.join("tea.jpg")).unwrap(),
            "mine"
        );
        assert!(!outside.exists());
        drop(Passing::in_folder(&folder).unwrap());
        let left = std::fs::read_dir(&folder).unwrap().flatten();
        let parts = left.filter(|file| file.file_name().to_string_lossy().ends_with(".part"));
        assert_eq!(parts.count(), 0);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
