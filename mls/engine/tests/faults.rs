//! Lost answers, lost entries, crashes at every transaction, and commits that race: what was
//! accepted is there once and in order, and every device ends in the same epoch.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use comity_mls_engine::{Event, Refused, RoomState, Warning};
use comity_mls_wire::refusal::Refusal;
use comity_xmpp::jid::BareJid;
use world::{World, jid};

fn say(world: &mut World, client: usize, room: &BareJid, words: &str) {
    let now = world.now;
    world.input(client, |e| e.send(room, "text", words.as_bytes(), now));
}

fn room_of(world: &mut World, maker: usize, guests: &[&str]) -> BareJid {
    let now = world.now;
    let room = world
        .input(maker, |e| e.create_room(Some("Faults"), now))
        .unwrap();
    let guests: Vec<_> = guests.iter().map(|guest| jid(guest)).collect();
    world.input(maker, |e| e.invite(&room, &guests, now));
    world.run();
    room
}

fn three() -> (World, [usize; 3], BareJid) {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    let carol = world.enrolled("carol@b.example");
    let room = room_of(&mut world, alice, &["bob@b.example", "carol@b.example"]);
    world.assert_agreement(&room, &[alice, bob, carol]);
    (world, [alice, bob, carol], room)
}

/// Each word once, and each speaker's words in the order they were said.
fn assert_heard(world: &World, clients: &[usize], room: &BareJid, said: &[Vec<String>]) {
    let first = world.words(clients[0], room);
    let mut all: Vec<String> = said.concat();
    let mut heard = first.clone();
    all.sort();
    heard.sort();
    assert_eq!(heard, all);
    for words in said {
        let order: Vec<_> = first.iter().filter(|w| words.contains(w)).collect();
        assert_eq!(order, words.iter().collect::<Vec<_>>());
    }
    for client in &clients[1..] {
        assert_eq!(world.words(*client, room), first);
    }
}

#[test]
fn commits_race_for_many_rounds() {
    let (mut world, clients, room) = three();
    world.shuffle = true;
    let mut said = vec![Vec::new(); 3];
    for round in 0..100 {
        let now = world.now;
        for client in clients {
            world.input(client, |e| e.update(&room, now));
            if round % 3 == client {
                let words = format!("{client} in round {round}");
                say(&mut world, client, &room, &words);
                said[client].push(words);
            }
        }
        world.run_for(8_000);
        world.assert_agreement(&room, &clients);
    }
    assert_eq!(world.rooms[&room].commits, 1 + 300);
    assert!(world.rooms[&room].stale > 100);
    assert_heard(&world, &clients, &room, &said);
    world.assert_unwarned();
}

#[test]
fn invitations_and_removals_race_too() {
    let (mut world, [alice, bob, carol], room) = three();
    let dave = world.enrolled("dave@a.example");
    world.shuffle = true;
    for round in 0..10 {
        let now = world.now;
        world.input(alice, |e| e.invite(&room, &[jid("dave@a.example")], now));
        world.input(bob, |e| e.invite(&room, &[jid("dave@a.example")], now));
        world.input(carol, |e| e.update(&room, now));
        world.run_for(8_000);
        world.assert_agreement(&room, &[alice, bob, carol, dave]);
        let words = format!("round {round}");
        say(&mut world, dave, &room, &words);
        world.run();
        assert_eq!(world.words(carol, &room).last(), Some(&words));
        let now = world.now;
        world.input(alice, |e| {
            e.remove(&room, &jid("dave@a.example"), None, now)
        });
        world.input(bob, |e| e.update(&room, now));
        world.run_for(8_000);
        world.assert_agreement(&room, &[alice, bob, carol]);
        assert_eq!(world.rooms[&room].members().len(), 3);
    }
    world.assert_unwarned();
}

#[test]
fn answers_and_entries_get_lost() {
    for seed in 1..6 {
        let (mut world, clients, room) = three();
        world.seed(seed);
        world.shuffle = true;
        world.lossy = 15;
        world.leaky = 15;
        let mut said = vec![Vec::new(); 3];
        for round in 0..15 {
            for client in clients {
                let words = format!("{client} in round {round}");
                say(&mut world, client, &room, &words);
                said[client].push(words);
            }
            let now = world.now;
            world.input(clients[round % 3], |e| e.update(&room, now));
            world.run_for(3_000);
        }
        world.lossy = 0;
        world.leaky = 0;
        // That the last entry was lost is noticed with the next one.
        world.run_for(60_000);
        say(&mut world, clients[0], &room, "the end");
        said[clients[0]].push("the end".to_owned());
        world.run_for(300_000);
        world.assert_agreement(&room, &clients);
        assert_heard(&world, &clients, &room, &said);
    }
}

/// One play of everything that is written; gives the number of commits of the store of `victim`.
fn play(victim: usize, point: Option<u64>) -> u64 {
    let mut world = World::new(&["a.example", "b.example"]);
    world.stock = 2;
    let alice = world.device("alice@a.example");
    let bob = world.device("bob@b.example");
    if let Some(point) = point {
        world.crash_at(victim, point);
    }
    let now = world.now;
    for client in [alice, bob] {
        // What a person asked for just before a crash may have to be asked again.
        for _ in 0..2 {
            if world.engine(client).device().unwrap().is_none() {
                world.input(client, |e| e.enrol("test", now));
            }
        }
    }
    world.run_for(700_000);
    let mut room = None;
    while room.is_none() {
        let now = world.now;
        room = world.input(alice, |e| e.create_room(None, now));
    }
    let room = room.unwrap();
    let mut asked = None;
    while asked.is_none() {
        let now = world.now;
        asked = world.input(alice, |e| e.invite(&room, &[jid("bob@b.example")], now));
    }
    world.run_for(700_000);
    if world
        .engine(bob)
        .rooms()
        .unwrap()
        .iter()
        .all(|r| r.room != room)
    {
        // The invitation's packages may have gone down with the crash.
        let now = world.now;
        world.input(alice, |e| e.invite(&room, &[jid("bob@b.example")], now));
        world.run_for(700_000);
    }
    let mut said = vec![Vec::new(); 2];
    for round in 0..3 {
        for client in [alice, bob] {
            let words = format!("{client} in round {round}");
            let now = world.now;
            let sent = world.input(client, |e| e.send(&room, "text", words.as_bytes(), now));
            if sent.is_none() && !world.clients[client].crashed_after_write {
                say(&mut world, client, &room, &words);
            }
            said[client].push(words);
        }
        let now = world.now;
        world.input([alice, bob][round % 2], |e| e.update(&room, now));
        world.run_for(10_000);
    }
    world.run_for(700_000);
    world.assert_agreement(&room, &[alice, bob]);
    assert_heard(&world, &[alice, bob], &room, &said);
    if point.is_some() {
        assert_eq!(world.clients[victim].crashes, 1);
    }
    world.clients[victim].store.commits()
}

#[test]
fn a_crash_at_any_transaction_loses_and_doubles_nothing() {
    for victim in [0, 1] {
        let commits = play(victim, None);
        assert!(commits > 20);
        for point in 0..commits * 2 {
            play(victim, Some(point));
        }
    }
}

#[test]
fn a_domain_out_of_reach_blocks_only_its_own() {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    let room = room_of(&mut world, alice, &["bob@b.example"]);
    let away = world.domains.remove("b.example").unwrap();
    let now = world.now;
    world.input(alice, |e| e.invite(&room, &[jid("carol@b.example")], now));
    say(&mut world, alice, &room, "while it is away");
    world.run_for(60_000);
    assert_eq!(world.words(bob, &room), ["while it is away"]);
    world.domains.insert("b.example".into(), away);
    let carol = world.enrolled("carol@b.example");
    world.run_for(600_000);
    world.assert_agreement(&room, &[alice, bob, carol]);
}

#[test]
fn a_session_that_ends_midway_goes_on_with_the_next() {
    let (mut world, [alice, bob, carol], room) = three();
    world.disconnect(bob);
    say(&mut world, bob, &room, "said offline");
    for n in 0..5 {
        say(&mut world, alice, &room, &format!("{n}"));
        let now = world.now;
        world.input(alice, |e| e.update(&room, now));
        world.run();
    }
    assert!(world.words(bob, &room).is_empty());
    world.connect(bob);
    world.run();
    let expected = ["0", "1", "2", "3", "4", "said offline"];
    for client in [alice, bob, carol] {
        assert_eq!(world.words(client, &room), expected);
    }
    world.assert_agreement(&room, &[alice, bob, carol]);
    world.assert_unwarned();
    let sent = world.clients[bob]
        .events
        .iter()
        .filter(|e| matches!(e, Event::Sent { .. }))
        .count();
    assert_eq!(sent, 1);
    assert_eq!(
        world.engine(bob).rooms().unwrap()[0].state,
        RoomState::Active
    );
}

#[test]
fn a_hub_that_refuses_is_not_asked_in_a_circle() {
    let (mut world, [alice, bob, carol], room) = three();
    let now = world.now;
    world.input(bob, |e| e.leave(&room, now));
    world.run();
    world.refusing = Some(Refusal::InvalidCommit {
        why: "a test".to_owned(),
    });
    say(&mut world, alice, &room, "let me through");
    world.run_for(10 * 60_000);
    let refused = world.clients[alice]
        .events
        .iter()
        .filter(|e| matches!(e, Event::Refused { .. }))
        .count();
    assert!(
        (2..=12).contains(&refused),
        "{refused} times in ten minutes"
    );
    world.refusing = None;
    world.run_for(120_000);
    assert_eq!(world.words(carol, &room), ["let me through"]);
    world.assert_agreement(&room, &[alice, carol]);
}

#[test]
fn what_is_refused_for_now_is_sent_again_with_the_same_octets() {
    let (mut world, [alice, bob, carol], room) = three();
    for refusal in [
        Refusal::Internal,
        Refusal::RateLimited { retry_after_s: 20 },
        Refusal::UnreachableDomain {
            domain: "a.example".to_owned(),
        },
    ] {
        let before = world.words(bob, &room).len();
        world.refusing = Some(refusal);
        say(&mut world, alice, &room, "patience");
        world.run_for(60_000);
        assert_eq!(world.words(bob, &room).len(), before);
        world.refusing = None;
        world.run_for(10 * 60_000);
        assert_eq!(world.words(bob, &room).len(), before + 1);
    }
    world.assert_agreement(&room, &[alice, bob, carol]);
}

#[test]
fn what_is_refused_for_good_is_told_and_the_next_goes_on() {
    let (mut world, [alice, bob, _], room) = three();
    world.refusing = Some(Refusal::NotAllowed {
        rule: "a test".to_owned(),
    });
    say(&mut world, alice, &room, "never");
    let now = world.now;
    world.input(alice, |e| e.update(&room, now));
    world.input(alice, |e| e.remove(&room, &jid("bob@b.example"), None, now));
    world.run();
    let refused: Vec<_> = world.clients[alice]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Refused { what, .. } => Some(what.clone()),
            _ => None,
        })
        .collect();
    assert!(
        matches!(
            refused[..],
            [Refused::Message(_), Refused::Update, Refused::Removal]
        ),
        "{refused:?}"
    );
    world.refusing = None;
    say(&mut world, alice, &room, "but this");
    world.run();
    // The refused message left no gap that others could take for a loss.
    assert_eq!(world.words(bob, &room), ["but this"]);
    let warned = |e: &Event| {
        matches!(
            e,
            Event::Warning {
                warning: Warning::Lost { .. },
                ..
            }
        )
    };
    assert!(!world.clients[bob].events.iter().any(warned));
}
