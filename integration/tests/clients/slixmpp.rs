//! slixmpp.

use crate::scene::{Scene, echo};

#[test]
fn slixmpp() {
    let scene = Scene::set("slixmpp");
    let say = [
        "juliet@capulet.example",
        "Neither, fair saint",
        "echo: Neither, fair saint",
    ];
    let output = echo(scene.here(), "romeo", &say).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
