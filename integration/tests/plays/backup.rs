//! A server is backed up while people talk, and put back on other data directories: all that was
//! accepted before is there, and rooms go on without a fork.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use comity_client::agent::Update;
use comity_mls_engine::{Event, Warning};
use comity_xmpp::jid::BareJid;
use integration::home::{Home, Options};
use integration::person::Person;
use integration::stage::PASSWORD;
use integration::teller::Teller;

const DOMAIN: &str = "a.example";
/// Who tells, and who is away until the server is another one.
const TELLERS: [(&str, &str); 3] = [("ann", "abe"), ("bea", "ben"), ("cat", "coy")];
const PAUSE: Duration = Duration::from_millis(15);
/// How much is said before a backup begins.
const WARM: u32 = 40;

/// What has been accepted of each teller by now.
#[derive(Default)]
struct Talk {
    done: AtomicBool,
    accepted: [AtomicU32; TELLERS.len()],
    /// How many messages have their place in the room's log.
    room: AtomicU64,
}

impl Talk {
    fn accepted(&self) -> [u32; TELLERS.len()] {
        self.accepted.each_ref().map(|n| n.load(Ordering::SeqCst))
    }

    fn until(&self, least: u32) {
        while self.accepted().iter().any(|n| *n < least) {
            std::thread::sleep(PAUSE);
        }
    }
}

/// Tells until it is done; what comes is acknowledged and so accepted.
fn tell(home: &Home, n: usize, talk: &Arc<Talk>) -> std::thread::JoinHandle<()> {
    let (name, to) = TELLERS[n];
    let to = format!("{to}@{DOMAIN}");
    let mut teller = Teller::come(home, name, false).unwrap();
    let talk = Arc::clone(talk);
    std::thread::spawn(move || {
        while !talk.done.load(Ordering::SeqCst) {
            teller.tell(&to, 50).unwrap();
            teller.listen(PAUSE).unwrap();
            assert!(teller.refused.is_empty(), "{:?}", teller.refused);
            talk.accepted[n].store(teller.acknowledged, Ordering::SeqCst);
        }
        teller.settle().unwrap();
        talk.accepted[n].store(teller.acknowledged, Ordering::SeqCst);
    })
}

/// Posts to the room until it is done.
async fn post(romeo: &mut Person, room: &BareJid, talk: &Talk) {
    let mut n = 0;
    while !talk.done.load(Ordering::SeqCst) {
        n += 1;
        romeo.send(room, &format!("entry {n}")).await.unwrap();
        talk.room.store(n, Ordering::SeqCst);
    }
}

/// Another data directory for the same domain, at the same address.
fn elsewhere(folder: &Path, name: &str, address: std::net::Ipv4Addr) -> Home {
    Home::new(options(address), &folder.join(name)).unwrap()
}

fn options(address: std::net::Ipv4Addr) -> Options {
    let mut options = Options::new(DOMAIN, address);
    // They talk faster than people do.
    options.extra = "[mls.rooms]\nentries_per_minute = 100000\n".to_owned();
    options
}

fn run(home: &Home, verb: &str, file: &Path, passphrase: &Path) -> std::io::Result<String> {
    let arguments = [verb, file.to_str().unwrap(), "--passphrase-file"];
    home.comity(
        &[&arguments[..], &[passphrase.to_str().unwrap()]].concat(),
        "",
    )
}

/// What the absent find when they come: every number up to what was accepted, in order, and once.
fn all_is_there(home: &Home, least: [u32; TELLERS.len()]) {
    for ((name, absent), least) in TELLERS.into_iter().zip(least) {
        let mut absent = Teller::come(home, absent, true).unwrap();
        for _ in 0..400 {
            absent.listen(PAUSE).unwrap();
            if absent.numbers_of(name).last() >= Some(&least) {
                break;
            }
        }
        absent.listen(Duration::from_millis(300)).unwrap();
        let heard = absent.numbers_of(name);
        let count = u32::try_from(heard.len()).unwrap();
        assert_eq!(heard, (1..=count).collect::<Vec<_>>(), "of {name}");
        assert!(
            count >= least,
            "{least} of {name} were accepted, {count} are there"
        );
        println!("{name}: {least} accepted before, {count} there");
    }
}

struct Scene {
    folder: PathBuf,
    passphrase: PathBuf,
    address: std::net::Ipv4Addr,
    home: Home,
}

impl Scene {
    fn set(play: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("comity-{play}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let passphrase = folder.join("passphrase");
        std::fs::write(&passphrase, "correct horse battery staple\n").unwrap();
        let address = integration::address();
        let mut home = elsewhere(&folder, "old", address);
        home.start().unwrap();
        Self {
            folder,
            passphrase,
            address,
            home,
        }
    }

    async fn person(&self, local: &str) -> Person {
        self.home.add_user(local, PASSWORD).unwrap();
        let mut person = self.login(&self.home, local).await;
        person.enrolled().await.unwrap();
        person
    }

    /// The same device at whatever server there is.
    async fn login(&self, home: &Home, local: &str) -> Person {
        let folder = self.folder.join(local);
        Person::login(home, local, PASSWORD, "device", &folder)
            .await
            .unwrap()
    }

    /// Puts a backup back, and starts what it gives.
    fn restored(&self, name: &str, backup: &Path) -> Home {
        let mut home = elsewhere(&self.folder, name, self.address);
        let said = run(&home, "restore", backup, &self.passphrase).unwrap();
        println!("{said}");
        home.start().unwrap();
        home
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_backed_up_under_load_is_there_again_and_rooms_go_on() {
    let mut scene = Scene::set("backup");
    let [mut romeo, mut juliet] = [scene.person("romeo").await, scene.person("juliet").await];
    let room = romeo.create_room("Tomb").await.unwrap();
    romeo.invite(&room, juliet.account()).await.unwrap();
    juliet.joined(&room).await.unwrap();
    romeo.send(&room, "before").await.unwrap();
    juliet.hears(&room, "before").await.unwrap();
    // She is away from here on, and has to find everything when she comes back.
    juliet.quit().await;
    for (teller, absent) in TELLERS {
        scene.home.add_user(teller, PASSWORD).unwrap();
        scene.home.add_user(absent, PASSWORD).unwrap();
    }
    let talk = Arc::new(Talk::default());
    let tellers: Vec<_> = (0..TELLERS.len())
        .map(|n| tell(&scene.home, n, &talk))
        .collect();
    let [during, after] = ["during", "after"].map(|name| scene.folder.join(name));
    let (at, while_they) = (room.clone(), Arc::clone(&talk));
    let posting = tokio::spawn(async move {
        post(&mut romeo, &at, &while_they).await;
        romeo
    });
    let (accepted, posted) = tokio::task::block_in_place(|| {
        talk.until(WARM);
        let before = (talk.accepted(), talk.room.load(Ordering::SeqCst));
        let said = run(&scene.home, "backup", &during, &scene.passphrase).unwrap();
        println!("{said}");
        assert!(talk.accepted() > before.0, "nothing was said meanwhile");
        talk.done.store(true, Ordering::SeqCst);
        before
    });
    let mut romeo = posting.await.unwrap();
    for teller in tellers {
        teller.join().unwrap();
    }
    let last = talk.room.load(Ordering::SeqCst);
    assert!(posted > 0 && last > posted, "{posted} to {last}");
    romeo.update(&room).await.unwrap();
    let everything = talk.accepted();
    run(&scene.home, "backup", &after, &scene.passphrase).unwrap();
    romeo.quit().await;
    scene.home.stop().unwrap();

    // As it was in the middle of the load.
    let home = scene.restored("middle", &during);
    all_is_there(&home, accepted);
    let mut juliet = scene.login(&home, "juliet").await;
    juliet
        .hears(&room, &format!("entry {posted}"))
        .await
        .unwrap();
    juliet.quit().await;
    drop(home);

    // As it was after the last word: both go on where they were.
    let home = scene.restored("end", &after);
    all_is_there(&home, everything);
    let mut romeo = scene.login(&home, "romeo").await;
    let mut juliet = scene.login(&home, "juliet").await;
    romeo.send(&room, "there again").await.unwrap();
    juliet.hears(&room, "there again").await.unwrap();
    juliet.send(&room, "so am I").await.unwrap();
    romeo.hears(&room, "so am I").await.unwrap();
    assert_eq!(
        romeo.authenticator(&room).await.unwrap(),
        juliet.authenticator(&room).await.unwrap()
    );
    std::fs::remove_dir_all(&scene.folder).unwrap();
}

fn warned(update: &Update, wanted: impl Fn(&Warning) -> bool) -> Option<()> {
    match update {
        Update::Engine(Event::Warning { warning, .. }) => wanted(warning).then_some(()),
        _ => None,
    }
}

/// What the README says of rooms: who has seen what the log has lost refuses it, and says so; nobody
/// follows two histories.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_seen_more_than_was_restored_refuses_the_shorter_log() {
    let mut scene = Scene::set("shorter");
    let [mut romeo, mut juliet] = [scene.person("romeo").await, scene.person("juliet").await];
    let room = romeo.create_room("Tomb").await.unwrap();
    romeo.invite(&room, juliet.account()).await.unwrap();
    juliet.joined(&room).await.unwrap();
    romeo.send(&room, "kept").await.unwrap();
    juliet.hears(&room, "kept").await.unwrap();
    juliet.quit().await;
    let backup = scene.folder.join("early");
    run(&scene.home, "backup", &backup, &scene.passphrase).unwrap();
    romeo.send(&room, "lost").await.unwrap();
    romeo.quit().await;
    scene.home.stop().unwrap();

    let home = scene.restored("again", &backup);
    let mut juliet = scene.login(&home, "juliet").await;
    let mut romeo = scene.login(&home, "romeo").await;
    // The hub has a place for it at which he holds another message already.
    romeo.post(&room, "again").await.unwrap();
    romeo
        .until("warning of the place", |update| {
            warned(update, |warning| {
                matches!(warning, Warning::Unexpected { .. })
            })
        })
        .await
        .unwrap();
    juliet.hears(&room, "again").await.unwrap();
    juliet
        .until("warning of another history", |update| {
            warned(update, |warning| matches!(warning, Warning::Fork { .. }))
        })
        .await
        .unwrap();
    // The first entry behind what he holds does not continue it.
    juliet.send(&room, "goes on").await.unwrap();
    romeo
        .until("warning of a broken chain", |update| {
            warned(update, |warning| {
                matches!(warning, Warning::ChainBroken { .. })
            })
        })
        .await
        .unwrap();
    let heard = romeo.overheard(&room);
    assert!(
        !heard.iter().any(|line| line.contains("goes on")),
        "{heard:?}"
    );
    std::fs::remove_dir_all(&scene.folder).unwrap();
}

const README: &str = include_str!("../../../README.md");

/// The README's command that begins so, in a folder with a configuration and a passphrase.
fn by_readme(home: &Home, words: &str) -> String {
    let command = README.lines().find(|line| line.starts_with(words)).unwrap();
    let programs = integration::binary("comity");
    let programs = programs.parent().unwrap().display();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let data = home.data();
    let output = std::process::Command::new("sh")
        .args(["-euc", command])
        .current_dir(data.parent().unwrap())
        .env("PATH", path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_server_goes_to_another_machine_by_the_commands_of_the_readme() {
    let mut scene = Scene::set("readme");
    scene.home.add_user("ann", PASSWORD).unwrap();
    let mut other = elsewhere(&scene.folder, "other", scene.address);
    let [from, to] = [&scene.home, &other].map(|home| home.data().parent().unwrap().to_owned());
    for folder in [&from, &to] {
        std::fs::copy(&scene.passphrase, folder.join("passphrase")).unwrap();
    }
    let said = by_readme(&scene.home, "comity backup everything.backup");
    assert!(said.contains("found it whole"), "{said}");
    let file = "everything.backup";
    std::fs::rename(from.join(file), to.join(file)).unwrap();
    scene.home.stop().unwrap();
    let said = by_readme(&other, "comity restore everything.backup");
    assert!(said.contains("Restored"), "{said}");
    other.start().unwrap();
    Teller::come(&other, "ann", true).unwrap();
    let listed = other.comity(&["user", "list"], "").unwrap();
    assert!(listed.contains("ann@a.example"), "{listed}");
    std::fs::remove_dir_all(&scene.folder).unwrap();
}
