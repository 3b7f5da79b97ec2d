//! Reading a backup, and filling an empty data directory from it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use comity_conf::Conf;
use comity_storage::Storage;

use super::seal::{NotOpened, Opener};
use super::{
    BackupError, FILE_BYTES, FILES, MANIFEST_BYTES, MARK, Manifest, Stored, failed, proper,
};
use crate::lock::{self, Lock};

/// Names of a directory that are shown.
const SHOWN: usize = 5;

/// Fills the data directory of this configuration, which has to be empty. All of the file is read
/// before anything is written.
///
/// # Errors
/// What is wrong, and what to do.
pub async fn restore(
    conf: &Conf,
    file: &Path,
    passphrase: String,
) -> Result<Manifest, BackupError> {
    let data_dir = conf.server.data_dir.clone();
    let database = conf.database();
    check_empty(&data_dir)?;
    if database.exists() {
        return Err(BackupError::Occupied(database));
    }
    let (of, phrase) = (file.to_owned(), passphrase.clone());
    let manifest = blocking(move || inspect(&of, &phrase)).await?;
    check(conf, &manifest)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&data_dir)
        .map_err(|error| failed(&data_dir, error))?;
    let lock = Lock::take(&data_dir)?;
    let mark = data_dir.join(MARK);
    File::create_new(&mark).map_err(|error| failed(&mark, error))?;
    let (of, at, to) = (file.to_owned(), data_dir.clone(), database.clone());
    let filled = blocking(move || fill(&of, &passphrase, &at, &to)).await;
    filled.map_err(|error| BackupError::Unfinished(Box::new(error)))?;
    let copied = |source| {
        BackupError::Unfinished(Box::new(BackupError::Copy {
            path: database.clone(),
            source,
        }))
    };
    Storage::verify(&database).await.map_err(copied)?;
    fs::remove_file(&mark).map_err(|error| failed(&mark, error))?;
    sync(&data_dir)?;
    drop(lock);
    Ok(manifest)
}

/// Reads all of a backup and gives what it holds.
pub(super) fn inspect(file: &Path, passphrase: &str) -> Result<Manifest, BackupError> {
    read(file, passphrase, |_, from| {
        io::copy(from, &mut io::sink())
            .map(drop)
            .map_err(|error| broken(file, error))
    })
}

/// What is done with a file of a backup, none of these being the database, and its content.
type Take<'a> = dyn FnMut(Option<&Stored>, &mut dyn Read) -> Result<(), BackupError> + 'a;

/// Gives all that a backup holds to `take`, one after the other.
fn read(
    file: &Path,
    passphrase: &str,
    mut take: impl FnMut(Option<&Stored>, &mut dyn Read) -> Result<(), BackupError>,
) -> Result<Manifest, BackupError> {
    let from = File::open(file).map_err(|error| failed(file, error))?;
    let opened = Opener::start(BufReader::new(from), passphrase);
    let mut opener = opened.map_err(|refused| match refused {
        NotOpened::Io(error) => failed(file, error),
        NotOpened::NoBackup => BackupError::NoBackup(file.to_owned()),
        NotOpened::Other(error) => error,
    })?;
    let json = manifest(&mut opener).map_err(|error| broken(file, error))?;
    let manifest: Manifest =
        serde_json::from_slice(&json).map_err(|error| BackupError::Malformed(error.to_string()))?;
    plausible(&manifest)?;
    hand(&mut opener, manifest.database, None, &mut take)?;
    for stored in &manifest.files {
        hand(&mut opener, stored.bytes, Some(stored), &mut take)?;
    }
    match opener
        .read(&mut [0; 1])
        .map_err(|error| broken(file, error))?
    {
        0 => Ok(manifest),
        _ => Err(BackupError::Malformed("more than it says".to_owned())),
    }
}

fn hand(
    from: &mut impl Read,
    bytes: u64,
    stored: Option<&Stored>,
    take: &mut Take<'_>,
) -> Result<(), BackupError> {
    let mut limited = from.take(bytes);
    take(stored, &mut limited)?;
    match limited.limit() {
        0 => Ok(()),
        _ => Err(BackupError::Malformed("less than it says".to_owned())),
    }
}

/// What [`Opener`] says of its content, or the system of a file.
fn broken(file: &Path, error: io::Error) -> BackupError {
    match error.kind() {
        io::ErrorKind::InvalidData => BackupError::Closed(error.to_string()),
        _ => failed(file, error),
    }
}

fn manifest(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MANIFEST_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "its manifest is too long",
        ));
    }
    let mut json = Vec::new();
    from.take(u64::from(length)).read_to_end(&mut json)?;
    Ok(json)
}

pub(super) fn plausible(manifest: &Manifest) -> Result<(), BackupError> {
    if manifest.files.len() > FILES {
        return Err(BackupError::Malformed("too many files".to_owned()));
    }
    for stored in &manifest.files {
        if !proper(&stored.name) || stored.bytes > FILE_BYTES || stored.mode > 0o777 {
            return Err(BackupError::Malformed(format!("a file {:?}", stored.name)));
        }
    }
    Ok(())
}

fn check(conf: &Conf, manifest: &Manifest) -> Result<(), BackupError> {
    let known = Storage::schema();
    if manifest.schema > known {
        return Err(BackupError::Newer {
            version: manifest.version.clone(),
            schema: manifest.schema,
            known,
        });
    }
    let served = &conf.server.domains;
    match manifest
        .domains
        .iter()
        .find(|domain| !served.contains(domain))
    {
        Some(domain) => Err(BackupError::NotServed { of: domain.clone() }),
        None => Ok(()),
    }
}

/// A file system of its own has `lost+found`; a lock that nobody holds is none.
fn check_empty(data_dir: &Path) -> Result<(), BackupError> {
    let entries = match fs::read_dir(data_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| failed(data_dir, error))?,
    };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "lost+found" && name != lock::FILE)
        .take(SHOWN)
        .collect();
    names.sort();
    match names.is_empty() {
        true => Ok(()),
        false => Err(BackupError::NotEmpty {
            data_dir: data_dir.to_owned(),
            found: names.join(", "),
        }),
    }
}

/// Writes everything, durably.
fn fill(
    file: &Path,
    passphrase: &str,
    data_dir: &Path,
    database: &Path,
) -> Result<(), BackupError> {
    read(file, passphrase, |stored, from| {
        let (at, mode) = match stored {
            Some(stored) => (data_dir.join(&stored.name), stored.mode),
            None => (database.to_owned(), 0o600),
        };
        write(&at, mode, from).map_err(|error| broken(&at, error))
    })?;
    if let Some(folder) = database.parent() {
        sync(folder)?;
    }
    Ok(())
}

fn write(path: &Path, mode: u32, from: &mut dyn Read) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let mut to = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    io::copy(from, &mut to)?;
    // Whatever the umask took away.
    to.set_permissions(Permissions::from_mode(mode))?;
    to.sync_all()?;
    File::open(folder)?.sync_all()
}

fn sync(folder: &Path) -> Result<(), BackupError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| failed(folder, error))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| BackupError::Crypto(error.to_string()))?
}
