//! What goes wrong around a server: each time it says what, why and what to do next, and no data is
//! harmed.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use integration::certificates::{Authority, Shape};
use integration::clock;
use integration::home::{Home, Options};
use integration::raw::{Login, Raw};
use integration::stage::PASSWORD;
use integration::teller::Teller;

const DOMAIN: &str = "a.example";
const DAY: Duration = Duration::from_secs(24 * 3600);
const LIMIT: Duration = Duration::from_secs(30);

struct Scene {
    folder: PathBuf,
    home: Home,
}

impl Scene {
    fn set(play: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("comity-{play}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let mut options = Options::new(DOMAIN, integration::address());
        options.extra = "[accounts]\nscram_iterations = 4096\n".to_owned();
        let home = Home::new(options, &folder).unwrap();
        Self { folder, home }
    }

    /// Starts and stops it, so that there is something to harm.
    fn lived(play: &str) -> Self {
        let mut scene = Self::set(play);
        scene.home.start().unwrap();
        scene.home.add_user("ann", PASSWORD).unwrap();
        scene.home.stop().unwrap();
        scene
    }

    /// What it says when it does not start.
    fn refusal(&self) -> String {
        let output = self.home.output(&["serve"]).unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rfind(|line| line.starts_with("comity: "));
        last.unwrap_or_else(|| panic!("no last word in {said}"))
            .to_owned()
    }

    fn goes_on(&mut self) {
        self.home.start().unwrap();
        Teller::come(&self.home, "ann", true).unwrap();
        self.home.stop().unwrap();
    }

    fn over(self) {
        let Self { folder, home } = self;
        drop(home);
        fs::remove_dir_all(folder).unwrap();
    }
}

fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

#[test]
fn two_servers_do_not_share_a_directory_and_a_killed_one_leaves_it_free() {
    let mut scene = Scene::lived("shared");
    scene.home.start().unwrap();
    let process = scene.home.process().unwrap().to_string();
    let data = scene.home.data().display().to_string();
    says(&scene.refusal(), &[&process, &data, "stop it first"]);
    // Its socket and its lock file are still there.
    scene.home.kill().unwrap();
    assert!(scene.home.data().join("admin.sock").exists());
    scene.goes_on();
    scene.over();
}

#[test]
fn a_port_in_use_is_named_with_its_key() {
    let mut scene = Scene::lived("port");
    let address = scene.home.s2s();
    let other = TcpListener::bind(address).unwrap();
    let port = format!("sport = :{}", address.port());
    says(
        &scene.refusal(),
        &["s2s.listen", &address.to_string(), &port],
    );
    drop(other);
    scene.goes_on();
    scene.over();
}

/// Root may read everything; so this is somebody else.
#[test]
fn missing_rights_are_named() {
    let scene = Scene::lived("rights");
    let nobody = |data: &Path| {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(integration::binary("comity"))
            .args(["serve", "--config"])
            .arg(data.with_file_name("homeserver.toml"))
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let data = scene.home.data();
    let said = nobody(&data);
    says(
        &said,
        &[&data.display().to_string(), "Permission denied", "chown"],
    );
    scene.over();
}

#[test]
fn a_read_only_disk_is_named() {
    let mut scene = Scene::lived("read-only");
    let data = scene.home.data();
    let mount = |arguments: &[&str]| {
        let mounted = Command::new("mount").args(arguments).arg(&data).status();
        assert!(
            mounted.unwrap().success(),
            "plays run in a mount namespace, as root"
        );
    };
    mount(&["--bind", data.to_str().unwrap()]);
    mount(&["-o", "remount,bind,ro"]);
    let said = scene.refusal();
    says(&said, &[&data.display().to_string(), "read-only"]);
    let unmounted = Command::new("umount").arg(&data).status().unwrap();
    assert!(unmounted.success());
    scene.goes_on();
    scene.over();
}

#[test]
fn a_damaged_database_is_named_and_left_as_it_is() {
    let mut scene = Scene::lived("damaged");
    let database = scene.home.data().join("comity.db");
    let whole = fs::read(&database).unwrap();
    let mut torn = whole.clone();
    let middle = torn.len() / 2;
    torn[middle..middle + 16_384].fill(0x55);
    let cases: [(&str, &[u8]); 2] = [
        ("torn", &torn),
        (
            "no database",
            b"This is a text that somebody has copied over the database.",
        ),
    ];
    for (what, content) in cases {
        fs::write(&database, content).unwrap();
        let said = scene.refusal();
        println!("{what}: {said}");
        says(&said, &[&database.display().to_string(), "comity restore"]);
        assert_eq!(fs::read(&database).unwrap(), content, "{what}");
    }
    fs::write(&database, whole).unwrap();
    scene.goes_on();
    scene.over();
}

#[test]
fn an_unfinished_restoration_is_no_server() {
    let mut scene = Scene::lived("unfinished");
    let mark = scene.home.data().join("comity.restoring");
    fs::write(&mark, "").unwrap();
    says(
        &scene.refusal(),
        &["restoration that was not finished", "empty the directory"],
    );
    fs::remove_file(mark).unwrap();
    scene.goes_on();
    scene.over();
}

#[test]
fn a_wrong_configuration_changes_nothing() {
    let mut scene = Scene::lived("configuration");
    let file = scene.folder.join("homeserver.toml");
    let right = fs::read_to_string(&file).unwrap();
    let wrong = right.replace("[accounts]", "[accounts]\nsesions = 5");
    fs::write(&file, wrong).unwrap();
    says(
        &scene.refusal(),
        &["homeserver.toml:", "`sesions`", "did you mean `sessions`?"],
    );
    fs::write(&file, right).unwrap();
    scene.goes_on();
    scene.over();
}

#[test]
fn files_of_the_data_directory_stay_its_owners() {
    let scene = Scene::lived("modes");
    let data = scene.home.data();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for name in ["comity.db", "comity.lock", "fast.key"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
    fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
    scene.over();
}

/// It serves all the same: who has pinned the key, and who would renew it, has to get in.
#[test]
fn a_certificate_that_is_over_is_said_and_another_is_taken_up() {
    let mut scene = Scene::lived("certificate");
    let authority = Authority::new("A play's authority", &scene.folder.join("ca")).unwrap();
    let expired = Shape {
        expired: true,
        ..Shape::dns(DOMAIN)
    };
    let files = authority.issue("own", &expired).unwrap();
    let file = scene.folder.join("homeserver.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (chain, key) = (files.chain.display(), files.key.display());
    let named = format!(
        "{text}\n[tls.certificates]\n{DOMAIN:?} = {{ chain = \"{chain}\", key = \"{key}\" }}\n"
    );
    fs::write(&file, named).unwrap();
    scene.home.start().unwrap();
    wait_for_log(
        &scene.home,
        "our certificate is over: clients and other domains refuse it",
    );
    let checked = scene.home.output(&["check"]).unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert_eq!(checked.status.code(), Some(1), "{said}");
    assert!(
        said.lines()
            .any(|line| line.starts_with("FAULT") && line.contains("certificate"))
    );
    authority.issue("own", &Shape::dns(DOMAIN)).unwrap();
    scene.home.comity(&["reload"], "").unwrap();
    let login = Login {
        domain: DOMAIN,
        name: "ann",
        password: PASSWORD,
        authority: &authority.file(),
    };
    Raw::login(scene.home.c2s(), login).unwrap();
    scene.over();
}

fn wait_for_log(home: &Home, words: &str) {
    let started = Instant::now();
    loop {
        let log = fs::read_to_string(home.log()).unwrap();
        if log.contains(words) {
            return;
        }
        assert!(started.elapsed() < LIMIT, "no {words:?} in the log");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The clock is set forward by a month while people talk, and the server started again then. What is
/// timed by the clock that never goes back is not touched, what was accepted stays.
#[test]
fn a_clock_that_jumps_is_said_and_harms_nothing() {
    clock::play(
        "mishaps::a_clock_that_jumps_is_said_and_harms_nothing",
        async |clock| {
            let mut scene = Scene::lived("clock");
            scene.home.start().unwrap();
            scene.home.add_user("abe", PASSWORD).unwrap();
            let mut ann = Teller::come(&scene.home, "ann", false).unwrap();
            let to = format!("abe@{DOMAIN}");
            ann.tell(&to, 1).unwrap();
            ann.settle().unwrap();
            clock.forward(3 * DAY);
            wait_for_log(&scene.home, "the clock has jumped forward");
            // The stream is still there.
            ann.tell(&to, 1).unwrap();
            ann.settle().unwrap();
            clock.back(2 * DAY);
            wait_for_log(&scene.home, "the clock has jumped back");
            ann.tell(&to, 1).unwrap();
            ann.settle().unwrap();
            assert!(ann.refused.is_empty(), "{:?}", ann.refused);
            drop(ann);
            // It begins before what it has written.
            scene.home.stop().unwrap();
            scene.home.start().unwrap();
            let mut abe = Teller::come(&scene.home, "abe", true).unwrap();
            abe.listen(Duration::from_secs(2)).unwrap();
            assert_eq!(abe.numbers_of("ann"), [1, 2, 3]);
            drop(abe);
            scene.over();
        },
    );
}
