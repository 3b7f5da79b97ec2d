//! One TCP connection carries both directions (XEP-0288): between our own servers, and with
//! Prosody, whoever opens it.

use std::process::Command;
use std::time::{Duration, Instant};

use integration::Home;
use integration::network::play;
use integration::ordinary::LIMIT;
use integration::peers::{Peer, Prosody};
use serde_json::Value;

use crate::foreign::{Foreign, Way, federate};
use crate::scene::{Found, authority, comity, publish, resident};
use crate::speak;

const OURS: &str = "both ways";
const THEIRS: &str = "both ways, opened by the peer";
/// Messages each way at once.
const COUNT: usize = 200;

/// The TCP connections between servers in the play's network, seen from who has opened them.
fn connections() -> Vec<String> {
    let output = Command::new("ss")
        .args(["-Htn", "state", "established"])
        .arg("( dport = :5269 or dport = :5270 )")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(str::to_owned).collect()
}

/// How our stanzas for a domain go, as `comity peer show` has it.
fn way(home: &Home, domain: &str) -> Option<String> {
    let shown = home.comity(&["peer", "show", domain, "--json"], "");
    let shown: Value = serde_json::from_str(&shown.unwrap()).unwrap();
    let way = &shown["peer"]["outgoing"][0]["way"];
    way.as_str().map(str::to_owned)
}

/// Waits until our stanzas go this way, over the only connection there is.
async fn one_connection(home: &Home, domain: &str, expected: &str) {
    let started = Instant::now();
    loop {
        let (found, all) = (way(home, domain), connections());
        if found.as_deref() == Some(expected) && all.len() == 1 {
            return;
        }
        assert!(started.elapsed() < LIMIT, "{found:?} over {all:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn comity_answers_on_the_connection_that_is_there() {
    play("bidi", async |network| {
        let authority = authority(network);
        let (here, there) = (network.place(), network.place());
        publish(network, "montague.example", here, Found::StartTls).await;
        publish(network, "capulet.example", there, Found::Direct).await;
        let home = comity("montague.example", here, &authority);
        let mut home = home.start(network).unwrap();
        let capulet = comity("capulet.example", there, &authority);
        let mut capulet = capulet.start(network).unwrap();
        let mut romeo = resident(&home, "romeo", &authority).await;
        let mut juliet = resident(&capulet, "juliet", &authority).await;
        speak::messages(&mut romeo, &mut juliet).await;
        speak::presence(&mut romeo, &mut juliet).await;
        speak::questions(&mut romeo, "capulet.example", "Comity").await;
        speak::questions(&mut juliet, "montague.example", "Comity").await;
        speak::notifications(&mut romeo, &mut juliet).await;
        speak::notifications(&mut juliet, &mut romeo).await;
        one_connection(&home, "capulet.example", OURS).await;
        one_connection(&capulet, "montague.example", THEIRS).await;

        // Both at once, in order, and on no other connection.
        let all: Vec<usize> = (0..COUNT).collect();
        let quiet = Duration::from_secs(20);
        romeo.counts("juliet@capulet.example", 0..COUNT, Duration::ZERO);
        juliet.counts("romeo@montague.example", 0..COUNT, Duration::ZERO);
        let hers = romeo.numbers("juliet@capulet.example", COUNT - 1, quiet);
        assert_eq!(hers.await, all);
        let his = juliet.numbers("romeo@montague.example", COUNT - 1, quiet);
        assert_eq!(his.await, all);
        assert_eq!(connections().len(), 1, "{:#?}", connections());

        // It ends with who had opened it. Then whoever is first goes, or both.
        home.kill().unwrap();
        juliet.says("romeo@montague.example", "What man art thou?");
        home.start().unwrap();
        let ca = authority.file();
        let password = integration::stage::PASSWORD;
        let server = home.c2s();
        let mut romeo =
            integration::ordinary::Ordinary::login("romeo@montague.example", password, server, &ca)
                .await;
        romeo
            .hears("juliet@capulet.example", "What man art thou?")
            .await;
        romeo.says("juliet@capulet.example", "By a name I know not");
        juliet
            .hears("romeo@montague.example", "By a name I know not")
            .await;
        assert!(connections().len() <= 2, "{:#?}", connections());
        capulet.stop().unwrap();
    });
}

/// With Prosody, which opens the connection where `theirs`.
fn with_prosody(name: &str, theirs: bool) {
    play(name, async move |network| {
        let way = Way {
            ours: Found::StartTls,
            theirs: Found::StartTls,
            software: "Prosody",
            dialback: false,
            bidi: true,
        };
        let mut scene = Foreign::set(network, &way, Prosody::start).await;
        let (romeo, juliet) = (&mut scene.romeo, &mut scene.juliet);
        let expected = match theirs {
            true => {
                speak::messages(juliet, romeo).await;
                THEIRS
            }
            false => {
                speak::messages(romeo, juliet).await;
                OURS
            }
        };
        one_connection(&scene.home, "capulet.example", expected).await;
        speak::presence(romeo, juliet).await;
        speak::questions(romeo, "capulet.example", way.software).await;
        speak::questions(juliet, "montague.example", "Comity").await;
        speak::notifications(juliet, romeo).await;
        speak::notifications(romeo, juliet).await;
        // Both at once, and in order.
        let all: Vec<usize> = (0..COUNT).collect();
        let quiet = Duration::from_secs(20);
        romeo.counts("juliet@capulet.example", 0..COUNT, Duration::ZERO);
        juliet.counts("romeo@montague.example", 0..COUNT, Duration::ZERO);
        let hers = romeo.numbers("juliet@capulet.example", COUNT - 1, quiet);
        assert_eq!(hers.await, all);
        let his = juliet.numbers("romeo@montague.example", COUNT - 1, quiet);
        assert_eq!(his.await, all);
        one_connection(&scene.home, "capulet.example", expected).await;

        // The connection is over, and another takes its place.
        scene.peer.kill();
        scene.romeo.says("juliet@capulet.example", "Good night");
        scene.peer.start().unwrap();
        scene.juliet_again().await;
        scene
            .juliet
            .hears("romeo@montague.example", "Good night")
            .await;
        assert!(connections().len() <= 2, "{:#?}", connections());
    });
}

#[test]
fn prosody_answers_on_our_connection() {
    with_prosody("bidi-prosody", false);
}

#[test]
fn we_answer_on_prosodys_connection() {
    with_prosody("bidi-prosodys", true);
}

/// Prosody keeps the connection on which it has asked about our key, so there are two.
#[test]
fn both_directions_after_dialback() {
    play("bidi-dialback", async |network| {
        let way = Way {
            ours: Found::StartTls,
            theirs: Found::StartTls,
            software: "Prosody",
            dialback: true,
            bidi: true,
        };
        federate(network, way, Prosody::start).await;
    });
}
