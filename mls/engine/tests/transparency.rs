//! Domains that certify in secret, forget, or show different logs: all of it is told, and none of it
//! stops a room.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use comity_mls_credential::transparency::{Entry, Kind};
use comity_mls_engine::{Event, Warning};
use comity_xmpp::jid::BareJid;
use uuid::Uuid;
use world::{World, jid};

const HOUR: u64 = 60 * 60 * 1_000;
const ALICE: &str = "alice@a.example";
const BOB: &str = "bob@b.example";

fn two() -> (World, usize, usize, BareJid) {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled(ALICE);
    let bob = world.enrolled(BOB);
    let room = room_with(&mut world, alice, &[BOB]);
    (world, alice, bob, room)
}

fn room_with(world: &mut World, client: usize, guests: &[&str]) -> BareJid {
    let now = world.now;
    let room = world
        .input(client, |e| e.create_room(Some("Tea"), now))
        .unwrap();
    let guests: Vec<BareJid> = guests.iter().map(|guest| jid(guest)).collect();
    world.input(client, |e| e.invite(&room, &guests, now));
    world.run();
    room
}

fn say(world: &mut World, client: usize, room: &BareJid, words: &str) {
    let now = world.now;
    world.input(client, |e| e.send(room, "text", words.as_bytes(), now));
    world.run();
}

/// What a client does when it comes online.
fn again(world: &mut World, client: usize) {
    world.disconnect(client);
    world.connect(client);
    world.run();
}

fn warnings(world: &World, client: usize) -> Vec<Warning> {
    let events = world.clients[client].events.iter();
    events
        .filter_map(|event| match event {
            Event::Warning { warning, .. } => Some(warning.clone()),
            _ => None,
        })
        .filter(|warning| !matches!(warning, Warning::UnknownIssuer { .. }))
        .collect()
}

/// Rows of the log's space that begin so.
fn rows(world: &World, client: usize, kind: &str) -> usize {
    let rows = world.clients[client].store.rows();
    let begins = |key: &[u8]| key.starts_with(kind.as_bytes());
    rows.iter()
        .filter(|(space, (key, _))| *space == "transparency" && begins(key))
        .count()
}

fn entry(world: &World, client: usize, kind: Kind) -> Entry {
    let account = &world.clients[client].account;
    let salt = openssl::sha::sha256(account.as_str().as_bytes());
    Entry {
        version: 1,
        kind,
        account: comity_mls_credential::transparency::account_hash(&salt, account.as_str()),
        device: world.device_id(client).into_bytes(),
        time: world.now / 1_000,
        root: [7; 32],
        by: None,
        signature: Vec::new(),
    }
}

#[test]
fn honest_domains_are_checked_and_nobody_is_warned() {
    let (mut world, alice, bob, room) = two();
    // So few in an answer that it takes several.
    world.domains.get_mut("a.example").unwrap().log.page = Some(2);
    for hour in 0..8 {
        world.run_for(HOUR);
        for client in [alice, bob] {
            say(&mut world, client, &room, &format!("hour {hour}"));
        }
        let now = world.now;
        world.input(bob, |e| e.update(&room, now));
        world.run();
    }
    again(&mut world, alice);
    again(&mut world, bob);
    world.assert_unwarned();
    assert_eq!(world.words(alice, &room).len(), 16);
    for client in [alice, bob] {
        assert_eq!(rows(&world, client, "check"), 0);
        assert!(rows(&world, client, "done") >= 2);
        assert_eq!(rows(&world, client, "head"), 2);
    }
}

#[test]
fn a_certificate_that_nobody_asked_for_is_told_within_one_sync() {
    let (mut world, alice, bob, _) = two();
    let device = world.device_id(alice);
    let now_s = world.now / 1_000;
    let log = &mut world.domains.get_mut("a.example").unwrap().log;
    log.issued(&jid(ALICE), device, &[[9; 32]], b"forged", now_s);
    again(&mut world, alice);
    assert_eq!(
        warnings(&world, alice),
        [Warning::RogueCertificate { device }]
    );
    assert!(warnings(&world, bob).is_empty());
    // Once.
    again(&mut world, alice);
    assert_eq!(warnings(&world, alice).len(), 1);
    let words = warnings(&world, alice)[0].to_string();
    assert!(words.contains("did not ask for"), "{words}");
}

#[test]
fn a_device_that_the_domain_hides_is_told() {
    let (mut world, alice, _, _) = two();
    let ghost = Uuid::from_u128(0xdead);
    let now_s = world.now / 1_000;
    let log = &mut world.domains.get_mut("a.example").unwrap().log;
    log.issued(&jid(ALICE), ghost, &[[9; 32]], b"its own", now_s);
    again(&mut world, alice);
    let expected = [Warning::GhostDevice { device: ghost }];
    assert_eq!(warnings(&world, alice), expected);
}

#[test]
fn a_device_that_the_domain_names_is_told_as_new() {
    let (mut world, alice, _, _) = two();
    world.disconnect(alice);
    let second = world.enrolled(ALICE);
    let id = world.device_id(second);
    world.connect(alice);
    world.run();
    let told = world.clients[alice].events.iter().any(
        |event| matches!(event, Event::OwnDevice { id: new, revoked: false, .. } if *new == id),
    );
    assert!(told);
    world.assert_unwarned();
}

#[test]
fn the_end_of_a_device_by_the_operator_is_told() {
    let (mut world, alice, _, _) = two();
    let ended = entry(&world, alice, Kind::Revocation);
    let issued = entry(&world, alice, Kind::Issuance);
    let now_s = world.now / 1_000;
    let log = &mut world.domains.get_mut("a.example").unwrap().log;
    log.append(ended, &[], now_s);
    log.append(issued, &[], now_s);
    again(&mut world, alice);
    let device = world.device_id(alice);
    let expected = [
        Warning::EndedByOperator { device },
        Warning::RogueCertificate { device },
    ];
    assert_eq!(warnings(&world, alice), expected);
}

#[test]
fn a_log_that_forgets_is_told_by_whom_it_forgets() {
    let mut world = World::new(&["a.example"]);
    world.enrolled("dave@a.example");
    let alice = world.enrolled(ALICE);
    again(&mut world, alice);
    let log = &mut world.domains.get_mut("a.example").unwrap().log;
    let all = log.len();
    log.truncate(all - 1);
    again(&mut world, alice);
    let told = warnings(&world, alice);
    assert!(
        told.iter().any(|w| matches!(w, Warning::OwnLog { .. }))
            && told.iter().any(|w| matches!(w, Warning::Log { .. })),
        "{told:?}"
    );
}

#[test]
fn certificates_made_in_secret_are_told_and_the_room_goes_on() {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled(ALICE);
    let bob = world.enrolled(BOB);
    world.domains.get_mut("b.example").unwrap().log.truncate(0);
    let room = room_with(&mut world, alice, &[BOB]);
    say(&mut world, alice, &room, "hello");
    assert_eq!(world.words(bob, &room), ["hello"]);
    let device = world.device_id(bob);
    let told = warnings(&world, alice);
    let [
        Warning::NotLogged {
            account,
            device: of,
            ..
        },
    ] = told.as_slice()
    else {
        panic!("{told:?}");
    };
    assert_eq!((account.as_str(), *of), (BOB, device));
}

#[test]
fn a_domain_has_a_day_to_show_its_evidence() {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled(ALICE);
    let bob = world.enrolled(BOB);
    world.domains.get_mut("b.example").unwrap().shows_log = false;
    let room = room_with(&mut world, alice, &[BOB]);
    world.run_for(20 * HOUR);
    world.assert_unwarned();
    world.run_for(20 * HOUR);
    let not_logged = |world: &World| {
        let told = warnings(world, alice);
        told.iter()
            .filter(|w| matches!(w, Warning::NotLogged { .. }))
            .count()
    };
    assert_eq!(not_logged(&world), 1);
    world.run_for(40 * HOUR);
    assert_eq!(not_logged(&world), 1);
    // What comes late is taken all the same.
    world.domains.get_mut("b.example").unwrap().shows_log = true;
    world.run_for(20 * HOUR);
    assert_eq!(rows(&world, alice, "check"), 0);
    say(&mut world, alice, &room, "hello");
    assert_eq!(world.words(bob, &room), ["hello"]);
}

#[test]
fn two_heads_of_one_log_are_caught_by_what_members_say() {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled(ALICE);
    let bob = world.enrolled(BOB);
    let carol = world.enrolled("carol@b.example");
    let room = room_with(&mut world, alice, &[BOB, "carol@b.example"]);
    world.assert_unwarned();
    // From here on the domain keeps two logs, one for Carol and one for everybody else.
    let now_s = world.now / 1_000;
    let honest = world.domains["b.example"].log.clone();
    let mut logs = [honest.clone(), honest];
    for (log, key) in logs.iter_mut().zip([[1; 32], [2; 32]]) {
        let dave = jid("dave@b.example");
        log.issued(&dave, Uuid::from_u128(77), &[key], b"his", now_s);
    }
    let [for_bob, for_carol] = logs;
    let show = |world: &mut World, log: &world::log::Log| {
        world.domains.get_mut("b.example").unwrap().log = log.clone();
    };
    show(&mut world, &for_carol);
    again(&mut world, carol);
    show(&mut world, &for_bob);
    again(&mut world, bob);
    assert!(warnings(&world, alice).is_empty());
    // Each hour a message carries the head of one of the room's domains.
    for hour in 0..4 {
        world.run_for(HOUR);
        say(&mut world, bob, &room, &format!("b{hour}"));
        show(&mut world, &for_carol);
        say(&mut world, carol, &room, &format!("c{hour}"));
        show(&mut world, &for_bob);
    }
    let told = warnings(&world, alice);
    let caught =
        |w: &Warning| matches!(w, Warning::TwoLogs { domain, .. } if domain == "b.example");
    assert!(told.iter().any(caught), "{told:?}");
    let told = warnings(&world, bob);
    assert!(told.iter().any(caught), "{told:?}");
    assert_eq!(world.words(alice, &room).len(), 8);
}
