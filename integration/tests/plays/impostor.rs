//! Whoever has the password of an account, or the authority on his side, and no device of it.

use std::time::Duration;

use bytes::Bytes;
use comity_client::agent::Update;
use comity_client::connection::{Connection, Inbound, Options};
use comity_client::stream::Login;
use comity_mls_credential::certificate::issuer_id;
use comity_mls_credential::csr;
use comity_mls_credential::keys::{Algorithm, PrivateKey};
use comity_mls_credential::signed;
use comity_mls_credential::transparency::entry::{batch_root, enrol_content};
use comity_mls_engine::Event;
use comity_mls_wire::authority::{Answer, Request};
use comity_mls_wire::refusal::Refusal;
use comity_xmpp::error::StanzaError;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, Stanza};
use integration::home::Home;
use integration::page;
use integration::person::Person;
use integration::stage::{PASSWORD, Stage};
use uuid::Uuid;

/// A session that says what it likes.
struct Session {
    connection: Connection,
    asked: u32,
}

impl Session {
    async fn open(home: &Home, account: &BareJid) -> Self {
        let options = Options {
            login: Login {
                account: account.clone(),
                password: PASSWORD.to_owned(),
                resource: None,
            },
            endpoint: Some(home.c2s().into()),
            extra_roots: home.roots(),
            proxy: None,
        };
        Self {
            connection: Connection::open(&options).await.unwrap(),
            asked: 0,
        }
    }

    async fn ask(&mut self, request: &Request) -> Result<Answer, Refusal> {
        self.asked += 1;
        let id = format!("q{}", self.asked);
        let stanza = Stanza::new(Kind::Iq(request.iq_type()))
            .with_to(Jid::parse(self.connection.jid.domain()).unwrap())
            .with_id(id.as_str())
            .with(&request.to_element());
        assert!(self.connection.send(stanza).await);
        loop {
            let received = tokio::time::timeout(Duration::from_secs(20), self.connection.receive());
            let Inbound::Stanza(stanza) = received.await.unwrap() else {
                panic!("the stream has ended");
            };
            if stanza.id.as_deref() != Some(&*id) {
                continue;
            }
            return match stanza.kind {
                Kind::Iq(IqType::Result) => {
                    Ok(Answer::from_element(&stanza.first_child().unwrap()).unwrap())
                }
                _ => {
                    let error = stanza.child(ns::CLIENT, "error").unwrap();
                    let error = StanzaError::from_element(&error);
                    Err(Refusal::from_stanza_error(&error).expect("a reason"))
                }
            };
        }
    }

    async fn nonce(&mut self) -> Bytes {
        match self.ask(&Request::Challenge).await {
            Ok(Answer::Challenge { nonce }) => nonce,
            other => panic!("{other:?}"),
        }
    }
}

async fn device_of(person: &Person) -> Uuid {
    let id = person.verb(|engine, _| engine.device()).await.unwrap();
    id.unwrap()
}

fn certificates(home: &Home) -> String {
    let audit = home.comity(&["ca", "audit"], "").unwrap();
    assert!(audit.contains("as it should be"), "{audit}");
    audit
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_does_not_make_one_a_device_that_is_there() {
    let stage = Stage::set("impostor", &["montague.example"]);
    let romeo = stage.person(0, "romeo").await.unwrap();
    let (home, account, device) = (&stage.homes[0], romeo.account(), device_of(&romeo).await);
    let before = certificates(home);
    let key = PrivateKey::generate(Algorithm::P256).unwrap();
    let sign = |label: &str, parts: &[&[u8]]| -> Bytes {
        key.sign(&signed::content(label, parts)).unwrap().into()
    };
    let mut thief = Session::open(home, account).await;
    let of = account.as_str().as_bytes();

    // A key of one's own does not prove the device of another.
    let nonce = thief.nonce().await;
    let proof = Request::Prove {
        device,
        bound: false,
        signature: sign(signed::PROVE, &[&nonce, of, device.as_bytes(), &[]]),
    };
    assert_eq!(thief.ask(&proof).await, Err(Refusal::BadSignature));

    // Nor does it get certificates for it.
    let public = key.public().unwrap();
    let root = batch_root(&[issuer_id(&public).unwrap().0]);
    let made = csr::create(&public, |content| key.sign(content)).unwrap();
    let enrol = |made: Vec<u8>| Request::Enrol {
        device,
        requests: vec![made.into()],
        signature: key
            .sign(&enrol_content(account.as_str(), device.as_bytes(), &root))
            .unwrap()
            .into(),
    };
    assert_eq!(thief.ask(&enrol(made)).await, Err(Refusal::BadSignature));

    // Nor is it put in the place of the device's key, nor is the device ended by it.
    let spki = {
        let Ok(Answer::Devices(devices)) = thief.ask(&Request::Devices).await else {
            panic!("no list of devices");
        };
        let known = devices.into_iter().find(|known| known.id == device);
        known.unwrap().device_key
    };
    let nonce = thief.nonce().await;
    let register = Request::Register {
        name: "telephone".to_owned(),
        signature: sign(signed::REGISTER, &[&nonce, of, &spki]),
        device_key: spki,
    };
    assert_eq!(thief.ask(&register).await, Err(Refusal::BadSignature));
    let revoke = Request::Revoke {
        device,
        revoked: device,
        signature: sign(signed::REVOKE, &[of, device.as_bytes(), device.as_bytes()]),
    };
    assert_eq!(thief.ask(&revoke).await, Err(Refusal::BadSignature));

    // What is too large to be a request is not even read.
    let giant = thief.ask(&enrol(vec![0x30; 20_000])).await;
    assert!(
        matches!(giant, Err(Refusal::BadRequest { .. })),
        "{giant:?}"
    );

    // The reasons are in the log and counted, and nothing was issued.
    let metrics = page::get(home, "/metrics").unwrap();
    for (reason, count) in [("signature", 4), ("request", 1)] {
        let line = format!(
            "comity_ca_refused_total{{domain=\"montague.example\",reason=\"{reason}\"}} {count}"
        );
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    let log = std::fs::read_to_string(home.log()).unwrap();
    assert!(log.contains("the signature of the device key does not verify"));
    assert_eq!(certificates(home), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ghost_of_the_authoritys_making_enters_no_room_where_its_account_is() {
    let stage = Stage::set("haunted", &["montague.example"]);
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mut mercutio = stage.person(0, "mercutio").await.unwrap();
    let room = mercutio.create_room("Street").await.unwrap();
    mercutio.invite(&room, romeo.account()).await.unwrap();
    romeo.joined(&room).await.unwrap();

    // The authority certifies whom it likes, and the directory hands out the ghost's packages.
    let folder = stage.folder().join("ghost");
    let mut ghost = Person::login(&stage.homes[0], "romeo", PASSWORD, "device", &folder)
        .await
        .unwrap();
    let id = ghost.enrolled().await.unwrap();
    romeo
        .until("word of the ghost", |update| match update {
            Update::Engine(Event::OwnDevice {
                id: new,
                revoked: false,
                ..
            }) if *new == id => Some(()),
            _ => None,
        })
        .await
        .unwrap();

    // Somebody takes it for a new device of his friend's and invites it.
    let (at, account) = (room.clone(), romeo.account().clone());
    mercutio
        .verb(move |engine, now| engine.invite(&at, &[account], now))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    mercutio
        .send(&room, "nothing but one of your nine lives")
        .await
        .unwrap();
    romeo
        .hears(&room, "nothing but one of your nine lives")
        .await
        .unwrap();
    for person in [&romeo, &mercutio] {
        let members = person.members(&room).await.unwrap();
        assert_eq!(members.len(), 2, "{members:?}");
        assert!(members.iter().all(|member| member.device != id));
    }
    let rooms = ghost.members(&room).await;
    assert!(rooms.is_err(), "{rooms:?}");

    // Where the account was in no room before, whoever invites it is shown what devices come.
    let mut benvolio = stage.person(0, "benvolio").await.unwrap();
    let room = benvolio.create_room("Grove").await.unwrap();
    benvolio.invite(&room, romeo.account()).await.unwrap();
    benvolio
        .until("the devices that come", |update| match update {
            Update::Engine(Event::Inviting { devices, .. }) => {
                devices.iter().any(|device| device.id == id).then_some(())
            }
            _ => None,
        })
        .await
        .unwrap();
}
