//! A device whose signature keys are in a PKCS#11 token, for which SoftHSM stands: it talks while the
//! token is there, and no key of it is anywhere else.

use std::path::PathBuf;
use std::process::{Command, Output};

use integration::stage::{PASSWORD, Stage};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// Romeo's device, by commands, and his token.
struct Romeo<'a> {
    stage: &'a Stage,
}

impl Romeo<'_> {
    fn folder(&self) -> PathBuf {
        self.stage.folder().join("token")
    }

    /// An empty token.
    fn prepares(&self) {
        let tokens = self.folder().join("tokens");
        std::fs::create_dir_all(&tokens).unwrap();
        let configuration = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        std::fs::write(self.folder().join("softhsm2.conf"), configuration).unwrap();
        std::fs::write(self.folder().join("pin"), "5678\n").unwrap();
        std::fs::write(self.folder().join("password"), PASSWORD).unwrap();
        let words = [
            "--init-token",
            "--free",
            "--label",
            "romeo",
            "--so-pin",
            "1234",
            "--pin",
            "5678",
        ];
        let made = self.command("softhsm2-util").args(words).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SOFTHSM2_CONF", self.folder().join("softhsm2.conf"));
        command
    }

    fn runs(&self, words: &[&str]) -> Output {
        let home = &self.stage.homes[0];
        let roots: Vec<String> = home
            .roots()
            .iter()
            .map(|r| r.display().to_string())
            .collect();
        let chat = integration::binary("comity-chat");
        self.command(chat.to_str().unwrap())
            .args(["--account", "romeo@montague.example"])
            .args([
                "--server",
                &home.c2s().to_string(),
                "--ca",
                &roots.join(":"),
            ])
            .args(["--token-module", MODULE, "--token-label", "romeo"])
            .arg("--token-pin-file")
            .arg(self.folder().join("pin"))
            .arg("--password-file")
            .arg(self.folder().join("password"))
            .arg("--data")
            .arg(self.stage.folder().join("romeo"))
            .args(words)
            .output()
            .unwrap()
    }

    fn does(&self, words: &[&str]) {
        let output = tokio::task::block_in_place(|| self.runs(words));
        let faults = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {faults}");
    }

    /// Private keys in the token.
    fn keys(&self) -> usize {
        let mut files = 0;
        for token in std::fs::read_dir(self.folder().join("tokens")).unwrap() {
            for file in std::fs::read_dir(token.unwrap().path()).unwrap() {
                let name = file.unwrap().file_name();
                let name = name.to_string_lossy().into_owned();
                files += usize::from(name.ends_with(".object") && name != "token.object");
            }
        }
        // A public half beside each.
        files / 2
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_whose_keys_are_in_a_token() {
    let stage = Stage::set("token-keys", &["montague.example", "capulet.example"]);
    let mut juliet = stage.person(1, "juliet").await.unwrap();
    stage.homes[0].add_user("romeo", PASSWORD).unwrap();
    let romeo = Romeo { stage: &stage };
    romeo.prepares();
    romeo.does(&["create", "Orchard", "juliet@capulet.example"]);
    let joined = juliet.until("an invitation", |update| match update {
        comity_client::agent::Update::Engine(comity_mls_engine::Event::RoomJoined {
            room, ..
        }) => Some(room.clone()),
        _ => None,
    });
    let room = joined.await.unwrap();
    romeo.does(&["send", "Orchard", "But soft"]);
    juliet.hears(&room, "But soft").await.unwrap();
    juliet.send(&room, "Ay me").await.unwrap();
    // A device key, one of the room, and one for each KeyPackage.
    let keys = romeo.keys();
    assert!(keys > 50, "{keys} keys in the token");
    romeo.does(&["update", "Orchard"]);

    // Without the token the same folder says nothing, and says why.
    let tokens = romeo.folder().join("tokens");
    let away = romeo.folder().join("unplugged");
    std::fs::rename(&tokens, &away).unwrap();
    std::fs::create_dir(&tokens).unwrap();
    let output = tokio::task::block_in_place(|| romeo.runs(&["send", "Orchard", "She speaks"]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("the token \"romeo\""), "{said}");
    std::fs::remove_dir(&tokens).unwrap();
    std::fs::rename(&away, &tokens).unwrap();
    romeo.does(&["send", "Orchard", "She speaks"]);
    juliet.hears(&room, "She speaks").await.unwrap();
}
