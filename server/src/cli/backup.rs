//! `comity backup FILE` and `comity restore FILE`: everything the server remembers.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use comity_conf::Conf;

use crate::backup::{self, BackupError, Manifest};
use crate::cli::password::{self, Source, Unreadable};
use crate::home::millis;
use crate::time;

#[derive(Debug, Args)]
pub struct SealedFile {
    /// The file: to write, or to read.
    pub file: PathBuf,
    /// A file with the passphrase in its first line; without it, it is asked for.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("the passphrase: {0}")]
    Passphrase(String),
}

impl From<Unreadable> for Error {
    fn from(error: Unreadable) -> Self {
        Self::Passphrase(error.to_string())
    }
}

/// # Errors
/// What is wrong, and what to do; no file is left then.
pub async fn backup(conf: &Conf, arguments: SealedFile) -> Result<(), Error> {
    let SealedFile { file, .. } = &arguments;
    let passphrase = passphrase(&arguments, Source::Asked).await?;
    let now = millis(SystemTime::now()) / 1000;
    let saved = backup::save(conf, file, passphrase, now).await?;
    println!(
        "Wrote {}, read it again, and found it whole:",
        file.display()
    );
    print!("{}", describe(&saved));
    for outside in outside(conf) {
        println!("not in it: {}", outside.display());
    }
    println!("not in it: the configuration; keep a copy, and the passphrase elsewhere.");
    Ok(())
}

/// # Errors
/// What is wrong, and what to do.
pub async fn restore(conf: &Conf, arguments: SealedFile) -> Result<(), Error> {
    let SealedFile { file, .. } = &arguments;
    let passphrase = passphrase(&arguments, Source::AskedOnce).await?;
    let restored = backup::restore(conf, file, passphrase).await?;
    let data_dir = conf.server.data_dir.display();
    println!("Restored {data_dir} from {}:", file.display());
    print!("{}", describe(&restored));
    println!(
        "Start it with `comity serve`. What was accepted after the backup is not in it: see \
         \"Backup\" in the README for what that means to rooms."
    );
    Ok(())
}

async fn passphrase(arguments: &SealedFile, asked: Source) -> Result<String, Unreadable> {
    let source = match &arguments.passphrase_file {
        Some(file) => Source::File(file.clone()),
        None => asked,
    };
    password::read("the backup", source).await
}

fn describe(manifest: &Manifest) -> String {
    let Manifest {
        made,
        version,
        schema,
        domains,
        database,
        files,
    } = manifest;
    format!(
        "made       {}, by comity {version}\ndomains    {}\ndatabase   {database} octets, schema \
         {schema}\nfiles      {}: keys, certificates and the like\n",
        time::stamp(made * 1000),
        domains.join(", "),
        files.len(),
    )
}

/// What the configuration names outside the data directory.
fn outside(conf: &Conf) -> Vec<PathBuf> {
    let data_dir = &conf.server.data_dir;
    let mut conf = conf.clone();
    let elsewhere = |file: &&PathBuf| !file.starts_with(data_dir) && *file != Path::new("");
    conf.files().filter(elsewhere).cloned().collect()
}
