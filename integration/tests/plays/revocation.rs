//! A device is revoked, of the room's own domain and of another: it is out of the room within one
//! commit, everybody is told why, and what it says afterwards reaches nobody.

use std::time::Instant;

use comity_client::agent::Update;
use comity_mls_engine::{Because, Event, What};
use comity_xmpp::jid::BareJid;
use integration::person::Person;
use integration::stage::Stage;
use uuid::Uuid;

/// Waits until the hub has removed the device because it was revoked.
async fn sees_removed(person: &mut Person, room: &BareJid, device: Uuid) {
    let at = room.clone();
    let found = person
        .until("removal by the hub", |update| match update {
            Update::Engine(Event::Item { room, item }) if *room == at => match &item.what {
                What::RemovedByHub(removal) if removal.who.id() == device => {
                    Some(removal.because.clone())
                }
                _ => None,
            },
            _ => None,
        })
        .await
        .unwrap();
    assert_eq!(found, Because::Revoked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_out_of_every_room_within_one_commit() {
    let stage = Stage::set("revocation", &["montague.example", "capulet.example"]);
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mut mercutio = stage.person(0, "mercutio").await.unwrap();
    let mut juliet = stage.person(1, "juliet").await.unwrap();
    let mut tybalt = stage.person(1, "tybalt").await.unwrap();
    let mut rooms = Vec::new();
    for name in ["Street", "Square"] {
        let room = romeo.create_room(name).await.unwrap();
        for guest in [&mut mercutio, &mut juliet, &mut tybalt] {
            romeo.invite(&room, guest.account()).await.unwrap();
            guest.joined(&room).await.unwrap();
        }
        rooms.push(room);
    }
    // First one of the hub's own domain, then one of the other.
    for (home, villain) in [(0, &mut mercutio), (1, &mut tybalt)] {
        let device = villain.verb(|engine, _| engine.device()).await.unwrap();
        let device = device.unwrap();
        let mut before = Vec::new();
        for room in &rooms {
            before.push(romeo.epoch(room).await.unwrap());
        }
        let began = Instant::now();
        let account = villain.account().to_string();
        stage.homes[home]
            .comity(&["device", "revoke", &account, &device.to_string()], "")
            .unwrap();
        // What it tries to say from now on.
        for room in &rooms {
            let _ = villain.post(room, "a plague on both your houses").await;
        }
        for (room, before) in rooms.iter().zip(before) {
            sees_removed(&mut romeo, room, device).await;
            sees_removed(&mut juliet, room, device).await;
            assert_eq!(romeo.epoch(room).await.unwrap(), before + 1);
            let members = romeo.members(room).await.unwrap();
            assert!(members.iter().all(|member| member.device != device));
        }
        println!(
            "{account} was out of both rooms after {:?}",
            began.elapsed()
        );
    }
    for room in &rooms {
        romeo.send(room, "farewell").await.unwrap();
        juliet.hears(room, "farewell").await.unwrap();
        let at = room.clone();
        let history = juliet.verb(move |engine, _| engine.history(&at, 0, 1_000));
        let messages = history.await.unwrap();
        let said = |item: &&comity_mls_engine::Item| matches!(item.what, What::Message(_));
        assert_eq!(messages.iter().filter(said).count(), 1, "{messages:?}");
    }
}
