//! `comity top`: how the server fares, again and again.

use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use clap::Args;
use comity_conf::Conf;

use super::stats;
use super::table::{Table, age, octets};
use crate::admin::client::{Client, Error};
use crate::admin::protocol::{Answer, Peer, Request, Stats};

/// Other domains that are shown: those with the most stanzas waiting.
const PEERS_SHOWN: usize = 10;
/// A screen of its own, and back (xterm's; every terminal of today knows it).
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// To the upper left corner; and to the end of the line or the screen, nothing.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K\n";
const CLEAR_REST: &str = "\x1b[J";

#[derive(Debug, Args)]
#[group(skip)]
pub struct Top {
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 2,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,
    /// Look so many times, then end. Without it, until Ctrl-C.
    #[arg(long, value_name = "TIMES")]
    pub count: Option<u64>,
    /// For programs: an object a line, with the fields of `comity stats --json`.
    #[arg(long)]
    pub json: bool,
}

/// # Errors
/// Why there was no answer, as when the server has ended.
pub async fn top(conf: &Conf, top: &Top) -> Result<(), Error> {
    let mut client = Client::connect(&conf.server.data_dir).await?;
    let screen = stdout().is_terminal() && !top.json;
    if screen {
        print!("{ENTER}");
    }
    let result = tokio::select! {
        result = watch(&mut client, top, screen) => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    if screen {
        print!("{LEAVE}");
        // The terminal is given back in any case.
        let _ = stdout().flush();
    }
    result
}

async fn watch(client: &mut Client, top: &Top, screen: bool) -> Result<(), Error> {
    let mut before = stats::ask(client).await?;
    let mut left = top.count;
    loop {
        tokio::time::sleep(Duration::from_secs(top.interval)).await;
        let now = stats::ask(client).await?;
        if top.json {
            // Plain structs of strings and numbers always have a JSON form.
            println!("{}", serde_json::to_string(&now).unwrap_or_default());
        } else {
            show(&frame(&before, &now, &peers(client).await?), screen)?;
        }
        before = now;
        left = left.map(|left| left.saturating_sub(1));
        if left == Some(0) {
            return Ok(());
        }
    }
}

async fn peers(client: &mut Client) -> Result<Vec<Peer>, Error> {
    let request = Request::PeerList {
        after: String::new(),
    };
    match client.ask(&request).await? {
        Answer::Peers { peers, .. } => Ok(peers),
        other => Err(Error::NotUnderstood(format!("{other:?}"))),
    }
}

fn show(frame: &str, screen: bool) -> Result<(), Error> {
    if !screen {
        println!("{frame}");
        return Ok(());
    }
    print!("{HOME}{}{CLEAR_REST}", frame.replace('\n', CLEAR_LINE));
    stdout().flush()?;
    Ok(())
}

/// What has happened between two looks, and what there is.
fn frame(before: &Stats, now: &Stats, peers: &[Peer]) -> String {
    let elapsed = now.now.saturating_sub(before.now).max(1);
    let rate = |was: u64, is: u64| {
        // Tenths, without floating point.
        let tenths = is.saturating_sub(was).saturating_mul(10_000) / elapsed;
        format!("{}.{}/s", tenths / 10, tenths % 10)
    };
    let cpu = now.cpu_ms.saturating_sub(before.cpu_ms) * 100 / elapsed;
    let domains: Vec<&str> = now.domains.iter().map(|one| one.domain.as_str()).collect();
    let mut text = format!(
        "comity {} on {}, running for {}\n\
         processor {cpu} %, memory {}, database {}, {} files\n\n",
        now.version,
        domains.join(", "),
        age(now.started, now.now),
        octets(now.memory_octets),
        octets(now.database_octets),
        now.open_files,
    );
    let mut table = Table::new(&["", "IN", "OUT", "STREAMS", "WAITING"]);
    table.row([
        "clients".to_owned(),
        rate(before.stanzas_from_clients, now.stanzas_from_clients),
        rate(before.stanzas_to_clients, now.stanzas_to_clients),
        now.sessions.to_string(),
        now.offline_messages.to_string(),
    ]);
    table.row([
        "domains".to_owned(),
        rate(before.stanzas_from_domains, now.stanzas_from_domains),
        rate(before.stanzas_to_domains, now.stanzas_to_domains),
        format!("{} out, {} in", now.streams_out, now.streams_in),
        now.outbox_stanzas.to_string(),
    ]);
    text.push_str(&table.to_string());
    text.push_str(&format!(
        "\nlogins {}, refused {}; accounts {}, devices {}, rooms {} and {} elsewhere\n",
        rate(before.logins, now.logins),
        rate(before.logins_refused, now.logins_refused),
        now.accounts,
        now.devices,
        now.rooms,
        now.room_copies,
    ));
    if !peers.is_empty() {
        text.push('\n');
        text.push_str(&queues(peers, now.now));
    }
    text
}

fn queues(peers: &[Peer], now: u64) -> String {
    let mut longest: Vec<&Peer> = peers.iter().collect();
    longest.sort_by(|a, b| b.queued.cmp(&a.queued).then(a.domain.cmp(&b.domain)));
    let mut table = Table::new(&["DOMAIN", "OUT", "IN", "WAITING", "OLDEST"]);
    for peer in longest.iter().take(PEERS_SHOWN) {
        let mut states: Vec<&str> = peer.outgoing.iter().map(|out| out.state.as_str()).collect();
        states.dedup();
        let oldest = peer.oldest.map(|oldest| age(oldest, now));
        table.row([
            peer.domain.clone(),
            match states.is_empty() {
                true => "-".to_owned(),
                false => states.join(","),
            },
            peer.incoming.to_string(),
            peer.queued.to_string(),
            oldest.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_shows_rates_and_the_longest_queues() {
        let before = Stats {
            now: 1_000,
            stanzas_from_clients: 5,
            cpu_ms: 100,
            ..Stats::default()
        };
        let now = Stats {
            version: "1".to_owned(),
            now: 3_000,
            stanzas_from_clients: 8,
            cpu_ms: 600,
            memory_octets: 2048,
            ..Stats::default()
        };
        let peer = |domain: &str, queued| Peer {
            domain: domain.to_owned(),
            queued,
            oldest: Some(0),
            ..Peer::default()
        };
        let many: Vec<Peer> = (0..20_u64)
            .map(|n| peer(&format!("{n}.example"), n))
            .collect();
        let text = frame(&before, &now, &many);
        assert!(text.contains("processor 25 %, memory 2.0 KiB"), "{text}");
        assert!(text.contains("clients  1.5/s  0.0/s"), "{text}");
        assert!(text.contains("19.example") && !text.contains("\n9.example"));
        assert_eq!(text.lines().count(), 8 + 1 + 1 + PEERS_SHOWN, "{text}");
    }
}
