//! Comity with itself: two operators need nothing but the DNS.

use integration::network::{Network, play};

use crate::scene::{self, Found, authority, comity, publish, resident};
use crate::speak;

async fn converse(network: &Network, found: Found) {
    let authority = authority(network);
    let mut homes = Vec::new();
    for domain in ["montague.example", "capulet.example"] {
        let place = network.place();
        publish(network, domain, place, found).await;
        let mut home = comity(domain, place, &authority);
        // Each is to find the other, not to answer on the other's stream (XEP-0288).
        home.s2s.push_str("bidi = false\n");
        homes.push(home.start(network).unwrap());
    }
    let mut romeo = resident(&homes[0], "romeo", &authority).await;
    let mut juliet = resident(&homes[1], "juliet", &authority).await;
    speak::messages(&mut romeo, &mut juliet).await;
    speak::presence(&mut romeo, &mut juliet).await;
    speak::questions(&mut romeo, "capulet.example", "Comity").await;
    speak::notifications(&mut romeo, &mut juliet).await;
    scene::streams_were(&homes[0], found, found);
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
