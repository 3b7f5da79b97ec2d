//! `comity stats`

use comity_conf::Conf;

use super::json::{self, Json};
use super::table::{Table, age, octets};
use crate::admin::client::{Client, Error};
use crate::admin::protocol::{Answer, Request, Stats};

/// # Errors
/// Why there was no answer.
pub async fn stats(conf: &Conf, json: Json) -> Result<(), Error> {
    let mut client = Client::connect(&conf.server.data_dir).await?;
    let stats = ask(&mut client).await?;
    match json.json {
        true => json::print(&stats),
        false => print!("{}", describe(&stats)),
    }
    Ok(())
}

pub(super) async fn ask(client: &mut Client) -> Result<Stats, Error> {
    match client.ask(&Request::Stats).await? {
        Answer::Stats { stats } => Ok(*stats),
        other => Err(Error::NotUnderstood(format!("{other:?}"))),
    }
}

/// Name and value, as they are shown everywhere.
#[must_use]
pub fn rows(stats: &Stats) -> Vec<(&'static str, String)> {
    let number = |count: u64| count.to_string();
    vec![
        ("version", stats.version.clone()),
        ("running for", age(stats.started, stats.now)),
        ("accounts", number(stats.accounts)),
        ("sessions", stats.sessions.to_string()),
        ("devices", number(stats.devices)),
        (
            "rooms",
            format!("{} here, {} elsewhere", stats.rooms, stats.room_copies),
        ),
        (
            "streams with other domains",
            format!("{} out, {} in", stats.streams_out, stats.streams_in),
        ),
        (
            "waiting for other domains",
            format!("{} stanzas", stats.outbox_stanzas),
        ),
        (
            "waiting for clients",
            format!("{} messages", stats.offline_messages),
        ),
        (
            "stanzas taken in",
            format!(
                "{} from clients, {} from other domains",
                stats.stanzas_from_clients, stats.stanzas_from_domains
            ),
        ),
        (
            "stanzas given out",
            format!(
                "{} to clients, {} to other domains",
                stats.stanzas_to_clients, stats.stanzas_to_domains
            ),
        ),
        (
            "logins",
            format!("{}, {} refused", stats.logins, stats.logins_refused),
        ),
        (
            "uploads",
            format!("{}, {}", number(stats.uploads), octets(stats.upload_octets)),
        ),
        ("database", octets(stats.database_octets)),
        ("memory", octets(stats.memory_octets)),
        (
            "processor time",
            format!("{}.{:03} s", stats.cpu_ms / 1000, stats.cpu_ms % 1000),
        ),
        ("open files", number(stats.open_files)),
    ]
}

fn describe(stats: &Stats) -> String {
    let rows = rows(stats);
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let rows = rows.iter();
    let mut text: String = rows
        .map(|(name, value)| format!("{name:width$}  {value}\n"))
        .collect();
    if stats.domains.len() > 1 {
        let mut table = Table::new(&["DOMAIN", "ACCOUNTS", "SESSIONS"]);
        for domain in &stats.domains {
            table.row([
                domain.domain.clone(),
                domain.accounts.to_string(),
                domain.sessions.to_string(),
            ]);
        }
        text.push('\n');
        text.push_str(&table.to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::protocol::DomainStats;

    #[test]
    fn domains_are_told_apart_where_there_are_several() {
        let domain = |domain: &str| DomainStats {
            domain: domain.to_owned(),
            accounts: 3,
            sessions: 2,
        };
        let mut stats = Stats {
            domains: vec![domain("a.example")],
            cpu_ms: 1_007,
            ..Stats::default()
        };
        let text = describe(&stats);
        assert!(!text.contains("DOMAIN"));
        assert!(
            text.contains("processor time              1.007 s\n"),
            "{text}"
        );
        stats.domains.push(domain("c.example"));
        assert!(describe(&stats).ends_with("c.example  3         2\n"));
    }
}
