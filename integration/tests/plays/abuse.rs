//! Somebody is threatened in a room of another domain, and shows it to the operator there: who said
//! what is proved to the operator, who learns nothing else of the room.

use comity_client::agent::Update;
use comity_mls_engine::{Event, Refused};
use integration::stage::Stage;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_shown_to_the_operator_of_the_rooms_domain() {
    let stage = Stage::set("abuse_report", &["montague.example", "capulet.example"]);
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mut juliet = stage.person(1, "juliet").await.unwrap();
    let mut tybalt = stage.person(1, "tybalt").await.unwrap();
    let room = romeo.create_room("Square").await.unwrap();
    for guest in [&mut juliet, &mut tybalt] {
        romeo.invite(&room, guest.account()).await.unwrap();
        guest.joined(&room).await.unwrap();
    }
    juliet
        .send(&room, "a whisper for nobody else")
        .await
        .unwrap();
    let threat = "peace? I hate the word";
    let said = tybalt.post(&room, threat).await.unwrap();
    juliet.hears(&room, threat).await.unwrap();

    let at = room.clone();
    let report = move |engine: &mut comity_mls_engine::Engine, now| {
        engine.report(&at, said, "he threatens", now)
    };
    juliet.verb(report.clone()).await.unwrap();
    let shown = juliet.until("answer to the report", |update| match update {
        Update::Engine(Event::Reported { id, .. }) => Some(*id),
        _ => None,
    });
    assert_eq!(shown.await.unwrap(), said);
    // The operator of the room's domain has it, the one of the other domain does not.
    let list = |home: usize| {
        let text = stage.homes[home].comity(&["room", "reports", "--json"], "");
        serde_json::from_str::<Vec<Value>>(&text.unwrap()).unwrap()
    };
    let reports = list(0);
    assert_eq!(reports.len(), 1, "{reports:?}");
    let one = &reports[0];
    let text = one["text"].as_str().unwrap();
    assert!(text.contains(threat), "{text}");
    assert_eq!(one["sender"], "tybalt@capulet.example");
    assert_eq!(one["reporter"], "juliet@capulet.example");
    assert_eq!(one["why"], "he threatens");
    assert_eq!(one["message"], said.0.to_string());
    assert!(list(1).is_empty());
    let all = serde_json::to_string(&reports).unwrap();
    assert!(!all.contains("whisper"));
    let words = stage.homes[0].comity(&["room", "reports"], "").unwrap();
    assert!(words.contains("tybalt@capulet.example in "), "{words}");

    // It stands once however often it is sent, and is gone when the operator has seen to it.
    juliet.verb(report).await.unwrap();
    juliet
        .until("second answer", |update| match update {
            Update::Engine(Event::Reported { .. }) => Some(()),
            Update::Engine(Event::Refused {
                what: Refused::Report(_),
                why,
                ..
            }) => panic!("{why}"),
            _ => None,
        })
        .await
        .unwrap();
    assert_eq!(list(0).len(), 1);
    let number = one["id"].to_string();
    let done = stage.homes[0].comity(&["room", "discard-report", &number], "");
    assert!(done.unwrap().contains("is discarded"));
    assert!(list(0).is_empty());
}
