//! Romeo and Juliet compare codes; a device of his comes by its code and goes again.

use std::process::{Command, Output};

use comity_client::agent::Update;
use comity_mls_engine::{Device, DeviceState, Event, Trust, What};
use comity_xmpp::jid::BareJid;
use integration::person::Person;
use integration::stage::{PASSWORD, Stage};
use serde_json::Value;
use uuid::Uuid;

/// `comity-chat` with a data folder of its own: another device of Romeo's.
struct Laptop<'a> {
    stage: &'a Stage,
}

impl Laptop<'_> {
    fn run(&self, words: &[&str]) -> Output {
        let home = &self.stage.homes[0];
        let folder = self.stage.folder().join("laptop");
        let password = self.stage.folder().join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        let roots: Vec<String> = home
            .roots()
            .iter()
            .map(|r| r.display().to_string())
            .collect();
        Command::new(integration::binary("comity-chat"))
            .args(["--account", &format!("romeo@{}", home.domain())])
            .arg("--data")
            .arg(folder)
            .arg("--password-file")
            .arg(password)
            .args([
                "--server",
                &home.c2s().to_string(),
                "--ca",
                &roots.join(":"),
            ])
            .args(["--device-name", "Laptop"])
            .args(words)
            .output()
            .unwrap()
    }

    /// The objects of one kind that a command prints.
    fn objects(&self, kind: &str, words: &[&str]) -> Vec<Value> {
        let output = self.run(words);
        let said = String::from_utf8(output.stdout).unwrap();
        let faults = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {said}{faults}");
        let objects = said.lines().map(serde_json::from_str::<Value>);
        objects
            .map(|object| object.unwrap_or_else(|e| panic!("{e}: {said}")))
            .filter(|object| object["type"] == kind)
            .collect()
    }
}

async fn device_of(person: &Person) -> Device {
    let id = person.verb(|engine, _| engine.device()).await.unwrap();
    Device {
        account: person.account().to_string(),
        device: id.unwrap().into_bytes(),
    }
}

async fn code(person: &Person, room: &BareJid, with: &Device) -> String {
    let (room, with) = (room.clone(), with.clone());
    let code = person.verb(move |engine, _| engine.verification_code(&room, Some(&with)));
    code.await.unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_agree_and_a_device_comes_by_its_code() {
    let stage = Stage::set("identities", &["montague.example", "capulet.example"]);
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mut juliet = stage.person(1, "juliet").await.unwrap();
    let room = romeo.create_room("Balcony").await.unwrap();
    romeo.invite(&room, juliet.account()).await.unwrap();
    juliet.joined(&room).await.unwrap();
    let epoch = romeo.epoch(&room).await.unwrap();
    juliet.reaches(&room, epoch).await.unwrap();

    let (his, hers) = (device_of(&romeo).await, device_of(&juliet).await);
    let shown = code(&juliet, &room, &his).await;
    assert_eq!(code(&romeo, &room, &hers).await, shown);
    let (at, with) = (room.clone(), hers.clone());
    let mark = romeo.verb(move |engine, now| engine.mark_verified(&at, Some(&with), &shown, now));
    mark.await.unwrap();
    let at = room.clone();
    let members = romeo
        .verb(move |engine, _| engine.member_trust(&at))
        .await
        .unwrap();
    let of_hers = members
        .iter()
        .find(|m| Device::from(&m.member) == hers)
        .unwrap();
    assert!(
        matches!(of_hers.trust, Trust::Verified { .. }),
        "{members:?}"
    );

    let laptop = Laptop { stage: &stage };
    let id = a_laptop_comes(&laptop, &mut romeo, &mut juliet).await;
    the_laptop_compares(&laptop, &juliet, &room, id).await;

    // It is lost, and ended.
    romeo
        .verb(move |engine, now| engine.revoke_device(id, now))
        .await
        .unwrap();
    let ended = |update: &Update| {
        let over = matches!(update, Update::Engine(Event::OwnDevice { id: old, revoked: true, .. }) if *old == id);
        over.then_some(())
    };
    romeo.until("the end of the laptop", ended).await.unwrap();
    let devices = romeo.verb(|engine, _| engine.own_devices()).await.unwrap();
    let state = devices.iter().find(|device| device.id == id).unwrap().state;
    assert_eq!(state, DeviceState::Revoked);
}

/// Another device, which Romeo is told of at once; by its code it comes to the room.
async fn a_laptop_comes(laptop: &Laptop<'_>, romeo: &mut Person, juliet: &mut Person) -> Uuid {
    let devices = tokio::task::block_in_place(|| laptop.objects("device", &["devices", "--json"]));
    let states: Vec<_> = devices
        .iter()
        .map(|d| d["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["earlier", "this"], "{devices:?}");
    let id: Uuid = devices[1]["device"].as_str().unwrap().parse().unwrap();
    let warned = |update: &Update| match update {
        Update::Engine(Event::OwnDevice {
            id: new,
            name,
            revoked: false,
        }) => (*new == id).then(|| name.clone()),
        _ => None,
    };
    let name = romeo.until("word of the new device", warned).await.unwrap();
    assert_eq!(name.as_deref(), Some("Laptop"));

    // It shows a code, and comes to the room.
    let first = device_of(romeo).await.id().to_string();
    let show = ["devices", "code", &first, "--json"];
    let codes = tokio::task::block_in_place(|| laptop.objects("code", &show));
    let shown = codes[0]["uri"].as_str().unwrap().to_owned();
    let confirm = romeo.verb(move |engine, now| engine.confirm_device(id, &shown, now));
    confirm.await.unwrap();
    let came = |update: &Update| match update {
        Update::Engine(Event::Item { item, .. }) => match &item.what {
            What::Added(change) => (change.who.id() == id).then_some(()),
            _ => None,
        },
        _ => None,
    };
    juliet.until("his laptop", came).await.unwrap();
    id
}

/// The codes of the laptop and of Juliet's device agree.
async fn the_laptop_compares(laptop: &Laptop<'_>, juliet: &Person, room: &BareJid, id: Uuid) {
    let juliets = juliet.account().to_string();
    let verify = ["verify", room.as_str(), &juliets, "--json"];
    let codes = tokio::task::block_in_place(|| laptop.objects("code", &verify));
    let new = Device {
        device: id.into_bytes(),
        account: "romeo@montague.example".to_owned(),
    };
    let shown = code(juliet, room, &new).await;
    assert_eq!(codes[0]["code"], shown.replace(' ', ""), "{codes:?}");
    let mark = [
        "verify",
        room.as_str(),
        &juliets,
        "--code",
        &shown,
        "--json",
    ];
    let marked = tokio::task::block_in_place(|| laptop.objects("verified", &mark));
    assert_eq!(marked.len(), 0, "the command ends when it is done");
    let list = ["members", room.as_str(), "--json"];
    let members = tokio::task::block_in_place(|| laptop.objects("member", &list));
    let mut trust: Vec<_> = members
        .iter()
        .map(|m| m["trust"].as_str().unwrap())
        .collect();
    trust.sort_unstable();
    assert_eq!(trust, ["own", "unverified", "verified"], "{members:?}");
    let wrong = ["verify", room.as_str(), &juliets, "--code", &"1".repeat(30)];
    let refused = tokio::task::block_in_place(|| laptop.run(&wrong));
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the codes differ"));
}
