//! Somebody leaves a quiet room. The hub asks the device that was there last to commit it; that one is
//! away, and so, half a minute later, it asks another, of those that have come meanwhile.

use std::fs;
use std::time::Duration;

use integration::clock::{self, Clock};
use integration::person::Person;
use integration::stage::{PASSWORD, Stage};

#[test]
fn where_nobody_speaks_one_after_the_other_is_asked_to_commit() {
    clock::play(
        "nomination::where_nobody_speaks_one_after_the_other_is_asked_to_commit",
        story,
    );
}

/// Whom the hub has asked, by its log.
fn asked(stage: &Stage) -> Vec<String> {
    let log = fs::read_to_string(stage.homes[0].log()).unwrap();
    let asked = log
        .lines()
        .filter(|line| line.contains("is asked to commit"));
    let account = |line: &str| {
        let (_, rest) = line.split_once("account").unwrap();
        let name = rest.trim_start_matches(['=', '"', ':', ' ']);
        name.split('@').next().unwrap().to_owned()
    };
    asked.map(account).collect()
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..100 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("waited in vain for {what}");
}

async fn story(clock: &Clock) {
    let mut stage = Stage::set("nomination", &["montague.example", "capulet.example"]);
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mut juliet = stage.person(1, "juliet").await.unwrap();
    let mut nurse = stage.person(1, "nurse").await.unwrap();
    let mut tybalt = stage.person(1, "tybalt").await.unwrap();
    let room = romeo.create_room("Street").await.unwrap();
    for guest in [&mut juliet, &mut nurse, &mut tybalt] {
        romeo.invite(&room, guest.account()).await.unwrap();
        guest.joined(&room).await.unwrap();
    }
    // The nurse of the other domain is there last, and goes as well.
    let folders = [(0, "romeo"), (1, "juliet"), (1, "nurse")];
    let folders = folders.map(|(home, who)| stage.device_folder(&stage.homes[home], who));
    romeo.quit().await;
    juliet.quit().await;
    for words in ["Anon", "Peace", "I go"] {
        nurse.send(&room, words).await.unwrap();
        tybalt.hears(&room, words).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // More often than Tybalt, who hears it all but is the one to leave.
    nurse.quit().await;
    tybalt.asks_to_leave(&room).await.unwrap();
    until("the first to be asked", || asked(&stage) == ["nurse"]).await;

    // The hub forgets nothing of it, and who comes back unasked does nothing.
    stage.homes[0].stop().unwrap();
    stage.homes[0].start().unwrap();
    let login = |home: usize, who: &'static str| {
        Person::login(&stage.homes[home], who, PASSWORD, "device", &folders[home])
    };
    let romeo = login(0, "romeo").await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(asked(&stage), ["nurse"]);
    let epoch = romeo.epoch(&room).await.unwrap();

    clock.forward(Duration::from_secs(30));
    tybalt.left(&room).await.unwrap();
    assert_eq!(asked(&stage), ["nurse", "romeo"]);
    romeo.reaches(&room, epoch + 1).await.unwrap();

    // Who was asked in vain comes back to what has been settled.
    let mut juliet = login(1, "juliet").await.unwrap();
    let nurse = Person::login(&stage.homes[1], "nurse", PASSWORD, "device", &folders[2]);
    let nurse = nurse.await.unwrap();
    for person in [&juliet, &nurse] {
        person.reaches(&room, epoch + 1).await.unwrap();
    }
    assert_eq!(romeo.members(&room).await.unwrap().len(), 3);
    nurse.post(&room, "A plague on it").await.unwrap();
    juliet.hears(&room, "A plague on it").await.unwrap();
    assert_eq!(asked(&stage).len(), 2);
}
