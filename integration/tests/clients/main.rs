//! Unmodified clients at one domain talk with somebody at the other: they send, he answers, they
//! read the answer.

#![expect(clippy::unwrap_used, reason = "a play that cannot go on has failed")]

mod xmppjs;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use integration::Home;
use integration::stage::{PASSWORD, Stage};

const LIMIT: Duration = Duration::from_secs(60);

/// Romeo's domain, Juliet's domain, and Juliet, who answers.
struct Scene {
    juliet: Child,
    stage: Stage,
}

impl Scene {
    fn set(name: &str) -> Self {
        let stage = Stage::set(name, &["montague.example", "capulet.example"]);
        stage.homes[0].add_user("romeo", PASSWORD).unwrap();
        stage.homes[1].add_user("juliet", PASSWORD).unwrap();
        let mut juliet = echo(&stage.homes[1], "juliet", &[])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(juliet.stdout.as_mut().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        Self { juliet, stage }
    }

    fn here(&self) -> &Home {
        &self.stage.homes[0]
    }

    fn server(&self) -> String {
        self.here().c2s().to_string()
    }

    fn host(&self) -> String {
        self.here().c2s().ip().to_string()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.juliet.kill();
        let _ = self.juliet.wait();
    }
}

fn echo(home: &Home, local: &str, say: &[&str]) -> Command {
    let python =
        PathBuf::from(std::env::var("HOME").unwrap()).join(".cache/comity/venv/bin/python");
    let mut command = Command::new(python);
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/echo.py"))
        .arg(format!("{local}@{}", home.domain()))
        .args([
            PASSWORD,
            &home.c2s().ip().to_string(),
            &home.c2s().port().to_string(),
        ])
        .arg(home.ca())
        .args(say);
    command
}

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
    let heard = hearing(&mut listening, "echo: My ghostly father");
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
        let answered = heard.recv_timeout(Duration::from_secs(5)).is_ok();
        if answered || started.elapsed() > LIMIT {
            break answered;
        }
    };
    let _ = listening.kill();
    let _ = listening.wait();
    assert!(answered, "the answer did not come");
}

/// Told once a program has printed a line with the words.
fn hearing(child: &mut Child, words: &str) -> std::sync::mpsc::Receiver<()> {
    let stdout = child.stdout.take().unwrap();
    let words = words.to_owned();
    let (found, finding) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        for line in lines {
            if line.contains(&words) {
                let _ = found.send(());
                return;
            }
        }
    });
    finding
}

/// A terminal that a program runs in, and that we type into and look at.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    fn open(folder: &Path, command: &str) -> Self {
        let terminal = Self {
            socket: folder.join("tmux"),
        };
        let size = ["-x", "160", "-y", "50"];
        let home = format!("HOME={}", folder.display());
        terminal.tmux(
            &["new-session", "-d", "-e", &home, "-e", "LANG=C.UTF-8"],
            &size,
            command,
        );
        terminal
    }

    fn tmux(&self, first: &[&str], second: &[&str], last: &str) -> String {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(first).args(second);
        if !last.is_empty() {
            command.arg(last);
        }
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn enter(&self, text: &str) {
        self.tmux(&["send-keys", "-l"], &["--"], text);
        self.tmux(&["send-keys"], &[], "Enter");
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"], &[], "")
    }

    /// Waits until the screen shows the words.
    fn shows(&self, words: &str) {
        let started = Instant::now();
        while !self.screen().contains(words) {
            let screen = self.screen();
            assert!(
                started.elapsed() < LIMIT,
                "no {words:?} on the screen:\n{screen}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"], &[], "");
    }
}

#[test]
fn profanity() {
    let scene = Scene::set("profanity");
    let terminal = Terminal::open(scene.stage.folder(), "profanity");
    terminal.shows("Profanity");
    let connect = format!(
        "/connect romeo@montague.example server {} port 5222 tls trust",
        scene.host()
    );
    terminal.enter(&connect);
    terminal.shows("Enter password");
    terminal.enter(PASSWORD);
    terminal.shows("logged in successfully");
    terminal.enter("/msg juliet@capulet.example With love's light wings");
    terminal.shows("echo: With love's light wings");
}

#[test]
fn mcabber() {
    let scene = Scene::set("mcabber");
    let settings = scene.stage.folder().join("mcabberrc");
    let text = format!(
        "set jid = romeo@montague.example\nset password = {PASSWORD}\nset server = {}\n\
         set port = 5222\nset tls = 1\nset ssl_ignore_checks = 1\nset disable_random_resource = 1\n",
        scene.host()
    );
    std::fs::write(&settings, text).unwrap();
    let terminal = Terminal::open(
        scene.stage.folder(),
        &format!("mcabber -f {}", settings.display()),
    );
    // Online; the column is too narrow for the whole address.
    terminal.shows("{o} romeo@montague");
    terminal.enter("/say_to juliet@capulet.example O, wilt thou leave me so");
    // She is listed once her answer is here; an empty line opens the conversation.
    terminal.shows("juliet@capulet");
    terminal.enter("/roster search juliet");
    terminal.enter("");
    terminal.shows("echo: O, wilt thou leave me so");
}
