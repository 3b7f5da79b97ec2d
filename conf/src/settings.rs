//! What is in force, key by key in the order of the reference, and who has said so.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::environment::{self, Override};
use crate::error::{Place, exactly};
use crate::{Conf, Error, REFERENCE, check};

/// A configuration and where it comes from.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub conf: Conf,
    file: Option<(PathBuf, String)>,
    overrides: Vec<Override>,
}

/// One key.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// As in `mls.rooms.devices`.
    pub key: String,
    pub value: Value,
    pub origin: Origin,
}

/// Who has said what a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf, Place),
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file, place) => write!(f, "{}:{}", file.display(), place.line),
            Self::Environment(name) => write!(f, "environment: {name}"),
        }
    }
}

impl Loaded {
    /// Reads a file, or where there is none, begins with [`Conf::loopback`]; then takes what the
    /// environment says. Relative paths start where the file lies, those of the environment too.
    ///
    /// # Errors
    /// What is wrong with the file, or which variable.
    pub fn read(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let file = match file {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable {
                    file: path.to_owned(),
                    source,
                })?;
                Some((path.to_owned(), text))
            }
            None => None,
        };
        let overrides = environment::overrides(variables)?;
        let mut conf = match &file {
            Some((path, text)) => Conf::read(text, path, &overrides)?,
            None => Conf::loopback().with(&overrides)?,
        };
        if let Some((path, _)) = &file {
            conf.settle(path);
        }
        Ok(Self {
            conf,
            file,
            overrides,
        })
    }

    /// Every key.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let table = Table::try_from(&self.conf).unwrap_or_default();
        let settings = keys().into_iter().filter_map(|path| {
            let value = lookup(&table, &path)?.clone();
            Some(Setting {
                origin: self.origin(&path),
                key: path.join("."),
                value,
            })
        });
        settings.collect()
    }

    fn origin(&self, path: &[String]) -> Origin {
        let said = self.overrides.iter().find(|said| said.path == path);
        if let Some(said) = said {
            return Origin::Environment(said.name.clone());
        }
        let written = self.file.as_ref().and_then(|(file, text)| {
            let names: Vec<&str> = path.iter().map(String::as_str).collect();
            Some(Origin::File(file.clone(), exactly(text, &names)?))
        });
        written.unwrap_or(Origin::Default)
    }

    /// The keys that say something else in another configuration.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<String> {
        let others = other.settings();
        let pairs = self.settings().into_iter().zip(others);
        pairs
            .filter(|(one, other)| one.value != other.value)
            .map(|(one, _)| one.key)
            .collect()
    }
}

impl Conf {
    /// The text of a file and what the environment says; paths stay as they are.
    pub(crate) fn read(text: &str, file: &Path, overrides: &[Override]) -> Result<Self, Error> {
        let written: Self =
            toml::from_str(text).map_err(|refused| Error::syntax(file, text, &refused))?;
        let conf = written.put(overrides)?;
        check::check(&conf)
            .map_err(|broken| of(&broken, overrides, || Error::value(file, text, &broken)))?;
        Ok(conf)
    }

    fn with(self, overrides: &[Override]) -> Result<Self, Error> {
        let conf = self.put(overrides)?;
        let nowhere = |broken: &check::Broken| Error::value(Path::new("(defaults)"), "", broken);
        check::check(&conf).map_err(|broken| of(&broken, overrides, || nowhere(&broken)))?;
        Ok(conf)
    }

    /// One after the other, so that the one that does not fit is known.
    fn put(self, overrides: &[Override]) -> Result<Self, Error> {
        let mut conf = self;
        for said in overrides {
            let refused = |message: String| Error::Environment {
                name: said.name.clone(),
                message,
                hint: None,
            };
            let mut table = Table::try_from(&conf).map_err(|error| refused(error.to_string()))?;
            said.put(&mut table)
                .ok_or_else(|| refused("no such setting".to_owned()))?;
            conf = table
                .try_into()
                .map_err(|error: toml::de::Error| refused(error.message().to_owned()))?;
        }
        Ok(conf)
    }
}

/// A value that cannot be is the variable's fault where one has said it, else the file's.
fn of(broken: &check::Broken, overrides: &[Override], file: impl Fn() -> Error) -> Error {
    match overrides.iter().find(|said| said.path == broken.key) {
        Some(said) => Error::Environment {
            name: said.name.clone(),
            message: broken.why.clone(),
            hint: None,
        },
        None => file(),
    }
}

/// Every key, as the reference has them.
fn keys() -> Vec<Vec<String>> {
    let default = environment::default_table();
    let mut section: Vec<String> = Vec::new();
    let mut keys = Vec::new();
    for line in REFERENCE.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            section = name.split('.').map(str::to_owned).collect();
            // A table that the operator fills is a key itself.
            let filled = lookup(&default, &section).and_then(Value::as_table);
            if filled.is_some_and(Table::is_empty) {
                keys.push(section.clone());
            }
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            let mut path = section.clone();
            path.push(key.to_owned());
            keys.push(path);
        }
    }
    keys
}

fn lookup<'a>(table: &'a Table, path: &[String]) -> Option<&'a Value> {
    let (key, sections) = path.split_last()?;
    let mut table = table;
    for section in sections {
        table = table.get(section)?.as_table()?;
    }
    table.get(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<Conf, String> {
        let variables = variables.iter();
        let variables = variables.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let overrides = environment::overrides(variables).map_err(|error| error.to_string())?;
        Conf::read(text, Path::new("h.toml"), &overrides).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_has_the_last_word() {
        let text = "[server]\ndomains = [\"a.example\"]\nlog = \"warn\"\n";
        let said = [
            ("COMITY_SERVER__LOG", "debug"),
            ("COMITY_MLS__ROOMS__DEVICES", "7"),
        ];
        let conf = read(text, &said).unwrap();
        assert_eq!(conf.server.domains, ["a.example"]);
        assert_eq!(
            (conf.server.log.as_str(), conf.mls.rooms.devices),
            ("debug", 7)
        );
    }

    #[test]
    fn whose_fault_it_is_is_said() {
        let check = |text, said: &[(&str, &str)], expected| {
            assert_eq!(read(text, said).unwrap_err(), expected);
        };
        check(
            "",
            &[("COMITY_SERVER__DRAIN", "soon")],
            "environment variable COMITY_SERVER__DRAIN: \"soon\" is no duration: expected a whole \
             number and one of d, h, min, s, ms, as in \"90d\" or \"30s\"",
        );
        check(
            "",
            &[("COMITY_C2S__QUEUE", "0")],
            "environment variable COMITY_C2S__QUEUE: 0 is not between 1 and 4294967295",
        );
        check(
            "[c2s]\nqueue = 0\n",
            &[("COMITY_SERVER__LOG", "debug")],
            "h.toml:2:1: c2s.queue: 0 is not between 1 and 4294967295",
        );
    }

    #[test]
    fn every_key_is_shown_with_who_said_it() {
        let folder = std::env::temp_dir().join(format!("comity-settings-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("h.toml");
        let text =
            "[server]\ndomains = [\"a.example\"]\n\n[s2s.targets]\n\"b\" = \"192.0.2.1:1\"\n";
        std::fs::write(&file, text).unwrap();
        let said = [("COMITY_SERVER__DATA_DIR".to_owned(), "data".to_owned())];
        let loaded = Loaded::read(Some(&file), said).unwrap();
        assert_eq!(loaded.conf.server.data_dir, folder.join("data"));
        let settings = loaded.settings();
        assert_eq!(settings.len(), keys().len());
        let origin = |key: &str| {
            let found = settings.iter().find(|setting| setting.key == key);
            found.unwrap_or_else(|| panic!("{key}")).origin.to_string()
        };
        assert_eq!(origin("server.domains"), format!("{}:2", file.display()));
        assert_eq!(origin("s2s.targets"), format!("{}:4", file.display()));
        assert_eq!(
            origin("server.data_dir"),
            "environment: COMITY_SERVER__DATA_DIR"
        );
        assert_eq!(origin("mls.authority.token.label"), "default");
        let without = Loaded::read(Some(&file), []).unwrap();
        assert_eq!(loaded.differing(&without), ["server.data_dir"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// Whatever is shown may be shown to everybody: secrets are in files of their own, and are named.
    #[test]
    fn no_key_holds_a_secret() {
        for path in keys() {
            let key = path.last().unwrap().as_str();
            let secret = ["password", "secret", "pin", "token", "passphrase"]
                .iter()
                .any(|word| key.split('_').any(|part| part == *word));
            let named = key.ends_with("_file") || key.ends_with("_files");
            assert!(!secret || named, "{}", path.join("."));
        }
    }
}
