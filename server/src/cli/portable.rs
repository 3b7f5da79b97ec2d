//! `comity export ACCOUNT` and `comity import FILE` (XEP-0227).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Args;
use comity_conf::Conf;
use comity_storage::{Created, Storage};
use comity_xmpp::jid::BareJid;

use crate::admin;
use crate::home::{Clock, SystemClock, millis};
use crate::passwords::Passwords;
use crate::portable::{document, read, write};

#[derive(Debug, Args)]
#[group(skip)]
pub struct Export {
    /// As in alice@a.example.
    pub account: String,
    /// The file to write, for its owner alone; without one, standard output.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Leave the archive out.
    #[arg(long)]
    pub no_archive: bool,
}

#[derive(Debug, Args)]
#[group(skip)]
pub struct Import {
    /// A file of XEP-0227, of this server or another; it may have many accounts, and include others.
    pub file: PathBuf,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Reads the database, whether the server runs or not.
///
/// # Errors
/// Why nothing, or not everything, was written.
pub async fn export(conf: &Conf, export: &Export) -> Result<(), Box<dyn std::error::Error>> {
    let account = BareJid::parse(&export.account)?;
    let database = conf.database();
    if !database.exists() {
        return Err(format!("there is no database {}", database.display()).into());
    }
    let storage = Storage::open(&database).await?;
    let with = !export.no_archive;
    let written = match &export.output {
        None => {
            let mut out = BufWriter::new(io::stdout().lock());
            let written = write::export(&storage, &account, with, &mut out).await?;
            out.flush()?;
            written
        }
        Some(path) => {
            // Password keys and what was said in confidence stand in it (XEP-0227 §6).
            let file = File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let mut out = BufWriter::new(file);
            let written = write::export(&storage, &account, with, &mut out).await?;
            out.into_inner()
                .map_err(io::IntoInnerError::into_error)?
                .sync_all()?;
            written
        }
    };
    storage.close().await;
    // Standard output may be the file.
    eprintln!(
        "exported {account}: {} contacts, {} nodes, {} messages that wait, {} of the archive",
        written.contacts, written.nodes, written.offline, written.archived
    );
    Ok(())
}

/// Writes to the database while no server runs: it would not know of what changes beside it.
///
/// # Errors
/// What is wrong with the file. An account is imported as a whole or not at all.
pub async fn import(conf: &Conf, import: &Import) -> Result<(), Box<dyn std::error::Error>> {
    let now = millis(SystemClock.wall());
    let root = document::load(&import.file)?;
    let found =
        read::accounts(&root, now).map_err(|why| format!("{}: {why}", import.file.display()))?;
    drop(root);
    for one in &found {
        let domain = &one.import.domain;
        if !conf.server.domains.contains(domain) {
            let account = &one.import.account.account.account;
            return Err(format!(
                "{account} is of a domain that is not served here: add {domain:?} to \
                 server.domains"
            )
            .into());
        }
    }
    // Whoever has the socket has the directory: no server can start meanwhile.
    let _held = admin::bind(&conf.server.data_dir)
        .await
        .map_err(|error| format!("{error}; stop it to import, and start it again after"))?;
    let result = carry_out(conf, import, found).await;
    // Best effort: one that stays is replaced by the next server.
    let _ = std::fs::remove_file(admin::socket(&conf.server.data_dir));
    result
}

async fn carry_out(
    conf: &Conf,
    import: &Import,
    found: Vec<read::Read>,
) -> Result<(), Box<dyn std::error::Error>> {
    let storage = Storage::open(&conf.database()).await?;
    let passwords = Passwords::new(conf.accounts.scram_iterations);
    for mut one in found {
        let account = one.import.account.account.account.clone();
        if let Some(password) = &one.password {
            one.import.account.keys = passwords
                .keys(password)
                .await
                .map_err(|error| format!("{account}: {error}"))?;
        }
        let summary = summary(&one);
        let created = match import.dry_run {
            false => storage.write(one.import).await?,
            true if storage.account_exists(&account).await? => Created::Exists,
            true => Created::Created,
        };
        match created {
            Created::Created if import.dry_run => println!("would import {account}: {summary}"),
            Created::Created => println!("imported {account}: {summary}"),
            Created::Exists => println!("{account} exists already: nothing of it was changed"),
        }
        for note in &one.notes {
            println!("  not taken over: {note}");
        }
    }
    storage.close().await;
    Ok(())
}

fn summary(one: &read::Read) -> String {
    let import = &one.import;
    let keys = match import.account.keys.len() {
        0 => "no password, until `comity user passwd` gives it one",
        1 => "keys of its password for one mechanism alone: see c2s.scram",
        _ => "its password",
    };
    format!(
        "{} contacts, {} nodes, {} messages that wait, {} of the archive; {keys}",
        import.account.contacts.len(),
        import.account.nodes.len(),
        import.offline.len(),
        import.archive.len(),
    )
}
