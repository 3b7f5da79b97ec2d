//! `comity peer …`, answered by the running server.

use std::io::{IsTerminal, Write};

use clap::Subcommand;
use comity_conf::Conf;

use super::json::{self, Json};
use super::table::{Table, age};
use crate::admin::client::{Client, Error};
use crate::admin::protocol::{Answer, Peer, Request, Root};
use crate::home::{Clock, SystemClock, millis};
use crate::time;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the other domains with streams, a queue or a block.
    List {
        #[command(flatten)]
        json: Json,
    },
    /// Show how things stand with a domain, and why.
    Show {
        domain: String,
        #[command(flatten)]
        json: Json,
    },
    /// Try now to deliver what waits for a domain, however long the pause after the last failure.
    Flush { domain: String },
    /// Give up what waits for a domain, and tell its senders.
    Discard {
        domain: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Have no streams with a domain, in either direction, until it is unblocked.
    Block {
        domain: String,
        /// A note for yourself.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Have streams with a domain again.
    Unblock { domain: String },
    /// List the roots of our certificate authorities, and those of other domains as we believe
    /// them.
    Roots {
        #[command(flatten)]
        json: Json,
    },
    /// Believe a domain's new root, once you have compared it with its operator.
    Trust {
        domain: String,
        /// SHA-256 of the root's certificate, as `comity peer roots` shows it there.
        root: String,
    },
}

/// # Errors
/// The server's refusal, or why there was no answer.
pub async fn peer(conf: &Conf, command: Command) -> Result<(), Box<dyn std::error::Error>> {
    let mut client = Client::connect(&conf.server.data_dir).await?;
    let mut as_json = false;
    let request = match command {
        Command::List { json } => return Ok(list(&mut client, json).await?),
        Command::Show { domain, json } => return Ok(show(&mut client, domain, json).await?),
        Command::Discard { domain, yes } => {
            if !yes {
                confirm(&mut client, &domain).await?;
            }
            Request::PeerDiscard { domain }
        }
        Command::Flush { domain } => Request::PeerFlush { domain },
        Command::Block { domain, reason } => Request::PeerBlock { domain, reason },
        Command::Unblock { domain } => Request::PeerUnblock { domain },
        Command::Roots { json } => {
            as_json = json.json;
            Request::PeerRoots
        }
        Command::Trust { domain, root } => Request::PeerTrust { domain, root },
    };
    match client.ask(&request).await? {
        Answer::Roots { roots } if as_json => json::print(&roots),
        Answer::Roots { roots } => roots.iter().for_each(|root| println!("{}", line(root))),
        Answer::Done { what } => println!("{what}"),
        other => return Err(Error::NotUnderstood(format!("{other:?}")).into()),
    }
    Ok(())
}

async fn list(client: &mut Client, json: Json) -> Result<(), Error> {
    let mut all = Vec::new();
    loop {
        let after = all
            .last()
            .map_or_else(String::new, |peer: &Peer| peer.domain.clone());
        let request = Request::PeerList { after };
        let (peers, more) = match client.ask(&request).await? {
            Answer::Peers { peers, more } => (peers, more),
            other => return Err(Error::NotUnderstood(format!("{other:?}"))),
        };
        all.extend(peers);
        if !more {
            break;
        }
    }
    match json.json {
        true => json::print(&all),
        false if all.is_empty() => println!("no streams, and nothing waits"),
        false => print!("{}", table(&all)),
    }
    Ok(())
}

fn table(peers: &[Peer]) -> String {
    let now = millis(SystemClock.wall());
    let mut table = Table::new(&["DOMAIN", "OUT", "IN", "QUEUED", "OLDEST", ""]);
    for peer in peers {
        let mut states: Vec<&str> = peer.outgoing.iter().map(|out| out.state.as_str()).collect();
        states.dedup();
        let note = if peer.blocked.is_some() {
            "blocked".to_owned()
        } else {
            let mut errors = peer
                .outgoing
                .iter()
                .filter_map(|out| out.last_error.clone());
            errors.next_back().unwrap_or_default()
        };
        table.row([
            peer.domain.clone(),
            or_dash(states.join(",")),
            peer.incoming.to_string(),
            peer.queued.to_string(),
            peer.oldest
                .map_or_else(|| "-".to_owned(), |oldest| age(oldest, now)),
            note,
        ]);
    }
    table.to_string()
}

async fn show(client: &mut Client, domain: String, json: Json) -> Result<(), Error> {
    let (peer, root) = match client.ask(&Request::PeerShow { domain }).await? {
        Answer::Peer { peer, root } => (peer, root),
        other => return Err(Error::NotUnderstood(format!("{other:?}"))),
    };
    if json.json {
        json::print(&serde_json::json!({ "peer": peer, "root": root }));
    } else {
        print!(
            "{}",
            describe(&peer, root.as_ref(), millis(SystemClock.wall()))
        );
    }
    Ok(())
}

fn describe(peer: &Peer, root: Option<&Root>, now: u64) -> String {
    let mut lines = vec![peer.domain.clone()];
    for out in &peer.outgoing {
        let way = out.way.as_ref();
        let way = way.map_or_else(String::new, |way| format!(", {way}"));
        lines.push(format!("  stream from {}: {}{way}", out.from, out.state));
        lines.extend(
            out.last_error
                .iter()
                .map(|why| format!("    last error: {why}")),
        );
    }
    if peer.outgoing.is_empty() {
        lines.push("  no stream to it".to_owned());
    }
    lines.push(match peer.both_ways {
        0 => format!("  streams from it: {}", peer.incoming),
        both => format!("  streams from it: {}, both ways: {both}", peer.incoming),
    });
    lines.push(match peer.oldest {
        None => "  nothing waits for it".to_owned(),
        Some(oldest) => format!(
            "  waiting: {}, the oldest for {}",
            peer.queued,
            age(oldest, now)
        ),
    });
    match &peer.blocked {
        Some(blocked) => {
            let since = time::day(blocked.since / 1000);
            let reason = or_dash(blocked.reason.clone());
            lines.push(format!("  blocked since {since}: {reason}"));
        }
        None if !peer.allowed => lines.push(
            "  the configuration has no streams with it: s2s.federation, s2s.allow, s2s.deny"
                .to_owned(),
        ),
        None => {}
    }
    lines.push(match root {
        Some(root) => format!("  root of its authority: {}", root.root),
        None => "  nothing is known of its certificate authority".to_owned(),
    });
    lines.join("\n") + "\n"
}

/// Asks whether that is meant.
async fn confirm(client: &mut Client, domain: &str) -> Result<(), Box<dyn std::error::Error>> {
    let request = Request::PeerShow {
        domain: domain.to_owned(),
    };
    let Answer::Peer { peer, .. } = client.ask(&request).await? else {
        return Ok(());
    };
    if peer.queued == 0 {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err("nobody can be asked: say --yes to discard what waits".into());
    }
    print!(
        "{} stanzas wait for {}. Give them up, and tell their senders? Write yes: ",
        peer.queued, peer.domain
    );
    std::io::stdout().flush()?;
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    match read.await??.trim() {
        "yes" => Ok(()),
        _ => Err("nothing was done".into()),
    }
}

fn line(root: &Root) -> String {
    let ours = if root.own { "  (ours)" } else { "" };
    let until = time::day(root.expires);
    format!("{}  {}  until {until}{ours}", root.root, root.domain)
}

fn or_dash(text: String) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::protocol::{Blocked, Outgoing};

    #[test]
    fn a_peer_is_described_with_what_is_wrong() {
        let mut peer = Peer {
            domain: "b.example".to_owned(),
            outgoing: vec![Outgoing {
                from: "a.example".to_owned(),
                state: "waiting".to_owned(),
                way: None,
                last_error: Some("nobody answers".to_owned()),
            }],
            queued: 2,
            oldest: Some(0),
            allowed: true,
            ..Peer::default()
        };
        let text = describe(&peer, None, 7_200_000);
        assert!(text.contains("stream from a.example: waiting\n    last error: nobody answers"));
        assert!(text.contains("waiting: 2, the oldest for 2 h"), "{text}");
        peer.outgoing[0].state = "up".to_owned();
        peer.outgoing[0].way = Some("both ways, opened by the peer".to_owned());
        (peer.incoming, peer.both_ways) = (2, 1);
        let text = describe(&peer, None, 0);
        assert!(text.contains("stream from a.example: up, both ways, opened by the peer\n"));
        assert!(
            text.contains("streams from it: 2, both ways: 1\n"),
            "{text}"
        );
        peer.blocked = Some(Blocked {
            since: 86_400_000,
            reason: "spam".to_owned(),
        });
        assert!(describe(&peer, None, 0).contains("blocked since 1970-01-02: spam"));
    }
}
