//! Converse.js over a WebSocket: finds the server by host-meta (XEP-0156), believes its certificate,
//! logs in, and does what people do.

use integration::Options;
use integration::ordinary::Ordinary;
use integration::stage::{PASSWORD, Stage};
use serde_json::json;

use crate::browser::{Browser, origin};

const ROMEO: &str = "romeo@montague.example";
const JULIET: &str = "juliet@capulet.example";
/// Her entry in his roster.
const ENTRY: &str = "converse-roster-contact [data-jid='juliet@capulet.example']";
/// What is said, in the order it is said.
const SAID: [&str; 5] = [
    "He jests at scars that never felt a wound",
    "Ay me",
    "O Romeo, Romeo!",
    "Shall I hear more, or shall I speak at this?",
    "I take thee at thy word",
];

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
    romeo.sees(&with_status("offline"), "").await;
    let mut juliet = login(&stage, 1, JULIET).await;
    romeo.sees(&with_status("online"), "").await;
    romeo.clicks(ENTRY, "juliet").await;
    answers(&mut romeo, &mut juliet, SAID[0]).await;
    asks(&mut juliet, &mut romeo, SAID[1]).await;

    stage.homes[0].stop().unwrap();
    stage.homes[0].start().unwrap();
    asks(&mut juliet, &mut romeo, SAID[2]).await;
    answers(&mut romeo, &mut juliet, SAID[3]).await;

    romeo.reloads().await;
    answers(&mut romeo, &mut juliet, SAID[4]).await;
    remembers(&mut romeo).await;

    // What was said is not in the browser, but in the archive.
    romeo.forgets().await;
    romeo.login(ROMEO, PASSWORD).await;
    romeo.clicks(ENTRY, "juliet").await;
    remembers(&mut romeo).await;
    shows_avatar(&mut juliet, &mut romeo).await;
    romeo.picture("converse.png").await;
}

/// Juliet publishes a picture (XEP-0084); Converse hears of it by presence (XEP-0153) and fetches it
/// with her vCard (XEP-0054).
async fn shows_avatar(juliet: &mut Ordinary, romeo: &mut Browser) {
    juliet.order(&json!({"do": "avatar"})).unwrap();
    let avatar = juliet.until(&json!({"event": "avatar"})).await;
    let data = avatar["data"].as_str().unwrap();
    romeo
        .sees(&format!("{ENTRY} image[href$='{data}']"), "")
        .await;
}

async fn answers(romeo: &mut Browser, juliet: &mut Ordinary, text: &str) {
    romeo.says(text).await;
    juliet.hears(ROMEO, text).await;
}

async fn asks(juliet: &mut Ordinary, romeo: &mut Browser, text: &str) {
    juliet.says(ROMEO, text);
    romeo.sees("converse-chat-message", text).await;
}

/// All that was said is there, once.
async fn remembers(romeo: &mut Browser) {
    for text in SAID {
        romeo.sees("converse-chat-message", text).await;
    }
    for text in SAID {
        romeo.counts("converse-chat-message", text, 1).await;
    }
}

fn with_status(status: &str) -> String {
    format!("{ENTRY} [color='var(--chat-status-{status})']")
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
