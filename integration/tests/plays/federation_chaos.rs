//! Two domains under load, while the line between them is slow, cut or half-open and their servers
//! are killed at random moments. What was accepted arrives: once, and in order for each pair.

use std::time::Duration;

use comity_client::connection::{Inbound, Options};
use comity_client::stream::Login;
use comity_xmpp::jid::{BareJid, Jid};
use integration::Home;
use integration::link::{Link, Weather};
use integration::stage::{PASSWORD, Stage};
use integration::traffic::{Dice, Tally, Writer, number, pause, present, read, steps};

/// People of each domain who write, each to somebody of the other.
const PAIRS: usize = 3;
/// After the last word, with fair weather, all is delivered within this.
const SETTLED: Duration = Duration::from_secs(10);
/// A server that keeps its queue in storage needs no more memory for a longer queue.
const GROWTH: u64 = 96 << 20;

/// Two domains with a line of its own in each direction.
struct Theatre {
    stage: Stage,
    links: [Link; 2],
}

impl Theatre {
    async fn open(play: &str) -> Self {
        let domains = ["montague.example", "capulet.example"];
        // Nobody reads while they write.
        let extra = "[accounts]\noffline_messages = 1000000\n";
        let mut stage = Stage::set_with(play, &domains, extra);
        let mut links = Vec::new();
        for (here, there) in [(0, 1), (1, 0)] {
            let link = Link::to(stage.homes[there].s2s()).await.unwrap();
            stage.homes[here]
                .find_at(domains[there], link.address())
                .unwrap();
            links.push(link);
        }
        for home in &mut stage.homes {
            // Quick to come back, since the play is short.
            home.set_s2s("retry_first = \"100ms\"\nretry_most = \"1s\"\n")
                .unwrap();
            home.stop().unwrap();
            home.start().unwrap();
        }
        for home in &stage.homes {
            for n in 0..PAIRS {
                home.add_user(&format!("writer{n}"), PASSWORD).unwrap();
                home.add_user(&format!("reader{n}"), PASSWORD).unwrap();
            }
        }
        let links = links.try_into().ok().unwrap();
        Self { stage, links }
    }

    fn weather(&self, link: usize, weather: Weather) {
        self.links[link].set(weather);
    }

    /// Does something to the line for a while: to both, since the domain that has come first has
    /// opened the one connection that carries both directions.
    async fn trouble(&self, dice: &mut Dice) {
        let weather = match dice.below(3) {
            0 => Weather::Slow(Duration::from_millis(5 + dice.below(40))),
            1 => Weather::Cut,
            _ => Weather::HalfOpen,
        };
        for weather in [weather, Weather::Fair] {
            (0..2).for_each(|link| self.weather(link, weather));
            if weather != Weather::Fair {
                pause(dice, 1000).await;
            }
        }
    }

    fn broken(&self) -> usize {
        self.links.iter().map(Link::lost).sum()
    }
}

fn options(home: &Home, local: &str) -> Options {
    Options {
        login: Login {
            account: BareJid::parse(&format!("{local}@{}", home.domain())).unwrap(),
            password: PASSWORD.to_owned(),
            resource: None,
        },
        endpoint: Some(home.c2s().into()),
        extra_roots: home.roots(),
        proxy: None,
    }
}

fn writers(theatre: &Theatre) -> Vec<(usize, usize, Writer)> {
    let mut writers = Vec::new();
    for (here, there) in [(0, 1), (1, 0)] {
        let homes = &theatre.stage.homes;
        for n in 0..PAIRS {
            let to = format!("reader{n}@{}", homes[there].domain());
            let options = options(&homes[here], &format!("writer{n}"));
            let writer = Writer::start(options, Jid::parse(&to).unwrap());
            writers.push((there, n, writer));
        }
    }
    writers
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_and_a_bad_line_lose_double_and_disorder_nothing() {
    let mut dice = Dice::seeded();
    let mut theatre = Theatre::open("chaos").await;
    let writers = writers(&theatre);
    let mut kills = 0;
    let mut highest = [0; 2];
    for _ in 0..steps(24) {
        pause(&mut dice, 600).await;
        if dice.below(2) == 0 {
            let home = usize::try_from(dice.below(2)).unwrap();
            let home = &mut theatre.stage.homes[home];
            kills += 1;
            home.kill().unwrap();
            home.start().unwrap();
        } else {
            theatre.trouble(&mut dice).await;
        }
        for (home, highest) in theatre.stage.homes.iter().zip(&mut highest) {
            *highest = home.resident().unwrap_or(0).max(*highest);
        }
    }
    println!(
        "{kills} kills, {} connections broken, at most {} and {} MiB in memory",
        theatre.broken(),
        highest[0] >> 20,
        highest[1] >> 20
    );
    let mut tally = Tally::default();
    let mut written = Vec::new();
    for (there, n, writer) in writers {
        written.push((there, n, writer.finish().await));
    }
    // What is on its way arrives before anybody is there to read it.
    tokio::time::sleep(SETTLED).await;
    for (there, n, (accepted, sent)) in written {
        let reader = options(&theatre.stage.homes[there], &format!("reader{n}"));
        let mut connection = present(&reader).await;
        let last = accepted.last().copied().unwrap_or(0);
        let received = read(&mut connection, last).await;
        tally.sent += sent;
        tally.count(&accepted, &received);
    }
    tally.check("kills and a bad line", 200);
    assert!(
        kills > 3 && theatre.broken() > 1,
        "hardly anything happened"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn people_who_are_there_read_everything_over_a_bad_line() {
    let mut dice = Dice::seeded();
    let theatre = Theatre::open("line").await;
    let writers = writers(&theatre);
    let mut readers = Vec::new();
    for (there, n, writer) in writers {
        let reader = options(&theatre.stage.homes[there], &format!("reader{n}"));
        let mut connection = present(&reader).await;
        let (told, mut last) = tokio::sync::watch::channel(None);
        let reading = tokio::spawn(async move {
            let mut received = Vec::new();
            let last = loop {
                tokio::select! {
                    inbound = connection.receive() => match inbound {
                        Inbound::Stanza(stanza) => received.extend(number(&stanza)),
                        Inbound::Closed(why) => panic!("a reader's stream ended: {why}"),
                    },
                    _ = last.changed() => break last.borrow().unwrap_or(0),
                }
            };
            if received.last().is_none_or(|number| *number < last) {
                received.extend(read(&mut connection, last).await);
            }
            received
        });
        readers.push((writer, told, reading));
    }
    for _ in 0..steps(12) {
        theatre.trouble(&mut dice).await;
        pause(&mut dice, 300).await;
    }
    let mut tally = Tally::default();
    for (writer, told, reading) in readers {
        let (accepted, sent) = writer.finish().await;
        told.send_replace(accepted.last().copied());
        tally.sent += sent;
        tally.count(&accepted, &reading.await.unwrap());
    }
    println!("{} connections broken", theatre.broken());
    tally.check("a bad line", 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_queue_costs_no_memory() {
    let theatre = Theatre::open("queue").await;
    let home = &theatre.stage.homes[0];
    theatre.weather(0, Weather::Cut);
    let to = Jid::parse("reader0@capulet.example").unwrap();
    let writer = Writer::start(options(home, "writer0"), to);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = home.resident().unwrap();
    tokio::time::sleep(Duration::from_secs(if steps(1) > 1 { 60 } else { 8 })).await;
    let after = home.resident().unwrap();
    let (accepted, sent) = writer.finish().await;
    println!(
        "{} waiting: {} MiB, then {} MiB",
        accepted.len(),
        before >> 20,
        after >> 20
    );
    assert!(after < before + GROWTH, "the queue is in memory");
    theatre.weather(0, Weather::Fair);
    let reader = options(&theatre.stage.homes[1], "reader0");
    let mut connection = present(&reader).await;
    let received = read(&mut connection, accepted.last().copied().unwrap_or(0)).await;
    let mut tally = Tally {
        sent,
        ..Tally::default()
    };
    tally.count(&accepted, &received);
    tally.check("a long queue", 300);
}
