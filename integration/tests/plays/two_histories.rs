//! A hub that shows two members different histories: a real server that is run from two copies of one
//! database, first for one half of a room, then for the other. Clients of both halves tell it.

use std::path::{Path, PathBuf};
use std::process::Command;

use comity_client::agent::Update;
use comity_mls_engine::{Event, Warning};
use integration::home::Home;
use integration::person::{Outcome, Person};
use integration::stage::{PASSWORD, Stage};

fn database(home: &Home) -> PathBuf {
    home.data().join("comity.db")
}

/// The database of a stopped server, whole in one file.
fn keep(home: &Home, copy: &Path) {
    let done = Command::new("sqlite3")
        .arg(database(home))
        .arg("PRAGMA wal_checkpoint(TRUNCATE)")
        .status()
        .unwrap();
    assert!(done.success());
    std::fs::copy(database(home), copy).unwrap();
}

fn put_back(home: &Home, copy: &Path) {
    for rest in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(home.data().join(format!("comity.db{rest}")));
    }
    std::fs::copy(copy, database(home)).unwrap();
}

async fn warned(person: &mut Person, what: &str, wanted: impl Fn(&Warning) -> bool) -> Outcome {
    person
        .until(what, |update| match update {
            Update::Engine(Event::Warning { warning, .. }) if wanted(warning) => Some(()),
            _ => None,
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_shows_two_members_different_histories_is_told_by_both() {
    let mut stage = Stage::set("histories", &["montague.example", "capulet.example"]);
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mut mercutio = stage.person(0, "mercutio").await.unwrap();
    let mut juliet = stage.person(1, "juliet").await.unwrap();
    let room = romeo.create_room("Balcony").await.unwrap();
    for guest in [mercutio.account().clone(), juliet.account().clone()] {
        romeo.invite(&room, &guest).await.unwrap();
    }
    for guest in [&mut mercutio, &mut juliet] {
        guest.joined(&room).await.unwrap();
    }
    let last = romeo.send(&room, "Shall I stay?").await.unwrap();
    for guest in [&mut mercutio, &mut juliet] {
        guest.hears(&room, "Shall I stay?").await.unwrap();
    }
    romeo.quit().await;
    mercutio.quit().await;

    stage.homes[0].stop().unwrap();
    let copy = stage.folder().join("copy.db");
    keep(&stage.homes[0], &copy);
    // The first history is Mercutio's and Juliet's.
    stage.homes[0].start().unwrap();
    let folder = stage.device_folder(&stage.homes[0], "mercutio");
    let login = Person::login(&stage.homes[0], "mercutio", PASSWORD, "device", &folder);
    let mut mercutio = login.await.unwrap();
    let first = mercutio.send(&room, "Go, they are coming").await.unwrap();
    juliet.hears(&room, "Go, they are coming").await.unwrap();
    mercutio.quit().await;

    // The second, of the same length, is Romeo's.
    stage.homes[0].stop().unwrap();
    put_back(&stage.homes[0], &copy);
    stage.homes[0].start().unwrap();
    let folder = stage.device_folder(&stage.homes[0], "romeo");
    let login = Person::login(&stage.homes[0], "romeo", PASSWORD, "device", &folder);
    let mut romeo = login.await.unwrap();
    let second = romeo.send(&room, "I stay").await.unwrap();
    assert_eq!((first, second), (last + 1, last + 1));

    // What Juliet says next names the history that she was shown; what she is answered does not
    // follow from it.
    juliet
        .post(&room, "Then, window, let day in")
        .await
        .unwrap();
    let hers = juliet.account().to_string();
    warned(&mut romeo, "warning of the fork", |warning| {
        matches!(warning, Warning::Fork { account, seq } if *account == hers && *seq == first)
    })
    .await
    .unwrap();
    warned(
        &mut juliet,
        "warning of the broken log",
        |warning| matches!(warning, Warning::ChainBroken { seq } if *seq == first + 1),
    )
    .await
    .unwrap();
}
