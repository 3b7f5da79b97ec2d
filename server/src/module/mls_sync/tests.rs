use std::time::Duration;

use bytes::Bytes;
use comity_mls_wire::room::{
    Change, Entry, EntryKind, Ephemeral, Fanout, GENESIS, Joiner, Member, Payload, Tree, Welcome,
};
use comity_mls_wire::sync::{Notice, Request as Asked};
use comity_xmpp::element::Element;
use comity_xmpp::jid::BareJid;
use comity_xmpp::stanza::{IqType, Kind, MessageType, Stanza};
use uuid::Uuid;

use crate::play::{Person, Play};

const ROOM: &str = "~aaaaaaaaaaaaaaaaaaaaaaaaaa@b.example";
const PATIENCE: Duration = Duration::from_secs(10);

fn jid(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}

fn alice() -> Member {
    Member {
        account: jid("alice@a.example"),
        device: Uuid::from_u128(1),
    }
}

/// A log of so many entries as a hub keeps it, from the one by which Alice joins (2) on.
fn log(through: u64) -> Vec<Fanout> {
    let mut head = GENESIS;
    let mut log = Vec::new();
    for seq in 2..=through {
        let mut entry = Entry {
            room: jid(ROOM),
            seq,
            kind: EntryKind::Application,
            epoch: 1,
            time: 1000 + seq,
            sender: jid("bob@b.example"),
            device: None,
            payload: Payload::Held(Bytes::from(seq.to_be_bytes().to_vec())),
            head: GENESIS,
            signature: None,
            changes: Vec::new(),
        };
        entry.head = entry.computed_head(&head);
        head = entry.head;
        log.push(Fanout {
            entry,
            welcome: None,
        });
    }
    let first = &mut log[0];
    first.entry.changes.push(Change {
        member: alice(),
        joined: true,
    });
    first.welcome = Some(welcome(&first.entry));
    log
}

fn welcome(entry: &Entry) -> Welcome {
    Welcome {
        id: Uuid::from_u128(7),
        room: jid(ROOM),
        seq: entry.seq,
        head: entry.head,
        epoch: 1,
        sender: jid("bob@b.example"),
        joiners: vec![Joiner {
            account: alice().account,
            device: alice().device,
            key_package: Bytes::from_static(b"ref"),
        }],
        welcome: Bytes::from_static(b"welcome"),
        tree: Tree::plain(&b"tree"[..]),
    }
}

fn xml(stanza: Stanza) -> String {
    String::from_utf8(stanza.to_bytes(None).to_vec()).unwrap()
}

async fn arrive(play: &Play, fanout: &Fanout) {
    let stanza = Stanza::new(Kind::Message(MessageType::Normal))
        .with_from(jid(ROOM))
        .with_to(jid("a.example"))
        .with(&fanout.to_element());
    play.arrives(&xml(stanza)).await;
}

/// Alice's session, which has proved its device.
async fn session(play: &Play, resource: &str) -> Person {
    let person = play.bind(&format!("alice@a.example/{resource}")).await;
    let prove = |session: &mut crate::sessions::Session| session.device = Some(alice().device);
    play.home.sessions.with(&person.jid, prove).unwrap();
    person
}

async fn ask(person: &Person, id: &str, asked: &Asked) {
    let stanza = Stanza::new(Kind::Iq(IqType::Set))
        .with_to(jid("a.example"))
        .with_id(id)
        .with(&asked.to_element());
    person.send(&xml(stanza)).await;
}

/// What comes next, if anything does within a moment: the answer's id, a Welcome or an entry.
async fn next(person: &mut Person, patience: Duration) -> Option<String> {
    let stanza = person.next(patience).await?;
    if let Kind::Iq(kind) = stanza.kind {
        let payload = stanza.first_child().map_or(String::new(), |p| p.name);
        return Some(format!(
            "{kind:?} {} {payload}",
            stanza.id.as_deref().unwrap()
        ));
    }
    assert_eq!(stanza.from.as_ref().unwrap().as_str(), ROOM);
    let payload: Element = stanza.first_child().unwrap();
    Some(match Notice::from_element(&payload).unwrap() {
        Notice::Entry(entry) => format!("entry {}", entry.seq),
        Notice::Welcome(welcome) => format!("welcome {}", welcome.seq),
        Notice::Ephemeral(ephemeral) => format!("ephemeral {}", ephemeral.epoch),
    })
}

async fn expect(person: &mut Person, expected: &[&str]) {
    for expected in expected {
        assert_eq!(next(person, PATIENCE).await.as_deref(), Some(*expected));
    }
}

async fn expect_entries(person: &mut Person, from: u64, through: u64) {
    for seq in from..=through {
        expect(person, &[&format!("entry {seq}")]).await;
    }
}

async fn quiet(person: &mut Person) {
    let found = next(person, Duration::from_millis(100)).await;
    assert_eq!(found, None);
}

fn sync(cursors: &[(&str, u64)]) -> Asked {
    Asked::Sync {
        cursors: cursors.iter().map(|(r, s)| (jid(r), *s)).collect(),
    }
}

fn stored(seq: u64) -> Asked {
    Asked::Acknowledge {
        room: jid(ROOM),
        seq,
    }
}

#[tokio::test]
async fn a_session_that_has_proved_no_device_gets_nothing() {
    let play = Play::of(&["alice@a.example"]).await;
    let mut alice = play.bind("alice@a.example/1").await;
    ask(&alice, "1", &sync(&[])).await;
    let answer = next(&mut alice, PATIENCE).await.unwrap();
    assert!(answer.starts_with("Error 1"), "{answer}");
}

#[tokio::test]
async fn a_device_gets_its_welcome_then_what_follows_then_what_comes() {
    let play = Play::of(&["alice@a.example"]).await;
    let log = log(5);
    for fanout in &log[..3] {
        arrive(&play, fanout).await;
    }
    let mut alice = session(&play, "1").await;
    ask(&alice, "1", &sync(&[])).await;
    expect(
        &mut alice,
        &["Result 1 syncing", "welcome 2", "entry 3", "entry 4"],
    )
    .await;
    quiet(&mut alice).await;
    arrive(&play, &log[3]).await;
    expect(&mut alice, &["entry 5"]).await;
    // What comes twice is there once.
    arrive(&play, &log[3]).await;
    quiet(&mut alice).await;
    let done = Asked::AcknowledgeWelcome {
        id: Uuid::from_u128(7),
    };
    ask(&alice, "2", &done).await;
    ask(&alice, "3", &stored(5)).await;
    expect(
        &mut alice,
        &["Result 2 acknowledged", "Result 3 acknowledged"],
    )
    .await;
    // In another session it goes on from there.
    let mut again = session(&play, "2").await;
    ask(&again, "4", &sync(&[])).await;
    expect(&mut again, &["Result 4 syncing"]).await;
    quiet(&mut again).await;
    // Or from where the device says it is.
    ask(&again, "5", &sync(&[(ROOM, 3)])).await;
    expect(&mut again, &["Result 5 syncing", "entry 4", "entry 5"]).await;
}

#[tokio::test]
async fn a_device_that_is_online_when_it_is_invited_hears_at_once() {
    let play = Play::of(&["alice@a.example"]).await;
    let mut alice = session(&play, "1").await;
    ask(&alice, "1", &sync(&[])).await;
    expect(&mut alice, &["Result 1 syncing"]).await;
    for fanout in &log(3) {
        arrive(&play, fanout).await;
    }
    expect(&mut alice, &["welcome 2", "entry 3"]).await;
}

#[tokio::test]
async fn no_more_is_on_its_way_than_the_device_can_take() {
    let play = Play::of(&["alice@a.example"]).await;
    for fanout in &log(102) {
        arrive(&play, fanout).await;
    }
    let mut alice = session(&play, "1").await;
    ask(&alice, "1", &sync(&[])).await;
    expect(&mut alice, &["Result 1 syncing", "welcome 2"]).await;
    expect_entries(&mut alice, 3, 66).await;
    quiet(&mut alice).await;
    ask(&alice, "2", &stored(10)).await;
    expect(&mut alice, &["Result 2 acknowledged"]).await;
    expect_entries(&mut alice, 67, 74).await;
    quiet(&mut alice).await;
    ask(&alice, "3", &stored(74)).await;
    expect(&mut alice, &["Result 3 acknowledged"]).await;
    expect_entries(&mut alice, 75, 102).await;
}

#[tokio::test]
async fn the_latest_session_of_a_device_is_fed() {
    let play = Play::of(&["alice@a.example"]).await;
    let log = log(4);
    arrive(&play, &log[0]).await;
    let mut first = session(&play, "1").await;
    ask(&first, "1", &sync(&[])).await;
    expect(&mut first, &["Result 1 syncing", "welcome 2"]).await;
    let mut second = session(&play, "2").await;
    ask(&second, "1", &sync(&[])).await;
    expect(&mut second, &["Result 1 syncing", "welcome 2"]).await;
    arrive(&play, &log[1]).await;
    expect(&mut second, &["entry 3"]).await;
    quiet(&mut first).await;
    second.leaves(&[]).await;
    arrive(&play, &log[2]).await;
    quiet(&mut first).await;
}

#[tokio::test]
async fn what_is_stored_is_acknowledged_to_the_hub_together() {
    let play = Play::of(&["alice@a.example"]).await;
    for fanout in &log(4) {
        arrive(&play, fanout).await;
    }
    let id = asked_away(&play).await;
    play.sent_away(&[&format!(
        "<iq type='set' id='{id}' from='a.example' to='{ROOM}'>
         <acknowledge xmlns='urn:xmpp:mls:0:room' seq='4'>
         <welcome id='00000000-0000-0000-0000-000000000007'/></acknowledge></iq>"
    )
    .replace("\n         ", "")]);
}

#[tokio::test]
async fn a_gap_is_fetched_from_the_hub() {
    let play = Play::of(&["alice@a.example"]).await;
    let log = log(5);
    arrive(&play, &log[0]).await;
    let id = asked_away(&play).await;
    let answer = |id: &str, payload: &Element| {
        let stanza = Stanza::new(Kind::Iq(IqType::Result))
            .with_from(jid(ROOM))
            .with_to(jid("a.example"))
            .with_id(id)
            .with(payload);
        xml(stanza)
    };
    let done = comity_mls_wire::room::Answer::Acknowledged.to_element();
    play.arrives(&answer(&id, &done)).await;
    play.forget_away();
    arrive(&play, &log[3]).await;
    let id = asked_away(&play).await;
    play.sent_away(&[&format!(
        "<iq type='get' id='{id}' from='a.example' to='{ROOM}'>\
         <fetch xmlns='urn:xmpp:mls:0:room' after='2' limit='100'/></iq>"
    )]);
    let entries = log[1..].iter().map(|f| f.entry.clone()).collect();
    let entries = comity_mls_wire::room::Answer::Entries(entries).to_element();
    play.arrives(&answer(&id, &entries)).await;
    // It asks until there is no more.
    let id = asked_away(&play).await;
    let none = comity_mls_wire::room::Answer::Entries(Vec::new()).to_element();
    play.arrives(&answer(&id, &none)).await;
    let mut alice = session(&play, "1").await;
    ask(&alice, "1", &sync(&[])).await;
    expect(&mut alice, &["Result 1 syncing", "welcome 2"]).await;
    expect_entries(&mut alice, 3, 5).await;
}

#[tokio::test]
async fn nobody_but_the_room_speaks_for_it() {
    let play = Play::of(&["alice@a.example"]).await;
    let fanout = &log(2)[0];
    let mallory = Stanza::new(Kind::Message(MessageType::Normal))
        .with_from(jid("~bbbbbbbbbbbbbbbbbbbbbbbbbb@b.example"))
        .with_to(jid("a.example"))
        .with(&fanout.to_element());
    play.arrives(&xml(mallory)).await;
    let own = play.bind("alice@a.example/1").await;
    let stanza = Stanza::new(Kind::Message(MessageType::Normal))
        .with_to(jid("a.example"))
        .with(&fanout.to_element());
    own.send(&xml(stanza)).await;
    let copy = play.home.storage.room_copy(ROOM, "a.example").await;
    assert_eq!(copy.unwrap(), None);
}

/// Bob types, as the room's hub says.
fn typing(room: &str, epoch: u64) -> String {
    let ephemeral = Ephemeral {
        room: jid(room),
        epoch,
        sender: jid("bob@b.example"),
        device: Uuid::from_u128(2),
        message: Bytes::from_static(b"sealed"),
    };
    let stanza = Stanza::new(Kind::Iq(IqType::Set))
        .with_from(jid(ROOM))
        .with_to(jid("a.example"))
        .with_id("e1")
        .with(&ephemeral.to_element());
    xml(stanza)
}

#[tokio::test]
async fn what_is_outside_the_log_goes_to_who_is_there_and_waits_for_nobody() {
    let play = Play::of(&["alice@a.example"]).await;
    for fanout in &log(3) {
        arrive(&play, fanout).await;
    }
    // Alice is away.
    play.arrives(&typing(ROOM, 1)).await;
    let mut alice = session(&play, "1").await;
    ask(&alice, "1", &sync(&[])).await;
    expect(&mut alice, &["Result 1 syncing", "welcome 2", "entry 3"]).await;
    quiet(&mut alice).await;
    play.arrives(&typing(ROOM, 2)).await;
    expect(&mut alice, &["ephemeral 2"]).await;
    // It is of another room than it came from.
    play.arrives(&typing("~bbbbbbbbbbbbbbbbbbbbbbbbbb@b.example", 3))
        .await;
    quiet(&mut alice).await;
    // No session but the room's own domain says so.
    let forged = typing(ROOM, 4).replace(&format!("from='{ROOM}'"), "");
    alice.send(&forged).await;
    let answer = next(&mut alice, PATIENCE).await.unwrap();
    assert!(answer.starts_with("Error e1"), "{answer}");
    quiet(&mut alice).await;
}

#[tokio::test]
async fn a_device_that_cannot_take_more_gets_nothing_outside_the_log() {
    let play = Play::of(&["alice@a.example"]).await;
    for fanout in &log(102) {
        arrive(&play, fanout).await;
    }
    let mut alice = session(&play, "1").await;
    ask(&alice, "1", &sync(&[])).await;
    expect(&mut alice, &["Result 1 syncing", "welcome 2"]).await;
    expect_entries(&mut alice, 3, 66).await;
    play.arrives(&typing(ROOM, 1)).await;
    quiet(&mut alice).await;
    ask(&alice, "2", &stored(66)).await;
    expect(&mut alice, &["Result 2 acknowledged"]).await;
    expect_entries(&mut alice, 67, 102).await;
    quiet(&mut alice).await;
}

/// Waits until the server has asked another domain something; the id of what it asked.
async fn asked_away(play: &Play) -> Box<str> {
    for _ in 0..1000 {
        if let Some(id) = play.away.last_id() {
            return id;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing was asked");
}
