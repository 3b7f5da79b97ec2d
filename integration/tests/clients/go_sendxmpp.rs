//! go-sendxmpp, which takes PLAIN.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use integration::stage::PASSWORD;

use crate::scene::{LIMIT, Lines, Scene};

#[test]
fn go_sendxmpp() {
    let scene = Scene::set("go-sendxmpp");
    let command = |arguments: &[&str]| {
        let mut command = Command::new("go-sendxmpp");
        command
            .args([
                "-u",
                "romeo@montague.example",
                "-p",
                PASSWORD,
                "-j",
                &scene.server(),
            ])
            .args(arguments)
            .env("SSL_CERT_FILE", scene.here().ca())
            .env("HOME", scene.stage.folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    };
    let mut listening = command(&["-l", "juliet@capulet.example"]).spawn().unwrap();
    let mut heard = Lines::of(&mut listening);
    let started = Instant::now();
    // Said until it is answered: nothing tells when the listener has come online.
    let answered = loop {
        let mut sending = command(&["juliet@capulet.example"]).spawn().unwrap();
        let mut words = sending.stdin.take().unwrap();
        words.write_all(b"My ghostly father\n").unwrap();
        drop(words);
        let sent = sending.wait_with_output().unwrap();
        assert!(
            sent.status.success(),
            "{}",
            String::from_utf8_lossy(&sent.stderr)
        );
        let answered = heard.have("echo: My ghostly father", Duration::from_secs(5));
        if answered || started.elapsed() > LIMIT {
            break answered;
        }
    };
    let _ = listening.kill();
    let _ = listening.wait();
    assert!(answered, "the answer did not come");
}
