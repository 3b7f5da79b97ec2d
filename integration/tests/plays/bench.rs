//! The benches work; how fast anything is, only `integration/bench` on a quiet machine says.

use std::process::Command;

#[test]
fn the_benches_work() {
    let output = Command::new(integration::binary("bench"))
        .arg("--short")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let fault = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{fault}");
    let works = said.lines().filter(|line| line.starts_with("| chat"));
    // Rate, two delays and the core's share, of each of three loads, archived and not.
    assert_eq!(works.count(), 24, "{said}");
    for work in [
        "server CPU of a login",
        "offline messages stored",
        "server to server, 50 pairs, 8 in flight",
        "delivery to 500 devices of one room",
        "KeyPackages claimed",
        "commits accepted, 200 rooms of 10 members",
        "join of a room of",
        "message in that room: written by a receiver",
    ] {
        assert!(said.contains(work), "{said}");
    }
}
