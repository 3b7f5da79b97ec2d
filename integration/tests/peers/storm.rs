//! Thousands of domains that nobody is at: they cost a bounded number of attempts, tasks and octets,
//! and do not hold up those that somebody is at.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use comity_client::connection::{Connection, Inbound, Options};
use comity_client::stream::Login;
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, MessageType, Stanza};
use integration::Home;
use integration::certificates::Authority;
use integration::network::{Network, play};
use integration::stage::PASSWORD;
use integration::traffic::steps;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::scene::{Found, authority, comity, publish, resident};

/// `s2s::link::ATTEMPTS`, a turn of each second.
const ATTEMPTS: usize = 256;
/// Seconds that an attempt lasts at most where nobody answers, by the configuration below: two of
/// negotiation, two of last words, and the one that has begun.
const SECONDS: usize = 5;
/// `server::outreach::DOMAINS_OF_AN_ACCOUNT`.
const DOMAINS_OF_AN_ACCOUNT: usize = 2_500;
/// Domains that one account addresses; all of them in the long run.
const FLOOD: (usize, usize) = (5_000, 50_000);
/// Stanzas between two questions whether the server has taken them: the client's queue takes as many
/// answers.
const BURST: usize = 50;
/// Mebibytes more than before: a task for each domain of one account takes less.
const GROWTH: u64 = 160;
/// More domains refused take nothing.
const FLAT: u64 = 32;

/// A server that accepts whoever comes and never says a word.
struct Pit {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    all: Arc<AtomicUsize>,
}

impl Pit {
    async fn dig(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let pit = Self {
            now: Arc::default(),
            most: Arc::default(),
            all: Arc::default(),
        };
        let (now, most, all) = (pit.now.clone(), pit.most.clone(), pit.all.clone());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                all.fetch_add(1, Ordering::Relaxed);
                let here = now.fetch_add(1, Ordering::Relaxed) + 1;
                most.fetch_max(here, Ordering::Relaxed);
                let now = now.clone();
                tokio::spawn(async move {
                    let mut heard = [0; 4096];
                    while matches!(socket.read(&mut heard).await, Ok(1..)) {}
                    now.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        pit
    }
}

async fn login(home: &Home, local: &str, authority: &Authority) -> Connection {
    home.add_user(local, PASSWORD).unwrap();
    let options = Options {
        login: Login {
            account: BareJid::parse(&format!("{local}@{}", home.domain())).unwrap(),
            password: PASSWORD.to_owned(),
            resource: None,
        },
        endpoint: Some(home.c2s().into()),
        extra_roots: vec![authority.file()],
        proxy: None,
    };
    Connection::open(&options).await.unwrap()
}

/// Writes to somebody at each of these domains; gives which of them the server refused at once.
async fn floods(who: &mut Connection, domains: std::ops::Range<usize>) -> HashSet<String> {
    let mut refused = HashSet::new();
    let mut next = domains.start;
    while next < domains.end {
        let last = domains.end.min(next + BURST);
        for n in next..last {
            let to = format!("nobody@n{n}.many.example");
            let stanza = Stanza::new(Kind::Message(MessageType::Chat))
                .with_to(Jid::parse(&to).unwrap())
                .with_id(n.to_string())
                .with(&Element::new(ns::CLIENT, "body").with_text("Is anybody there?"));
            assert!(who.send(stanza).await);
        }
        next = last;
        refused.extend(taken(who, last).await);
    }
    refused
}

/// Until the server has taken all so far (RFC 6120 §10.1): what it refused.
async fn taken(who: &mut Connection, last: usize) -> Vec<String> {
    let id = format!("asked-{last}");
    let ping = Element::new(ns::PING, "ping");
    let ping = Stanza::new(Kind::Iq(IqType::Get))
        .with_id(id.as_str())
        .with(&ping);
    assert!(who.send(ping).await);
    let mut refused = Vec::new();
    loop {
        match who.receive().await {
            Inbound::Stanza(stanza) if stanza.id.as_deref() == Some(&id) => return refused,
            Inbound::Stanza(stanza) => {
                let Some(error) = stanza.error() else {
                    continue;
                };
                assert_eq!(error.condition, StanzaCondition::ResourceConstraint);
                assert_eq!(error.kind, ErrorType::Wait);
                refused.push(stanza.id.as_deref().unwrap_or_default().to_owned());
            }
            Inbound::Closed(why) => panic!("the stream ended: {why}"),
        }
    }
}

fn mebibytes(home: &Home) -> u64 {
    home.resident().unwrap() >> 20
}

/// All domains that there are tasks for.
fn listed(home: &Home) -> usize {
    let list = home.comity(&["peer", "list", "--json"], "").unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    list.as_array().unwrap().len()
}

async fn set(network: &Network, authority: &Authority) -> (Home, Home) {
    let (here, there, pit) = (network.place(), network.place(), network.place());
    publish(network, "montague.example", here, Found::StartTls).await;
    publish(network, "capulet.example", there, Found::StartTls).await;
    // Every name below leads there.
    let many = "*.many.example";
    network.dns.srv(many, (0, 0), "pit.example", 5269).await;
    network.dns.host("pit.example", pit.v4.into()).await;
    let mut ours = comity("montague.example", here, authority);
    // The pauses are those of the configuration's defaults.
    ours.s2s = "negotiation = \"2s\"\nretry_first = \"2s\"".to_owned();
    let ours = ours.start(network).unwrap();
    let theirs = comity("capulet.example", there, authority);
    (ours, theirs.start(network).unwrap())
}

#[test]
fn thousands_of_domains_without_anybody_are_no_storm() {
    play("storm", async |network| {
        let authority = authority(network);
        let (home, theirs) = set(network, &authority).await;
        let pit = Pit::dig("192.0.2.3:5269".parse().unwrap()).await;
        let mut juliet = resident(&theirs, "juliet", &authority).await;
        let mut romeo = resident(&home, "romeo", &authority).await;
        let mut writers = Vec::new();
        for n in 0..2 {
            writers.push(login(&home, &format!("writer{n}"), &authority).await);
        }
        let before = mebibytes(&home);
        for (n, writer) in writers.iter_mut().enumerate() {
            let first = n * DOMAINS_OF_AN_ACCOUNT;
            let refused = floods(writer, first..first + DOMAINS_OF_AN_ACCOUNT).await;
            assert_eq!(refused.len(), 0);
        }
        // In the middle of that somebody writes to somebody.
        let begun = Instant::now();
        romeo.says("juliet@capulet.example", "Do you hear me?");
        juliet
            .hears("romeo@montague.example", "Do you hear me?")
            .await;
        let heard = begun.elapsed();
        while pit.all.load(Ordering::Relaxed) <= ATTEMPTS * SECONDS {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (most, all) = (
            pit.most.load(Ordering::Relaxed),
            pit.all.load(Ordering::Relaxed),
        );
        let after = mebibytes(&home);
        println!(
            "{} domains known, {all} attempts, at most {most} at a time; a living domain after \
             {heard:?}; {before} MiB, then {after} MiB",
            listed(&home)
        );
        assert!(most <= ATTEMPTS * SECONDS, "{most} attempts at a time");
        assert!(after < before + GROWTH, "{before} MiB, then {after} MiB");
    });
}

#[test]
fn too_many_domains_of_one_account_meet_the_limit() {
    play("flood", async |network| {
        let authority = authority(network);
        let (home, _theirs) = set(network, &authority).await;
        let mut writer = login(&home, "writer", &authority).await;
        let refused = floods(&mut writer, 0..DOMAINS_OF_AN_ACCOUNT).await;
        assert_eq!(refused.len(), 0);
        let before = mebibytes(&home);
        let begun = Instant::now();
        let flood = if steps(1) > 1 { FLOOD.1 } else { FLOOD.0 };
        let refused = floods(&mut writer, DOMAINS_OF_AN_ACCOUNT..flood).await;
        let after = mebibytes(&home);
        println!(
            "{} refused in {:?}; {before} MiB, then {after} MiB",
            refused.len(),
            begun.elapsed()
        );
        assert_eq!(refused.len(), flood - DOMAINS_OF_AN_ACCOUNT);
        assert!(after < before + FLAT, "{before} MiB, then {after} MiB");
        // Whom it has addressed before it may address again.
        assert_eq!(floods(&mut writer, 0..1).await.len(), 0);
    });
}
