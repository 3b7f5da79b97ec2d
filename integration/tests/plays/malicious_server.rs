//! Servers that lie. Nothing here is played by a mock: a lying domain is a server of its own, and an
//! authority that certifies in secret is the server's own code over its stopped database and keys.

use std::path::Path;
use std::process::Command;

use comity_client::agent::Update;
use comity_mls_credential::anchors::{TlsKey, TlsRoots};
use comity_mls_credential::certificate::issuer_id;
use comity_mls_credential::csr;
use comity_mls_credential::issue::{self, Issuer, Validity};
use comity_mls_credential::keys::{Algorithm, PrivateKey};
use comity_mls_credential::transparency::entry::{batch_root, enrol_content};
use comity_mls_engine::{Event, Warning};
use comity_mls_service::authority::{Authority, Options, Trust};
use comity_storage::{IssuedCertificate, RecordCertificates, Recorded, RegisterDevice, Storage};
use comity_xmpp::jid::BareJid;
use integration::home::{self, Home, Peer};
use integration::person::{Outcome, Person};
use integration::stage::{PASSWORD, Stage};
use uuid::Uuid;

fn now_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

fn database(home: &Home) -> std::path::PathBuf {
    home.data().join("comity.db")
}

/// The authority of a stopped server, in the hands of whoever has its disk.
async fn seized(home: &Home) -> (Authority, Storage) {
    let storage = Storage::open(&database(home)).await.unwrap();
    let read = |name: String| std::fs::read(home.data().join("tls").join(name)).unwrap();
    let domain = home.domain();
    let (chain, key) = (format!("{domain}.pem"), format!("{domain}.key"));
    let tls = TlsKey::from_pem(&read(chain), &read(key)).unwrap();
    let options = Options::new(domain, home.data().join("ca").join(domain));
    let trust = Trust::new(TlsRoots::default());
    let authority = Authority::open(options, storage.clone(), trust, tls, now_s()).await;
    (authority.unwrap(), storage)
}

/// Has a key certified in the name of a device, as its device key asks.
async fn certify(authority: &Authority, account: &BareJid, device: Uuid, device_key: &PrivateKey) {
    let key = PrivateKey::generate(Algorithm::P256).unwrap();
    let public = key.public().unwrap();
    let request = csr::create(&public, |content| key.sign(content)).unwrap();
    let root = batch_root(&[issuer_id(&public).unwrap().0]);
    let content = enrol_content(account.as_str(), device.as_bytes(), &root);
    let signature = device_key.sign(&content).unwrap();
    let requests = [request.into()];
    authority
        .enrol(account, device, &requests, &signature, now_s())
        .await
        .unwrap();
}

fn sql(home: &Home, statement: &str) {
    let done = Command::new("sqlite3")
        .arg(database(home))
        .arg(statement)
        .status()
        .unwrap();
    assert!(done.success(), "{statement}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn warned(person: &mut Person, what: &str, wanted: impl Fn(&Warning) -> bool) -> Outcome {
    person
        .until(what, |update| match update {
            Update::Engine(Event::Warning { warning, .. }) if wanted(warning) => Some(()),
            _ => None,
        })
        .await
}

async fn device_of(person: &Person) -> Uuid {
    let id = person.verb(|engine, _| engine.device()).await.unwrap();
    id.unwrap()
}

/// Waits until the client has looked at its account's log under the newest head once more.
async fn synced(person: &mut Person) -> Outcome {
    person
        .until("a session", |update| match update {
            Update::Engine(Event::Online) => Some(()),
            _ => None,
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_anchor_served_by_ones_own_server_is_refused() {
    let stage = Stage::set("anchor", &["montague.example", "capulet.example"]);
    // Another capulet, with a certificate authority of its own. Romeo's server has been made to
    // believe it, and to go there; his client knows the web's authorities.
    let folder = stage.folder().join("evil");
    let mut evil = Home::new(
        home::Options::new("capulet.example", integration::address()),
        &folder.join("capulet"),
    )
    .unwrap();
    evil.start().unwrap();
    evil.stop().unwrap();
    let mut options = home::Options::new("montague.example", integration::address());
    options.peers = vec![Peer {
        domain: "capulet.example".to_owned(),
        address: evil.s2s(),
        ca: evil.ca(),
    }];
    let mut own = Home::new(options, &folder.join("montague")).unwrap();
    own.start().unwrap();
    let evil_address = evil.c2s().ip();
    let mut options = home::Options::new(
        "capulet.example",
        match evil_address {
            std::net::IpAddr::V4(address) => address,
            std::net::IpAddr::V6(_) => unreachable!("homes live on 127.0.0.0/8"),
        },
    );
    options.peers = vec![Peer {
        domain: "montague.example".to_owned(),
        address: own.s2s(),
        ca: own.ca(),
    }];
    let mut evil = Home::new(options, &folder.join("capulet")).unwrap();
    evil.start().unwrap();
    evil.add_user("juliet", PASSWORD).unwrap();
    let mut impostor = Person::login(&evil, "juliet", PASSWORD, "device", &folder.join("juliet"))
        .await
        .unwrap();
    impostor.enrolled().await.unwrap();
    own.add_user("romeo", PASSWORD).unwrap();
    let real = stage.homes[1].ca();
    let mut romeo = Person::login_by(
        &own,
        "romeo@montague.example",
        PASSWORD,
        "device",
        &folder.join("romeo"),
        vec![own.ca(), real],
    )
    .await
    .unwrap();
    romeo.enrolled().await.unwrap();
    let room = romeo.create_room("Balcony").await.unwrap();
    let (at, juliet) = (room.clone(), impostor.account().clone());
    romeo
        .verb(move |engine, now| engine.invite(&at, &[juliet], now))
        .await
        .unwrap();
    warned(&mut romeo, "refusal of the anchors", |warning| {
        matches!(warning, Warning::Anchors { domain, why }
            if domain == "capulet.example" && why.contains("TLS chain"))
    })
    .await
    .unwrap();
    assert_eq!(romeo.members(&room).await.unwrap().len(), 1);
    // His server believes them: it is the client that refuses.
    let peers = own.comity(&["peer", "list"], "").unwrap();
    assert!(peers.contains("capulet.example"), "{peers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rogue_certificate_is_told_within_one_sync_and_seen_by_the_audit() {
    let mut stage = Stage::set("rogue", &["montague.example"]);
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let (account, device) = (romeo.account().clone(), device_of(&romeo).await);
    let clean = stage.homes[0].comity(&["ca", "audit"], "").unwrap();
    assert!(clean.contains("as it should be"), "{clean}");

    stage.homes[0].stop().unwrap();
    let home = &stage.homes[0];
    let thief = PrivateKey::generate(Algorithm::P256).unwrap();
    {
        let (authority, storage) = seized(home).await;
        let own = storage
            .device(account.as_str(), device.as_bytes())
            .await
            .unwrap()
            .unwrap();
        let put = |key: &[u8]| {
            let (key, id) = (hex(key), hex(device.as_bytes()));
            sql(
                home,
                &format!("UPDATE devices SET device_key = X'{key}' WHERE id = X'{id}'"),
            );
        };
        // The thief puts their key in the place of Romeo's, gets what they want, and puts his back.
        put(&thief.public().unwrap().to_spki());
        certify(&authority, &account, device, &thief).await;
        put(&own.device_key);
        storage.close().await;
    }
    stage.homes[0].start().unwrap();
    warned(&mut romeo, "warning of the certificate", |warning| {
        *warning == Warning::RogueCertificate { device }
    })
    .await
    .unwrap();
    let found = stage.homes[0].comity(&["ca", "audit"], "");
    let said = found.unwrap_err().to_string();
    assert!(said.contains("1 faults were found"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ghost_device_of_ones_own_account_is_told_within_one_sync() {
    let mut stage = Stage::set("ghost", &["montague.example"]);
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let account = romeo.account().clone();
    stage.homes[0].stop().unwrap();
    let ghost = Uuid::from_u128(0x6c4a_2c1e_8a0b_4c55_9d1f_1b6a_3f0f_7c11);
    {
        let (authority, storage) = seized(&stage.homes[0]).await;
        let key = PrivateKey::generate(Algorithm::P256).unwrap();
        let device = RegisterDevice {
            id: ghost.into_bytes(),
            account: account.to_string(),
            name: "telephone".to_owned(),
            device_key: key.public().unwrap().to_spki(),
            now: now_s(),
            limit: 32,
        };
        storage.write(device).await.unwrap();
        certify(&authority, &account, ghost, &key).await;
        storage.close().await;
    }
    stage.homes[0].start().unwrap();
    romeo
        .until("word of the ghost", |update| match update {
            Update::Engine(Event::OwnDevice {
                id, revoked: false, ..
            }) if *id == ghost => Some(()),
            _ => None,
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_made_in_secret_is_seen_by_the_audit_and_shown_to_nobody() {
    let mut stage = Stage::set("secret", &["montague.example"]);
    let romeo = stage.person(0, "romeo").await.unwrap();
    let (account, device) = (romeo.account().clone(), device_of(&romeo).await);
    stage.homes[0].stop().unwrap();
    let hash = {
        let home = &stage.homes[0];
        let storage = Storage::open(&database(home)).await.unwrap();
        let made = in_secret(home, &account, device);
        let hash = made.key_hash;
        let change = RecordCertificates {
            account: account.to_string(),
            device: device.into_bytes(),
            certificates: vec![made],
            since: now_s(),
            limit: 1_000,
        };
        let done = storage.write(change).await.unwrap();
        assert_eq!(done, Recorded::Recorded);
        storage.close().await;
        hash
    };
    let (authority, storage) = seized(&stage.homes[0]).await;
    let shown = authority.included(&account, &[hash]).await.unwrap();
    assert_eq!(shown.keys, [None]);
    storage.close().await;
    let found = stage.homes[0].comity(&["ca", "audit"], "");
    let said = found.unwrap_err().to_string();
    assert!(said.contains("1 faults were found"), "{said}");
}

/// Whoever has the issuing CA's key can do without the server.
fn in_secret(home: &Home, account: &BareJid, device: Uuid) -> IssuedCertificate {
    let ca = home.data().join("ca").join(home.domain());
    let read = |path: &Path| std::fs::read(path).unwrap();
    let pem = read(&ca.join("issuing-1.pem"));
    let issuer = Issuer {
        key: PrivateKey::from_pem(&read(&ca.join("issuing-1.key"))).unwrap(),
        certificate: openssl::x509::X509::from_pem(&pem)
            .unwrap()
            .to_der()
            .unwrap(),
    };
    let key = PrivateKey::generate(Algorithm::P256).unwrap();
    let public = key.public().unwrap();
    let validity = Validity {
        not_before: now_s() - 60,
        not_after: now_s() + 1_000_000,
    };
    IssuedCertificate {
        key_hash: issuer_id(&public).unwrap().0,
        serial: vec![1, 2, 3],
        issuer: issuer_id(&issuer.key.public().unwrap()).unwrap().0,
        device: device.into_bytes(),
        certificate: issue::leaf(account, Some(device), &public, &issuer, validity).unwrap(),
        issued: now_s(),
        expires: validity.not_after,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_shows_two_heads_is_caught() {
    let mut stage = Stage::set("two-heads", &["montague.example"]);
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mercutio = stage.person(0, "mercutio").await.unwrap();
    let (other, device) = (mercutio.account().clone(), device_of(&mercutio).await);
    drop(mercutio);
    stage.homes[0].stop().unwrap();
    // Two histories from here on, of the same length: in each Mercutio is issued something else.
    let home = &stage.homes[0];
    let key = PrivateKey::generate(Algorithm::P256).unwrap();
    let spki = hex(&key.public().unwrap().to_spki());
    let id = hex(device.as_bytes());
    sql(
        home,
        &format!("UPDATE devices SET device_key = X'{spki}' WHERE id = X'{id}'"),
    );
    let copy = stage.folder().join("copy.db");
    sql(home, "PRAGMA wal_checkpoint(TRUNCATE)");
    std::fs::copy(database(home), &copy).unwrap();
    for first in [true, false] {
        let home = &mut stage.homes[0];
        if !first {
            home.stop().unwrap();
            for rest in ["-wal", "-shm"] {
                let _ = std::fs::remove_file(home.data().join(format!("comity.db{rest}")));
            }
            std::fs::copy(&copy, database(home)).unwrap();
        }
        let (authority, storage) = seized(home).await;
        certify(&authority, &other, device, &key).await;
        storage.close().await;
        home.start().unwrap();
        if first {
            // Romeo sees the first history; his session then ends with the server.
            synced(&mut romeo).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        }
    }
    warned(&mut romeo, "warning of two logs", |warning| {
        matches!(warning, Warning::TwoLogs { domain, .. } if domain == "montague.example")
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_alone_does_not_make_one_a_device_that_is_there() {
    let stage = Stage::set("password", &["montague.example"]);
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let device = device_of(&romeo).await;
    let folder = stage.folder().join("tybalt");
    let mut tybalt = Person::login(&stage.homes[0], "romeo", PASSWORD, "phone", &folder)
        .await
        .unwrap();
    let new = tybalt.enrolled().await.unwrap();
    assert_ne!(new, device);
    // Romeo is told, and can put an end to it.
    romeo
        .until("word of the new device", |update| match update {
            Update::Engine(Event::OwnDevice {
                id, revoked: false, ..
            }) if *id == new => Some(()),
            _ => None,
        })
        .await
        .unwrap();
    romeo
        .verb(move |engine, now| engine.revoke_device(new, now))
        .await
        .unwrap();
    tybalt
        .until("the end of the device", |update| match update {
            Update::Engine(Event::OwnDevice {
                id, revoked: true, ..
            }) if *id == new => Some(()),
            _ => None,
        })
        .await
        .unwrap();
}
