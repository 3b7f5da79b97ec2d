//! The log at its most talkative, through a whole play: it names no secret and nothing that was said,
//! and its fields are those that are documented.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use integration::home::{Home, Options};
use integration::ordinary::Ordinary;
use integration::secrecy;
use integration::stage::{PASSWORD, Stage};
use serde_json::Value;

const DOCUMENT: &str = "../server/docs/logs.md";
/// Said in the clear, and end to end.
const OPEN: &str = "It is the nightingale, and not the lark";
const CLOSED: &str = "More light and light, more dark and dark our woes";
const WRONG: &str = "a password of nobody's";

fn loud(domain: &str) -> Options {
    let mut options = Options::new(domain, integration::address());
    options.log = "trace".to_owned();
    options.log_format = "json".to_owned();
    options
}

/// Logs in by PLAIN, with a password that is right or wrong, and says something.
fn plain(home: &Home, user: &str, password: &str, to: &str) -> bool {
    let mut said = Command::new("go-sendxmpp")
        .args([
            "-u",
            user,
            "-p",
            password,
            "-j",
            &home.c2s().to_string(),
            to,
        ])
        .env("SSL_CERT_FILE", home.ca())
        .env("HOME", home.data())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut words = said.stdin.take().unwrap();
    std::io::Write::write_all(&mut words, format!("{OPEN}\n").as_bytes()).unwrap();
    drop(words);
    said.wait().unwrap().success()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_no_secret_whatever_happens() {
    let homes = ["montague.example", "capulet.example"].map(loud);
    let mut stage = Stage::set_options("logs", homes);
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mut juliet = stage.person(1, "juliet").await.unwrap();
    let room = romeo.create_room("Orchard").await.unwrap();
    romeo.invite(&room, juliet.account()).await.unwrap();
    juliet.joined(&room).await.unwrap();
    juliet.send(&room, CLOSED).await.unwrap();
    romeo.hears(&room, CLOSED).await.unwrap();

    let home = &stage.homes[0];
    home.add_user("nurse", PASSWORD).unwrap();
    home.add_user("peter", PASSWORD).unwrap();
    let (nurse, peter) = ("nurse@montague.example", "peter@montague.example");
    let mut listening = Ordinary::login(peter, PASSWORD, home.c2s(), &home.ca()).await;
    assert!(plain(home, nurse, PASSWORD, peter));
    listening.hears(nurse, OPEN).await;
    listening.says(nurse, OPEN);
    assert!(!plain(home, nurse, WRONG, peter));
    romeo.quit().await;
    juliet.quit().await;
    drop(listening);
    for home in &mut stage.homes {
        home.stop().unwrap();
    }

    let secrets = [PASSWORD, WRONG, OPEN, CLOSED, "Orchard"];
    for home in &stage.homes {
        let searched = secrecy::search_log(home, &secrets).unwrap();
        assert!(
            searched > 20_000,
            "only {searched} octets: was that at trace?"
        );
        // The search can find.
        assert!(secrecy::search_log(home, &["bound"]).is_err());
        let said = fields(home);
        let known = documented();
        let unknown: Vec<_> = said.difference(&known).collect();
        assert!(unknown.is_empty(), "{DOCUMENT} does not have {unknown:?}");
        assert!(
            said.contains("session") && said.contains("peer"),
            "{said:?}"
        );
    }
}

/// Names of the fields of what our own crates log.
fn fields(home: &Home) -> BTreeSet<String> {
    let log = fs::read_to_string(home.log()).unwrap();
    let mut found = BTreeSet::new();
    for line in log.lines() {
        let event: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let ours = event["target"]
            .as_str()
            .is_some_and(|target| target.starts_with("comity"));
        if !ours {
            continue;
        }
        for key in ["timestamp", "level", "target"] {
            assert!(event[key].is_string(), "{line}");
        }
        let spans = event["spans"].as_array().into_iter().flatten();
        for fields in spans.chain([&event["fields"]]) {
            let names = fields.as_object().unwrap().keys();
            found.extend(names.filter(|name| *name != "name").cloned());
        }
    }
    found
}

/// The first column of the document's table.
fn documented() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// The journal's own protocol: a datagram an entry, a field a line.
#[test]
fn the_journal_gets_fields_of_its_own() {
    integration::network::alone().unwrap();
    let run = |arguments: &[&str]| Command::new("mount").args(arguments).status().unwrap();
    assert!(run(&["-t", "tmpfs", "none", "/run"]).success());
    fs::create_dir_all("/run/systemd/journal").unwrap();
    let journal = std::os::unix::net::UnixDatagram::bind("/run/systemd/journal/socket").unwrap();
    journal
        .set_read_timeout(Some(std::time::Duration::from_secs(5)))
        .unwrap();
    let mut options = Options::new("montague.example", std::net::Ipv4Addr::LOCALHOST);
    options.log_format = "journald".to_owned();
    let folder = std::env::temp_dir().join(format!("comity-journal-{}", std::process::id()));
    // A journal reads: its queue holds few.
    let reading = std::thread::spawn(move || {
        let (mut datagram, mut wanted) = (vec![0; 1 << 16], None);
        while let Ok(length) = journal.recv(&mut datagram) {
            let entry = String::from_utf8_lossy(&datagram[..length]).into_owned();
            if entry.contains("COMITY_DOMAINS") {
                wanted = Some(entry);
            }
        }
        wanted
    });
    let mut home = Home::new(options, &folder).unwrap();
    home.start().unwrap();
    home.stop().unwrap();
    let entry = reading.join().unwrap().expect("it says what it serves");
    for field in ["SYSLOG_IDENTIFIER\n", "PRIORITY\n", "MESSAGE\n", "TARGET\n"] {
        assert!(entry.contains(field.trim_end()), "{field} in {entry:?}");
    }
    assert!(entry.contains("montague.example"), "{entry:?}");
    assert_eq!(
        fs::read_to_string(home.log()).unwrap(),
        "",
        "nothing besides"
    );
    fs::remove_dir_all(&folder).unwrap();
}
