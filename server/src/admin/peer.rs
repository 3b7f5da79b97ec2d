//! `comity peer …`: other domains, their streams and what waits for them.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;

use comity_s2s::link::Incoming;
use comity_storage::{BLOCKED_LIMIT, BlockPeer, UnblockPeer};

use super::State;
use super::protocol::{Answer, Blocked, Outgoing, Peer, Probe};
use super::root::{self, remote};
use super::user::{Result, done, text};

/// Domains in one answer.
const LIST_LIMIT: usize = 250;
/// Characters of a reason, and of an error in a list, so that an answer fits a line.
const TEXT_LIMIT: usize = 500;

/// The streams to other domains, as the commands see them.
pub trait Streams: Send + Sync {
    fn outgoing(&self) -> Vec<Stream>;
    /// How many streams each domain has to us.
    fn incoming(&self) -> HashMap<String, Incoming>;
    /// May there be streams with this domain?
    fn federates(&self, domain: &str) -> bool;
    /// Tries to reach the domain now.
    fn flush(&self, domain: &str);
    /// Begins or ceases to refuse the domain; streams with it that are there end.
    fn block(&self, domain: &str, blocked: bool);
    /// Tries every server of the domain.
    fn probe(&self, domain: String) -> Probing;
    /// Gives up what waits for the domain, and tells the senders; how many stanzas there were.
    fn discard(&self, domain: String) -> Discarding;
}

pub type Discarding =
    Pin<Box<dyn Future<Output = std::result::Result<u64, comity_storage::Error>> + Send>>;

pub type Probing = Pin<Box<dyn Future<Output = std::result::Result<Vec<Probe>, String>> + Send>>;

/// One stream of ours, or the wish for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    pub ours: String,
    pub domain: String,
    pub state: String,
    pub way: Option<String>,
    pub last_error: Option<String>,
}

pub(super) async fn list(state: &State, after: &str) -> Result {
    let mut all = known(state, after).await?;
    let more = all.len() > LIST_LIMIT;
    let last = all.keys().nth(LIST_LIMIT).cloned();
    if let Some(last) = last {
        all.split_off(&last);
    }
    let peers = all.into_values().collect();
    Ok(Answer::Peers { peers, more })
}

pub(super) async fn show(state: &State, domain: &str) -> Result {
    let domain = other(state, domain)?;
    let mut all = known(state, "").await?;
    let mut peer = all.remove(&domain).unwrap_or_else(|| Peer {
        domain: domain.clone(),
        allowed: state.peers.federates(&domain),
        ..Peer::default()
    });
    // What is known of all domains may end before this one's queue.
    peer.queued = state.storage.outbox_length(&domain).await.map_err(text)?;
    let first = state.storage.outbox(&domain, 0, 1).await.map_err(text)?;
    peer.oldest = first.first().map(|row| row.created);
    let root = root::of(state, &domain).await?;
    Ok(Answer::Peer { peer, root })
}

pub(super) async fn flush(state: &State, domain: &str) -> Result {
    let domain = allowed(state, domain)?;
    let queued = state.storage.outbox_length(&domain).await.map_err(text)?;
    state.peers.flush(&domain);
    done(match queued {
        0 => format!("nothing waits for {domain}"),
        _ => format!(
            "trying to reach {domain} now, for {}; `comity peer show {domain}` tells what comes \
             of it",
            stanzas(queued)
        ),
    })
}

pub(super) async fn discard(state: &State, domain: &str) -> Result {
    let domain = other(state, domain)?;
    let discarded = state.peers.discard(domain.clone()).await.map_err(text)?;
    done(match discarded {
        0 => format!("nothing waited for {domain}"),
        _ => format!(
            "discarded {} for {domain}; the senders have been told",
            stanzas(discarded)
        ),
    })
}

pub(super) async fn probe(state: &State, domain: &str) -> Result {
    let domain = allowed(state, domain)?;
    let probes = state.peers.probe(domain).await?;
    Ok(Answer::Probes { probes })
}

pub(super) async fn block(state: &State, domain: &str, mut reason: String) -> Result {
    let domain = other(state, domain)?;
    cut(&mut reason);
    let blocked = comity_storage::Blocked {
        domain: domain.clone(),
        since: crate::home::millis(state.clock.wall()),
        reason,
    };
    let room = state.storage.write(BlockPeer(blocked)).await;
    if !room.map_err(text)? {
        return Err(format!(
            "{BLOCKED_LIMIT} domains are blocked already: name those you want instead, in \
             s2s.allow with s2s.federation = \"listed\""
        ));
    }
    state.peers.block(&domain, true);
    let queued = state.storage.outbox_length(&domain).await.map_err(text)?;
    let waiting = match queued {
        0 => String::new(),
        _ => format!(
            "; {} for it wait until they expire: `comity peer discard {domain}` tells their \
             senders now",
            stanzas(queued)
        ),
    };
    done(format!(
        "{domain} is blocked: there are no streams with it{waiting}"
    ))
}

pub(super) async fn unblock(state: &State, domain: &str) -> Result {
    let domain = other(state, domain)?;
    let change = UnblockPeer {
        domain: domain.clone(),
    };
    if !state.storage.write(change).await.map_err(text)? {
        return Err(format!("{domain} is not blocked"));
    }
    state.peers.block(&domain, false);
    match state.peers.federates(&domain) {
        true => done(format!("{domain} is blocked no longer")),
        false => done(format!(
            "{domain} is blocked no longer, but the configuration (s2s.federation, s2s.deny) \
             has no streams with it"
        )),
    }
}

/// Every domain after the one named that there is something to say about.
async fn known(state: &State, after: &str) -> std::result::Result<BTreeMap<String, Peer>, String> {
    let mut all: BTreeMap<String, Peer> = BTreeMap::new();
    let entry = |all: &mut BTreeMap<String, Peer>, domain: &str, fill: &dyn Fn(&mut Peer)| {
        if domain > after {
            fill(all.entry(domain.to_owned()).or_default());
        }
    };
    for stream in state.peers.outgoing() {
        let mut last_error = stream.last_error;
        if let Some(error) = &mut last_error {
            cut(error);
        }
        let outgoing = Outgoing {
            from: stream.ours,
            state: stream.state,
            way: stream.way,
            last_error,
        };
        entry(&mut all, &stream.domain, &|peer| {
            peer.outgoing.push(outgoing.clone());
        });
    }
    for (domain, count) in state.peers.incoming() {
        entry(&mut all, &domain, &|peer| {
            peer.incoming = count.streams;
            peer.both_ways = count.both_ways;
        });
    }
    let blocked = state.storage.blocked_peers().await.map_err(text)?;
    for one in blocked {
        entry(&mut all, &one.domain, &|peer| {
            peer.blocked = Some(Blocked {
                since: one.since,
                reason: one.reason.clone(),
            });
        });
    }
    // Enough for the answer: queues and the others are merged in the order of the domains.
    let queues = state.storage.outbox_queues(after, LIST_LIMIT + 1).await;
    for queue in queues.map_err(text)? {
        entry(&mut all, &queue.destination, &|peer| {
            peer.queued = queue.length;
            peer.oldest = Some(queue.oldest);
        });
    }
    for (domain, peer) in &mut all {
        peer.domain.clone_from(domain);
        peer.allowed = state.peers.federates(domain);
        peer.outgoing.sort_by(|a, b| a.from.cmp(&b.from));
    }
    Ok(all)
}

/// A domain that is not ours.
fn other(state: &State, domain: &str) -> std::result::Result<String, String> {
    let domain = remote(domain)?;
    match state.domains.contains(&domain) {
        true => Err(format!("{domain} is served here: it needs no streams")),
        false => Ok(domain),
    }
}

fn allowed(state: &State, domain: &str) -> std::result::Result<String, String> {
    let domain = other(state, domain)?;
    if state.peers.federates(&domain) {
        return Ok(domain);
    }
    Err(format!(
        "there are no streams with {domain}: see `comity peer unblock`, and s2s.federation, \
         s2s.allow and s2s.deny in the configuration"
    ))
}

fn stanzas(count: u64) -> String {
    match count {
        1 => "1 stanza".to_owned(),
        many => format!("{many} stanzas"),
    }
}

fn cut(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(TEXT_LIMIT) {
        text.truncate(at);
    }
}
