//! A checker of histories: devices of three domains talk in rooms while they commit, invite, put out,
//! leave, crash, are put back to older copies of their data and come back, their sessions break, their
//! servers are killed in the middle of requests, and what goes between the domains is late or lost.
//! Hubs, copies, directories of KeyPackages and databases are the product's, engines as well; sockets
//! there are none, and the clock is the test's. Certificates come from a stand-in.
//!
//! What is random about faults comes from the seed; keys and identifiers are random each time.
//! `COMITY_SEED=N` plays one seed, `COMITY_TIMES=N` so many times.

mod check;
mod directory;
mod fleet;
mod push;
mod serve;
mod server;
mod settle;
mod shape;
mod stays;
mod tale;

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

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use comity_mls_engine::{Error, RoomState};

use check::Happened;
use fleet::{Fleet, Place};
use shape::{MANY_EVERY, Shape};
use tale::Tale;

/// Seeds of a run; of a long one.
const SEEDS: u64 = 20;
const LONG_SEEDS: u64 = 1_000;
/// They are divided, so that several play at a time.
const PARTS: u64 = 4;
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

fn number(variable: &str) -> Option<u64> {
    let set = std::env::var(variable).ok()?;
    Some(set.parse().unwrap())
}

fn part(part: u64) {
    let long = std::env::var("COMITY_LONG").is_ok_and(|long| !long.is_empty());
    let one = number("COMITY_SEED");
    let all = 1..=if long { LONG_SEEDS } else { SEEDS };
    let seeds: Vec<u64> = match one {
        Some(seed) if part == 0 => {
            let times = number("COMITY_TIMES").unwrap_or(1);
            (0..times).map(|_| seed).collect()
        }
        Some(_) => return,
        None => all.filter(|seed| part_of(*seed) == part).collect(),
    };
    let mut sum = Happened::default();
    for seed in &seeds {
        let (tale, began) = (Tale::default(), Instant::now());
        match catch_unwind(AssertUnwindSafe(|| play(*seed, &tale))) {
            Ok(happened) => {
                eprintln!("seed {seed} in {:.1?}: {happened:?}", began.elapsed());
                sum.add(&happened);
            }
            Err(fault) => {
                eprintln!(
                    "{tale}seed {seed} fails; it is played again by\n{}",
                    again(*seed)
                );
                resume_unwind(fault);
            }
        }
    }
    eprintln!("{} histories: {sum:?}", seeds.len());
    if one.is_none() {
        // Faults that never happen prove nothing.
        let enough = |found: usize, each: usize| found >= each * seeds.len();
        assert!(enough(sum.commits, 10) && enough(sum.messages, 20));
        assert!(sum.external > 0 && sum.returns > 0 && sum.proposals > 0 && sum.kills > 0);
        assert!(sum.rolled_back > 0 && sum.served > 0 && sum.delivered > 0);
    }
}

/// Those with hundreds of devices, which take the longest, are every so many: each part gets as many.
fn part_of(seed: u64) -> u64 {
    (seed + seed / MANY_EVERY) % PARTS
}

fn again(seed: u64) -> String {
    format!(
        "  COMITY_SEED={seed} COMITY_TIMES=20 cargo test -p integration --test plays -- \
         histories_hold_whatever_happens --nocapture"
    )
}

fn play(seed: u64, tale: &Tale) -> Happened {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let shape = Shape::of(seed);
        let mut fleet = Fleet::new(&DOMAINS, seed, tale.clone()).await;
        shape.set_up(&mut fleet, &DOMAINS).await;
        fleet.faulty = true;
        for _ in 0..shape.steps {
            step(&mut fleet).await;
            let pause = fleet.random(8_000);
            fleet.run_for(pause).await;
            fleet.compare_authenticators();
        }
        fleet.faulty = false;
        for client in 0..fleet.clients.len() {
            fleet.restart(client);
        }
        fleet.settle().await;
        let happened = check::all(&mut fleet).await;
        fleet.close().await;
        happened
    })
}

/// One thing happens.
async fn step(fleet: &mut Fleet) {
    let place = fleet.pick_place();
    let client = fleet.pick_near(&place);
    let Place { room, owner } = &place;
    let (now, owner) = (fleet.now, *owner);
    let inside = fleet.state(client, room) == Some(RoomState::Active);
    let account = fleet.clients[client].account.clone();
    let owned = account == fleet.clients[owner].account;
    if fleet.random(2) == 0 {
        let client = fleet.pick_near(&place);
        fleet.remember(client);
    }
    match fleet.random(20) {
        0..=2 if inside => fleet.say(client, room),
        3..=5 if inside => {
            fleet.tell(client, "renews its leaf");
            fleet.input(client, |e| e.update(room, now));
        }
        6..=7 => {
            // By the owner's device, which stays: somebody always may.
            fleet.tell(client, "is invited");
            fleet.input(owner, |e| e.invite(room, &[account], now));
        }
        8 if !owned => fleet.put_out(&place, client),
        9 if !owned && inside => {
            fleet.tell(client, "leaves");
            fleet.input(client, |e| e.leave(room, now));
        }
        10..=11 => {
            let point = fleet.random(12);
            fleet.crash_at(client, point);
        }
        12 => fleet.disconnect(client),
        13 => fleet.connect(client),
        14 => {
            let domain = fleet.pick_domain();
            fleet.kill(&domain).await;
        }
        15..=16 => fleet.roll_back_one(),
        _ => everybody_at_once(fleet, &place),
    }
}

/// They speak, and every second one commits.
fn everybody_at_once(fleet: &mut Fleet, place: &Place) {
    let now = fleet.now;
    let room = &place.room;
    for client in 0..fleet.clients.len() {
        if fleet.state(client, room) == Some(RoomState::Active) {
            fleet.say(client, room);
            if client % 2 == 0 {
                fleet.input(client, |e| e.update(room, now));
            }
        }
    }
}

impl Fleet {
    fn put_out(&mut self, place: &Place, client: usize) {
        let now = self.now;
        let account = self.clients[client].account.clone();
        self.tell(client, "is put out");
        self.input(place.owner, |e| {
            match e.remove(&place.room, &account, None, now) {
                Err(Error::NoMember(_)) => Ok(()),
                done => done,
            }
        });
    }
}
