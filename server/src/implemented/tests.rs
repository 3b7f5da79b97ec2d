//! Holds the table against the code, the tests it names, and the two documents made of it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::*;
use crate::module::MODULES;

/// Set it, and the document is written in place of being compared.
const WRITE: &str = "COMITY_WRITE_DOAP";
/// What service discovery says that is of no XEP: RFC 6121's own, and the extension for MLS.
const OF_NO_XEP: [&str; 3] = [
    "jabber:iq:roster",
    "urn:xmpp:features:pre-approval",
    "urn:xmpp:mls:0*",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn fits(pattern: &str, feature: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => feature.starts_with(start),
        None => feature == pattern,
    }
}

#[test]
fn what_service_discovery_says_is_in_the_table_and_the_other_way_round() {
    let said: HashSet<&str> = MODULES
        .iter()
        .flat_map(|module| module.features)
        .map(|(_, feature)| *feature)
        .collect();
    for feature in &said {
        let known = XEPS
            .iter()
            .flat_map(|xep| xep.features)
            .chain(&OF_NO_XEP)
            .filter(|pattern| fits(pattern, feature));
        let row = "name the XEP of it in server/src/implemented.rs, then write comity.doap";
        assert_eq!(known.count(), 1, "{feature}: {row} with {WRITE}=1");
    }
    for xep in XEPS {
        for pattern in xep.features {
            let number = xep.number;
            assert!(
                said.iter().any(|f| fits(pattern, f)),
                "XEP-{number:04}: {pattern}"
            );
        }
    }
}

#[test]
fn the_table_is_in_order_and_each_test_it_names_is_there() {
    assert!(XEPS.windows(2).all(|pair| pair[0].number < pair[1].number));
    let mut tests = HashSet::new();
    for directory in ["server", "c2s", "s2s", "integration"] {
        collect(&root().join(directory), &mut tests);
    }
    for xep in XEPS {
        assert!(
            tests.contains(xep.test),
            "XEP-{:04} names no test: {}",
            xep.number,
            xep.test
        );
    }
}

/// The names of all test functions below a directory.
fn collect(directory: &Path, tests: &mut HashSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut attributed = false;
            for line in text.lines().map(str::trim) {
                let name = line.trim_start_matches("async ").strip_prefix("fn ");
                match name.and_then(|rest| rest.split('(').next()) {
                    Some(name) if attributed => {
                        tests.insert(name.to_owned());
                        attributed = false;
                    }
                    Some(_) => attributed = false,
                    None if line.starts_with("#[test]") || line.starts_with("#[tokio::test") => {
                        attributed = true;
                    }
                    None => {}
                }
            }
        }
    }
}

#[test]
fn the_document_is_made_of_the_table() {
    let path = root().join("comity.doap");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, doap()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == doap(),
        "comity.doap is another: write it with {WRITE}=1"
    );
    let parsed = roxmltree::Document::parse(&written).unwrap();
    let rows = parsed
        .descendants()
        .filter(|node| node.has_tag_name("SupportedXep"));
    assert_eq!(rows.count(), XEPS.len());
}

/// `| XEP | name | Comity | … | evidence |`.
#[test]
fn the_readme_compares_what_is_in_the_table() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let rows: Vec<Vec<&str>> = readme
        .lines()
        .filter(|line| line.starts_with("| 0"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    for (row, xep) in rows.iter().zip(XEPS) {
        let ours = match (xep.state, xep.note) {
            (State::Complete, "") => "yes".to_owned(),
            (State::Complete, note) => format!("yes: {note}"),
            (State::Partial, note) => format!("partly: {note}"),
        };
        let expected = [&format!("{:04}", xep.number), xep.name, &ours].map(String::from);
        assert_eq!(row[..3], expected);
        assert_eq!(row.len(), 8);
        assert!(row[3..7].iter().all(|cell| !cell.is_empty()), "{row:?}");
        assert_eq!(row[7], format!("`{}`", xep.test));
    }
    assert_eq!(rows.len(), XEPS.len());
}
