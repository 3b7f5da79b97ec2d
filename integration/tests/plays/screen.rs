//! `comity-chat` on a whole screen, in a real terminal (tmux): Romeo makes a room, is written to by
//! somebody who means harm to his terminal, and compares codes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use comity_client::act::Act;
use comity_client::agent::Update;
use comity_client::content;
use comity_client::typing::ChatState;
use comity_mls_engine::{Device, Event, What};
use comity_mls_wire::policy::Role;
use comity_xmpp::jid::BareJid;
use integration::person::Person;
use integration::stage::{PASSWORD, Stage};

/// How long the screen may take to show something.
const LIMIT: Duration = Duration::from_secs(60);

/// A terminal with the program in it.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    fn start(stage: &Stage) -> Self {
        let home = &stage.homes[0];
        let socket = stage.folder().join("tmux");
        let password = stage.folder().join("romeo.password");
        std::fs::write(&password, PASSWORD).unwrap();
        let roots: Vec<String> = home
            .roots()
            .iter()
            .map(|root| root.display().to_string())
            .collect();
        let command = format!(
            "{} --notify all --notify-by osc9 --account romeo@{} --server {} --ca {} --data {} --password-file {}",
            integration::binary("comity-chat").display(),
            home.domain(),
            home.c2s(),
            roots.join(":"),
            stage.folder().join("romeo").display(),
            password.display(),
        );
        let terminal = Self { socket };
        terminal.tmux(&["new-session", "-d", "-x", "130", "-y", "50", &command]);
        let raw = format!("cat > {}", stage.folder().join("raw").display());
        terminal.tmux(&["pipe-pane", "-o", &raw]);
        terminal
    }

    fn tmux(&self, words: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-u", "-f", "/dev/null", "-S"])
            .arg(&self.socket as &Path)
            .args(words)
            .env("LANG", "C.UTF-8")
            .output()
            .unwrap();
        let faults = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {words:?}: {faults}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn types(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.tmux(&["send-keys", "Enter"]);
    }

    /// The screen, once it shows that.
    async fn shows(&self, wanted: &str) -> String {
        let started = Instant::now();
        loop {
            let screen = self.tmux(&["capture-pane", "-p"]);
            if screen.contains(wanted) {
                return screen;
            }
            assert!(started.elapsed() < LIMIT, "no {wanted:?} in\n{screen}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .arg("kill-server")
            .output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_on_the_whole_screen() {
    let stage = Stage::set("screen", &["montague.example", "capulet.example"]);
    let mut juliet = stage.person(1, "juliet").await.unwrap();
    stage.homes[0].add_user("romeo", PASSWORD).unwrap();
    let terminal = Terminal::start(&stage);
    terminal.shows("is known to your domain as").await;
    terminal.types("/create Balcony");
    terminal.shows("made the room").await;
    terminal.types("/invite juliet@capulet.example");
    let joined = juliet.until("an invitation", |update| match update {
        Update::Engine(Event::RoomJoined { room, .. }) => Some(room.clone()),
        _ => None,
    });
    let room = joined.await.unwrap();
    // Who came, with what devices, and that nobody has compared them.
    let screen = terminal.shows("was added by").await;
    for part in ["comes with 1 device", "not verified", "┌rooms", "┌members"] {
        assert!(screen.contains(part), "no {part:?} in\n{screen}");
    }
    terminal.types("Call me but love");
    juliet.hears(&room, "Call me but love").await.unwrap();
    words_are_read_and_mended(&terminal, &mut juliet, &room).await;
    they_type(&terminal, &mut juliet, &room).await;

    // Clearing the screen and a title of her own: shown as text, and the screen stays.
    let hostile = "\u{1b}[2J\u{1b}]0;owned\u{7}Boo";
    juliet.send(&room, hostile).await.unwrap();
    let screen = terminal.shows("Boo").await;
    assert!(
        screen.contains("\u{fffd}[2J\u{fffd}]0;owned\u{fffd}Boo"),
        "{screen}"
    );
    assert!(screen.contains("┌members"), "{screen}");
    // He was told of whom and where, and the terminal of nothing that she wrote.
    let raw = std::fs::read(stage.folder().join("raw")).unwrap();
    let raw = String::from_utf8_lossy(&raw).into_owned();
    let told = "\u{1b}]9;juliet@capulet.example has written in Balcony\u{7}";
    assert!(raw.contains(told), "{raw:?}");
    assert!(!raw.contains("\u{1b}]0;owned"), "{raw:?}");

    roles_and_files_and_what_was_said(&stage, &terminal, &mut juliet, &room).await;
    let id = juliet.verb(|engine, _| engine.device()).await.unwrap();
    terminal.types("/verify juliet@capulet.example");
    let screen = terminal.shows("Compare it by another way").await;
    let members = juliet.members(&room).await.unwrap();
    let his = members
        .iter()
        .find(|m| m.account.domain() == "montague.example");
    let (his, at) = (Device::from(his.unwrap()), room.clone());
    let code = juliet.verb(move |engine, _| engine.verification_code(&at, Some(&his)));
    let code = code.await.unwrap().to_string();
    assert!(screen.contains(&code), "{code} is not in\n{screen}");
    assert!(screen.contains("▄▄▄▄▄▄▄"), "no QR code in\n{screen}");
    terminal.types(&format!("/verify juliet@capulet.example {code}"));
    let hers = id.unwrap().to_string();
    let screen = terminal.shows("✔ juliet@capulet.example").await;
    assert!(screen.contains(&hers[..8]), "{screen}");
    println!("{screen}");
}

/// He makes her admin, sends her a letter, and finds again what was said.
async fn roles_and_files_and_what_was_said(
    stage: &Stage,
    terminal: &Terminal,
    juliet: &mut Person,
    room: &BareJid,
) {
    terminal.types("/role juliet@capulet.example admin");
    let screen = terminal.shows("is admin now, and was member").await;
    assert!(screen.contains("owner, this device"), "{screen}");
    let at = room.clone();
    let policy = juliet.verb(move |engine, _| engine.policy(&at)).await;
    let policy = policy.unwrap().unwrap();
    assert_eq!(policy.role(juliet.account()), Role::Admin);
    let letter = stage.folder().join("letter.txt");
    std::fs::write(&letter, "by a name I know not how to tell thee").unwrap();
    terminal.types(&format!("/file {}", letter.display()));
    terminal.shows("[file: letter.txt (text/plain,").await;
    terminal.types("/save . ");
    terminal
        .shows("not done: no file was sent here lately")
        .await;
    terminal.types("/search LOVE call");
    let screen = terminal.shows("Up, Down and Enter").await;
    assert!(
        screen.contains("Balcony romeo@montague.example: Call me but love"),
        "{screen}"
    );
    // Where it was said, marked.
    terminal.tmux(&["send-keys", "Enter"]);
    terminal.shows("┌rooms").await;
    let coloured = terminal.tmux(&["capture-pane", "-p", "-e"]);
    let line = coloured
        .lines()
        .find(|line| line.contains("Call me but love"));
    assert!(line.unwrap().contains("[7m"), "{coloured}");
    terminal.tmux(&["send-keys", "Escape"]);
}

/// Juliet has read what he said, which he sees; he says it otherwise, and she likes it.
async fn words_are_read_and_mended(terminal: &Terminal, juliet: &mut Person, room: &BareJid) {
    let at = room.clone();
    let read = juliet.verb(move |engine, now| engine.acknowledge_reading(&at, now));
    assert!(read.await.unwrap().is_some());
    terminal.shows("Call me but love ✓").await;
    terminal.types("/correct Call me but love, and I'll be new baptized");
    let screen = terminal.shows("new baptized (corrected)").await;
    assert!(!screen.contains("but love ✓"), "{screen}");
    let said = juliet.until("a correction", |update| match update {
        Update::Engine(Event::Item { item, .. }) => match &item.what {
            What::Message(message) => {
                let content = content::open_message(room, message).ok()?;
                match Act::of(&content.elements) {
                    Act::Correction { of, .. } => Some(of),
                    _ => None,
                }
            }
            _ => None,
        },
        _ => None,
    });
    let emoji = ["🌹".to_owned()].into();
    let likes = Act::Reactions {
        to: said.await.unwrap(),
        emoji,
    };
    juliet.chat().send(room, &likes, None).await.unwrap();
    terminal.shows("(corrected) [🌹] ✓").await;
}

/// Each sees that the other types, before anything is said.
async fn they_type(terminal: &Terminal, juliet: &mut Person, room: &BareJid) {
    let typing = ChatState::Composing;
    assert!(juliet.chat().typing(room, typing).await.unwrap());
    terminal.shows("juliet@capulet.example is typing").await;
    terminal.tmux(&["send-keys", "-l", "Wherefore"]);
    let typing = juliet.until("that Romeo types", |update| match update {
        Update::Engine(Event::Ephemeral {
            room,
            by,
            content_type,
            content,
        }) => ChatState::read(room, by, content_type, content),
        _ => None,
    });
    assert_eq!(typing.await.unwrap(), ChatState::Composing);
    terminal.tmux(&["send-keys", "C-u"]);
}
