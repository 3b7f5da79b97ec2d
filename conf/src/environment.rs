//! Settings by the environment, where a file is no way to say them: `COMITY_SERVER__DATA_DIR=/data` is
//! `data_dir` of `[server]`, `COMITY_MLS__ROOMS__DEVICES=500` is `devices` of `[mls.rooms]`. Two
//! underscores divide; names without them are none of ours.

use toml::{Table, Value};

use crate::error::nearest;
use crate::{Conf, Error};

const PREFIX: &str = "COMITY_";
const DIVIDER: &str = "__";

/// One variable, understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Override {
    /// Of the variable.
    pub(crate) name: String,
    /// Sections and key.
    pub(crate) path: Vec<String>,
    pub(crate) value: Value,
}

/// Those of these variables that are settings.
pub(crate) fn overrides(
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<Override>, Error> {
    let known = default_table();
    let mut found = Vec::new();
    for (name, text) in variables {
        let Some(rest) = name
            .strip_prefix(PREFIX)
            .filter(|rest| rest.contains(DIVIDER))
        else {
            continue;
        };
        let path: Vec<String> = rest.split(DIVIDER).map(str::to_lowercase).collect();
        let kind = kind_of(&known, &path).ok_or_else(|| unknown(&known, &name, rest))?;
        let value = value(kind, &text).ok_or_else(|| Error::Environment {
            name: name.clone(),
            message: format!("{text:?} is no {}", called(kind)),
            hint: None,
        })?;
        found.push(Override { name, path, value });
    }
    // The order of an environment is nobody's intention.
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

impl Override {
    /// Puts it into a configuration.
    pub(crate) fn put(&self, into: &mut Table) -> Option<()> {
        let (key, sections) = self.path.split_last()?;
        let mut table = into;
        for section in sections {
            let section = table
                .entry(section.clone())
                .or_insert_with(|| Table::new().into());
            table = section.as_table_mut()?;
        }
        table.insert(key.clone(), self.value.clone());
        Some(())
    }
}

/// Every key with its default.
pub(crate) fn default_table() -> Table {
    // Plain structs always have a form in TOML.
    Table::try_from(Conf::default()).unwrap_or_default()
}

/// The default at a path, which says of what kind its value has to be. Not sections: those are given
/// key by key; but tables that the operator fills, as `s2s.targets`, are empty there.
fn kind_of<'a>(known: &'a Table, path: &[String]) -> Option<&'a Value> {
    let (key, sections) = path.split_last()?;
    let mut table = known;
    for section in sections {
        table = table.get(section)?.as_table()?;
    }
    let found = table.get(key)?;
    match found {
        Value::Table(section) if !section.is_empty() => None,
        found => Some(found),
    }
}

/// Strings stand as they are, and lists of them with commas between; whatever else there is has the
/// form that it has in a file.
fn value(kind: &Value, text: &str) -> Option<Value> {
    let trimmed = text.trim();
    match kind {
        // Some keys take a table in place of a word.
        Value::String(_) if trimmed.starts_with('{') => written(trimmed),
        Value::String(_) => Some(Value::String(text.to_owned())),
        Value::Array(_) if trimmed.starts_with('[') => written(trimmed),
        Value::Array(_) => {
            let items = trimmed.split(',').map(str::trim);
            let items = items.filter(|item| !item.is_empty()).map(Value::from);
            Some(Value::Array(items.collect()))
        }
        other => written(trimmed).filter(|value| value.same_type(other)),
    }
}

fn written(text: &str) -> Option<Value> {
    let table: Table = toml::from_str(&format!("value = {text}")).ok()?;
    // A line break could have smuggled in another key.
    (table.len() == 1).then_some(table)?.remove("value")
}

fn called(kind: &Value) -> &'static str {
    match kind {
        Value::Integer(_) => "whole number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "list: write it as in a file, or with commas between",
        Value::Table(_) => "table: write it as in a file, { \"a.example\" = … }",
        _ => "value as in a file",
    }
}

fn unknown(known: &Table, name: &str, rest: &str) -> Error {
    let mut names = Vec::new();
    all(known, "", &mut names);
    let hint = nearest(rest, names.iter().map(String::as_str));
    Error::Environment {
        name: name.to_owned(),
        message: "no such setting".to_owned(),
        hint: hint.map(|hint| format!("{PREFIX}{hint}")),
    }
}

/// Every key as a variable is called, without what all begin with.
fn all(table: &Table, before: &str, names: &mut Vec<String>) {
    for (key, value) in table {
        let name = match before {
            "" => key.to_uppercase(),
            before => format!("{before}{DIVIDER}{}", key.to_uppercase()),
        };
        match value {
            Value::Table(section) if !section.is_empty() => all(section, &name, names),
            _ => names.push(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<Override>, String> {
        overrides([(name.to_owned(), text.to_owned())]).map_err(|error| error.to_string())
    }

    #[test]
    fn values_have_the_kind_of_their_key() {
        let check = |name: &str, text: &str, expected: &str| {
            let found = read(name, text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(found[0].value.to_string(), expected, "{name}={text}");
        };
        check("COMITY_SERVER__DATA_DIR", "/data", "\"/data\"");
        check("COMITY_SERVER__DRAIN", "5s", "\"5s\"");
        check(
            "COMITY_SERVER__LOG",
            "info,comity=debug",
            "\"info,comity=debug\"",
        );
        check(
            "COMITY_SERVER__DOMAINS",
            "a.example, b.example",
            "[\"a.example\", \"b.example\"]",
        );
        check("COMITY_C2S__LISTEN", "[\"[::]:5222\"]", "[\"[::]:5222\"]");
        check("COMITY_S2S__LISTEN", "", "[]");
        check("COMITY_C2S__PLAIN", "false", "false");
        check("COMITY_MLS__ROOMS__DEVICES", "500", "500");
        check("COMITY_TLS__ACME", "letsencrypt", "\"letsencrypt\"");
        check("COMITY_TLS__ACME", "{ contact = [] }", "{ contact = [] }");
        check(
            "COMITY_TLS__CERTIFICATES",
            "{ \"a.example\" = { chain = \"c\", key = \"k\" } }",
            "{ \"a.example\" = { chain = \"c\", key = \"k\" } }",
        );
    }

    #[test]
    fn other_variables_are_left_alone() {
        for name in [
            "COMITY_SEED",
            "COMITY_CACHE",
            "HOME",
            "SERVER__DATA_DIR",
            "",
        ] {
            assert_eq!(read(name, "x"), Ok(Vec::new()), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |name: &str, text: &str, expected: &str| {
            assert_eq!(read(name, text).unwrap_err(), expected);
        };
        check(
            "COMITY_SERVER__DATADIR",
            "/data",
            "environment variable COMITY_SERVER__DATADIR: no such setting: did you mean \
             `COMITY_SERVER__DATA_DIR`?",
        );
        check(
            "COMITY_X__Y",
            "x",
            "environment variable COMITY_X__Y: no such setting",
        );
        check(
            "COMITY_MLS__ROOMS__DEVICES",
            "many",
            "environment variable COMITY_MLS__ROOMS__DEVICES: \"many\" is no whole number",
        );
        check(
            "COMITY_C2S__PLAIN",
            "true\nx = 1",
            "environment variable COMITY_C2S__PLAIN: \"true\\nx = 1\" is no true or false",
        );
        assert!(
            read("COMITY_MLS__ROOMS", "{}").is_err(),
            "a section is no setting"
        );
    }
}
