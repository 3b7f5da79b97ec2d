//! Messages from one domain's people to another's: two servers of one make, each with a certificate
//! of its own, that find each other by the DNS. The CPU of both counts.

use std::error::Error;
use std::sync::mpsc;
use std::time::Duration;

use integration::certificates::Authority;
use integration::network::{Network, play};

use crate::chat::{self, Outcome, Pace};
use crate::client::{Client, message};
use crate::contender::{Kind, user};
use crate::house::{House, Plan};
use crate::{Extent, STALLED};

/// By how many messages of each pair are always on their way.
pub(crate) const LOADS: [(&str, usize); 2] = [
    ("server to server, 50 pairs, 1 in flight", 1),
    ("server to server, 50 pairs, 8 in flight", 8),
];
const DOMAINS: [&str; 2] = ["montague.example", "capulet.example"];
const PAIRS: usize = 50;
/// A stream between servers may take so long.
const PATIENCE: Duration = Duration::from_secs(20);

type Outcomes = Vec<(&'static str, Outcome)>;

/// What is wanted of the servers of one make.
pub(crate) fn measure(kind: Kind, extent: Extent, only: &str) -> Result<Outcomes, Box<dyn Error>> {
    let loads: Vec<_> = LOADS
        .into_iter()
        .filter(|(name, _)| name.contains(only))
        .collect();
    let (tell, told) = mpsc::channel();
    play("bench-federation", async move |network| {
        let all = all(network, kind, extent, &loads);
        let outcomes = match tokio::time::timeout(STALLED, all).await {
            Ok(outcomes) => outcomes.map_err(|error| error.to_string()),
            Err(_) => Err(format!("not done within {} s", STALLED.as_secs())),
        };
        // Who has stopped listening wants none.
        let _ = tell.send(outcomes);
    });
    Ok(told.recv()??)
}

async fn all(
    network: &Network,
    kind: Kind,
    extent: Extent,
    loads: &[(&'static str, usize)],
) -> Result<Outcomes, Box<dyn Error>> {
    let pairs = extent.of(PAIRS);
    let authority = Authority::new("The bench's authority", &network.folder().join("authority"))?;
    let mut houses = Vec::with_capacity(2);
    for domain in DOMAINS {
        let place = network.place();
        network.host(domain, place).await;
        houses.push(House::start(&Plan {
            kind,
            domain,
            place,
            authority: &authority,
            folder: network.folder(),
            accounts: pairs,
            muc: None,
        })?);
    }
    let mut outcomes = Vec::new();
    for (name, most) in loads {
        let people = people(&houses, pairs).await?;
        let cpu = || Ok(houses[0].cpu()? + houses[1].cpu()?);
        let outcome = chat::talk(people, Pace::InFlight(*most), extent, &cpu).await?;
        outcomes.push((*name, outcome));
    }
    Ok(outcomes)
}

/// The n-th of one domain talks to the n-th of the other.
async fn people(houses: &[House], pairs: usize) -> Result<Vec<chat::Pair>, Box<dyn Error>> {
    let mut people = Vec::with_capacity(pairs);
    for n in 0..pairs {
        let mut ends = Vec::with_capacity(2);
        for (house, other) in [(0, 1), (1, 0)] {
            let client = Client::enter(&houses[house].door(), &user(n), "bench").await?;
            ends.push((client, message(n, DOMAINS[other])));
        }
        people.push(ends.try_into().map_err(|_| "a pair has two ends")?);
    }
    acquainted(&mut people).await?;
    Ok(people)
}

/// The streams between the servers are there before anything is measured: the first pair has spoken
/// in both directions.
async fn acquainted(people: &mut [chat::Pair]) -> Result<(), Box<dyn Error>> {
    let Some([one, other]) = people.first_mut() else {
        return Ok(());
    };
    hears(one, other).await?;
    hears(other, one).await
}

type End = (Client, String);

async fn hears((speaker, words): &mut End, (listener, _): &mut End) -> Result<(), Box<dyn Error>> {
    speaker.write(words).await?;
    tokio::time::timeout(PATIENCE, listener.until("</message>"))
        .await
        .map_err(|_| "the servers do not find each other")??;
    Ok(())
}
