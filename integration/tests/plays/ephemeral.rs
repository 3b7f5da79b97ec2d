//! What is said outside the log: Juliet's devices that are there learn that Romeo types, across two
//! domains; the one that is away never does, and nothing of the log is missing for it.

use comity_client::agent::Update;
use comity_client::typing::ChatState;
use comity_mls_engine::Event;
use comity_xmpp::jid::BareJid;
use integration::person::Person;
use integration::stage::{PASSWORD, Stage};

/// What the next chat state of the room is, and whose.
async fn state(person: &mut Person, room: &BareJid) -> (String, ChatState) {
    let at = room.clone();
    let hint = person.until("a chat state", |update| match update {
        Update::Engine(Event::Ephemeral {
            room,
            by,
            content_type,
            content,
        }) if *room == at => {
            let state = ChatState::read(room, by, content_type, content)?;
            Some((by.account.clone(), state))
        }
        _ => None,
    });
    hint.await.unwrap()
}

/// Says it until it can be said: a commit may be under way.
async fn tells(person: &Person, room: &BareJid, state: ChatState) {
    for _ in 0..100 {
        if person.chat().typing(room, state).await.unwrap() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("it can never be said");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_there_learns_that_somebody_types_and_who_is_away_does_not() {
    let stage = Stage::set("ephemeral", &["montague.example", "capulet.example"]);
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mut juliet = stage.person(1, "juliet").await.unwrap();
    let mut mercutio = stage.person(0, "mercutio").await.unwrap();
    let room = romeo.create_room("Balcony").await.unwrap();
    for other in [&mut juliet, &mut mercutio] {
        let account = other.account().clone();
        romeo.invite(&room, &account).await.unwrap();
        other.joined(&room).await.unwrap();
    }
    romeo.send(&room, "But soft").await.unwrap();
    juliet.hears(&room, "But soft").await.unwrap();
    mercutio.hears(&room, "But soft").await.unwrap();

    tells(&romeo, &room, ChatState::Composing).await;
    let composing = ("romeo@montague.example".to_owned(), ChatState::Composing);
    assert_eq!(state(&mut juliet, &room).await, composing);
    assert_eq!(state(&mut mercutio, &room).await, composing);
    tells(&juliet, &room, ChatState::Paused).await;
    let paused = ("juliet@capulet.example".to_owned(), ChatState::Paused);
    assert_eq!(state(&mut romeo, &room).await, paused);
    assert_eq!(state(&mut mercutio, &room).await, paused);

    // Juliet goes; what is said so meanwhile is nothing to her, and the log is whole.
    juliet.quit().await;
    for _ in 0..20 {
        tells(&romeo, &room, ChatState::Composing).await;
        assert_eq!(state(&mut mercutio, &room).await, composing);
    }
    romeo.send(&room, "what light").await.unwrap();
    let home = &stage.homes[1];
    let folder = stage.device_folder(home, "juliet");
    let mut juliet = Person::login(home, "juliet", PASSWORD, "device", &folder)
        .await
        .unwrap();
    juliet.hears(&room, "what light").await.unwrap();
    tells(&romeo, &room, ChatState::Paused).await;
    let (by, first) = state(&mut juliet, &room).await;
    assert_eq!(
        (by.as_str(), first),
        ("romeo@montague.example", ChatState::Paused)
    );
    romeo.send(&room, "breaks?").await.unwrap();
    juliet.hears(&room, "breaks?").await.unwrap();
}
