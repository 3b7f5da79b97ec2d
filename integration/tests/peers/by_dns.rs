//! Comity with itself: two operators need nothing but the DNS. By certificates, and by dialback
//! (XEP-0220) where neither shows one.

use integration::Home;
use integration::network::{Network, play};

use crate::scene::{self, Found, authority, comity, publish, resident};
use crate::speak;

/// `s2s` is of both servers' configuration.
async fn converse(network: &Network, found: Found, s2s: &str) -> Vec<Home> {
    let authority = authority(network);
    let mut homes = Vec::new();
    for domain in ["montague.example", "capulet.example"] {
        let place = network.place();
        publish(network, domain, place, found).await;
        let mut home = comity(domain, place, &authority);
        // Each is to find the other, not to answer on the other's stream (XEP-0288).
        home.s2s.push_str("bidi = false\n");
        home.s2s.push_str(s2s);
        homes.push(home.start(network).unwrap());
    }
    let mut romeo = resident(&homes[0], "romeo", &authority).await;
    let mut juliet = resident(&homes[1], "juliet", &authority).await;
    speak::messages(&mut romeo, &mut juliet).await;
    speak::presence(&mut romeo, &mut juliet).await;
    speak::questions(&mut romeo, "capulet.example", "Comity").await;
    speak::notifications(&mut romeo, &mut juliet).await;
    speak::notifications(&mut juliet, &mut romeo).await;
    scene::streams_were(&homes[0], found, found);
    homes
}

#[test]
fn two_domains_find_each_other_by_srv_records() {
    play("srv", async |network| {
        converse(network, Found::StartTls, "").await;
    });
}

#[test]
fn two_domains_find_each_other_by_direct_tls() {
    play("direct", async |network| {
        converse(network, Found::Direct, "").await;
    });
}

#[test]
fn two_domains_find_each_other_by_their_addresses() {
    play("address", async |network| {
        converse(network, Found::Address, "").await;
    });
}

/// How the streams of a server to its peer were authenticated.
fn proved(home: &Home, by: &str) {
    let log = std::fs::read_to_string(home.log()).unwrap();
    let reached: Vec<_> = (log.lines())
        .filter(|line| line.contains("the peer is reached") && line.contains(" by="))
        .collect();
    assert!(!reached.is_empty(), "{log}");
    let right = format!(" by=\"{by}\"");
    assert!(
        reached.iter().all(|line| line.contains(&right)),
        "{reached:#?}"
    );
}

#[test]
fn two_domains_find_each_other_by_dialback() {
    play("dialback", async |network| {
        let s2s = "client_certificate = false\ndialback = \"fallback\"\n";
        for home in converse(network, Found::StartTls, s2s).await {
            proved(&home, "dialback");
        }
    });
}

#[test]
fn two_domains_find_each_other_by_direct_tls_and_dialback() {
    play("dialback-direct", async |network| {
        let s2s = "client_certificate = false\ndialback = \"fallback\"\n";
        for home in converse(network, Found::Direct, s2s).await {
            proved(&home, "dialback");
        }
    });
}
