//! `JSON.md` names what `--json` writes, and nothing that it does not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What stands between backquotes in the first column of its tables.
fn documented(text: &str) -> BTreeSet<&str> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let first = rows.filter_map(|row| row.split_once(" |").map(|(first, _)| first));
    let names = first.flat_map(|cell| cell.split(", "));
    names.map(|name| name.trim_matches('`')).collect()
}

/// What the sources write as a type.
fn written(folder: &Path, types: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            written(&path, types);
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source");
        for mark in ["\"type\": \"", "change_json(\""] {
            let rest = text.split(mark).skip(1);
            let names = rest.filter_map(|rest| rest.split_once('"'));
            types.extend(names.map(|(name, _)| name.to_owned()));
        }
    }
}

#[test]
fn every_type_that_is_documented_is_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("JSON.md")).expect("JSON.md");
    let named = documented(&document);
    assert!(named.len() > 20, "{named:?}");
    let mut types = BTreeSet::new();
    written(&root.join("src/terminal"), &mut types);
    for name in named {
        assert!(types.contains(name), "{name} is written nowhere");
    }
}
