//! Converse.js over a WebSocket: finds the server by host-meta (XEP-0156), believes its certificate,
//! logs in, and does what people do.

use integration::Options;
use integration::ordinary::Ordinary;
use integration::stage::{PASSWORD, Stage};
use serde_json::json;

use crate::browser::{Browser, origin};

const ROMEO: &str = "romeo@montague.example";
const JULIET: &str = "juliet@capulet.example";
/// Her entry in his roster, by whether she is there.
const THERE: &str = "[data-jid='juliet@capulet.example'] [color='var(--chat-status-online)']";
const NOT_THERE: &str = "[data-jid='juliet@capulet.example'] [color='var(--chat-status-offline)']";
const MESSAGE: &str = "converse-chat-message";

#[tokio::test]
async fn converse() {
    let page = integration::address();
    let mut here = Options::new("montague.example", integration::address());
    here.web = format!("origins = [\"{}\"]", origin(page));
    let there = Options::new("capulet.example", integration::address());
    let mut stage = Stage::set_options("converse", [here, there]);
    stage.homes[0].add_user("romeo", PASSWORD).unwrap();
    stage.homes[1].add_user("juliet", PASSWORD).unwrap();
    befriend(&stage).await;

    let folder = stage.folder().join("browser");
    let mut romeo = Browser::open(&stage.homes[0], page, &folder).await;
    romeo.login(ROMEO, PASSWORD).await;
    romeo.sees("converse-roster-contact", "juliet").await;
    romeo.sees(NOT_THERE, "").await;
    let mut juliet = login(&stage, 1, JULIET).await;
    romeo.sees(THERE, "").await;

    romeo
        .clicks("converse-roster-contact .open-chat", "juliet")
        .await;
    romeo
        .says("He jests at scars that never felt a wound")
        .await;
    juliet
        .hears(ROMEO, "He jests at scars that never felt a wound")
        .await;
    juliet.says(ROMEO, "Ay me");
    romeo.sees(MESSAGE, "Ay me").await;
    romeo.picture("converse.png").await;

    stage.homes[0].stop().unwrap();
    stage.homes[0].start().unwrap();
    juliet.says(ROMEO, "O Romeo, Romeo!");
    romeo.sees(MESSAGE, "O Romeo, Romeo!").await;
    romeo
        .says("Shall I hear more, or shall I speak at this?")
        .await;
    juliet
        .hears(ROMEO, "Shall I hear more, or shall I speak at this?")
        .await;

    romeo.reloads().await;
    romeo.sees(MESSAGE, "O Romeo, Romeo!").await;
    romeo.says("I take thee at thy word").await;
    juliet.hears(ROMEO, "I take thee at thy word").await;
    romeo.picture("converse-reloaded.png").await;
}

/// The two get to see each other's presence, by other clients.
async fn befriend(stage: &Stage) {
    let mut juliet = login(stage, 1, JULIET).await;
    let mut romeo = login(stage, 0, ROMEO).await;
    romeo
        .order(&json!({"do": "subscribe", "to": JULIET}))
        .unwrap();
    let seen = |jid| json!({"event": "presence", "from": jid, "type": "available"});
    romeo.until(&seen(JULIET)).await;
    juliet.until(&seen(ROMEO)).await;
}

async fn login(stage: &Stage, home: usize, jid: &str) -> Ordinary {
    let home = &stage.homes[home];
    Ordinary::login(jid, PASSWORD, home.c2s(), &home.ca()).await
}
