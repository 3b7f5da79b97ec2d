//! profanity.

use integration::ordinary::Ordinary;
use integration::stage::{PASSWORD, Stage};
use serde_json::json;

use crate::scene::Scene;
use crate::terminal::Terminal;

const ROMEO: &str = "romeo@montague.example";
const JULIET: &str = "juliet@capulet.example";

#[test]
fn profanity() {
    let scene = Scene::set("profanity");
    let terminal = Terminal::open(scene.stage.folder(), "profanity");
    terminal.shows("Profanity");
    login(&terminal, &scene.host());
    terminal.enter("/msg juliet@capulet.example With love's light wings");
    terminal.shows("echo: With love's light wings");
}

/// What was said before it was there comes from the archive (XEP-0313); who is blocked is not heard
/// (XEP-0191); an avatar is fetched (XEP-0084).
#[tokio::test]
async fn profanity_remembers_and_blocks() {
    let stage = Stage::set(
        "profanity-archive",
        &["montague.example", "capulet.example"],
    );
    stage.homes[0].add_user("romeo", PASSWORD).unwrap();
    stage.homes[1].add_user("juliet", PASSWORD).unwrap();
    let [here, there] = [&stage.homes[0], &stage.homes[1]];
    let mut juliet = Ordinary::login(JULIET, PASSWORD, there.c2s(), &there.ca()).await;
    let mut romeo = Ordinary::login(ROMEO, PASSWORD, here.c2s(), &here.ca()).await;
    romeo
        .order(&json!({"do": "subscribe", "to": JULIET}))
        .unwrap();
    romeo
        .until(&json!({"event": "presence", "from": JULIET, "type": "available"}))
        .await;
    romeo.says(JULIET, "Lady, by yonder blessed moon I swear");
    juliet
        .hears(ROMEO, "Lady, by yonder blessed moon I swear")
        .await;
    juliet.says(ROMEO, "O, swear not by the moon");
    romeo.hears(JULIET, "O, swear not by the moon").await;
    drop(romeo);
    juliet.order(&json!({"do": "avatar"})).unwrap();
    juliet.until(&json!({"event": "avatar"})).await;

    let terminal = Terminal::open(stage.folder(), "profanity");
    terminal.shows("Profanity");
    terminal.enter("/mam on");
    terminal.shows("Message Archive Management enabled");
    login(&terminal, &here.c2s().ip().to_string());
    terminal.enter(&format!("/avatar get {JULIET}"));
    terminal.shows("Avatar saved as");
    terminal.enter(&format!("/msg {JULIET}"));
    terminal.shows("Lady, by yonder blessed moon I swear");
    terminal.shows("O, swear not by the moon");

    terminal.enter("/win 1");
    terminal.enter(&format!("/blocked add {JULIET}"));
    terminal.shows("successfully blocked");
    juliet.says(ROMEO, "Do not swear at all");
    juliet
        .until(&json!({"event": "error", "from": ROMEO}))
        .await;
    terminal.enter(&format!("/blocked remove {JULIET}"));
    terminal.shows("successfully unblocked");
    juliet.says(ROMEO, "Well, do not swear");
    terminal.enter("/win 2");
    terminal.shows("Well, do not swear");
    assert!(!terminal.screen().contains("Do not swear at all"));
}

fn login(terminal: &Terminal, host: &str) {
    terminal.enter(&format!(
        "/connect {ROMEO} server {host} port 5222 tls trust"
    ));
    terminal.shows("Enter password");
    terminal.enter(PASSWORD);
    terminal.shows("logged in successfully");
}
