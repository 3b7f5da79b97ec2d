//! A domain is away; what is sent to it meanwhile arrives when it is back.

use comity_client::agent::Update;
use comity_xmpp::jid::Jid;
use integration::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_to_a_domain_that_is_away_arrives_when_it_is_back() {
    let mut stage = Stage::set("outage", &["montague.example", "capulet.example"]);
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mut juliet = stage.person(1, "juliet").await.unwrap();
    let room = romeo.create_room("Mantua").await.unwrap();
    romeo.invite(&room, juliet.account()).await.unwrap();
    juliet.joined(&room).await.unwrap();

    stage.homes[1].kill().unwrap();
    let to = Jid::from(juliet.account().clone());
    romeo.chat().send_plain(to, "The letter").await.unwrap();
    for n in 1..=5 {
        // The hub is here: messages and commits are accepted while the others are away.
        romeo.send(&room, &format!("Letter {n}")).await.unwrap();
        romeo.update(&room).await.unwrap();
    }
    stage.homes[1].start().unwrap();

    for n in 1..=5 {
        juliet.hears(&room, &format!("Letter {n}")).await.unwrap();
    }
    juliet
        .until("ordinary message", |update| match update {
            Update::Plain { body, .. } => (body == "The letter").then_some(()),
            _ => None,
        })
        .await
        .unwrap();
    juliet.send(&room, "I have them all").await.unwrap();
    romeo.hears(&room, "I have them all").await.unwrap();
}
