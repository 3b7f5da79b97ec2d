//! `comity ca backup` and `comity ca restore`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use comity_conf::Conf;
use comity_mls_service::authority::Options;
use comity_mls_service::authority::ca::backup::{Backup, BackupError, Consent, MAX_BYTES};
use comity_storage::Storage;

use crate::admin::client::Client;
use crate::cli::password::{self, Source, Unreadable};
use crate::lock::{Lock, LockError};
use crate::services;
use crate::time;

#[derive(Debug, Args)]
pub struct Save {
    /// The file to write.
    pub file: PathBuf,
    #[command(flatten)]
    pub which: Which,
}

#[derive(Debug, Args)]
pub struct Restore {
    /// The file to read.
    pub file: PathBuf,
    #[command(flatten)]
    pub which: Which,
    /// Where another CA lies in the directory, set that aside.
    #[arg(long)]
    pub replace: bool,
    /// Go on although others have seen what is neither in the backup nor in the database.
    #[arg(long)]
    pub accept_loss: bool,
}

#[derive(Debug, Args)]
pub struct Which {
    /// One domain alone; without it, all of them.
    #[arg(long)]
    pub domain: Option<String>,
    /// A file with the passphrase in its first line; without it, it is asked for.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Storage(#[from] comity_storage::Error),
    #[error("the passphrase: {0}")]
    Passphrase(String),
    #[error("{} cannot be read or written: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} exists already: name another file", .0.display())]
    Exists(PathBuf),
    #[error("{} is larger than any backup", .0.display())]
    TooLarge(PathBuf),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("a server is running on {}: stop it, restore, and start it again", .0.display())]
    Running(PathBuf),
    #[error("{0} is not in server.domains of this configuration")]
    NotServed(String),
    #[error("the backup holds no {0}")]
    NotHeld(String),
}

impl From<Unreadable> for Error {
    fn from(error: Unreadable) -> Self {
        Self::Passphrase(error.to_string())
    }
}

/// # Errors
/// What is wrong, and what to do; no file is written then.
pub(super) async fn backup(conf: &Conf, save: Save, now: u64) -> Result<(), Error> {
    let domains = match save.which.domain {
        None => conf.server.domains.clone(),
        Some(domain) if conf.server.domains.contains(&domain) => vec![domain],
        Some(other) => return Err(Error::NotServed(other)),
    };
    if save.file.exists() {
        return Err(Error::Exists(save.file));
    }
    let every: Vec<Options> = domains
        .iter()
        .map(|domain| services::options(conf, domain))
        .collect();
    let storage = Storage::open(&conf.database()).await?;
    let gathered = Backup::gather(&storage, &every, now).await;
    storage.close().await;
    let gathered = gathered?;
    let passphrase = match save.which.passphrase_file {
        Some(file) => password::read("the backup", Source::File(file)).await?,
        None => password::read("the backup", Source::Asked).await?,
    };
    let sealed = gathered.seal(&passphrase)?;
    write(&save.file, &sealed)?;
    println!(
        "Wrote {}, sealed under the passphrase.",
        save.file.display()
    );
    for domain in &gathered.domains {
        for name in domain.without_key() {
            println!(
                "{}: the key of {name} is not in it: it is kept offline, or in a token",
                domain.domain
            );
        }
    }
    Ok(())
}

/// # Errors
/// What is wrong, and what to do.
pub(super) async fn restore(conf: &Conf, restore: Restore, now: u64) -> Result<(), Error> {
    let data = &conf.server.data_dir;
    if Client::connect(data).await.is_ok() {
        return Err(Error::Running(data.clone()));
    }
    let sealed = read(&restore.file)?;
    let passphrase = match restore.which.passphrase_file {
        Some(file) => password::read("the backup", Source::File(file)).await?,
        None => password::read("the backup", Source::AskedOnce).await?,
    };
    let held = Backup::open(&sealed, &passphrase)?;
    let wanted = restore.which.domain;
    let chosen: Vec<_> = held
        .domains
        .iter()
        .filter(|held| wanted.as_ref().is_none_or(|domain| *domain == held.domain))
        .collect();
    if let Some(domain) = wanted.filter(|_| chosen.is_empty()) {
        return Err(Error::NotHeld(domain));
    }
    let served = &conf.server.domains;
    if let Some(other) = chosen.iter().find(|held| !served.contains(&held.domain)) {
        return Err(Error::NotServed(other.domain.clone()));
    }
    fs::create_dir_all(data).map_err(|source| file(data, source))?;
    let lock = Lock::take(data)?;
    let consent = Consent {
        replace: restore.replace,
        accept_loss: restore.accept_loss,
    };
    let storage = Storage::open(&conf.database()).await?;
    for held in chosen {
        let options = services::options(conf, &held.domain);
        let restored = held.restore(&storage, &options, consent, now).await?;
        println!(
            "Restored the CA of {}: {} files.",
            held.domain, restored.files
        );
        if let Some(aside) = restored.aside {
            println!("What was there before is in {}.", aside.display());
        }
        if restored.database_was_older {
            println!(
                "The database was older than the backup: revoke again what was revoked since."
            );
        }
    }
    storage.close().await;
    drop(lock);
    println!("The backup is of {}.", time::day(held.made));
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let length = fs::metadata(path)
        .map_err(|source| file(path, source))?
        .len();
    if usize::try_from(length).map_or(true, |length| length > MAX_BYTES) {
        return Err(Error::TooLarge(path.to_owned()));
    }
    fs::read(path).map_err(|source| file(path, source))
}

fn write(path: &Path, sealed: &[u8]) -> Result<(), Error> {
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(sealed)?;
        file.sync_all()
    };
    written().map_err(|source| file(path, source))
}

fn file(path: &Path, source: io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        source,
    }
}
