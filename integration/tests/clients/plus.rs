//! Channel binding on TLS 1.3 as others have written it, by tls-exporter (RFC 9266): go-sendxmpp's with
//! Go's TLS, as it comes; and nbxmpp's with GnuTLS's, two lines of which have to be mended.

use std::io::Write;
use std::process::{Command, Stdio};

use integration::stage::{PASSWORD, Stage};

use crate::scene::{Scene, logged};

#[test]
fn go_sendxmpp_binds_to_the_channel() {
    let scene = Scene::set("plus-go");
    let mut sending = Command::new(integration::cache().join("later/usr/bin/go-sendxmpp"))
        .args(["-u", "romeo@montague.example", "-p", PASSWORD])
        .args(["-j", &scene.server(), "juliet@capulet.example"])
        .env("SSL_CERT_FILE", scene.here().ca())
        .env("HOME", scene.stage.folder())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut words = sending.stdin.take().unwrap();
    words.write_all(b"This bud of love\n").unwrap();
    drop(words);
    let sent = sending.wait_with_output().unwrap();
    let more = String::from_utf8_lossy(&sent.stderr);
    assert!(sent.status.success(), "{more}");
    let wanted = "authenticated account=romeo@montague.example mechanism=\"SCRAM-SHA-256-PLUS\"";
    assert_eq!(logged(scene.here(), wanted).len(), 1, "{more}");
}

#[test]
fn nbxmpp_binds_to_the_channel() {
    let stage = Stage::set("plus", &["montague.example"]);
    let home = &stage.homes[0];
    home.add_user("romeo", PASSWORD).unwrap();
    for mechanism in ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"] {
        let output = Command::new(integration::cache().join("gi/bin/python"))
            .arg(integration::peer("plus.py"))
            .args(["romeo@montague.example", PASSWORD])
            .args([home.c2s().ip().to_string(), home.c2s().port().to_string()])
            .arg(home.ca())
            .arg(mechanism)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let more = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{mechanism}: {said}{more}");
        assert!(said.contains("tls tls-1-3"), "{said}");
        let wanted =
            format!("authenticated account=romeo@montague.example mechanism=\"{mechanism}\"");
        assert_eq!(logged(home, &wanted).len(), 1, "{wanted}");
    }
}
