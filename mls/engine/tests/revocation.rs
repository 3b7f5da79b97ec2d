//! Revocation lists at a client: fetched, kept, judged, and missed when they do not come.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use comity_mls_credential::certificate::{Certificate, issuer_id};
use comity_mls_credential::crl::{self, Crl};
use comity_mls_engine::{Event, Notice, Space, Store as _, Warning};
use comity_mls_wire::authority;
use world::{World, jid};

const DAY: u64 = 24 * 60 * 60 * 1_000;

fn list(world: &World, client: usize, domain: &str) -> Option<Crl> {
    let rows = world.clients[client]
        .store
        .scan(Space::RevocationList, b"", None, 9);
    let issuing = &world.domains[domain].issuing.certificate;
    let id = issuer_id(&Certificate::read(issuing).unwrap().public_key).unwrap();
    rows.unwrap()
        .into_iter()
        .map(|(_, list)| Crl::read(&list).unwrap())
        .find(|crl| *crl.issuer() == id)
}

fn told(world: &mut World, domain: &str) -> Notice {
    let now_s = world.now / 1_000;
    let crl = world.domains.get_mut(domain).unwrap().crl(now_s);
    Notice::Authority(authority::Notice::CrlIssued {
        domain: domain.to_owned(),
        issuer: crl.issuer().0,
        number: crl.number(),
    })
}

fn warned(world: &World, client: usize, of: fn(&Warning) -> bool) -> bool {
    world.clients[client]
        .events
        .iter()
        .any(|e| matches!(e, Event::Warning { warning, .. } if of(warning)))
}

#[test]
fn lists_are_fetched_when_they_are_new_and_every_hour() {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    world.enrolled("bob@b.example");
    let now = world.now;
    let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
    world.input(alice, |e| e.invite(&room, &[jid("bob@b.example")], now));
    world.run_for(2 * 60 * 60 * 1_000);
    let first = list(&world, alice, "b.example").unwrap();
    assert!(first.entries().is_empty());
    world.run_for(60 * 60 * 1_000);
    assert!(list(&world, alice, "b.example").unwrap().number() > first.number());

    // Told of a new one, she has it at once, in as many parts as it takes.
    let entry = |n: u8| crl::Entry {
        serial: vec![0x40, n],
        at: 1,
    };
    let b = world.domains.get_mut("b.example").unwrap();
    b.revoked = (0..40).map(entry).collect();
    let notice = told(&mut world, "b.example");
    world.deliver(alice, notice);
    world.run();
    let second = list(&world, alice, "b.example").unwrap();
    assert_eq!(second.entries().len(), 40);
    assert!(second.der().len() > 1_000);
    world.assert_unwarned();
    // After a restart it is known still.
    world.restart(alice);
    world.connect(alice);
    world.run();
    assert_eq!(list(&world, alice, "b.example").unwrap(), second);
}

#[test]
fn a_list_that_does_not_come_is_missed_and_one_that_lies_is_refused() {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    world.enrolled("bob@b.example");
    let now = world.now;
    let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
    world.input(alice, |e| e.invite(&room, &[jid("bob@b.example")], now));
    world.run_for(2 * 60 * 60 * 1_000);
    let known = list(&world, alice, "b.example").unwrap();
    world.domains.get_mut("b.example").unwrap().away = true;
    world.run_for(DAY / 2);
    let old =
        |w: &Warning| matches!(w, Warning::OldRevocations { domain, .. } if domain == "b.example");
    assert!(!warned(&world, alice, old));
    world.run_for(DAY);
    assert!(warned(&world, alice, old));
    assert_eq!(list(&world, alice, "b.example").unwrap(), known);
    // It warns, and the room goes on.
    let now = world.now;
    world.input(alice, |e| e.send(&room, "text", b"still here", now));
    world.run();
    assert_eq!(world.words(alice, &room), ["still here"]);

    // Its server, or one's own, gives a list that b's CA did not sign.
    let a = world.domains["a.example"].issuing.clone();
    let b = world.domains.get_mut("b.example").unwrap();
    b.away = false;
    let honest = std::mem::replace(&mut b.issuing.key, a.key);
    let notice = told(&mut world, "b.example");
    world.deliver(alice, notice);
    world.run();
    let lies =
        |w: &Warning| matches!(w, Warning::Revocations { domain, .. } if domain == "b.example");
    assert!(warned(&world, alice, lies));
    assert_eq!(list(&world, alice, "b.example").unwrap(), known);
    world.domains.get_mut("b.example").unwrap().issuing.key = honest;
}
