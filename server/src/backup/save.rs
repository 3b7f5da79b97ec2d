//! Writing a backup, beside a server that runs or without one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use comity_conf::Conf;
use comity_storage::Storage;

use super::restore::inspect;
use super::seal::Sealer;
use super::{BackupError, FILE_BYTES, FILES, Manifest, Stored, failed, passing};

/// Writes `file`, reads it once more from beginning to end, and gives what it holds. Nothing is
/// left where that fails.
///
/// # Errors
/// What is wrong, and what to do.
pub async fn save(
    conf: &Conf,
    file: &Path,
    passphrase: String,
    now: u64,
) -> Result<Manifest, BackupError> {
    let data_dir = &conf.server.data_dir;
    let database = conf.database();
    if file.exists() {
        return Err(BackupError::Exists(file.to_owned()));
    }
    if lies_in(file, data_dir) {
        return Err(BackupError::Inside(file.to_owned()));
    }
    if !database.exists() {
        return Err(BackupError::Nothing(database));
    }
    let copy = Passing(beside(file, ".database"));
    let schema = Storage::snapshot(&database, &copy.0)
        .await
        .map_err(|source| BackupError::Copy {
            path: database.clone(),
            source,
        })?;
    let gathered = gather(data_dir, &database, &conf.uploads_folder())?;
    let length = fs::metadata(&copy.0).map_err(|error| failed(&copy.0, error))?;
    let manifest = Manifest {
        made: now,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema,
        domains: conf.server.domains.clone(),
        database: length.len(),
        files: gathered.iter().map(|(stored, _)| stored.clone()).collect(),
    };
    let file = file.to_owned();
    let written = move || write_whole(&file, &copy.0, &manifest, &gathered, &passphrase);
    let written = tokio::task::spawn_blocking(written).await;
    written.map_err(|error| BackupError::Crypto(error.to_string()))?
}

fn write_whole(
    file: &Path,
    copy: &Path,
    manifest: &Manifest,
    gathered: &[(Stored, Vec<u8>)],
    passphrase: &str,
) -> Result<Manifest, BackupError> {
    let unfinished = Passing(beside(file, ".unfinished"));
    let path = &unfinished.0;
    let to = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| failed(path, error))?;
    let sealer = Sealer::start(BufWriter::new(to), passphrase)?;
    content(sealer, copy, manifest, gathered).map_err(|error| failed(path, error))?;
    // A backup that was never read is a hope.
    let read = inspect(path, passphrase)?;
    if read != *manifest {
        return Err(BackupError::Malformed("another manifest".to_owned()));
    }
    // Nobody else's file is replaced: a link is made only where there is none.
    fs::hard_link(path, file).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists(file.to_owned()),
        _ => failed(file, error),
    })?;
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| failed(folder, error))?;
    Ok(read)
}

fn content(
    mut sealer: Sealer<BufWriter<File>>,
    copy: &Path,
    manifest: &Manifest,
    gathered: &[(Stored, Vec<u8>)],
) -> io::Result<()> {
    let json = serde_json::to_vec(manifest)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    sealer.write_all(&length.to_be_bytes())?;
    sealer.write_all(&json)?;
    io::copy(&mut File::open(copy)?.take(manifest.database), &mut sealer)?;
    for (_, bytes) in gathered {
        sealer.write_all(bytes)?;
    }
    let file = sealer
        .finish()?
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}

/// Every file of the data directory, by name, but for the database, what people have uploaded, which
/// may be more than all else and ends soon, and what passes.
fn gather(
    data_dir: &Path,
    database: &Path,
    uploads: &Path,
) -> Result<Vec<(Stored, Vec<u8>)>, BackupError> {
    let mut folders = vec![data_dir.to_owned()];
    let mut gathered = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| failed(&folder, error))? {
            let entry = entry.map_err(|error| failed(&folder, error))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(|error| failed(&path, error))?;
            if kind.is_dir() && path == uploads {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
                continue;
            }
            // A link leads elsewhere, and a socket nowhere; `lost+found` and the like have neither.
            let name = path.strip_prefix(data_dir).ok().and_then(Path::to_str);
            let Some(name) = name.filter(|name| kind.is_file() && !passing(name)) else {
                continue;
            };
            if is_of(&path, database) {
                continue;
            }
            if let Some(found) = read(&path, name)? {
                gathered.push(found);
            }
            if gathered.len() > FILES {
                return Err(BackupError::TooMuch(data_dir.to_owned()));
            }
        }
    }
    gathered.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    Ok(gathered)
}

/// `None`: the server has replaced or removed it meanwhile.
fn read(path: &Path, name: &str) -> Result<Option<(Stored, Vec<u8>)>, BackupError> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| failed(path, error))?,
    };
    let metadata = file.metadata().map_err(|error| failed(path, error))?;
    if metadata.len() > FILE_BYTES {
        return Err(BackupError::TooMuch(path.to_owned()));
    }
    let mut bytes = Vec::new();
    let mut limited = (&mut file).take(FILE_BYTES);
    limited
        .read_to_end(&mut bytes)
        .map_err(|error| failed(path, error))?;
    let stored = Stored {
        name: name.to_owned(),
        mode: metadata.permissions().mode() & 0o777,
        bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
    };
    Ok(Some((stored, bytes)))
}

/// The database, what SQLite keeps beside it, and the copies made before upgrades.
fn is_of(path: &Path, database: &Path) -> bool {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return false;
    };
    let Some(base) = database
        .file_name()
        .filter(|_| database.parent() == Some(folder))
    else {
        return false;
    };
    let name = name.to_string_lossy();
    let Some(rest) = name.strip_prefix(&*base.to_string_lossy()) else {
        return false;
    };
    matches!(rest, "" | "-wal" | "-shm" | "-journal") || rest.starts_with(".schema-")
}

fn lies_in(file: &Path, data_dir: &Path) -> bool {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match (fs::canonicalize(folder), fs::canonicalize(data_dir)) {
        (Ok(folder), Ok(data_dir)) => folder.starts_with(data_dir),
        _ => false,
    }
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// A file that is not there afterwards, whatever happens.
struct Passing(PathBuf);

impl Drop for Passing {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
