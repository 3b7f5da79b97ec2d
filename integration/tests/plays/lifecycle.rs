//! A server under a service manager, from its start to its end: what it says of itself, how it takes
//! up another configuration, and how it leaves.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use integration::home::Options;
use integration::stage::{PASSWORD, Stage};
use integration::teller::Teller;

const DOMAIN: &str = "a.example";
const LIMIT: Duration = Duration::from_secs(30);

/// A service manager, as far as a server sees of it.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        let _ = fs::remove_file(path);
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self(socket)
    }

    /// Waits for such a word; the watchdog's come in between.
    fn hears(&self, word: &str) -> String {
        loop {
            let mut bytes = [0; 512];
            let count = self
                .0
                .recv(&mut bytes)
                .unwrap_or_else(|_| panic!("no {word}"));
            let said = String::from_utf8_lossy(&bytes[..count]).into_owned();
            if said.starts_with(word) {
                return said;
            }
            assert!(said.starts_with("WATCHDOG=1"), "{said}, and not {word}");
        }
    }
}

fn manager_socket() -> PathBuf {
    std::env::temp_dir().join(format!("comity-notify-{}", std::process::id()))
}

#[test]
fn a_service_manager_hears_of_the_start_of_life_and_of_the_end() {
    let socket = manager_socket();
    let manager = Manager::at(&socket);
    let mut options = Options::new(DOMAIN, integration::address());
    options.extra = "[accounts]\nscram_iterations = 4096\n".to_owned();
    options.environment = vec![
        ("NOTIFY_SOCKET".to_owned(), socket.display().to_string()),
        ("WATCHDOG_USEC".to_owned(), "1000000".to_owned()),
    ];
    let mut stage = Stage::set_options("lifecycle", [options]);
    // It was started once before, for its certificate.
    manager.hears("READY=1");
    manager.hears("STOPPING=1");
    let ready = manager.hears("READY=1");
    assert!(
        ready.contains(&format!("STATUS=serving {DOMAIN}")),
        "{ready}"
    );
    manager.hears("WATCHDOG=1");
    stage.homes[0].hang_up().unwrap();
    let reloading = manager.hears("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.hears("READY=1");

    let home = &mut stage.homes[0];
    for name in ["ann", "abe"] {
        home.add_user(name, PASSWORD).unwrap();
    }
    let mut ann = Teller::come(home, "ann", false).unwrap();
    for _ in 0..200 {
        ann.tell(&format!("abe@{DOMAIN}"), 100).unwrap();
    }
    // In the middle of it.
    let told = std::thread::spawn(move || {
        while ann.listen(Duration::from_millis(100)).is_ok() {}
        ann
    });
    home.stop().unwrap();
    manager.hears("STOPPING=1");
    let ann = told.join().unwrap();
    assert_eq!(ann.ended.as_deref(), Some("system-shutdown"));
    assert!(ann.refused.is_empty(), "{:?}", ann.refused);
    home.start().unwrap();
    let mut abe = Teller::come(home, "abe", true).unwrap();
    for _ in 0..100 {
        if abe.numbers_of("ann").last() >= Some(&ann.acknowledged) {
            break;
        }
        abe.listen(Duration::from_millis(100)).unwrap();
    }
    let there = abe.numbers_of("ann");
    let count = u32::try_from(there.len()).unwrap();
    assert_eq!(there, (1..=count).collect::<Vec<_>>());
    assert!(count >= ann.acknowledged, "{count} of {}", ann.acknowledged);
    println!("{} acknowledged, {count} there", ann.acknowledged);
    fs::remove_file(socket).unwrap();
}

#[test]
fn a_changed_configuration_is_taken_up_as_far_as_it_can_be() {
    let mut stage = Stage::set_with("reload", &[DOMAIN], "[contacts]\nabuse = []\n");
    let home = &mut stage.homes[0];
    let file = home.data().with_file_name("homeserver.toml");
    let before = fs::read_to_string(&file).unwrap();
    let said = home.comity(&["reload"], "").unwrap();
    assert!(said.contains("nothing has changed"), "{said}");
    let after = before
        .replace("abuse = []", "abuse = [\"mailto:abuse@a.example\"]")
        .replace(
            "[web]\n",
            "[web]\nmetrics_from = [\"192.0.2.1\"]\nurl = \"https://a.example\"\n",
        );
    fs::write(&file, after).unwrap();
    let said = home.comity(&["reload"], "").unwrap();
    assert!(
        said.contains("took effect: web.metrics_from contacts.abuse"),
        "{said}"
    );
    assert!(said.contains("at the next start: web.url"), "{said}");
    let page = integration::page::get(home, "/metrics").unwrap();
    assert!(page.starts_with("HTTP/1.1 403"), "{page}");
    // Again: what still waits is still said.
    let said = home.comity(&["reload"], "").unwrap();
    assert!(!said.contains("took effect"), "{said}");
    assert!(said.contains("at the next start: web.url"), "{said}");
    fs::write(&file, before.replace("[web]\n", "[web]\nurll = \"x\"\n")).unwrap();
    let refused = home.comity(&["reload"], "").unwrap_err().to_string();
    assert!(refused.contains("did you mean `url`?"), "{refused}");
    fs::write(&file, before).unwrap();
    home.hang_up().unwrap();
    let words = "took_effect=\"web.metrics_from contacts.abuse\" needs_a_restart=\"\"";
    let started = Instant::now();
    while !fs::read_to_string(home.log()).unwrap().contains(words) {
        assert!(started.elapsed() < LIMIT, "SIGHUP was not heard");
        std::thread::sleep(Duration::from_millis(50));
    }
    let page = integration::page::get(home, "/metrics").unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
}

/// What systemd itself thinks of the unit.
#[test]
fn the_unit_is_one() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/comity.service");
    let text = fs::read_to_string(unit).unwrap();
    let folder = std::env::temp_dir().join(format!("comity-unit-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("comity.service");
    // The program is looked for where the unit has it.
    let own = integration::binary("comity").display().to_string();
    fs::write(&file, text.replace("/usr/bin/comity", &own)).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze")
            .args(arguments)
            .arg(&file)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let (well, said) = run(&["verify", "--man=no"]);
    assert!(well && !said.contains("comity.service"), "{said}");
    let (well, said) = run(&["security", "--offline=true", "--threshold=25"]);
    assert!(well, "exposure is above 2.5: {said}");
    fs::remove_dir_all(folder).unwrap();
}
