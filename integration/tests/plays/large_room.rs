//! One room with a thousand members over two domains (ten thousand with `--long`): what creating,
//! joining, committing and speaking cost, in time and in what travels. Its tree, its Welcomes and
//! its commits are too large for stanzas.

use std::time::{Duration, Instant};

use comity_xmpp::jid::BareJid;
use integration::crowd::Crowd;
use integration::person::Person;
use integration::stage::Stage;

/// Devices of each account in the crowd.
const EACH: usize = 20;
/// Accounts that are invited by one commit: 240 devices.
const INVITED: usize = 12;
/// What one step may take in a room of a thousand, on a machine that has other things to do as well.
const STEP: Duration = Duration::from_secs(300);

fn members() -> usize {
    match std::env::var("COMITY_LONG").is_ok_and(|long| !long.is_empty()) {
        true => 10_000,
        false => 1_000,
    }
}

/// Prints how long something took.
struct Watch(Instant);

impl Watch {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn stop(self, what: &str) {
        let taken = self.0.elapsed();
        println!("{what}: {:.2} s", taken.as_secs_f64());
        let most = STEP * u32::try_from(members() / 1_000).unwrap();
        assert!(taken < most, "{what} took {taken:?}");
    }
}

/// Waits until so many are in the room.
async fn sees(person: &Person, room: &BareJid, count: usize) {
    let started = Instant::now();
    while person.members(room).await.unwrap().len() < count {
        assert!(started.elapsed() < STEP, "never are {count} in the room");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn crowd(stage: &mut Stage) -> Vec<BareJid> {
    let watch = Watch::start();
    let accounts = members() / EACH;
    let mut invited = Vec::new();
    for (home, half) in [(0, accounts / 2), (1, accounts - accounts / 2)] {
        let domain = stage.homes[home].domain().to_owned();
        let names: Vec<BareJid> = (0..half)
            .map(|number| BareJid::parse(&format!("citizen{number}@{domain}")).unwrap())
            .collect();
        for name in &names {
            stage.homes[home].add_account(name.as_str(), "x").unwrap();
        }
        stage.homes[home].stop().unwrap();
        let crowd = Crowd::of(&stage.homes[home]).await;
        for name in &names {
            crowd.devices(name, EACH).await;
        }
        crowd.disperse().await;
        stage.homes[home].start().unwrap();
        invited.extend(names);
    }
    watch.stop("making the devices");
    invited
}

async fn invite(by: &Person, room: &BareJid, accounts: &[BareJid], each: usize) {
    let count = by.members(room).await.unwrap().len() + accounts.len() * each;
    let (at, accounts) = (room.clone(), accounts.to_vec());
    by.verb(move |engine, now| engine.invite(&at, &accounts, now))
        .await
        .unwrap();
    sees(by, room, count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_of_a_thousand_members_over_two_domains() {
    let extra = format!("[mls.rooms]\ndevices = {}\n", members() + 100);
    let mut stage = Stage::set_with("large", &["montague.example", "capulet.example"], &extra);
    let invited = crowd(&mut stage).await;
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mut juliet = stage.person(1, "juliet").await.unwrap();

    let watch = Watch::start();
    let room = romeo.create_room("Verona").await.unwrap();
    watch.stop("creating");
    romeo
        .invite(&room, &juliet.account().clone())
        .await
        .unwrap();
    juliet.joined(&room).await.unwrap();

    let watch = Watch::start();
    for accounts in invited.chunks(INVITED) {
        invite(&romeo, &room, accounts, EACH).await;
    }
    watch.stop("adding everybody");
    let count = romeo.members(&room).await.unwrap().len();
    assert_eq!(count, invited.len() * EACH + 2);
    println!("{count} members");

    let watch = Watch::start();
    let epoch = romeo.epoch(&room).await.unwrap();
    juliet.reaches(&room, epoch).await.unwrap();
    watch.stop("following from the other domain");

    // One that joins a room of that size, from the domain that does not order it.
    let mut nurse = stage.person(1, "nurse").await.unwrap();
    let watch = Watch::start();
    invite(&romeo, &room, &[nurse.account().clone()], 1).await;
    watch.stop("adding one more");
    let watch = Watch::start();
    nurse.joined(&room).await.unwrap();
    watch.stop("joining by a Welcome");
    assert_eq!(nurse.members(&room).await.unwrap().len(), count + 1);

    for (who, person) in [("its hub's", &mut romeo), ("the other", &mut nurse)] {
        let watch = Watch::start();
        person.update(&room).await.unwrap();
        watch.stop(&format!("a commit with its path, from {who} domain"));
    }
    let epoch = nurse.epoch(&room).await.unwrap();
    romeo.reaches(&room, epoch).await.unwrap();
    juliet.reaches(&room, epoch).await.unwrap();

    let watch = Watch::start();
    juliet
        .send(&room, "What light through yonder window breaks")
        .await
        .unwrap();
    for person in [&mut romeo, &mut nurse] {
        person
            .hears(&room, "What light through yonder window breaks")
            .await
            .unwrap();
    }
    watch.stop("speaking and being heard");
    let told = romeo.authenticator(&room).await.unwrap();
    assert_eq!(told, juliet.authenticator(&room).await.unwrap());
    assert_eq!(told, nurse.authenticator(&room).await.unwrap());
    sizes(&stage);
}

/// What the hub's database holds of it.
fn sizes(stage: &Stage) {
    let ask = |statement: &str| {
        let output = std::process::Command::new("sqlite3")
            .arg(stage.homes[0].data().join("comity.db"))
            .arg(statement)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    for (what, statement) in [
        ("tree", "SELECT MAX(length(tree)) FROM room_snapshots"),
        (
            "state beside the tree",
            "SELECT MAX(length(state)) FROM room_snapshots",
        ),
        ("largest blob", "SELECT MAX(size) FROM blobs"),
        ("all blobs", "SELECT SUM(size) FROM blobs"),
    ] {
        println!("{what}: {} octets", ask(statement));
    }
    let large = "SELECT COUNT(*) FROM blobs WHERE size > 262144 AND owner = ''";
    assert_ne!(ask(large), "0", "something was too large for a stanza");
}
