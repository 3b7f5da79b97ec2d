//! Does anything wait for domains that cannot be reached, or for ever?

use comity_storage::OUTBOX_LIMIT;

use crate::admin::client::Client;
use crate::admin::protocol::{Answer, Peer, Request};
use crate::cli::table::age;
use crate::home::millis;

use super::{Findings, Ground};

const CHECK: &str = "queues";
/// Milliseconds that a stanza may wait without anybody being told.
const LONG: u64 = 3600 * 1000;
/// Domains that are named one by one.
const NAMED: usize = 20;

pub(super) async fn check(ground: &Ground, server: &mut Client, found: &mut Findings) {
    let mut waiting: Vec<Peer> = Vec::new();
    let mut after = String::new();
    loop {
        let request = Request::PeerList { after };
        let Ok(Answer::Peers { peers, more }) = server.ask(&request).await else {
            return;
        };
        let last = peers.last().map(|peer| peer.domain.clone());
        waiting.extend(peers.into_iter().filter(|peer| peer.queued > 0));
        match last {
            Some(last) if more => after = last,
            _ => break,
        }
    }
    let now = millis(ground.now);
    waiting.retain(|peer| peer.oldest.is_some_and(|oldest| oldest + LONG < now));
    if waiting.is_empty() {
        return found.ok(
            CHECK,
            "other domains",
            "nothing waits for longer than an hour",
        );
    }
    for peer in waiting.iter().take(NAMED) {
        one(peer, now, found);
    }
    if waiting.len() > NAMED {
        let what = format!("stanzas wait for {} further domains", waiting.len() - NAMED);
        found.advice(CHECK, "other domains", what, "comity peer list");
    }
}

fn one(peer: &Peer, now: u64, found: &mut Findings) {
    let since = age(peer.oldest.unwrap_or(now), now);
    let mut errors = peer
        .outgoing
        .iter()
        .filter_map(|out| out.last_error.as_deref());
    let error = errors.next_back().unwrap_or("no error is known");
    let what = format!("{} stanzas wait, for up to {since}: {error}", peer.queued);
    let todo = format!("comity check {0}\ncomity peer flush {0}", peer.domain);
    if usize::try_from(peer.queued).is_ok_and(|queued| queued >= OUTBOX_LIMIT) {
        let what = format!("{what}; no more are taken");
        return found.fault(CHECK, &peer.domain, what, todo);
    }
    found.advice(CHECK, &peer.domain, what, todo);
}
