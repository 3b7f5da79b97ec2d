//! The fuzzers' corpus, run as ordinary tests through the functions that are fuzzed.

#[path = "../fuzz/entries.rs"]
mod entries;

use std::fs;
use std::path::Path;

#[track_caller]
fn run(target: &str, entry: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut count = 0;
    for file in fs::read_dir(&directory).expect("every target has a corpus") {
        let path = file.expect("the corpus can be listed").path();
        let data = fs::read(&path).expect("the corpus can be read");
        println!("{}", path.display());
        entry(&data);
        // Every beginning of an input is an input, too: the bytes so far.
        for end in (0..data.len()).step_by(1 + data.len() / 64) {
            entry(&data[..end]);
        }
        count += 1;
    }
    assert!(count > 0, "{} is empty", directory.display());
}

#[test]
fn frames() {
    run("frames", entries::frames);
}

#[test]
fn stanza() {
    run("stanza", entries::stanza);
}

#[test]
fn jid() {
    run("jid", entries::jid);
}

#[test]
fn sasl() {
    run("sasl", entries::sasl);
}

#[test]
fn certificate() {
    run("certificate", entries::certificate);
}
