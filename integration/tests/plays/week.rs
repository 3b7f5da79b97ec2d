//! A domain of three is away for a week. The rooms of all three go on without it, and it catches up
//! when it is back: everything once, in order. So it is for a guest, and for the rooms' own domain.

use std::time::Duration;

use comity_client::connection::{Connection, Inbound, Options};
use comity_client::stream::Login;
use comity_xmpp::element::Element;
use comity_xmpp::error::StanzaCondition;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{Kind, MessageType, PresenceType, Stanza};
use integration::Home;
use integration::clock::{self, Clock};
use integration::person::Person;
use integration::stage::{PASSWORD, Stage};

const DAY: Duration = Duration::from_secs(24 * 3600);
const DOMAINS: [&str; 3] = ["montague.example", "capulet.example", "verona.example"];
/// For each thing that is awaited.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nothing more comes after so long.
const QUIET: Duration = Duration::from_secs(2);

fn stage(play: &str) -> Stage {
    let mut stage = Stage::set(play, &DOMAINS);
    for home in &mut stage.homes {
        // Timers go on in real time: quick to come back, since the play is short.
        home.set_s2s("retry_first = \"100ms\"\nretry_most = \"2s\"\n")
            .unwrap();
        home.stop().unwrap();
        home.start().unwrap();
    }
    stage
}

/// A night passes; the servers that are not away do what they do every hour.
fn night(clock: &Clock, stage: &mut Stage, away: usize) {
    clock.forward(DAY);
    for (n, home) in stage.homes.iter_mut().enumerate() {
        if n != away {
            home.stop().unwrap();
            home.start().unwrap();
        }
    }
}

/// A client's clock is looked at when something happens.
async fn wake(people: &[&Person], room: &BareJid) {
    for person in people {
        person.epoch(room).await.unwrap();
    }
}

/// All that somebody hears until the last of it, and then nothing more.
async fn hears_all(person: &mut Person, room: &BareJid, expected: &[String]) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut heard = Vec::new();
    while !expected.iter().all(|line| heard.contains(line)) {
        let who = person.account();
        let now = tokio::time::Instant::now();
        assert!(now < deadline, "{who} heard only {heard:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        heard.extend(person.overheard(room));
    }
    tokio::time::sleep(QUIET).await;
    heard.extend(person.overheard(room));
    assert_eq!(heard, expected, "as {} heard it", person.account());
}

/// An ordinary client, for ordinary messages.
async fn ordinary(home: &Home, local: &str) -> Connection {
    let options = Options {
        login: Login {
            account: BareJid::parse(&format!("{local}@{}", home.domain())).unwrap(),
            password: PASSWORD.to_owned(),
            resource: None,
        },
        endpoint: Some(home.c2s().into()),
        extra_roots: home.roots(),
        proxy: None,
    };
    let connection = Connection::open(&options).await.unwrap();
    let presence = Stanza::new(Kind::Presence(PresenceType::Available));
    assert!(connection.send(presence).await);
    connection
}

/// Writes to her colleague at Capulet's and goes.
async fn a_servant_writes(home: &Home, text: &str) {
    let servant = ordinary(home, "nurse").await;
    let stanza = Stanza::new(Kind::Message(MessageType::Chat))
        .with_to(Jid::parse("nurse@capulet.example").unwrap())
        .with_id(text)
        .with(&Element::new(ns::CLIENT, "body").with_text(text));
    assert!(servant.send(stanza).await);
    servant.close().await;
}

/// RFC 6120 §8.3.3.16, when `s2s.outbox_expiry` is over.
async fn told_that_it_waited_in_vain(home: &Home) {
    let mut servant = ordinary(home, "nurse").await;
    let back = message(&mut servant).await;
    let error = back.error().unwrap();
    assert_eq!(error.condition, StanzaCondition::RemoteServerTimeout);
    servant.close().await;
}

/// The next message.
async fn message(connection: &mut Connection) -> Stanza {
    let next = async {
        loop {
            match connection.receive().await {
                Inbound::Stanza(stanza) if matches!(stanza.kind, Kind::Message(_)) => {
                    return stanza;
                }
                Inbound::Stanza(_) => {}
                Inbound::Closed(why) => panic!("the stream ended: {why}"),
            }
        }
    };
    *tokio::time::timeout(PATIENCE, next).await.unwrap()
}

fn text(stanza: &Stanza) -> String {
    let body = stanza.child(ns::CLIENT, "body");
    body.map(|body| body.text()).unwrap_or_default()
}

/// Everybody is in the same epoch of the same group.
async fn agree(people: &[&Person], room: &BareJid) {
    let first = people[0].authenticator(room).await.unwrap();
    for person in people {
        let theirs = person.authenticator(room).await.unwrap();
        assert_eq!(theirs, first, "{} is elsewhere", person.account());
    }
}

#[test]
fn a_guest_that_was_away_for_a_week_catches_up() {
    clock::play(
        "week::a_guest_that_was_away_for_a_week_catches_up",
        guest_away,
    );
}

async fn guest_away(clock: &Clock) {
    let mut stage = stage("guest-week");
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mut juliet = stage.person(1, "juliet").await.unwrap();
    let mut prince = stage.person(2, "prince").await.unwrap();
    let mut paris = stage.person(2, "paris").await.unwrap();
    let room = romeo.create_room("Verona").await.unwrap();
    for guest in [&mut juliet, &mut prince, &mut paris] {
        romeo.invite(&room, guest.account()).await.unwrap();
        guest.joined(&room).await.unwrap();
    }
    let epoch = romeo.epoch(&room).await.unwrap();
    juliet.reaches(&room, epoch).await.unwrap();
    juliet.overheard(&room);
    for home in &stage.homes {
        home.add_user("nurse", PASSWORD).unwrap();
    }

    stage.homes[1].kill().unwrap();
    a_servant_writes(&stage.homes[0], "Too early").await;
    let mut expected = Vec::new();
    let mut benvolio = None;
    for day in 1..=7 {
        night(clock, &mut stage, 1);
        wake(&[&romeo, &prince], &room).await;
        let text = format!("Morning {day}");
        romeo.send(&room, &text).await.unwrap();
        prince.hears(&room, &text).await.unwrap();
        expected.push(format!("romeo: {text}"));
        match day {
            2 => {
                let newcomer = stage.person(2, "benvolio").await.unwrap();
                romeo.invite(&room, newcomer.account()).await.unwrap();
                benvolio = Some(newcomer);
                expected.push("+benvolio".to_owned());
            }
            4 => {
                romeo.remove(&room, paris.account()).await.unwrap();
                paris.left(&room).await.unwrap();
                expected.push("-paris".to_owned());
                told_that_it_waited_in_vain(&stage.homes[0]).await;
            }
            5 => a_servant_writes(&stage.homes[0], "In time").await,
            _ => {}
        }
        let text = format!("Evening {day}");
        prince.send(&room, &text).await.unwrap();
        romeo.hears(&room, &text).await.unwrap();
        expected.push(format!("prince: {text}"));
    }
    let mut benvolio = benvolio.unwrap();
    benvolio.hears(&room, "Evening 7").await.unwrap();

    stage.homes[1].start().unwrap();
    hears_all(&mut juliet, &room, &expected).await;
    juliet.send(&room, "I slept").await.unwrap();
    for other in [&mut romeo, &mut prince, &mut benvolio] {
        other.hears(&room, "I slept").await.unwrap();
    }
    // She changes keys as well, which takes her certificates and everybody's anchors.
    juliet.update(&room).await.unwrap();
    let epoch = juliet.epoch(&room).await.unwrap();
    for other in [&romeo, &prince, &benvolio] {
        other.reaches(&room, epoch).await.unwrap();
    }
    agree(&[&juliet, &romeo, &prince, &benvolio], &room).await;
    let mut nurse = ordinary(&stage.homes[1], "nurse").await;
    assert_eq!(text(&message(&mut nurse).await), "In time");
}

#[test]
fn a_rooms_own_domain_that_was_away_for_a_week_is_given_what_waited() {
    clock::play(
        "week::a_rooms_own_domain_that_was_away_for_a_week_is_given_what_waited",
        hub_away,
    );
}

async fn hub_away(clock: &Clock) {
    let mut stage = stage("hub-week");
    let mut romeo = stage.person(0, "romeo").await.unwrap();
    let mut juliet = stage.person(1, "juliet").await.unwrap();
    let mut prince = stage.person(2, "prince").await.unwrap();
    let mut benvolio = stage.person(2, "benvolio").await.unwrap();
    let room = romeo.create_room("Mantua").await.unwrap();
    for guest in [&mut juliet, &mut prince] {
        romeo.invite(&room, guest.account()).await.unwrap();
        guest.joined(&room).await.unwrap();
    }
    juliet.send(&room, "Before").await.unwrap();
    for other in [&mut romeo, &mut prince] {
        other.hears(&room, "Before").await.unwrap();
        other.overheard(&room);
    }
    juliet.overheard(&room);

    stage.homes[0].kill().unwrap();
    for day in 1..=7 {
        night(clock, &mut stage, 0);
        juliet.post(&room, &format!("Day {day}")).await.unwrap();
        prince.post(&room, &format!("Night {day}")).await.unwrap();
        if day == 3 {
            // Without the room's domain nobody can say which commit is next: it waits.
            let (at, who) = (room.clone(), vec![benvolio.account().clone()]);
            let invited = juliet.verb(move |engine, now| engine.invite(&at, &who, now));
            invited.await.unwrap();
        }
    }
    stage.homes[0].start().unwrap();
    let back = async {
        benvolio.joined(&room).await.unwrap();
        let (mut day, mut night) = (said("juliet", "Day"), said("prince", "Night"));
        hears_each(&mut romeo, &room, &[&day, &night]).await;
        hears_each(&mut juliet, &room, &[&night]).await;
        hears_each(&mut prince, &room, &[&day]).await;
        // The newcomer reads what was said from its coming on.
        day.append(&mut night);
        let overheard = benvolio.overheard(&room);
        assert!(
            overheard
                .iter()
                .all(|line| day.contains(line) || line.starts_with('+'))
        );
    };
    tokio::select! {
        () = back => {}
        () = minutes_pass(clock) => {}
    }
    romeo.send(&room, "I slept").await.unwrap();
    for other in [&mut juliet, &mut prince, &mut benvolio] {
        other.hears(&room, "I slept").await.unwrap();
    }
    for who in [&mut romeo, &mut prince] {
        who.update(&room).await.unwrap();
    }
    let epoch = prince.epoch(&room).await.unwrap();
    for other in [&romeo, &juliet, &benvolio] {
        other.reaches(&room, epoch).await.unwrap();
    }
    agree(&[&juliet, &romeo, &prince, &benvolio], &room).await;
}

/// What one of them said on each of the days.
fn said(who: &str, what: &str) -> Vec<String> {
    (1..=7).map(|day| format!("{who}: {what} {day}")).collect()
}

/// Clients ask again after minutes.
async fn minutes_pass(clock: &Clock) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        clock.forward(Duration::from_secs(5 * 60));
    }
}

/// All that each of several others said, once and in its order.
async fn hears_each(person: &mut Person, room: &BareJid, expected: &[&[String]]) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut heard = Vec::new();
    let missing = |heard: &[String]| {
        let mut lines = expected.iter().copied().flatten();
        lines.any(|line| !heard.contains(line))
    };
    while missing(&heard) {
        let who = person.account();
        let now = tokio::time::Instant::now();
        assert!(now < deadline, "{who} heard only {heard:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        person.epoch(room).await.unwrap();
        heard.extend(person.overheard(room));
    }
    tokio::time::sleep(QUIET).await;
    heard.extend(person.overheard(room));
    for lines in expected {
        let of_one: Vec<_> = heard.iter().filter(|line| lines.contains(line)).collect();
        assert_eq!(of_one, lines.iter().collect::<Vec<_>>());
    }
    let others = heard.len() - expected.iter().map(|lines| lines.len()).sum::<usize>();
    assert_eq!(others, 1, "and who was invited: {heard:#?}");
}
