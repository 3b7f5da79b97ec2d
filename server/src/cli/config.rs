//! `comity config check` and `comity config show`: what the configuration says, without a server.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Subcommand;
use comity_conf::{Loaded, Origin, Setting, Value};
use serde::Serialize;

use super::log;
use crate::run::{RunError, domains};

/// Where the origins of values begin, in characters; longer values push theirs out.
const COLUMN: usize = 48;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look for what is wrong with it, and with the files that it names. Exit status 0: nothing, 1: a
    /// fault, which is named.
    Check,
    /// Show what is in force, and who has said so: the default, the file, or the environment. It holds
    /// no secrets: those are in files of their own.
    Show {
        /// Only what differs from the defaults.
        #[arg(long)]
        changed: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Conf(#[from] comity_conf::Error),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Log(#[from] log::LogError),
    #[error("{} is named in the configuration and cannot be read: {why}", path.display())]
    File {
        path: std::path::PathBuf,
        why: std::io::Error,
    },
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// # Errors
/// What is wrong with the configuration.
pub fn config(loaded: &Loaded, file: Option<&Path>, command: &Command) -> Result<(), Error> {
    match command {
        Command::Check => {
            check(loaded)?;
            match file {
                Some(file) => println!("{}: nothing is wrong with it", file.display()),
                None => println!("the defaults: nothing is wrong with them"),
            }
        }
        Command::Show { changed, json } => {
            let settings = loaded.settings().into_iter();
            let shown = settings.filter(|said| !changed || said.origin != Origin::Default);
            let shown: Vec<Setting> = shown.collect();
            match json {
                true => println!("{}", as_json(&shown)?),
                false => print!("{}", as_text(&shown)),
            }
        }
    }
    Ok(())
}

/// What can be seen without a server: names, filters, and whether the files are there.
fn check(loaded: &Loaded) -> Result<(), Error> {
    let mut conf = loaded.conf.clone();
    domains::domains(&conf)?;
    log::check(&conf.server)?;
    let files: Vec<_> = conf.files().cloned().collect();
    for path in files.into_iter().filter(|path| *path != Path::new("")) {
        if let Err(why) = std::fs::File::open(&path) {
            return Err(Error::File { path, why });
        }
    }
    Ok(())
}

/// A file of configuration with who said what behind it.
fn as_text(settings: &[Setting]) -> String {
    let mut text = String::new();
    let mut section = "";
    for setting in settings {
        let (of, key) = setting.key.rsplit_once('.').unwrap_or(("", &setting.key));
        if of != section {
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}[{of}]\n"));
            section = of;
        }
        let said = format!("{key} = {}", setting.value);
        text.push_str(&format!("{said:COLUMN$} # {}\n", setting.origin));
    }
    text
}

#[derive(Serialize)]
struct Shown<'a> {
    value: &'a Value,
    origin: String,
}

fn as_json(settings: &[Setting]) -> Result<String, serde_json::Error> {
    let shown: BTreeMap<&str, Shown<'_>> = settings
        .iter()
        .map(|setting| {
            let shown = Shown {
                value: &setting.value,
                origin: setting.origin.to_string(),
            };
            (setting.key.as_str(), shown)
        })
        .collect();
    serde_json::to_string_pretty(&shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(variables: &[(&str, &str)]) -> Loaded {
        let variables = variables.iter();
        let variables = variables.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Loaded::read(None, variables).unwrap()
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        let loaded = loaded(&[("COMITY_SERVER__LOG", "debug")]);
        let text = as_text(&loaded.settings());
        let again = comity_conf::Conf::parse(&text, Path::new("shown.toml")).unwrap();
        assert_eq!(again, loaded.conf);
        assert!(
            text.contains("# environment: COMITY_SERVER__LOG\n"),
            "{text}"
        );
        assert!(text.contains("# default\n"), "{text}");
        let json: serde_json::Value =
            serde_json::from_str(&as_json(&loaded.settings()).unwrap()).unwrap();
        assert_eq!(json["server.log"]["value"], "debug");
        assert_eq!(json["mls.rooms.devices"]["origin"], "default");
    }

    #[test]
    fn files_that_are_missing_are_named() {
        let wrong = loaded(&[("COMITY_TLS__EXTRA_ROOTS", "/nowhere/ca.pem")]);
        let refused = check(&wrong).unwrap_err().to_string();
        assert!(refused.starts_with("/nowhere/ca.pem is named"), "{refused}");
        let wrong = loaded(&[("COMITY_SERVER__LOG", "comity=loud")]);
        assert!(matches!(check(&wrong), Err(Error::Log(_))));
        let wrong = loaded(&[("COMITY_SERVER__DOMAINS", "a b")]);
        assert!(matches!(check(&wrong), Err(Error::Run(_))));
        check(&loaded(&[])).unwrap();
    }
}
