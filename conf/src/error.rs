//! What is wrong with a configuration file, and where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::check::Broken;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: cannot be read: {source}", file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    /// Not TOML, an unknown key, or a value of another type.
    #[error("{}:{place}: {message}{}", file.display(), Hint(hint.as_deref()))]
    Syntax {
        file: PathBuf,
        place: Place,
        message: String,
        /// The valid key that comes closest.
        hint: Option<String>,
    },
    /// A variable that is no setting, or none that can be.
    #[error("environment variable {name}: {message}{}", Hint(hint.as_deref()))]
    Environment {
        name: String,
        message: String,
        hint: Option<String>,
    },
    /// A value that cannot be.
    #[error("{}:{place}: {key}: {why}", file.display())]
    Value {
        file: PathBuf,
        place: Place,
        /// As in `s2s.retry_first`.
        key: String,
        why: String,
    },
}

/// Counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

struct Hint<'a>(Option<&'a str>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(key) => write!(f, ": did you mean `{key}`?"),
            None => Ok(()),
        }
    }
}

impl Error {
    pub(crate) fn syntax(file: &Path, text: &str, refused: &toml::de::Error) -> Self {
        let (message, hint) = explain(refused.message());
        Self::Syntax {
            file: file.to_owned(),
            place: place(text, refused.span().map_or(0, |span| span.start)),
            message,
            hint,
        }
    }

    pub(crate) fn value(file: &Path, text: &str, broken: &Broken) -> Self {
        Self::Value {
            file: file.to_owned(),
            place: place(text, find(text, broken.key).unwrap_or(0)),
            key: broken.key.join("."),
            why: broken.why.clone(),
        }
    }
}

/// serde lists what it would have taken, in backquotes, after the unknown key; one list of forty
/// keys helps nobody, the nearest of them does.
fn explain(message: &str) -> (String, Option<String>) {
    let Some(unknown) = message
        .strip_prefix("unknown field ")
        .or_else(|| message.strip_prefix("unknown variant "))
    else {
        return (message.to_owned(), None);
    };
    let what = if message.starts_with("unknown field") {
        "key"
    } else {
        "value"
    };
    let mut names = unknown.split('`').skip(1).step_by(2);
    let found = names.next().unwrap_or_default();
    let hint = nearest(found, names).map(str::to_owned);
    (format!("unknown {what} `{found}`"), hint)
}

/// The name that somebody may have meant.
pub(crate) fn nearest<'a>(found: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let nearest = names
        .map(|name| (distance(found, name), name))
        .min_by_key(|(distance, _)| *distance);
    nearest
        // Farther than half the word is no slip of the finger.
        .filter(|(distance, name)| *distance <= name.len().max(found.len()).div_ceil(2))
        .map(|(_, name)| name)
}

/// Levenshtein's: how many letters to change.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Where a key stands in a file that is known to be TOML; its table if the key is not written.
fn find(text: &str, key: &[&str]) -> Option<usize> {
    let document = toml::de::DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut at = None;
    for name in key {
        let Some((written, value)) = table.get_key_value(*name) else {
            break;
        };
        at = Some(written.span().start);
        let toml::de::DeValue::Table(inner) = value.get_ref() else {
            break;
        };
        table = inner;
    }
    at
}

/// Where a key itself is written, if it is.
pub(crate) fn exactly(text: &str, key: &[&str]) -> Option<Place> {
    let (last, sections) = key.split_last()?;
    let document = toml::de::DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    for name in sections {
        let toml::de::DeValue::Table(inner) = table.get(*name)?.get_ref() else {
            return None;
        };
        table = inner;
    }
    let (written, _) = table.get_key_value(*last)?;
    Some(place(text, written.span().start))
}

fn place(text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Place {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}
