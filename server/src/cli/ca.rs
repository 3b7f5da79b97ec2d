//! `comity ca …`: the domain's certificate authority, in its directory. A running server is told to
//! look at it again.

mod audit;
mod backup;

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand, ValueEnum};
use comity_conf::Conf;
use comity_mls_credential::keys::Algorithm;
use comity_mls_service::authority::ca::CaError;
use comity_mls_service::authority::ca::ceremony::{self, KeyShown};
use comity_mls_service::authority::token::{Place, Token};
use comity_mls_service::authority::{Options, RootKey};

use crate::admin::client::{Client, Error as AdminError};
use crate::admin::protocol::{Answer, Request};
use crate::home::millis;
use crate::services;
use crate::time;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a root on a machine of its own, for a server with mls.authority.root = "offline".
    Init {
        /// The domain the root is for.
        domain: String,
        #[command(flatten)]
        root: RootDirectory,
        #[arg(long, value_enum, default_value_t = Kind::P256)]
        algorithm: Kind,
        #[command(flatten)]
        token: InToken,
    },
    /// On the server: make a key for an issuing CA, and ask for its certificate.
    Request {
        #[command(flatten)]
        of: Of,
        /// Where to write the request.
        #[arg(long, short, value_name = "FILE", default_value = "issuing.csr")]
        output: PathBuf,
    },
    /// Where the root is: answer a request with certificates to import.
    Sign {
        request: PathBuf,
        /// The domain the root is for.
        #[arg(long)]
        domain: String,
        #[command(flatten)]
        root: RootDirectory,
        /// Where to write the certificates.
        #[arg(long, short, value_name = "FILE", default_value = "issuing.pem")]
        output: PathBuf,
        /// Days the issuing CA is good for.
        #[arg(long, value_name = "DAYS", default_value_t = 730)]
        days: u64,
        #[command(flatten)]
        token: InToken,
    },
    /// On the server: take the certificates that the root's machine has answered with.
    Import {
        certificates: PathBuf,
        #[command(flatten)]
        of: Of,
    },
    /// Show root and issuing CAs.
    Show {
        #[command(flatten)]
        of: Of,
    },
    /// Check the whole transparency log: its hashes, heads and signatures, and that every
    /// certificate is in it. Reads the database itself, whether the server runs or not; a log of a
    /// million entries takes minutes.
    Audit {
        /// One of the domains served here; all of them if none is named.
        domain: Option<String>,
    },
    /// Write keys, certificates and what of the database must not go backwards into one file, sealed
    /// under a passphrase. The server may run.
    Backup(backup::Save),
    /// Put a backup into the data directory of a server that is not running, perhaps another one.
    Restore(backup::Restore),
    /// Make another issuing CA now. Certificates of the one before stay good until they expire.
    RotateIssuing {
        #[command(flatten)]
        of: Of,
    },
    /// Make another root, with the old one's word for it, and an issuing CA below it. With
    /// --directory, where an offline root is kept.
    RotateRoot {
        #[command(flatten)]
        of: Of,
        /// Where an offline root is kept.
        #[arg(long, value_name = "DIRECTORY")]
        directory: Option<PathBuf>,
        #[command(flatten)]
        token: InToken,
    },
}

/// Which domain of ours.
#[derive(Debug, Args)]
pub struct Of {
    /// The domain; without it, the first one served.
    #[arg(long)]
    pub domain: Option<String>,
}

#[derive(Debug, Args)]
pub struct RootDirectory {
    /// Where the root is kept.
    #[arg(long, value_name = "DIRECTORY", default_value = "root")]
    pub directory: PathBuf,
}

/// The PKCS#11 token that holds the root's key, where that is in no file.
#[derive(Debug, Args)]
pub struct InToken {
    /// The PKCS#11 library of the token that holds the root's key.
    #[arg(long, value_name = "LIBRARY", requires = "token")]
    pub module: Option<PathBuf>,
    /// The label of that token.
    #[arg(long, value_name = "LABEL", requires = "module")]
    pub token: Option<String>,
    /// Its slot, where several tokens have one label.
    #[arg(long, value_name = "NUMBER", requires = "module")]
    pub slot: Option<u64>,
    /// A file with its PIN in the first line; without it, the token's keypad is to be used.
    #[arg(long, value_name = "FILE", requires = "module")]
    pub pin_file: Option<PathBuf>,
    /// Its keys are labelled PREFIX DOMAIN root.
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "comity",
        requires = "module"
    )]
    pub key_prefix: String,
}

impl InToken {
    fn of(self, options: Options) -> Options {
        let (Some(module), Some(label)) = (self.module, self.token) else {
            return options;
        };
        let place = Place {
            module,
            label,
            slot: self.slot,
            pin_file: self.pin_file,
            key_prefix: self.key_prefix,
            sessions: 1,
        };
        Options {
            root: RootKey::Token,
            token: Some(Token::at(place)),
            ..options
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    P256,
    Ed25519,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error("{} cannot be read or written: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{0} is not in server.domains of this configuration")]
    NotServed(String),
    #[error("name the domain of the root with --domain")]
    Unnamed,
    #[error(transparent)]
    Admin(AdminError),
    #[error(transparent)]
    Audit(#[from] audit::AuditError),
    #[error(transparent)]
    Backup(#[from] backup::Error),
}

/// # Errors
/// What is wrong, and what to do.
pub async fn ca(conf: &Conf, command: Command) -> Result<(), Error> {
    let now = millis(SystemTime::now()) / 1000;
    match command {
        Command::Init {
            domain,
            root,
            algorithm,
            token,
        } => init(&domain, root.directory, algorithm, token, now),
        Command::Sign {
            request,
            domain,
            root,
            output,
            days,
            token,
        } => {
            let mut options = token.of(Options::new(domain, root.directory));
            options.issuing_lifetime_s = days.saturating_mul(24 * 60 * 60);
            sign(&options, &request, &output, now)
        }
        Command::Request { of, output } => {
            let request = ceremony::request(&options(conf, of.domain)?)?;
            write(&output, &request)?;
            println!(
                "Wrote {0}. Where the root is: comity ca sign {0} --domain DOMAIN",
                output.display()
            );
            Ok(())
        }
        Command::Import { certificates, of } => {
            let options = options(conf, of.domain)?;
            let root = ceremony::import(&options, &read(&certificates)?)?;
            println!("Imported an issuing CA of the root {}.", hex(&root));
            tell(conf).await
        }
        Command::Show { of } => {
            let options = options(conf, of.domain)?;
            show(&options, now)?;
            refused(conf, options.domain).await
        }
        Command::Backup(save) => Ok(backup::backup(conf, save, now).await?),
        Command::Restore(restore) => Ok(backup::restore(conf, restore, now).await?),
        Command::Audit { domain } => Ok(audit::audit(conf, domain).await?),
        Command::RotateIssuing { of } => {
            let issuing = ceremony::rotate_issuing(&options(conf, of.domain)?, now)?;
            println!("Made the issuing CA {}.", hex(&issuing));
            tell(conf).await
        }
        Command::RotateRoot {
            of,
            directory,
            token,
        } => rotate_root(conf, of, directory, token, now).await,
    }
}

fn init(
    domain: &str,
    directory: PathBuf,
    algorithm: Kind,
    token: InToken,
    now: u64,
) -> Result<(), Error> {
    let shown = directory.display().to_string();
    let mut options = token.of(Options::new(domain, directory));
    options.algorithm = match algorithm {
        Kind::P256 => Algorithm::P256,
        Kind::Ed25519 => Algorithm::Ed25519,
    };
    let root = ceremony::init(&options, now)?;
    println!("Made the root {} of {domain} in {shown}.", hex(&root));
    match &options.token {
        None => {
            println!("Keep a copy of {shown}/root.key in a safe place, and nowhere on the server.");
        }
        Some(token) => println!(
            "Its key does not leave the token {}: if the token is lost, so is the root.",
            token.label()
        ),
    }
    Ok(())
}

fn sign(options: &Options, request: &Path, output: &Path, now: u64) -> Result<(), Error> {
    let bundle = ceremony::sign(options, &read(request)?, now)?;
    write(output, &bundle)?;
    println!(
        "Wrote {0}. On the server: comity ca import {0}",
        output.display()
    );
    Ok(())
}

async fn rotate_root(
    conf: &Conf,
    of: Of,
    directory: Option<PathBuf>,
    token: InToken,
    now: u64,
) -> Result<(), Error> {
    let Some(directory) = directory else {
        let root = ceremony::rotate_root(&options(conf, of.domain)?, now)?;
        println!("Made the root {}; the old one vouches for it.", hex(&root));
        return tell(conf).await;
    };
    let options = token.of(Options::new(of.domain.ok_or(Error::Unnamed)?, directory));
    let root = ceremony::rotate_root(&options, now)?;
    println!("Made the root {}; the old one vouches for it.", hex(&root));
    println!(
        "Now, on the server: comity ca request; here: comity ca sign; there: comity ca import"
    );
    Ok(())
}

fn show(options: &Options, now: u64) -> Result<(), Error> {
    let shown = ceremony::show(options, now)?;
    println!(
        "root     {}  until {}  ({place})",
        hex(&shown.root),
        time::day(shown.root_until),
        place = place(shown.root_key)
    );
    if shown.earlier_roots > 0 {
        println!("         follows {} earlier roots", shown.earlier_roots);
    }
    for (number, issuing) in shown.issuing.iter().enumerate() {
        let now = match number + 1 == shown.issuing.len() {
            true => "  (issues)",
            false => "",
        };
        println!(
            "issuing  {}  until {}  ({}){now}",
            hex(&issuing.id),
            time::day(issuing.until),
            place(issuing.key)
        );
    }
    Ok(())
}

fn place(key: KeyShown) -> &'static str {
    match key {
        KeyShown::Here => "here",
        KeyShown::Token => "in the token",
        KeyShown::Offline => "offline",
    }
}

fn options(conf: &Conf, domain: Option<String>) -> Result<Options, Error> {
    let domain = match domain {
        Some(domain) => domain,
        None => conf.server.domains.first().cloned().unwrap_or_default(),
    };
    if !conf.server.domains.contains(&domain) {
        return Err(Error::NotServed(domain));
    }
    Ok(services::options(conf, &domain))
}

/// What a running server has counted.
async fn refused(conf: &Conf, domain: String) -> Result<(), Error> {
    // Without a server there is nothing to count.
    let Ok(mut client) = Client::connect(&conf.server.data_dir).await else {
        return Ok(());
    };
    match client.ask(&Request::CaRefused { domain }).await {
        Ok(Answer::Done { what }) => println!("{what}"),
        Ok(other) => {
            return Err(Error::Admin(AdminError::NotUnderstood(format!(
                "{other:?}"
            ))));
        }
        Err(error) => return Err(Error::Admin(error)),
    }
    Ok(())
}

/// Tells a running server that something is new.
async fn tell(conf: &Conf) -> Result<(), Error> {
    let mut client = match Client::connect(&conf.server.data_dir).await {
        Ok(client) => client,
        Err(AdminError::NotRunning { .. }) => {
            println!("No server is running; it counts when one is started.");
            return Ok(());
        }
        Err(error) => return Err(Error::Admin(error)),
    };
    match client.ask(&Request::CaReload).await {
        Ok(Answer::Done { what }) => println!("{what}"),
        Ok(other) => {
            return Err(Error::Admin(AdminError::NotUnderstood(format!(
                "{other:?}"
            ))));
        }
        Err(error) => return Err(Error::Admin(error)),
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| file(path, source))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(|source| file(path, source))
}

fn file(path: &Path, source: io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        source,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
