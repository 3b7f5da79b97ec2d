//! A device whose store is put back to an older state, as from a backup: over real streams and servers
//! it takes its own place in the room again, and says what it missed.

use std::fs;
use std::path::Path;

use comity_client::agent::Update;
use comity_mls_engine::{Event, What};
use integration::person::Person;
use integration::stage::{PASSWORD, Stage};

/// Everything in a folder of files, to another.
fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_put_back_to_an_older_state_takes_its_own_place_again() {
    let stage = Stage::set("resync", &["montague.example", "capulet.example"]);
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mut juliet = stage.person(1, "juliet").await.unwrap();
    let room = romeo.create_room("Mantua").await.unwrap();
    romeo.invite(&room, juliet.account()).await.unwrap();
    juliet.joined(&room).await.unwrap();
    romeo.send(&room, "one").await.unwrap();
    juliet.hears(&room, "one").await.unwrap();

    let folder = stage.device_folder(&stage.homes[1], "juliet");
    let backup = stage.folder().join("backup");
    let home = &stage.homes[1];
    juliet.quit().await;
    copy(&folder, &backup);
    let login = || Person::login(home, "juliet", PASSWORD, "device", &folder);
    let mut juliet = login().await.unwrap();
    juliet.update(&room).await.unwrap();
    romeo.send(&room, "two").await.unwrap();
    juliet.hears(&room, "two").await.unwrap();
    juliet.quit().await;
    copy(&backup, &folder);

    let mut juliet = login().await.unwrap();
    let missed = juliet
        .until("return to the room", |update| match update {
            Update::Engine(Event::RoomResynced { missed, .. }) => Some(*missed),
            _ => None,
        })
        .await
        .unwrap();
    assert_eq!(missed, 1);
    let account = juliet.account().to_string();
    let proven = romeo
        .until("news of the return", |update| match update {
            Update::Engine(Event::Item { item, .. }) => match &item.what {
                What::Rejoined(back) if back.who.account == account => Some(back.proven),
                _ => None,
            },
            _ => None,
        })
        .await
        .unwrap();
    assert!(proven);
    juliet.send(&room, "three").await.unwrap();
    romeo.hears(&room, "three").await.unwrap();
    romeo.send(&room, "four").await.unwrap();
    juliet.hears(&room, "four").await.unwrap();
    assert_eq!(
        juliet.authenticator(&room).await.unwrap(),
        romeo.authenticator(&room).await.unwrap()
    );
    assert_eq!(romeo.members(&room).await.unwrap().len(), 2);
}
