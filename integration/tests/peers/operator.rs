//! What the operator sees of other domains and does about them: `comity peer`, and the metrics.

use std::process::Command;
use std::time::{Duration, Instant};

use integration::Home;
use integration::network::play;
use integration::ordinary::{LIMIT, Ordinary};
use serde_json::{Value, json};

use crate::scene::{Found, authority, comity, publish, resident};

const HIS: &str = "romeo@montague.example";
const HERS: &str = "juliet@capulet.example";
const THEIRS: &str = "capulet.example";

fn peer(home: &Home, words: &[&str]) -> String {
    let all = [&["peer"], words].concat();
    home.comity(&all, "").unwrap()
}

/// `comity peer show`, when it is as wanted.
async fn shows(home: &Home, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let text = peer(home, &["show", THEIRS, "--json"]);
        let shown = serde_json::from_str::<Value>(&text).unwrap()["peer"].clone();
        if wanted(&shown) {
            return shown;
        }
        assert!(begun.elapsed() < LIMIT, "not {what}: {shown:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Prometheus' view, from an address that may look.
fn metrics(home: &Home) -> String {
    let url = format!("https://{}/metrics", home.web());
    let output = Command::new("curl")
        .args(["--silent", "--insecure", "--interface", "127.0.0.1", &url])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The value of a metric with all of these labels.
fn metric(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = text.lines().find(|line| {
        line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Asks somebody's domain for a sign of life, in vain.
async fn in_vain(who: &mut Ordinary, domain: &str) {
    who.order(&json!({"do": "ping", "to": domain})).unwrap();
    who.until(&json!({"event": "error", "from": domain})).await;
}

#[test]
fn an_operator_sees_what_waits_and_why_and_does_something_about_it() {
    play("operator", async |network| {
        let authority = authority(network);
        let (here, there) = (network.place(), network.place());
        publish(network, "montague.example", here, Found::StartTls).await;
        publish(network, THEIRS, there, Found::StartTls).await;
        let mut ours = comity("montague.example", here, &authority);
        // Nobody tries again by themselves while the play lasts.
        ours.s2s = "retry_first = \"5min\"".to_owned();
        let home = ours.start(network).unwrap();
        let mut theirs = comity(THEIRS, there, &authority).start(network).unwrap();
        let mut romeo = resident(&home, "romeo", &authority).await;
        let mut juliet = resident(&theirs, "juliet", &authority).await;
        romeo.says(HERS, "one");
        juliet.hears(HIS, "one").await;
        let up = |peer: &Value| peer["outgoing"][0]["state"] == "up" && peer["queued"] == 0;
        shows(&home, "up", up).await;
        assert!(peer(&home, &["list"]).contains("capulet.example"));

        waiting(&home, &mut theirs, &mut romeo).await;
        juliet = Ordinary::login(
            HERS,
            integration::stage::PASSWORD,
            theirs.c2s(),
            &authority.file(),
        )
        .await;
        juliet.hears(HIS, "two").await;
        shows(&home, "up again", up).await;
        let text = metrics(&home);
        assert_eq!(metric(&text, "comity_peer_last_error", &[THEIRS]), None);

        blocked(&home, &mut romeo, &mut juliet).await;
        assert_eq!(romeo.asks("ping", THEIRS).await, "pong");
        juliet.says(HIS, "five");
        romeo.hears(HERS, "five").await;
        let heard = json!({"event": "message", "text": "three"});
        assert_eq!(juliet.already(&heard), None);
        discarded(&home, &mut theirs, &mut romeo).await;
    });
}

/// The other domain goes, something waits for it, and it comes back.
async fn waiting(home: &Home, theirs: &mut Home, romeo: &mut Ordinary) {
    theirs.kill().unwrap();
    romeo.says(HERS, "two");
    let waits = |peer: &Value| {
        peer["outgoing"][0]["state"] == "waiting"
            && peer["queued"] == 1
            && peer["oldest"].as_u64().is_some()
            && peer["outgoing"][0]["last_error"]
                .as_str()
                .is_some_and(|why| why.contains("Connection refused"))
    };
    shows(home, "waiting", waits).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let list = peer(home, &["list"]);
    assert!(list.contains("Connection refused"), "{list}");
    let text = metrics(home);
    let of_peer = ["peer=\"capulet.example\""];
    let queue = metric(&text, "comity_peer_queue_stanzas", &of_peer);
    assert_eq!(queue, Some(1.0), "{text}");
    let oldest = metric(&text, "comity_peer_oldest_seconds", &of_peer);
    assert!(oldest.is_some_and(|age| age >= 1.0), "{text}");
    let state = ["peer=\"capulet.example\"", "domain=\"montague.example\""];
    assert_eq!(metric(&text, "comity_peer_state", &state), Some(1.0));
    let error = metric(&text, "comity_peer_last_error", &["Connection refused"]);
    assert_eq!(error, Some(1.0), "{text}");
    theirs.start().unwrap();
    let said = peer(home, &["flush", THEIRS]);
    assert!(said.contains("now, for 1 stanza"), "{said}");
}

/// Nothing goes or comes, and whoever tries is told at once.
async fn blocked(home: &Home, romeo: &mut Ordinary, juliet: &mut Ordinary) {
    peer(home, &["block", THEIRS, "--reason", "a feud"]);
    let shut = |peer: &Value| {
        peer["blocked"]["reason"] == "a feud" && peer["allowed"] == false && peer["incoming"] == 0
    };
    shows(home, "blocked", shut).await;
    assert!(peer(home, &["list"]).contains("blocked"));
    in_vain(romeo, THEIRS).await;
    in_vain(juliet, "montague.example").await;
    romeo.says(HERS, "three");
    romeo.until(&json!({"event": "error", "from": HERS})).await;
    shows(home, "empty", |peer| peer["queued"] == 0).await;
    let said = peer(home, &["unblock", THEIRS]);
    assert!(said.contains("blocked no longer"), "{said}");
}

/// What waits is given up by hand, and who said it is told.
async fn discarded(home: &Home, theirs: &mut Home, romeo: &mut Ordinary) {
    theirs.kill().unwrap();
    romeo.says(HERS, "four");
    shows(home, "queued", |peer| peer["queued"] == 1).await;
    let said = peer(home, &["block", THEIRS]);
    assert!(said.contains("1 stanza for it wait"), "{said}");
    let said = peer(home, &["discard", THEIRS, "--yes"]);
    assert!(said.contains("discarded 1 stanza"), "{said}");
    romeo.until(&json!({"event": "error", "from": HERS})).await;
    shows(home, "empty", |peer| peer["queued"] == 0).await;
}
