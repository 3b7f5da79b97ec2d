//! Writes the table down, for the tests of the hub, the directory and the engine.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use openssl::base64::encode_block;

use super::recipe::{DEVICE, NOW, Workshop};
use super::table;
use crate::leaf::Leaf;

/// What the hub's own certificate lacks to be a member's.
const NO_MEMBER: &str = "names an account and a device";

/// After a change of the table: set this, and the test writes the corpus anew.
const WRITE: &str = "COMITY_WRITE_CORPUS";

#[test]
fn the_corpus_is_of_this_table() {
    if std::env::var_os(WRITE).is_some() {
        fs::write(path(), corpus()).unwrap();
    }
    // Keys and signatures differ from one making to the next, decisions do not.
    let decisions = |text: &str| -> Vec<String> {
        let made = ["#", "issuer:", "certificate:", "key:"];
        let lines = text.lines().filter(|line| !line.is_empty());
        let lines = lines.filter(|line| !made.iter().any(|key| line.starts_with(key)));
        lines.map(str::to_owned).collect()
    };
    let written = fs::read_to_string(path()).unwrap();
    assert_eq!(decisions(&written), decisions(&corpus()));
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/certificates.txt")
}

fn corpus() -> String {
    let workshop = Workshop::new();
    let mut text = String::from(
        "# Certificates judged as those of members at a time.\n\
         # Written by the_corpus_is_of_this_table with COMITY_WRITE_CORPUS set, read by tests/cases/reader.rs.\n",
    );
    for ((domain, _), certificate) in &workshop.shelf.0 {
        write!(text, "\nissuer: {domain}\n").unwrap();
        writeln!(text, "certificate: {}", encode_block(certificate)).unwrap();
    }
    for (name, change, expected) in table::all() {
        let mut recipe = workshop.good();
        change(&mut recipe, &workshop);
        let outside = recipe.not_after < NOW || recipe.not_before > NOW;
        if expected.is_ok() && recipe.judged_at.is_none() && outside {
            // Believed by those who follow only: they judge at no time.
            continue;
        }
        let made = recipe.make();
        let leaf = Leaf::read(&made).ok();
        let alice = "alice@a.example".to_owned();
        let account = leaf.as_ref().map_or(alice, |leaf| leaf.account.to_string());
        let device = leaf.and_then(|leaf| leaf.device).unwrap_or(DEVICE);
        let expected = match expected {
            Ok(()) if !account.contains('@') => Err(NO_MEMBER),
            expected => expected,
        };
        write!(
            text,
            "\ncase: {name}\naccount: {account}\ndevice: {device}\n"
        )
        .unwrap();
        writeln!(text, "at: {}", recipe.judged_at.unwrap_or(NOW)).unwrap();
        match expected {
            Ok(()) => writeln!(text, "believed:").unwrap(),
            Err(word) => writeln!(text, "refused: {word}").unwrap(),
        }
        let key = encode_block(&recipe.key.to_pkcs8().unwrap());
        write!(text, "key: {key}\ncertificate: {}\n", encode_block(&made)).unwrap();
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}
