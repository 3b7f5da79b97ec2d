//! Comity with itself: two operators need nothing but the DNS.

use integration::network::{Network, play};
use serde_json::json;

use crate::scene::{Found, authority, comity, publish, resident};

async fn converse(network: &Network, found: Found) {
    let authority = authority(network);
    let mut homes = Vec::new();
    for domain in ["montague.example", "capulet.example"] {
        let place = network.place();
        publish(network, domain, place, found).await;
        homes.push(comity(domain, place, &authority).start(network).unwrap());
    }
    let mut romeo = resident(&homes[0], "romeo", &authority).await;
    let mut juliet = resident(&homes[1], "juliet", &authority).await;
    let (his, hers) = (romeo.jid().to_owned(), juliet.jid().to_owned());
    romeo.says(&hers, "Speak again, bright angel");
    juliet.hears(&his, "Speak again, bright angel").await;
    juliet.says(&his, "What man art thou?");
    romeo.hears(&hers, "What man art thou?").await;

    romeo
        .order(&json!({"do": "subscribe", "to": hers}))
        .unwrap();
    romeo
        .until(&json!({"event": "presence", "from": hers, "type": "available"}))
        .await;
    juliet
        .until(&json!({"event": "presence", "from": his, "type": "available"}))
        .await;
    assert_eq!(romeo.asks("ping", "capulet.example").await, "pong");
    assert_eq!(romeo.asks("version", "capulet.example").await, "Comity");
    assert_eq!(romeo.asks("disco", "capulet.example").await, "server/im");
    let log = std::fs::read_to_string(homes[0].log()).unwrap();
    let start = match found {
        Found::Direct => "start=Direct",
        Found::StartTls | Found::Address => "start=StartTls",
    };
    let ready = log
        .lines()
        .find(|line| line.contains("a stream to the peer is ready"))
        .unwrap();
    assert!(ready.contains(start), "{ready}");
}

#[test]
fn two_domains_find_each_other_by_srv_records() {
    play("srv", async |network| {
        converse(network, Found::StartTls).await;
    });
}

#[test]
fn two_domains_find_each_other_by_direct_tls() {
    play("direct", async |network| {
        converse(network, Found::Direct).await;
    });
}

#[test]
fn two_domains_find_each_other_by_their_addresses() {
    play("address", async |network| {
        converse(network, Found::Address).await;
    });
}
