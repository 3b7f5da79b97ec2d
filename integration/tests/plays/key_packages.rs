//! A hundred people of two domains claim one account's KeyPackages at once.

use std::collections::HashSet;

use comity_client::connection::{Connection, Inbound, Options};
use comity_client::stream::Login;
use comity_mls_wire::keys::{Answer, Claim, ClaimResult, Request};
use comity_xmpp::jid::BareJid;
use comity_xmpp::stanza::{IqType, Kind, Stanza};
use integration::Home;
use integration::stage::{PASSWORD, Stage};

const CLAIMERS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_never_get_the_same_package() {
    let stage = Stage::set("claims", &["montague.example", "capulet.example"]);
    let juliet = stage.person(1, "juliet").await.unwrap();
    let room = BareJid::parse("~aaaaaaaaaaaaaaaaaaaaaaaaaa@montague.example").unwrap();
    let request = Request::Claim(Claim {
        room,
        suites: vec![2],
        extensions: Vec::new(),
        devices: Vec::new(),
    });
    let mut connections = Vec::new();
    for n in 0..CLAIMERS {
        let home = &stage.homes[n % 2];
        home.add_user(&format!("guest{n}"), PASSWORD).unwrap();
        connections.push(connect(home, &format!("guest{n}")).await);
    }
    let claims = connections.into_iter().map(|connection| {
        let to = juliet.account().clone();
        let payload = request.to_element();
        tokio::spawn(async move { claim(connection, to, payload).await })
    });
    let mut ordinary = HashSet::new();
    let (mut last_resorts, mut exhausted) = (0, 0);
    for claim in claims.collect::<Vec<_>>() {
        match claim.await.unwrap() {
            ClaimResult::Package {
                package,
                last_resort: false,
            } => {
                assert!(ordinary.insert(package), "a package was given twice");
            }
            ClaimResult::Package {
                last_resort: true, ..
            } => last_resorts += 1,
            ClaimResult::Exhausted => exhausted += 1,
            ClaimResult::Incompatible => panic!("the suite is everybody's"),
        }
    }
    println!(
        "{} ordinary, {last_resorts} last resort, {exhausted} exhausted",
        ordinary.len()
    );
    assert!(
        ordinary.len() >= 50,
        "only {} ordinary packages",
        ordinary.len()
    );
    assert_eq!(ordinary.len() + last_resorts + exhausted, CLAIMERS);
}

async fn connect(home: &Home, local: &str) -> Connection {
    let account = BareJid::parse(&format!("{local}@{}", home.domain())).unwrap();
    let login = Login {
        account,
        password: PASSWORD.to_owned(),
        resource: None,
    };
    let endpoint = Some(home.c2s().into());
    Connection::open(&Options {
        login,
        endpoint,
        extra_roots: home.roots(),
        proxy: None,
    })
    .await
    .unwrap()
}

async fn claim(
    mut connection: Connection,
    to: BareJid,
    payload: comity_xmpp::element::Element,
) -> ClaimResult {
    let iq = Stanza::new(Kind::Iq(IqType::Set))
        .with_to(to)
        .with_id("claim")
        .with(&payload);
    assert!(connection.send(iq).await);
    loop {
        match connection.receive().await {
            Inbound::Stanza(stanza) if stanza.id.as_deref() == Some("claim") => {
                assert_eq!(stanza.kind, Kind::Iq(IqType::Result), "{stanza:?}");
                let answer = Answer::from_element(&stanza.first_child().unwrap()).unwrap();
                let Answer::Claimed(mut devices) = answer else {
                    panic!("{answer:?}")
                };
                assert_eq!(devices.len(), 1);
                return devices.remove(0).result;
            }
            Inbound::Stanza(_) => {}
            Inbound::Closed(why) => panic!("{why}"),
        }
    }
}
