//! A checker of histories: devices of three domains talk in one room while they commit, invite, put out,
//! leave, crash, lose their latest state and come back, their sessions break, their servers are killed
//! in the middle of requests, and what goes between the domains is late or lost. Hubs, copies and
//! databases are the product's, engines as well; sockets there are none, and the clock is the test's.
//! Certificates and KeyPackages come from stand-ins.
//!
//! What is random about faults comes from the seed; keys and identifiers are random each time.
//! `COMITY_SEED=N` plays one seed.

mod check;
mod fleet;
mod serve;
mod server;

// The stand-ins that the engine's own tests have.
#[path = "../../../mls/engine/tests/world/domain.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "it has more than is used here"
)]
mod domain;
#[path = "../../../mls/engine/tests/world/log.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "it has more than is used here"
)]
mod log;

use comity_mls_engine::{Error, RoomState};
use comity_xmpp::jid::BareJid;

use check::Happened;
use fleet::Fleet;

/// Seeds of a run; of a long one.
const SEEDS: u64 = 20;
const LONG_SEEDS: u64 = 1_000;
/// They are divided, so that several play at a time.
const PARTS: u64 = 4;
/// Things that happen in one history.
const STEPS: usize = 40;
const HOUR_MS: u64 = 60 * 60 * 1_000;
const DOMAINS: [&str; 3] = ["a.example", "b.example", "c.example"];

#[test]
fn histories_hold_whatever_happens() {
    part(0);
}

#[test]
fn histories_hold_whatever_happens_in_the_second_part() {
    part(1);
}

#[test]
fn histories_hold_whatever_happens_in_the_third_part() {
    part(2);
}

#[test]
fn histories_hold_whatever_happens_in_the_fourth_part() {
    part(3);
}

fn part(part: u64) {
    let long = std::env::var("COMITY_LONG").is_ok_and(|long| !long.is_empty());
    let one = std::env::var("COMITY_SEED").ok();
    let one = one.map(|seed| seed.parse::<u64>().unwrap());
    let all = 1..=if long { LONG_SEEDS } else { SEEDS };
    let seeds = all.filter(|seed| seed % PARTS == part);
    let seeds: Vec<u64> = match one {
        Some(seed) if part == 0 => vec![seed],
        Some(_) => return,
        None => seeds.collect(),
    };
    let mut sum = Happened::default();
    for seed in &seeds {
        match std::panic::catch_unwind(|| play(*seed)) {
            Ok(happened) => sum.add(happened),
            Err(fault) => {
                eprintln!("seed {seed} fails: play it again with COMITY_SEED={seed}");
                std::panic::resume_unwind(fault);
            }
        }
    }
    eprintln!("{} histories: {sum:?}", seeds.len());
    if one.is_none() {
        // Faults that never happen prove nothing.
        let enough = |found: usize, each: usize| found >= each * seeds.len();
        assert!(enough(sum.commits, 10) && enough(sum.messages, 20));
        assert!(sum.external > 0 && sum.returns > 0 && sum.proposals > 0 && sum.kills > 0);
    }
}

fn play(seed: u64) -> Happened {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut fleet = Fleet::new(&DOMAINS, seed).await;
        for domain in DOMAINS {
            for name in ["ann", "ben", "cid"] {
                fleet.enrolled(&format!("{name}@{domain}")).await;
            }
        }
        let now = fleet.now;
        let room = fleet.input(0, |e| e.create_room(None, now)).unwrap();
        let guests: Vec<_> = (1..7).map(|c| fleet.clients[c].account.clone()).collect();
        fleet.input(0, |e| e.invite(&room, &guests, now));
        fleet.run_for(10_000).await;
        assert_eq!(fleet.members(&room).await.len(), 7, "the room begins");
        fleet.faulty = true;
        for _ in 0..STEPS {
            step(&mut fleet, &room).await;
            let pause = fleet.random(8_000);
            fleet.run_for(pause).await;
            fleet.compare_authenticators(&room);
        }
        fleet.faulty = false;
        for client in 0..fleet.clients.len() {
            fleet.restart(client);
        }
        fleet.run_for(26 * HOUR_MS).await;
        let happened = check::all(&mut fleet, &room).await;
        fleet.close().await;
        happened
    })
}

/// One thing happens.
async fn step(fleet: &mut Fleet, room: &BareJid) {
    let client = fleet.pick();
    let now = fleet.now;
    let inside = fleet.state(client, room) == Some(RoomState::Active);
    if fleet.random(3) == 0 {
        let client = fleet.pick();
        fleet.remember(client);
    }
    match fleet.random(20) {
        0..=2 if inside => fleet.say(client, room),
        3..=5 if inside => drop(fleet.input(client, |e| e.update(room, now))),
        6..=7 => {
            // By the owner's device, which stays: somebody always may.
            let guest = fleet.pick();
            let account = fleet.clients[guest].account.clone();
            fleet.input(0, |e| e.invite(room, &[account], now));
        }
        8 if client > 0 => {
            let account = fleet.clients[client].account.clone();
            fleet.input(0, |e| match e.remove(room, &account, None, now) {
                Err(Error::NoMember(_)) => Ok(()),
                done => done,
            });
        }
        9 if client > 0 && inside => drop(fleet.input(client, |e| e.leave(room, now))),
        10..=11 => {
            let point = fleet.random(12);
            fleet.crash_at(client, point);
        }
        12 => fleet.disconnect(client),
        13 => fleet.connect(client),
        14 => {
            let place = fleet.pick_domain();
            fleet.kill(&place).await;
        }
        15..=16 if inside => fleet.roll_back(client),
        _ => everybody_at_once(fleet, room),
    }
}

/// They speak, and every second one commits.
fn everybody_at_once(fleet: &mut Fleet, room: &BareJid) {
    let now = fleet.now;
    for client in 0..fleet.clients.len() {
        if fleet.state(client, room) == Some(RoomState::Active) {
            fleet.say(client, room);
            if client % 2 == 0 {
                fleet.input(client, |e| e.update(room, now));
            }
        }
    }
}
