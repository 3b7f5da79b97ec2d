//! Prosody and ejabberd as the peer under load. While sockets live nothing is lost; what a kill
//! costs with a peer that does not know our queue is counted and printed.

use std::io;
use std::path::Path;
use std::time::Duration;

use integration::network::{Network, play};
use integration::ordinary::Ordinary;
use integration::peers::{Ejabberd, Options, Peer, Prosody};
use serde_json::json;

use crate::foreign::{Foreign, Way};
use crate::scene::Found;

const HIS: &str = "romeo@montague.example";
const HERS: &str = "juliet@capulet.example";
/// Messages each way.
const COUNT: usize = 600;
const PAUSE: Duration = Duration::from_millis(5);
/// Longer than any reconnection takes here, ours and theirs.
const QUIET: Duration = Duration::from_secs(30);

/// What came of the numbers below the count; `returned` to their sender with an error.
fn toll(what: &str, came: &[usize], returned: usize) {
    let mut times = vec![0_usize; COUNT];
    for &number in came {
        times[number] += 1;
    }
    let missing = times.iter().filter(|&&times| times == 0).count();
    let doubled = times.iter().filter(|&&times| times > 1).count();
    let back = came.windows(2).filter(|pair| pair[0] > pair[1]).count();
    println!(
        "{what}: of {COUNT}, {missing} did not arrive, of which {returned} came back as errors; \
         {doubled} came twice; the order went back {back} times"
    );
}

/// How many messages have come back to who said them.
fn returned(who: &mut Ordinary, from: &str) -> usize {
    let error = json!({"event": "error", "from": from});
    std::iter::from_fn(|| who.already(&error)).count()
}

/// Says something until it is heard: the peer may be waiting before it tries again.
async fn goes_on(from: &mut Ordinary, to: &mut Ordinary) {
    let (who, whom) = (from.jid().to_owned(), to.jid().to_owned());
    let wanted = json!({"event": "message", "from": who, "text": "Are you there?"});
    for _ in 0..QUIET.as_secs() {
        from.says(&whom, "Are you there?");
        if to.within(Duration::from_secs(1), &wanted).await.is_some() {
            return;
        }
    }
    panic!("{whom} hears nothing more of {who}");
}

async fn under_load<P: Peer>(
    network: &Network,
    name: &str,
    start: impl FnOnce(Options, &Path) -> io::Result<P>,
) {
    let way = Way {
        ours: Found::StartTls,
        theirs: Found::StartTls,
        software: "",
        dialback: false,
        bidi: true,
    };
    let mut scene = Foreign::set(network, &way, start).await;
    // Both at once, with nothing in the way.
    scene.romeo.counts(HERS, 0..COUNT, PAUSE);
    scene.juliet.counts(HIS, 0..COUNT, PAUSE);
    let all: Vec<usize> = (0..COUNT).collect();
    assert_eq!(scene.juliet.numbers(HIS, COUNT - 1, QUIET).await, all);
    // Prosody may send what comes as its stream opens before what had waited for that: from a
    // peer, everything once is all that can be asked.
    let mut hers = scene.romeo.numbers(HERS, COUNT - 1, QUIET).await;
    hers.sort_unstable();
    assert_eq!(hers, all);

    // The peer is killed in the middle of what is said to it. She is not online meanwhile.
    scene.romeo.counts(HERS, 0..COUNT, PAUSE);
    tokio::time::sleep(PAUSE * 200).await;
    let mut came = scene.juliet.numbers(HIS, COUNT / 6, QUIET).await;
    scene.peer.kill();
    came.extend(
        scene
            .juliet
            .numbers(HIS, COUNT, Duration::from_millis(200))
            .await,
    );
    scene.peer.start().unwrap();
    scene.juliet_again().await;
    came.extend(scene.juliet.numbers(HIS, COUNT - 1, QUIET).await);
    let what = format!("{name} is killed while we send");
    toll(&what, &came, returned(&mut scene.romeo, HERS));
    assert_eq!(came.last(), Some(&(COUNT - 1)), "it goes on afterwards");

    // We are killed in the middle of what the peer says to us.
    scene.juliet.counts(HIS, 0..COUNT, PAUSE);
    let mut came = scene.romeo.numbers(HERS, COUNT / 6, QUIET).await;
    scene.home.kill().unwrap();
    came.extend(
        scene
            .romeo
            .numbers(HERS, COUNT, Duration::from_millis(200))
            .await,
    );
    scene.home.start().unwrap();
    scene.romeo_again().await;
    goes_on(&mut scene.juliet, &mut scene.romeo).await;
    let settled = Duration::from_secs(3);
    came.extend(scene.romeo.numbers(HERS, COUNT - 1, settled).await);
    let what = format!("we are killed while {name} sends");
    toll(&what, &came, returned(&mut scene.juliet, HIS));
}

#[test]
fn prosody_under_load() {
    play("prosody-load", async |network| {
        under_load(network, "Prosody", Prosody::start).await;
    });
}

#[test]
fn ejabberd_under_load() {
    play("ejabberd-load", async |network| {
        under_load(network, "ejabberd", Ejabberd::start).await;
    });
}
