//! Domains that do not prove themselves get no stream, in neither direction, and the operator reads
//! why.

use integration::Home;
use integration::certificates::{Authority, San, Shape};
use integration::network::{Network, play};
use integration::ordinary::Ordinary;
use serde_json::json;

use crate::scene::{Found, authority, careless, comity, logged, publish, resident, with};

/// Somebody asks the other domain in vain.
async fn in_vain(who: &mut Ordinary, domain: &str) {
    who.order(&json!({"do": "ping", "to": domain})).unwrap();
    who.until(&json!({"event": "error", "from": domain})).await;
}

/// Tries both directions with a domain that shows a certificate of this shape.
async fn refused(
    network: &Network,
    (home, romeo): (&Home, &mut Ordinary),
    (authority, signer): (&Authority, &Authority),
    (domain, shape, why): (&str, Shape<'_>, &str),
) {
    let place = network.place();
    publish(network, domain, place, Found::StartTls).await;
    let certificate = signer.issue(domain, &shape).unwrap();
    let theirs = with(domain, place, authority, certificate);
    let theirs = theirs.start(network).unwrap();
    in_vain(romeo, domain).await;
    logged(home, &["no stream to the peer", domain, why]).await;
    let mut tybalt = careless(&theirs, "tybalt").await;
    in_vain(&mut tybalt, "montague.example").await;
    let words = [
        "no peer came of a connection",
        "does not prove",
        domain,
        why,
    ];
    logged(home, &words).await;
    // And the other side was told.
    logged(&theirs, &["montague.example", "not-authorized", why]).await;
}

/// The domain, whether a stranger signs, what the certificate looks like, and what is said of it.
fn cases() -> Vec<(&'static str, bool, Shape<'static>, &'static str)> {
    let expired = Shape {
        expired: true,
        ..Shape::dns("expired.example")
    };
    let alone = Shape {
        self_signed: true,
        ..Shape::dns("alone.example")
    };
    let clients = Shape {
        names: vec![San::SrvName("_xmpp-client.clients.example")],
        ..Shape::default()
    };
    let account = Shape {
        names: vec![San::XmppAddr("admin@account.example")],
        ..Shape::default()
    };
    vec![
        (
            "other.example",
            false,
            Shape::dns("mab.example"),
            "is for mab.example, not for",
        ),
        (
            "parent.example",
            false,
            Shape::dns("*.parent.example"),
            "not for parent.example",
        ),
        (
            "clients.example",
            false,
            clients,
            "is for _xmpp-client.clients.example",
        ),
        (
            "account.example",
            false,
            account,
            "is for admin@account.example",
        ),
        (
            "nameless.example",
            false,
            Shape::default(),
            "is for no name at all",
        ),
        ("expired.example", false, expired, "the certificate expired"),
        (
            "alone.example",
            false,
            alone,
            "signed by its own key and by no authority",
        ),
        (
            "stranger.example",
            true,
            Shape::dns("stranger.example"),
            "no authority we believe",
        ),
    ]
}

#[test]
fn bad_certificates_are_refused_both_ways_with_the_reason() {
    play("refusals", async |network| {
        let authority = authority(network);
        let folder = network.folder().join("stranger");
        let stranger = Authority::new("An authority of its own", &folder).unwrap();
        let place = network.place();
        publish(network, "montague.example", place, Found::StartTls).await;
        let home = comity("montague.example", place, &authority);
        let home = home.start(network).unwrap();
        let mut romeo = resident(&home, "romeo", &authority).await;
        for (domain, of_stranger, shape, why) in cases() {
            let signer = if of_stranger { &stranger } else { &authority };
            let (ours, signers) = ((&home, &mut romeo), (&authority, signer));
            refused(network, ours, signers, (domain, shape, why)).await;
        }
    });
}

/// Whoever controls the DNS of a domain for a moment leads its mail to a server of their own, which
/// has a good certificate, though not that domain's.
#[test]
fn a_stolen_record_leads_nobody_astray() {
    play("stolen", async |network| {
        let authority = authority(network);
        let [here, there, lair] = [(); 3].map(|()| network.place());
        publish(network, "montague.example", here, Found::StartTls).await;
        let home = comity("montague.example", here, &authority);
        let home = home.start(network).unwrap();
        let capulet = comity("capulet.example", there, &authority);
        let capulet = capulet.start(network).unwrap();
        let mut romeo = resident(&home, "romeo", &authority).await;
        let mut juliet = resident(&capulet, "juliet", &authority).await;

        // The thief serves the same names, in a folder of its own.
        let certificate = authority
            .issue("mab.example", &Shape::dns("mab.example"))
            .unwrap();
        let mut thief = with("capulet.example", lair, &authority, certificate);
        thief.folder = "thief".into();
        let thief = thief.start(network).unwrap();
        let mut impostor = careless(&thief, "juliet").await;
        let name = "_xmpp-server._tcp.capulet.example";
        network.dns.srv(name, (0, 0), "mab.example", 5269).await;
        network.host("mab.example", lair).await;

        romeo.says("juliet@capulet.example", "Meet me at the wall");
        in_vain(&mut romeo, "capulet.example").await;
        let why = "is for mab.example, not for capulet.example";
        logged(&home, &["no stream to the peer", why]).await;
        // Nor is the thief believed when it comes to us.
        impostor.says("romeo@montague.example", "Come to the wall");
        logged(&home, &["no peer came of a connection", why]).await;

        // The record is put right, and the message has waited.
        network
            .dns
            .forget(name, integration::dns::RecordType::SRV)
            .await;
        publish(network, "capulet.example", there, Found::StartTls).await;
        juliet
            .hears("romeo@montague.example", "Meet me at the wall")
            .await;
        let stolen = json!({"event": "message", "text": "Meet me at the wall"});
        assert_eq!(impostor.already(&stolen), None);
        let forged = json!({"event": "message", "text": "Come to the wall"});
        assert_eq!(romeo.already(&forged), None);
    });
}
