//! What comes twice from another domain has its effects once.

use crate::play::Play;

const JULIET: &str = "juliet@a.example";

fn chat(body: &str) -> String {
    format!(
        "<message type='chat' from='romeo@b.example/orchard' to='juliet@a.example'>\
         <body>{body}</body></message>"
    )
}

async fn held(play: &Play) -> i64 {
    let storage = &play.home.storage;
    storage
        .held("a.example", "b.example", "queue")
        .await
        .unwrap()
}

#[tokio::test]
async fn messages_for_somebody_who_is_away_are_kept_once() {
    let play = Play::of(&[JULIET]).await;
    let chats = ["one", "two", "three", "four"].map(chat);
    let chats: Vec<_> = chats.iter().map(String::as_str).collect();
    assert_eq!(play.arrive(Some(7), &chats[..2]).await, 2);
    assert_eq!(held(&play).await, 8);
    // The stream broke before the peer heard of it: it sends the second again, and goes on.
    assert_eq!(play.arrive(Some(8), &chats[1..]).await, 3);
    assert_eq!(play.home.storage.offline_count(JULIET).await.unwrap(), 4);
    assert_eq!(held(&play).await, 10);
    // What has no place is taken as it comes.
    assert_eq!(play.arrive(None, &chats[..1]).await, 1);
    assert_eq!(play.home.storage.offline_count(JULIET).await.unwrap(), 5);
    assert_eq!(held(&play).await, 10);
}

#[tokio::test]
async fn messages_for_somebody_who_is_there_are_given_once_and_in_order() {
    let play = Play::of(&[JULIET, "nurse@a.example"]).await;
    let mut juliet = play.login("juliet@a.example/balcony").await;
    let chats = ["one", "two", "three"].map(chat);
    let for_nurse = chat("for the nurse").replace("to='juliet", "to='nurse");
    let run = [&chats[0], &chats[1], &for_nurse, &chats[2]].map(String::as_str);
    assert_eq!(play.arrive(Some(1), &run).await, 4);
    for chat in &chats {
        juliet.gets(chat).await;
    }
    assert_eq!(held(&play).await, 4);
    assert_eq!(play.arrive(Some(1), &run).await, 4);
    juliet.gets_nothing().await;
    let nurse = play.home.storage.offline_count("nurse@a.example").await;
    assert_eq!(nurse.unwrap(), 1);
}

#[tokio::test]
async fn a_subscription_and_its_agreement_are_made_once() {
    let play = Play::of(&[JULIET]).await;
    let juliet = play.login("juliet@a.example/balcony").await;
    juliet
        .send("<presence type='subscribed' to='romeo@b.example'/>")
        .await;
    let ask = "<presence type='subscribe' from='romeo@b.example' to='juliet@a.example'/>";
    let agreed = "<presence type='subscribed' from='juliet@a.example' to='romeo@b.example'/>";
    assert_eq!(play.arrive(Some(1), &[ask]).await, 1);
    play.queued("b.example", &[agreed]).await;
    assert_eq!(play.arrive(Some(1), &[ask]).await, 1);
    play.queued("b.example", &[]).await;
    assert_eq!(held(&play).await, 1);
}

#[tokio::test]
async fn a_refusal_waits_for_its_sender_and_comes_once() {
    let play = Play::of(&[JULIET]).await;
    let lost = chat("lost").replace("to='juliet", "to='nobody");
    for _ in 0..2 {
        assert_eq!(play.arrive(Some(3), &[&lost]).await, 1);
    }
    let rows = play.home.storage.outbox("b.example", 0, 10).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(held(&play).await, 3);
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_taken() {
    let play = Play::of(&[JULIET]).await;
    let online = play.login("juliet@a.example/balcony").await;
    play.home.storage.close().await;
    let chats = ["one", "two"].map(chat);
    let chats: Vec<_> = chats.iter().map(String::as_str).collect();
    assert_eq!(play.arrive(Some(1), &chats).await, 0);
    drop(online);
}
