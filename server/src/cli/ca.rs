//! `comity ca …`: the domain's certificate authority, in its directory. A running server is told to
//! look at it again.

mod audit;

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand, ValueEnum};
use comity_conf::Conf;
use comity_mls_credential::keys::Algorithm;
use comity_mls_service::authority::Options;
use comity_mls_service::authority::ca::{CaError, ceremony};

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
        } => init(&domain, root.directory, algorithm, now),
        Command::Sign {
            request,
            domain,
            root,
            output,
            days,
        } => {
            let mut options = Options::new(domain, root.directory);
            options.issuing_lifetime_s = days.saturating_mul(24 * 60 * 60);
            let bundle = ceremony::sign(&options, &read(&request)?, now)?;
            write(&output, &bundle)?;
            println!(
                "Wrote {0}. On the server: comity ca import {0}",
                output.display()
            );
            Ok(())
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
        Command::Audit { domain } => Ok(audit::audit(conf, domain).await?),
        Command::RotateIssuing { of } => {
            let issuing = ceremony::rotate_issuing(&options(conf, of.domain)?, now)?;
            println!("Made the issuing CA {}.", hex(&issuing));
            tell(conf).await
        }
        Command::RotateRoot { of, directory } => rotate_root(conf, of, directory, now).await,
    }
}

fn init(domain: &str, directory: PathBuf, algorithm: Kind, now: u64) -> Result<(), Error> {
    let shown = directory.display().to_string();
    let mut options = Options::new(domain, directory);
    options.algorithm = match algorithm {
        Kind::P256 => Algorithm::P256,
        Kind::Ed25519 => Algorithm::Ed25519,
    };
    let root = ceremony::init(&options, now)?;
    println!("Made the root {} of {domain} in {shown}.", hex(&root));
    println!("Keep a copy of {shown}/root.key in a safe place, and nowhere on the server.");
    Ok(())
}

async fn rotate_root(
    conf: &Conf,
    of: Of,
    directory: Option<PathBuf>,
    now: u64,
) -> Result<(), Error> {
    let Some(directory) = directory else {
        let root = ceremony::rotate_root(&options(conf, of.domain)?, now)?;
        println!("Made the root {}; the old one vouches for it.", hex(&root));
        return tell(conf).await;
    };
    let options = Options::new(of.domain.ok_or(Error::Unnamed)?, directory);
    let root = ceremony::rotate_root(&options, now)?;
    println!("Made the root {}; the old one vouches for it.", hex(&root));
    println!(
        "Now, on the server: comity ca request; here: comity ca sign; there: comity ca import"
    );
    Ok(())
}

fn show(options: &Options, now: u64) -> Result<(), Error> {
    let shown = ceremony::show(options, now)?;
    let place = if shown.root_here { "here" } else { "offline" };
    println!(
        "root     {}  until {}  ({place})",
        hex(&shown.root),
        time::day(shown.root_until)
    );
    if shown.earlier_roots > 0 {
        println!("         follows {} earlier roots", shown.earlier_roots);
    }
    for (place, (key, until)) in shown.issuing.iter().enumerate() {
        let now = if place + 1 == shown.issuing.len() {
            "  (issues)"
        } else {
            ""
        };
        println!("issuing  {}  until {}{now}", hex(key), time::day(*until));
    }
    Ok(())
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
