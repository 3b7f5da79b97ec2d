//! One process serves Verona and Mantua. They talk with each other and with Venice, each as itself.

use std::time::Duration;

use comity_client::agent::Update;
use comity_client::connection::{Connection, Inbound, Options};
use comity_client::stream::Login;
use comity_xmpp::element::Element;
use comity_xmpp::error::{StanzaCondition, StanzaError};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, Stanza};
use integration::Home;
use integration::person::Person;
use integration::stage::{PASSWORD, Stage};

const VERONA: &str = "verona.example";
const MANTUA: &str = "mantua.example";
const VENICE: &str = "venice.example";

async fn hears_plainly(person: &mut Person, from: &BareJid, text: &str) {
    let heard = person.until(text, |update| match update {
        Update::Plain { from: sender, body } if body == text => Some(sender.to_bare()),
        _ => None,
    });
    assert_eq!(heard.await.unwrap(), *from);
}

async fn says_plainly(from: &Person, to: &mut Person, text: &str) {
    let address = Jid::from(to.account().clone());
    from.chat().send_plain(address, text).await.unwrap();
    hears_plainly(to, from.account(), text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_domains_of_one_process_talk_with_each_other_and_with_a_third() {
    let stage = Stage::set_hosting("hosting", &[&[VERONA, MANTUA], &[VENICE]], "");
    let mut romeo = stage
        .person_at(0, &format!("romeo@{VERONA}"))
        .await
        .unwrap();
    let mut balthasar = stage
        .person_at(0, &format!("balthasar@{MANTUA}"))
        .await
        .unwrap();
    let mut portia = stage.person(1, "portia").await.unwrap();

    says_plainly(&romeo, &mut balthasar, "News from Verona").await;
    says_plainly(&balthasar, &mut romeo, "Then she is well").await;
    says_plainly(&romeo, &mut portia, "From Verona to Venice").await;
    says_plainly(&balthasar, &mut portia, "From Mantua to Venice").await;
    says_plainly(&portia, &mut romeo, "From Venice to Verona").await;
    says_plainly(&portia, &mut balthasar, "From Venice to Mantua").await;

    // Rooms at each of the three, with members of all.
    let three: [(&str, usize); 3] = [("Street", 0), ("Apothecary", 1), ("Court", 2)];
    for (name, owner) in three {
        let people = [&mut romeo, &mut balthasar, &mut portia];
        let accounts = people.each_ref().map(|person| person.account().clone());
        let room = people[owner].create_room(name).await.unwrap();
        assert_eq!(room.domain(), accounts[owner].domain());
        for guest in (0..3).filter(|guest| *guest != owner) {
            people[owner].invite(&room, &accounts[guest]).await.unwrap();
            people[guest].joined(&room).await.unwrap();
        }
        for speaker in 0..3 {
            let text = format!("{} in the {name}", accounts[speaker]);
            people[speaker].send(&room, &text).await.unwrap();
            for listener in (0..3).filter(|listener| *listener != speaker) {
                people[listener].hears(&room, &text).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_either_domain_sends_to_one_that_is_away_arrives_when_it_is_back() {
    let mut stage = Stage::set_hosting("hosting-away", &[&[VERONA, MANTUA], &[VENICE]], "");
    let romeo = stage
        .person_at(0, &format!("romeo@{VERONA}"))
        .await
        .unwrap();
    let balthasar = stage
        .person_at(0, &format!("balthasar@{MANTUA}"))
        .await
        .unwrap();
    let mut portia = stage.person(1, "portia").await.unwrap();
    let to = Jid::from(portia.account().clone());

    stage.homes[1].kill().unwrap();
    for n in 0..3 {
        for person in [&romeo, &balthasar] {
            let text = format!("{} writes letter {n}", person.account());
            person.chat().send_plain(to.clone(), &text).await.unwrap();
        }
    }
    stage.homes[1].start().unwrap();
    for n in 0..3 {
        for person in [&romeo, &balthasar] {
            let text = format!("{} writes letter {n}", person.account());
            hears_plainly(&mut portia, person.account(), &text).await;
        }
    }
}

/// The name in SNI chooses the certificate, on the ports of clients and of domains.
#[test]
fn each_domain_shows_its_own_certificate() {
    let stage = Stage::set_hosting("hosting-sni", &[&[VERONA, MANTUA]], "");
    let home = &stage.homes[0];
    for (address, protocol) in [(home.c2s(), "xmpp"), (home.s2s(), "xmpp-server")] {
        for domain in [VERONA, MANTUA] {
            let shown = std::process::Command::new("openssl")
                .args(["s_client", "-connect", &address.to_string()])
                .args(["-starttls", protocol, "-xmpphost", domain])
                .args(["-servername", domain, "-verify_hostname", domain])
                .args(["-verify_return_error", "-CAfile"])
                .arg(home.ca())
                .stdin(std::process::Stdio::null())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&shown.stdout);
            assert!(said.contains("Verification: OK"), "{domain}: {said}");
        }
    }
}

/// Somebody of one domain asks another whether it is there; what comes back.
async fn asks(home: &Home, account: &str, domain: &str) -> Result<(), (StanzaCondition, String)> {
    let options = Options {
        login: Login {
            account: BareJid::parse(account).unwrap(),
            password: PASSWORD.to_owned(),
            resource: None,
        },
        endpoint: Some(home.c2s().into()),
        extra_roots: home.roots(),
        proxy: None,
    };
    let mut connection = Connection::open(&options).await.unwrap();
    let mut ping = Stanza::new(Kind::Iq(IqType::Get))
        .with_to(Jid::parse(domain).unwrap())
        .with_id("is it there?");
    ping.push(&Element::new(ns::PING, "ping"));
    assert!(connection.send(ping).await);
    let answer = async {
        loop {
            match connection.receive().await {
                Inbound::Stanza(stanza) if stanza.id.as_deref() == Some("is it there?") => {
                    return stanza;
                }
                Inbound::Stanza(_) => {}
                Inbound::Closed(why) => panic!("the stream ended: {why}"),
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(30), answer);
    let answer = answer.await.expect("an answer");
    match answer.child(ns::CLIENT, "error") {
        None => Ok(()),
        Some(error) => {
            let error = StanzaError::from_element(&error);
            Err((error.condition, error.text.unwrap_or_default()))
        }
    }
}

/// Verona and Mantua in one process, Venice beside it. What Mantua says for itself does not hold
/// for Verona.
async fn with_rules(play: &str, mantua: &str) -> Stage {
    let mut stage = Stage::set_hosting(play, &[&[VERONA, MANTUA], &[VENICE]], "");
    let rules = format!("domains = {{ {MANTUA:?} = {{ {mantua} }} }}\n");
    stage.homes[0].set_s2s(&rules).unwrap();
    stage.homes[0].stop().unwrap();
    stage.homes[0].start().unwrap();
    for (home, account) in [(0, VERONA), (0, MANTUA), (1, VENICE)] {
        let account = format!("somebody@{account}");
        stage.homes[home].add_account(&account, PASSWORD).unwrap();
    }
    stage
}

async fn between(stage: &Stage, ours: &str, venice: bool) -> Result<(), (StanzaCondition, String)> {
    match venice {
        true => asks(&stage.homes[1], &format!("somebody@{VENICE}"), ours).await,
        false => asks(&stage.homes[0], &format!("somebody@{ours}"), VENICE).await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_domain_of_a_process_has_no_streams_where_the_other_has() {
    let stage = with_rules("hosting-listed", "federation = \"listed\"").await;
    for venice in [false, true] {
        assert_eq!(between(&stage, VERONA, venice).await, Ok(()));
    }
    let refused = between(&stage, MANTUA, false).await;
    let why = format!("{MANTUA} has no streams with {VENICE}");
    assert_eq!(refused, Err((StanzaCondition::RemoteServerNotFound, why)));
    let refused = between(&stage, MANTUA, true).await;
    let Err((StanzaCondition::RemoteServerTimeout, why)) = refused else {
        panic!("{refused:?}")
    };
    assert!(why.contains("policy-violation"), "{why}");
    // They are of one process, and need no streams.
    let account = format!("somebody@{MANTUA}");
    assert_eq!(asks(&stage.homes[0], &account, VERONA).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_domain_of_a_process_pins_keys_of_its_own() {
    let pin = "5e".repeat(32);
    let rules = format!("peers = {{ {VENICE:?} = {{ pins = [{pin:?}] }} }}");
    let stage = with_rules("hosting-pins", &rules).await;
    for venice in [false, true] {
        assert_eq!(between(&stage, VERONA, venice).await, Ok(()));
        let refused = between(&stage, MANTUA, venice).await;
        let Err((StanzaCondition::RemoteServerTimeout, why)) = refused else {
            panic!("{refused:?}")
        };
        assert!(why.contains("pinned for venice.example"), "{why}");
    }
}
