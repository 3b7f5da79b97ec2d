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
        for changed in spoiled(&data) {
            entry(&changed);
        }
        count += 1;
    }
    assert!(count > 0, "{} is empty", directory.display());
}

/// Some of the inputs next to this one: shorter, and with one octet changed.
fn spoiled(data: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let step = 1 + data.len() / 24;
    let shorter = (0..data.len())
        .step_by(step)
        .map(|end| data[..end].to_vec());
    let changed = (0..data.len()).step_by(step).flat_map(|place| {
        [0x01, 0x10, 0x80].map(|bit| {
            let mut changed = data.to_vec();
            changed[place] ^= bit;
            changed
        })
    });
    shorter.chain(changed)
}

#[test]
fn certificate() {
    run("certificate", entries::certificate);
}

#[test]
fn request() {
    run("request", entries::request);
}

#[test]
fn anchors() {
    run("anchors", entries::anchors);
}

#[test]
fn crl() {
    run("crl", entries::crl);
}
