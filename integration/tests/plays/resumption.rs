//! A server is killed and stopped while people talk. Their clients lose their sockets, come back to
//! the sessions they had (XEP-0198 §5), and every message has come once and in order.

mod client;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use integration::Home;
use integration::stage::{PASSWORD, Stage};

use client::{Client, Report, Talk};

/// People who talk two and two.
const PAIRS: usize = 4;
/// Time between two messages of one.
const PACE: Duration = Duration::from_millis(10);
/// How long all of them talk between two ends of the server.
const PEACE: Duration = Duration::from_millis(700);
/// How long it may take until all are back.
const LIMIT: Duration = Duration::from_secs(60);
/// The server's ends: whether each is in good order.
const ENDS: [bool; 7] = [false, true, false, false, true, true, false];

#[test]
fn a_server_is_killed_and_sessions_go_on() {
    let mut stage = Stage::set_with(
        "resumption",
        &["a.localhost"],
        "[accounts]\nscram_iterations = 4096",
    );
    let names: Vec<String> = (0..2 * PAIRS).map(|n| format!("person{n}")).collect();
    for name in &names {
        stage.homes[0].add_user(name, PASSWORD).unwrap();
    }
    let talk = Arc::new(Talk::of(names.len()));
    let people: Vec<_> = (0..names.len())
        .map(|n| start(&stage.homes[0], &names, n, &talk))
        .collect();
    wait_for(&talk, names.len());
    for (orderly, round) in ENDS.into_iter().zip(2..) {
        std::thread::sleep(PEACE);
        let home = &mut stage.homes[0];
        if orderly {
            home.stop().unwrap();
        } else {
            home.kill().unwrap();
        }
        home.start().unwrap();
        wait_for(&talk, round * names.len());
    }
    std::thread::sleep(PEACE);
    talk.done.store(true, Ordering::Relaxed);
    let mut all = 0;
    for (n, person) in people.into_iter().enumerate() {
        let report = person.join().unwrap();
        let said = talk.said[n ^ 1].load(Ordering::Relaxed);
        let wrong = (0..said).find(|number| report.heard.get(*number) != Some(number));
        if let Some(wrong) = wrong.or((report.heard.len() > said).then_some(said)) {
            let from = wrong.saturating_sub(3);
            let there: Vec<_> = report.heard.iter().skip(from).take(60).collect();
            panic!("{} has heard, from the {from}. on: {there:?}", names[n]);
        }
        assert_eq!(report.refused, 0, "{} could not come back", names[n]);
        assert!(report.resumed >= ENDS.len());
        all += said;
    }
    println!("{all} messages, each once, through {} ends", ENDS.len());
    stage.homes[0].stop().unwrap();
    for name in &names {
        let waits = waiting(&stage.homes[0], &format!("{name}@a.localhost"));
        assert_eq!(waits, 0, "nothing waits for {name} besides");
    }
}

fn start(home: &Home, names: &[String], n: usize, talk: &Arc<Talk>) -> JoinHandle<Report> {
    let client = Client::new(home.c2s(), "a.localhost", &names[n], PASSWORD, &home.ca());
    let to = format!("{}@a.localhost", names[n ^ 1]);
    let talk = Arc::clone(talk);
    std::thread::spawn(move || client.talk(n, &to, PACE, &talk))
}

/// Until so many have come, or come back.
fn wait_for(talk: &Talk, come: usize) {
    let until = Instant::now() + LIMIT;
    while talk.come.load(Ordering::Relaxed) < come {
        assert!(Instant::now() < until, "not everybody has come back");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Messages that wait for an account to come online; the server has stopped.
fn waiting(home: &Home, account: &str) -> u64 {
    let path = home.data().join("comity.db");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let storage = comity_storage::Storage::open(&path).await.unwrap();
        storage.offline_count(account).await.unwrap()
    })
}
