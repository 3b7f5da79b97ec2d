//! A domain whose root is kept on another machine, set up and rotated by the commands that the
//! README shows.

use std::path::Path;
use std::process::Command;

use integration::home::{Home, Options};
use integration::person::Person;
use integration::stage::PASSWORD;

const README: &str = include_str!("../../../README.md");
const DOMAIN: &str = "a.example";

/// The commands of the README's block that begins with this line, but for the one that serves.
fn commands(first: &str) -> Vec<String> {
    let block = README
        .split("```sh\n")
        .filter_map(|rest| rest.split("```").next())
        .find(|block| block.starts_with(first))
        .unwrap_or_else(|| panic!("the README has no block that begins with {first}"));
    let lines = block.lines().map(str::trim);
    lines
        .filter(|line| line.starts_with("comity ") && !line.starts_with("comity serve"))
        .map(str::to_owned)
        .collect()
}

fn run(folder: &Path, command: &str) -> String {
    let binary = integration::binary("comity");
    let path = format!(
        "{}:{}",
        binary.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let output = Command::new("sh")
        .args(["-euc", command])
        .current_dir(folder)
        .env("PATH", path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_kept_offline_by_the_commands_of_the_readme() {
    let folder = std::env::temp_dir().join(format!("comity-offline-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let mut options = Options::new(DOMAIN, integration::address());
    "[mls.authority]\nroot = \"offline\"\n".clone_into(&mut options.extra);
    let mut home = Home::new(options, &folder).unwrap();
    let refused = home.start().unwrap_err().to_string();
    assert!(refused.contains("comity ca request"), "{refused}");

    let set_up = commands("# Where the root is to be kept");
    assert_eq!(set_up.len(), 4);
    for command in set_up {
        run(&folder, &command);
    }
    home.start().unwrap();
    let shown = home.comity(&["ca", "show"], "").unwrap();
    assert!(shown.contains("(offline)"), "{shown}");
    assert!(folder.join("root/root.key").exists());
    let ca = home.data().join("ca").join(DOMAIN);
    assert!(ca.join("root.pem").exists() && !ca.join("root.key").exists());

    home.add_user("alice", PASSWORD).unwrap();
    let jid = format!("alice@{DOMAIN}");
    let mut alice = Person::login_as(&home, &jid, PASSWORD, "device", &folder.join("alice"))
        .await
        .unwrap();
    alice.enrolled().await.unwrap();
    let room = alice.create_room("Vault").await.unwrap();

    // The server runs on while its root is followed by another.
    let rotation = commands("# Where the root is kept: its successor");
    assert_eq!(rotation.len(), 4);
    for command in rotation {
        run(&folder, &command);
    }
    let after = home.comity(&["ca", "show"], "").unwrap();
    assert!(after.contains("follows 1 earlier roots"), "{after}");
    alice.update(&room).await.unwrap();
    alice.send(&room, "still here").await.unwrap();
    home.stop().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}
