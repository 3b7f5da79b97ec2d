//! Claims from here and elsewhere, what the owner is told, and what nobody else may do. That a
//! real batch is taken in is tested where it is judged, in the service.

use comity_mls_service::key_packages::Directory;
use comity_storage::RegisterDevice;
use comity_storage::key_packages::{KeyPackage, PublishKeyPackages};

use crate::play::{Person, Play};

const ROMEO: &str = "romeo@a.example";
const JULIET: &str = "juliet@a.example";
const BALCONY: &str = "00000000-0000-0000-0000-000000000007";
const ROOM: &str = "~aaaaaaaaaaaaaaaaaaaaaaaaaa@a.example";

/// Juliet has a device with so many packages, and a last resort.
async fn play(ordinary: u8) -> Play {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let now = play.home.now_s();
    let registration = RegisterDevice {
        id: *device().as_bytes(),
        account: JULIET.to_owned(),
        name: "Balcony".to_owned(),
        device_key: vec![1],
        now,
        limit: 10,
    };
    play.home.storage.write(registration).await.unwrap();
    let packages = (0..=ordinary).map(|number| KeyPackage {
        suite: 2,
        last_resort: number == ordinary,
        reference: vec![number],
        signer: [number; 32],
        extensions: vec![61_888],
        not_before: now - 60,
        not_after: now + 86_400,
        package: vec![b'K', b'P', number],
    });
    let publish = PublishKeyPackages {
        account: JULIET.to_owned(),
        device: *device().as_bytes(),
        replace: false,
        packages: packages.collect(),
        limit: 100,
        now_ms: now * 1000,
    };
    play.home.storage.write(publish).await.unwrap();
    play
}

fn device() -> uuid::Uuid {
    uuid::Uuid::parse_str(BALCONY).unwrap()
}

/// A session of Juliet that has proved her device.
async fn balcony(play: &Play) -> Person {
    let person = play.login("juliet@a.example/balcony").await;
    play.home
        .sessions
        .with(&person.jid, |session| session.device = Some(device()));
    person
}

fn claim(attributes: &str) -> String {
    format!(
        "<iq type='set' id='1' {attributes}><claim xmlns='urn:xmpp:mls:0:keys' room='{ROOM}'>\
         <suite id='2'/><extension id='61888'/></claim></iq>"
    )
}

fn claimed(to: &str, package: &str, last_resort: bool) -> String {
    format!(
        "<iq type='result' id='1' from='juliet@a.example' to='{to}'>\
         <claimed xmlns='urn:xmpp:mls:0:keys'><device id='{BALCONY}'>\
         <package last-resort='{last_resort}'>{package}</package></device></claimed></iq>"
    )
}

fn low_stock(ordinary: u8, last_resort: bool) -> String {
    format!(
        "<message type='headline' from='a.example' to='juliet@a.example/balcony'>\
         <low-stock xmlns='urn:xmpp:mls:0:keys' device='{BALCONY}' suite='2' \
         ordinary='{ordinary}' last-resort='{last_resort}'/></message>"
    )
}

fn refused(from: &str, to: &str, kind: &str, condition: &str, application: &str) -> String {
    format!(
        "<iq type='error' id='1' from='{from}' to='{to}'><error type='{kind}'>\
         <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>{application}</error></iq>"
    )
}

fn no_key_packages(account: &str, to: &str) -> String {
    let application = format!("<no-key-packages xmlns='urn:xmpp:mls:0' account='{account}'/>");
    refused(account, to, "cancel", "service-unavailable", &application)
}

#[tokio::test]
async fn claimed_from_here_and_elsewhere_and_the_device_is_told() {
    let play = play(1).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    let mut balcony = balcony(&play).await;
    let mut chamber = play.login("juliet@a.example/chamber").await;
    balcony.forget().await;

    romeo.send(&claim("to='juliet@a.example'")).await;
    romeo
        .gets(&claimed("romeo@a.example/orchard", "S1AA", false))
        .await;
    balcony.gets(&low_stock(0, true)).await;

    let from_away = "from='mercutio@b.example/street' to='juliet@a.example'";
    play.arrives(&claim(from_away)).await;
    play.sent_away(&[&claimed("mercutio@b.example/street", "S1AB", true)]);
    balcony.gets(&low_stock(0, false)).await;
    balcony
        .gets(&format!(
            "<message type='headline' from='a.example' to='juliet@a.example/balcony'>\
             <last-resort-used xmlns='urn:xmpp:mls:0:keys' device='{BALCONY}' suite='2'/></message>"
        ))
        .await;
    chamber.gets_nothing().await;
}

#[tokio::test]
async fn nobody_learns_who_exists() {
    let play = play(1).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    // Romeo himself has an account and no device; nobody@ has no account.
    for (by, target) in [("b", "romeo@a.example"), ("b", "nobody@a.example")] {
        let from = format!("mercutio@{by}.example/street");
        play.arrives(&claim(&format!("from='{from}' to='{target}'")))
            .await;
        play.sent_away(&[&no_key_packages(target, &from)]);
    }
    for target in ["juliet@a.example", "nobody@a.example"] {
        romeo
            .send(&format!(
                "<iq type='get' id='1' to='{target}'><count xmlns='urn:xmpp:mls:0:keys'/></iq>"
            ))
            .await;
        let rule = "only an account&apos;s own devices publish, count and delete its KeyPackages";
        let application = format!("<not-allowed xmlns='urn:xmpp:mls:0' rule=\"{rule}\"/>");
        let to = "romeo@a.example/orchard";
        romeo
            .gets(&refused(target, to, "auth", "forbidden", &application))
            .await;
    }
}

#[tokio::test]
async fn the_owner_counts_and_deletes_as_the_device() {
    let play = play(2).await;
    let mut chamber = play.login("juliet@a.example/chamber").await;
    let delete = format!(
        "<iq type='set' id='1' to='juliet@a.example'><delete xmlns='urn:xmpp:mls:0:keys' device='{BALCONY}'>\
         <reference>AA==</reference></delete></iq>"
    );
    let to = "juliet@a.example/chamber";
    chamber.send(&delete).await;
    let application = "<no-device xmlns='urn:xmpp:mls:0'/>";
    chamber
        .gets(&refused(JULIET, to, "auth", "not-authorized", application))
        .await;
    let count = |name: &str, ordinary: u8| {
        format!(
            "<iq type='result' id='1' from='juliet@a.example' to='{to}'>\
             <{name} xmlns='urn:xmpp:mls:0:keys'><count device='{BALCONY}' suite='2' \
             ordinary='{ordinary}' last-resort='true'/></{name}></iq>"
        )
    };
    chamber
        .send(
            "<iq type='get' id='1' to='juliet@a.example'><count xmlns='urn:xmpp:mls:0:keys'/></iq>",
        )
        .await;
    chamber.gets(&count("counts", 2)).await;
    play.home
        .sessions
        .with(&chamber.jid, |session| session.device = Some(device()));
    chamber.send(&delete).await;
    chamber.gets(&count("deleted", 1)).await;
}

#[tokio::test]
async fn what_is_no_batch_is_refused() {
    let play = play(0).await;
    let mut chamber = play.login("juliet@a.example/chamber").await;
    let publish = |device: &str| {
        format!(
            "<iq type='set' id='1' to='juliet@a.example'><publish xmlns='urn:xmpp:mls:0:keys' device='{device}'>\
             <package>AAAA</package><signature>AAAA</signature></publish></iq>"
        )
    };
    let to = "juliet@a.example/chamber";
    chamber.send(&publish(BALCONY)).await;
    let application = "<bad-signature xmlns='urn:xmpp:mls:0'/>";
    chamber
        .gets(&refused(JULIET, to, "auth", "not-authorized", application))
        .await;
    chamber
        .send(&publish("00000000-0000-0000-0000-000000000008"))
        .await;
    let application = "<unknown-device xmlns='urn:xmpp:mls:0'/>";
    chamber
        .gets(&refused(
            JULIET,
            to,
            "cancel",
            "item-not-found",
            application,
        ))
        .await;
    chamber
        .send(
            "<iq type='set' id='1' to='juliet@a.example'><count xmlns='urn:xmpp:mls:0:keys'/></iq>",
        )
        .await;
    let why = "in &lt;count/>: expected an IQ of type get, found an IQ of type set";
    let application = format!("<bad-request xmlns='urn:xmpp:mls:0' why='{why}'/>");
    chamber
        .gets(&refused(JULIET, to, "modify", "bad-request", &application))
        .await;
}

#[tokio::test]
async fn the_purge_ends() {
    let play = play(3).await;
    play.clock
        .forward(std::time::Duration::from_secs(2 * 86_400));
    let deliveries = super::purge(play.home.clone()).await;
    assert!(deliveries.is_empty());
    let directory: &Directory = &play.home.services.directories["a.example"];
    let more = directory.purge(play.home.now_ms()).await;
    assert_eq!(more, Ok(false));
    let left = play.home.storage.key_package_counts(JULIET, 0).await;
    assert_eq!(left.unwrap(), [], "expired packages are gone");
}

#[tokio::test]
async fn service_discovery_shows_the_limits() {
    let play = play(0).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    romeo
        .send(
            "<iq type='get' id='1' to='a.example'>\
             <query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
        )
        .await;
    let patience = std::time::Duration::from_secs(10);
    let answer = romeo.next(patience).await.unwrap();
    let query = answer.first_child().unwrap();
    for feature in comity_mls_wire::disco::DOMAIN_FEATURES {
        let shown = query.elements().any(|e| e.attr("var") == Some(feature));
        assert!(shown, "{feature}");
    }
    let form = comity_mls_wire::disco::form(&play.home.services.limits);
    assert!(query.elements().any(|e| *e == form));

    romeo
        .send(&format!(
            "<iq type='get' id='2' to='{ROOM}'>\
             <query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
        ))
        .await;
    romeo
        .gets(&format!(
            "<iq type='result' id='2' from='{ROOM}' to='romeo@a.example/orchard'>\
             <query xmlns='http://jabber.org/protocol/disco#info'>\
             <identity category='conference' type='mls'/>\
             <feature var='urn:xmpp:mls:0'/><feature var='urn:xmpp:mls:0:room'/></query></iq>"
        ))
        .await;
}
