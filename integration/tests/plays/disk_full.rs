//! The disk fills up while people talk. What was accepted is there, what is not is refused with a
//! reason, the log says it once, and when there is room again all goes on by itself.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use integration::home::{Home, Options};
use integration::stage::PASSWORD;
use integration::teller::Teller;

const DOMAIN: &str = "a.example";
/// The disk.
const MEGABYTES: u32 = 24;
/// Octets of a message.
const BALLAST: usize = 20_000;
const PAUSE: Duration = Duration::from_millis(10);
const LIMIT: Duration = Duration::from_secs(60);

/// A small disk of the play's own: other processes do not see it.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={MEGABYTES}m,mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(at)
            .status()
            .unwrap();
        assert!(mounted.success(), "plays run in a mount namespace, as root");
        Self(at.to_owned())
    }

    /// Leaves no room at all.
    fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let mut file = File::create(&ballast).unwrap();
        let chunk = [7; 4096];
        while file.write_all(&chunk).is_ok() {}
        ballast
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn lines_of(home: &Home, words: &str) -> usize {
    let log = fs::read_to_string(home.log()).unwrap();
    log.lines().filter(|line| line.contains(words)).count()
}

/// Tells until `over`, with what came of it.
fn tell_until(teller: &mut Teller, mut over: impl FnMut(&Teller) -> bool) {
    let started = Instant::now();
    while !over(teller) {
        assert!(
            started.elapsed() < LIMIT,
            "it never came: {:?}",
            teller.refused
        );
        teller.tell(&format!("abe@{DOMAIN}"), BALLAST).unwrap();
        teller.listen(PAUSE).unwrap();
    }
}

#[test]
fn a_full_disk_loses_nothing_and_is_over_by_itself() {
    let folder = std::env::temp_dir().join(format!("comity-full-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    let disk = Disk::mount(&folder.join("home/data"));
    let mut options = Options::new(DOMAIN, integration::address());
    options.extra = "[accounts]\nscram_iterations = 4096\noffline_messages = 100000\n".to_owned();
    let mut home = Home::new(options, &folder.join("home")).unwrap();
    home.start().unwrap();
    for name in ["ann", "abe"] {
        home.add_user(name, PASSWORD).unwrap();
    }
    let mut ann = Teller::come(&home, "ann", false).unwrap();
    tell_until(&mut ann, |ann| ann.acknowledged > 20);
    assert!(ann.refused.is_empty(), "{:?}", ann.refused);

    let ballast = disk.fill();
    // How far it has got cannot be kept either, so nothing is acknowledged meanwhile.
    tell_until(&mut ann, |ann| ann.refused.len() > 50);
    let promised = ann.acknowledged;
    ann.listen(Duration::from_secs(2)).unwrap();
    assert_eq!(ann.acknowledged, promised);
    let conditions: Vec<&String> = ann.refused.values().collect();
    let of_room = |condition: &&&String| condition.as_str() == "resource-constraint";
    assert!(conditions.iter().all(|c| of_room(&c)), "{conditions:?}");
    let said = lines_of(&home, "nothing can be kept: make room on the disk");
    assert_eq!(
        said,
        1,
        "said once, and not for each of {}",
        conditions.len()
    );
    let metrics = integration::page::get(&home, "/metrics").unwrap();
    assert!(metrics.contains("comity_storage_writable 0"), "{metrics}");
    // Who reads is served: a login takes nothing of the disk.
    let mut eve = Teller::come(&home, "abe", false).unwrap();
    eve.listen(PAUSE).unwrap();
    drop(eve);

    fs::remove_file(ballast).unwrap();
    let started = Instant::now();
    while lines_of(&home, "the database can be written again") == 0 {
        assert!(started.elapsed() < LIMIT, "nobody tried");
        std::thread::sleep(PAUSE);
    }
    let metrics = integration::page::get(&home, "/metrics").unwrap();
    assert!(metrics.contains("comity_storage_writable 1"), "{metrics}");
    let before = ann.told;
    tell_until(&mut ann, |ann| ann.told > before + 20);
    ann.settle().unwrap();
    let refused = ann.refused.len();
    assert!(
        ann.refused.keys().all(|n| *n <= before),
        "all is taken again"
    );
    let accepted: Vec<u32> = ann.accepted().into_iter().collect();
    drop(ann);
    // Killed, so that nothing but the disk has them.
    home.kill().unwrap();
    home.start().unwrap();
    let mut abe = Teller::come(&home, "abe", true).unwrap();
    let last = accepted.last().copied();
    let started = Instant::now();
    while abe.numbers_of("ann").last().copied() < last && started.elapsed() < LIMIT {
        abe.listen(PAUSE).unwrap();
    }
    assert_eq!(abe.numbers_of("ann"), accepted);
    println!("{} accepted, {refused} refused", accepted.len());
    drop(home);
    drop(disk);
    fs::remove_dir_all(&folder).unwrap();
}
