//! Channel binding on TLS 1.3 as somebody else has written it: nbxmpp's SCRAM-SHA-256-PLUS with
//! GnuTLS's tls-exporter (RFC 9266).

use std::process::Command;

use integration::stage::{PASSWORD, Stage};

use crate::scene::logged;

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
