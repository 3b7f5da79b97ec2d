//! Two domains under load with a real wire between them: the kernel drops what goes over it, slows
//! it, takes it away, and the servers are killed at random moments, also while the other cannot hear
//! of it. What was accepted arrives: once, and in order for each pair.

use std::time::Duration;

use comity_client::connection::Options;
use comity_client::stream::Login;
use comity_xmpp::jid::{BareJid, Jid};
use integration::Home;
use integration::certificates::{Authority, Shape};
use integration::comity::Comity;
use integration::network::{Network, play};
use integration::stage::PASSWORD;
use integration::traffic::{Dice, Tally, Writer, pause, present, read, steps};
use integration::wire::{Trouble, Wire};

const DOMAINS: [&str; 2] = ["montague.example", "capulet.example"];
/// People of each domain who write, each to somebody of the other.
const PAIRS: usize = 3;
/// After the last word readers wait a little: some of it is kept for them, some comes.
const SETTLED: Duration = Duration::from_secs(2);
/// A server that keeps its queue in storage needs no more memory for a longer queue.
const GROWTH: u64 = 96 << 20;

async fn home(network: &Network, n: usize, authority: &Authority) -> Home {
    let (domain, place) = (DOMAINS[n], Wire::place(n));
    let dns = &network.dns;
    let host = format!("xmpp.{domain}");
    let service = format!("_xmpp-server._tcp.{domain}");
    dns.srv(&service, (0, 0), &host, 5269).await;
    dns.host(&host, place.v4.into()).await;
    let home = Comity {
        domain: domain.to_owned(),
        place,
        certificate: authority.issue(domain, &Shape::dns(domain)).unwrap(),
        authority: authority.file(),
        folder: domain.to_owned(),
        server: String::new(),
        c2s: String::new(),
        c2s_tls: String::new(),
        s2s: String::new(),
        // Nobody reads while they write.
        extra: "[accounts]\noffline_messages = 1000000\n".to_owned(),
    };
    let home = home.start_within(network, Wire::namespace(n)).unwrap();
    for n in 0..PAIRS {
        home.add_user(&format!("writer{n}"), PASSWORD).unwrap();
        home.add_user(&format!("reader{n}"), PASSWORD).unwrap();
    }
    home
}

fn options(home: &Home, local: &str, authority: &Authority) -> Options {
    Options {
        login: Login {
            account: BareJid::parse(&format!("{local}@{}", home.domain())).unwrap(),
            password: PASSWORD.to_owned(),
            resource: None,
        },
        endpoint: Some(home.c2s().into()),
        extra_roots: vec![authority.file()],
        proxy: None,
    }
}

fn trouble(dice: &mut Dice) -> Trouble {
    let one = usize::from(dice.below(2) == 0);
    match dice.below(5) {
        0 => Trouble::Dropping,
        1 => Trouble::Mute(one),
        2 => Trouble::Down(one),
        3 => Trouble::Slow(64 + dice.small(192)),
        _ => Trouble::Losing(5 + dice.small(25)),
    }
}

fn restart(home: &mut Home) {
    home.kill().unwrap();
    home.start().unwrap();
}

/// What has happened, and what memory it took.
#[derive(Debug, Default)]
struct Done {
    kills: usize,
    unheard: usize,
    troubles: Vec<Trouble>,
    highest_mib: [u64; 2],
}

async fn rage(wire: &Wire<'_>, homes: &mut [Home; 2], dice: &mut Dice) -> Done {
    let mut done = Done::default();
    for _ in 0..steps(12) {
        pause(dice, 500).await;
        let victim = usize::from(dice.below(2) == 0);
        match dice.below(4) {
            0 => {
                restart(&mut homes[victim]);
                done.kills += 1;
            }
            1 => {
                // The other does not hear that its connection is gone.
                wire.begin(Trouble::Dropping).unwrap();
                restart(&mut homes[victim]);
                wire.end(Trouble::Dropping).unwrap();
                done.unheard += 1;
            }
            _ => {
                let trouble = trouble(dice);
                wire.begin(trouble).unwrap();
                pause(dice, 1500).await;
                wire.end(trouble).unwrap();
                done.troubles.push(trouble);
            }
        }
        for (home, highest) in homes.iter().zip(&mut done.highest_mib) {
            *highest = (home.resident().unwrap_or(0) >> 20).max(*highest);
        }
    }
    done
}

#[test]
fn a_wire_that_fails_in_every_way_and_kills_lose_double_and_disorder_nothing() {
    play("wire", async |network| {
        let mut dice = Dice::seeded();
        let wire = Wire::lay(network).unwrap();
        let folder = network.folder().join("authority");
        let authority = Authority::new("The world's authority", &folder).unwrap();
        let mut homes = [
            home(network, 0, &authority).await,
            home(network, 1, &authority).await,
        ];
        let mut writers = Vec::new();
        for (here, there) in [(0, 1), (1, 0)] {
            for n in 0..PAIRS {
                let to = Jid::parse(&format!("reader{n}@{}", DOMAINS[there])).unwrap();
                let options = options(&homes[here], &format!("writer{n}"), &authority);
                writers.push((there, n, Writer::start(options, to)));
            }
        }
        let done = rage(&wire, &mut homes, &mut dice).await;
        println!("{done:?}");
        let mut written = Vec::new();
        for (there, n, writer) in writers {
            written.push((there, n, writer.finish().await));
        }
        tokio::time::sleep(SETTLED).await;
        let mut tally = Tally::default();
        for (there, n, (accepted, sent)) in written {
            let reader = options(&homes[there], &format!("reader{n}"), &authority);
            let mut connection = present(&reader).await;
            let last = accepted.last().copied().unwrap_or(0);
            let received = read(&mut connection, last).await;
            tally.sent += sent;
            tally.count(&accepted, &received);
        }
        tally.check("a wire that fails", 200);
        assert!(done.kills + done.unheard > 1 && done.troubles.len() > 3);
    });
}

#[test]
fn a_queue_for_a_domain_without_a_way_to_it_costs_no_memory() {
    play("wire-queue", async |network| {
        let wire = Wire::lay(network).unwrap();
        let folder = network.folder().join("authority");
        let authority = Authority::new("The world's authority", &folder).unwrap();
        let here = home(network, 0, &authority).await;
        let there = home(network, 1, &authority).await;
        let to = Jid::parse("reader0@capulet.example").unwrap();
        let writer = Writer::start(options(&here, "writer0", &authority), to);
        // The stream is there, and then nothing is heard over it.
        tokio::time::sleep(Duration::from_secs(1)).await;
        wire.begin(Trouble::Dropping).unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = here.resident().unwrap();
        tokio::time::sleep(Duration::from_secs(if steps(1) > 1 { 90 } else { 8 })).await;
        let after = here.resident().unwrap();
        let (accepted, sent) = writer.finish().await;
        let (before, after) = (before >> 20, after >> 20);
        println!(
            "{} accepted: {before} MiB, then {after} MiB",
            accepted.len()
        );
        assert!(after < before + (GROWTH >> 20), "the queue is in memory");
        wire.end(Trouble::Dropping).unwrap();
        let mut connection = present(&options(&there, "reader0", &authority)).await;
        let received = read(&mut connection, accepted.last().copied().unwrap_or(0)).await;
        let mut tally = Tally {
            sent,
            ..Tally::default()
        };
        tally.count(&accepted, &received);
        tally.check("a queue without a way", 300);
    });
}
