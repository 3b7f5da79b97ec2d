//! A domain moved to another machine: its CA from a backup, by the commands of the README.

use std::path::Path;
use std::process::Command;

use integration::home::{Home, Options};
use integration::person::Person;
use integration::stage::PASSWORD;

const README: &str = include_str!("../../../README.md");
const DOMAIN: &str = "a.example";

/// The README's command that begins so.
fn command(words: &str) -> &'static str {
    let found = README.lines().find(|line| line.starts_with(words));
    found.unwrap_or_else(|| panic!("the README has no {words}"))
}

fn run(folder: &Path, command: &str) -> Result<String, String> {
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
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Which root and issuing CA.
fn authorities(home: &Home) -> Vec<String> {
    let shown = home.comity(&["ca", "show"], "").unwrap();
    let lines = shown.lines().filter(|line| line.contains("until"));
    lines.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_goes_to_another_machine_by_the_commands_of_the_readme() {
    let folder = std::env::temp_dir().join(format!("comity-backup-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let [old, new] = ["old", "new"].map(|name| folder.join(name));
    let mut home = Home::new(Options::new(DOMAIN, integration::address()), &old).unwrap();
    let mut other = Home::new(Options::new(DOMAIN, integration::address()), &new).unwrap();
    home.start().unwrap();
    home.add_user("alice", PASSWORD).unwrap();
    let jid = format!("alice@{DOMAIN}");
    let mut alice = Person::login_as(&home, &jid, PASSWORD, "device", &folder.join("alice"))
        .await
        .unwrap();
    alice.enrolled().await.unwrap();
    std::fs::write(old.join("passphrase"), "correct horse battery staple\n").unwrap();
    run(&old, command("comity ca backup")).unwrap();
    // A file that is there is not written over.
    let again = run(&old, command("comity ca backup")).unwrap_err();
    assert!(again.contains("exists already"), "{again}");
    let before = authorities(&home);
    let running = run(&old, command("comity ca restore")).unwrap_err();
    assert!(running.contains("stop it"), "{running}");
    drop(alice);
    home.stop().unwrap();

    // The database of the old machine, and nothing of its CA.
    std::fs::create_dir_all(other.data()).unwrap();
    std::fs::copy(
        home.data().join("comity.db"),
        other.data().join("comity.db"),
    )
    .unwrap();
    std::fs::copy(old.join("ca.backup"), new.join("ca.backup")).unwrap();
    std::fs::write(new.join("passphrase"), "wrong\n").unwrap();
    let wrong = run(&new, command("comity ca restore")).unwrap_err();
    assert!(wrong.contains("nothing was changed"), "{wrong}");
    assert!(!other.data().join("ca").exists());
    std::fs::copy(old.join("passphrase"), new.join("passphrase")).unwrap();
    run(&new, command("comity ca restore")).unwrap();
    other.start().unwrap();
    assert_eq!(authorities(&other), before);
    let mut alice = Person::login_as(&other, &jid, PASSWORD, "another", &folder.join("again"))
        .await
        .unwrap();
    alice.enrolled().await.unwrap();
    let audit = other.comity(&["ca", "audit"], "").unwrap();
    assert!(audit.contains("as it should be"), "{audit}");
    other.stop().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}
