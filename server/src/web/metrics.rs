//! `/metrics`: what a Prometheus server reads, in its text format. Only for the addresses that
//! `web.metrics_from` names, since it tells with whom our people talk.
//!
//! Written by hand: everything here is state that exists already, read when asked for; a client
//! library would want it all a second time, in counters of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use comity_net::http::{Response, StatusCode, body, explain};
use comity_s2s::link::Way;
use comity_s2s::peer::State;

use super::{Route, Visit};
use crate::admin;
use crate::admin::protocol::Stats;
use crate::home::Home;

pub(super) const METRICS: Route = Route::get("/metrics", |visit| Box::pin(answer(visit)));

/// Other domains with metrics of their own: those with the most stanzas waiting, then those with
/// streams. A label for every domain of the world would burden whoever stores them.
const PEERS_SHOWN: usize = 200;
/// Queues that are looked at to find them.
const QUEUES_READ: usize = 10_000;
/// Characters of the last error.
const ERROR_SHOWN: usize = 120;

async fn answer(visit: Visit) -> Response {
    let from = visit.request.peer.ip();
    if !allowed(&visit.home.metrics_from.now(), from) {
        return explain(
            StatusCode::FORBIDDEN,
            format!("{from} is not in web.metrics_from of this server's configuration"),
        );
    }
    match gather(&visit.home).await {
        Ok(text) => body("text/plain; version=0.0.4; charset=utf-8", text),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be read");
            explain(StatusCode::INTERNAL_SERVER_ERROR, "see the server's log")
        }
    }
}

pub(super) fn allowed(list: &[IpAddr], from: IpAddr) -> bool {
    let from = from.to_canonical();
    list.iter().any(|one| one.to_canonical() == from)
}

async fn gather(home: &Home) -> Result<String, comity_storage::Error> {
    let peers = peers(home).await?;
    let stats = admin::stats::gather(&home.storage, home).await?;
    let mut text = Text::default();
    let version = env!("CARGO_PKG_VERSION");
    text.family("comity_info", "gauge", "The version of the server.");
    text.sample("comity_info", &[("version", version)], 1.0);
    domains(&mut text, &stats);
    passed(&mut text, &stats);
    nominations(&mut text, home.counters.nominations.get());
    kept(&mut text, &stats);
    process(&mut text, &stats);
    let writable = home.storage.trouble().is_none();
    let name = "comity_storage_writable";
    text.family(
        name,
        "gauge",
        "1, or 0 while nothing can be kept: the disk is full, say.",
    );
    text.sample(name, &[], f64::from(u8::from(writable)));
    let name = "comity_upload_octets_total";
    text.family(name, "counter", "Octets of uploaded files that passed.");
    let uploads = &home.uploads;
    text.whole(name, &[("direction", "in")], uploads.received.get());
    text.whole(name, &[("direction", "out")], uploads.sent.get());
    expiries(&mut text, &home.expiries.all());
    outbox(&mut text, &peers);
    streams(&mut text, &peers);
    authorities(&mut text, home);
    Ok(text.0)
}

fn domains(text: &mut Text, stats: &Stats) {
    text.family("comity_sessions", "gauge", "Bound sessions of clients.");
    for one in &stats.domains {
        let label = [("domain", one.domain.as_str())];
        text.sample("comity_sessions", &label, number(one.sessions));
    }
    text.family("comity_accounts", "gauge", "Accounts, disabled ones too.");
    for one in &stats.domains {
        let label = [("domain", one.domain.as_str())];
        text.sample("comity_accounts", &label, float(one.accounts));
    }
}

/// What only grows.
fn passed(text: &mut Text, stats: &Stats) {
    let name = "comity_stanzas_received_total";
    text.family(name, "counter", "Stanzas taken in.");
    text.whole(name, &[("from", "clients")], stats.stanzas_from_clients);
    text.whole(name, &[("from", "domains")], stats.stanzas_from_domains);
    let name = "comity_stanzas_sent_total";
    text.family(
        name,
        "counter",
        "Stanzas put into queues of sessions, and delivered to other domains.",
    );
    text.whole(name, &[("to", "clients")], stats.stanzas_to_clients);
    text.whole(name, &[("to", "domains")], stats.stanzas_to_domains);
    let name = "comity_logins_total";
    text.family(name, "counter", "Attempts to log in.");
    text.whole(name, &[("result", "entered")], stats.logins);
    text.whole(name, &[("result", "refused")], stats.logins_refused);
}

fn nominations(text: &mut Text, asked: u64) {
    let name = "comity_room_nominations_total";
    let help = "Devices asked to commit pending proposals where nobody was sending.";
    text.family(name, "counter", help);
    text.whole(name, &[], asked);
}

fn kept(text: &mut Text, stats: &Stats) {
    let name = "comity_rooms";
    text.family(name, "gauge", "Rooms of the MLS extension.");
    text.whole(name, &[("kind", "ordered")], stats.rooms);
    text.whole(name, &[("kind", "copied")], stats.room_copies);
    let families = [
        (
            "comity_devices",
            "Devices of the MLS extension that are not revoked.",
            stats.devices,
        ),
        (
            "comity_offline_messages",
            "Messages that wait for their recipients.",
            stats.offline_messages,
        ),
        (
            "comity_upload_files",
            "Files that people have uploaded.",
            stats.uploads,
        ),
        (
            "comity_upload_bytes",
            "Octets of them.",
            stats.upload_octets,
        ),
        (
            "comity_database_bytes",
            "Octets of the database.",
            stats.database_octets,
        ),
    ];
    for (name, help, value) in families {
        text.family(name, "gauge", help);
        text.whole(name, &[], value);
    }
}

/// As every exporter names them.
fn process(text: &mut Text, stats: &Stats) {
    let seconds = |millis: u64| format!("{}.{:03}", millis / 1000, millis % 1000);
    let families = [
        (
            "process_start_time_seconds",
            "gauge",
            "When the server began, since 1970.",
            seconds(stats.started),
        ),
        (
            "process_cpu_seconds_total",
            "counter",
            "Processor time taken.",
            seconds(stats.cpu_ms),
        ),
        (
            "process_resident_memory_bytes",
            "gauge",
            "Octets in memory.",
            stats.memory_octets.to_string(),
        ),
        (
            "process_open_fds",
            "gauge",
            "Open files, sockets among them.",
            stats.open_files.to_string(),
        ),
    ];
    for (name, kind, help, value) in families {
        text.family(name, kind, help);
        text.line(format_args!("{name} {value}"));
    }
}

fn expiries(text: &mut Text, all: &BTreeMap<String, u64>) {
    let name = "comity_certificate_not_after_seconds";
    text.family(name, "gauge", "When our certificate ends, since 1970.");
    for (domain, until) in all {
        text.sample(name, &[("domain", domain)], float(*until));
    }
}

/// What is shown of one other domain.
#[derive(Default)]
pub(super) struct Peer {
    pub(super) outgoing: Vec<comity_s2s::link::Status>,
    pub(super) incoming: comity_s2s::link::Incoming,
    pub(super) queued: u64,
    /// Seconds.
    pub(super) oldest: u64,
}

pub(super) async fn peers(home: &Home) -> Result<BTreeMap<String, Peer>, comity_storage::Error> {
    let mut peers: BTreeMap<String, Peer> = BTreeMap::new();
    let now = home.now_ms();
    for queue in home.storage.outbox_queues("", QUEUES_READ).await? {
        let peer = peers.entry(queue.destination).or_default();
        peer.queued = queue.length;
        peer.oldest = now.saturating_sub(queue.oldest) / 1000;
    }
    for status in home.remote.outgoing() {
        peers
            .entry(status.domain.clone())
            .or_default()
            .outgoing
            .push(status);
    }
    for (domain, count) in home.remote.incoming() {
        peers.entry(domain).or_default().incoming = count;
    }
    Ok(peers)
}

fn outbox(text: &mut Text, peers: &BTreeMap<String, Peer>) {
    let all: u64 = peers.values().map(|peer| peer.queued).sum();
    let waiting = peers.values().filter(|peer| peer.queued > 0).count();
    let oldest = peers.values().map(|peer| peer.oldest).max().unwrap_or(0);
    let families: [(&str, &str, f64); 3] = [
        (
            "comity_outbox_stanzas",
            "Stanzas waiting for other domains.",
            float(all),
        ),
        (
            "comity_outbox_domains",
            "Domains they wait for.",
            number(waiting),
        ),
        (
            "comity_outbox_oldest_seconds",
            "Age of the oldest.",
            float(oldest),
        ),
    ];
    for (name, help, value) in families {
        text.family(name, "gauge", help);
        text.sample(name, &[], value);
    }
    text.family("comity_streams", "gauge", "Streams with other domains.");
    // One that the peer has opened counts there.
    let own =
        |out: &&comity_s2s::link::Status| out.state == State::Up && out.way != Some(Way::Theirs);
    let up = |peer: &Peer| peer.outgoing.iter().filter(own).count();
    let out: usize = peers.values().map(up).sum();
    let incoming: usize = peers.values().map(|peer| peer.incoming.streams).sum();
    text.sample("comity_streams", &[("direction", "out")], number(out));
    text.sample("comity_streams", &[("direction", "in")], number(incoming));
    text.family(
        "comity_streams_both_ways",
        "gauge",
        "Of them, those that carry both directions (XEP-0288).",
    );
    let ours = |out: &&comity_s2s::link::Status| out.way == Some(Way::BothWays);
    let ours = |peer: &Peer| peer.outgoing.iter().filter(ours).count();
    let out: usize = peers.values().map(ours).sum();
    let incoming: usize = peers.values().map(|peer| peer.incoming.both_ways).sum();
    let name = "comity_streams_both_ways";
    text.sample(name, &[("direction", "out")], number(out));
    text.sample(name, &[("direction", "in")], number(incoming));
}

/// Name, help, and the value of a peer.
type Family = (&'static str, &'static str, fn(&Peer) -> f64);

fn streams(text: &mut Text, peers: &BTreeMap<String, Peer>) {
    let mut shown: Vec<(&String, &Peer)> = peers.iter().collect();
    shown.sort_by_key(|(_, peer)| std::cmp::Reverse(peer.queued));
    let hidden = shown.len().saturating_sub(PEERS_SHOWN);
    shown.truncate(PEERS_SHOWN);
    text.family(
        "comity_peers_not_shown",
        "gauge",
        "Other domains beyond those below.",
    );
    text.sample("comity_peers_not_shown", &[], number(hidden));
    let each: [Family; 3] = [
        (
            "comity_peer_queue_stanzas",
            "Stanzas waiting for it.",
            |p| float(p.queued),
        ),
        ("comity_peer_oldest_seconds", "Age of the oldest.", |p| {
            float(p.oldest)
        }),
        ("comity_peer_incoming_streams", "Its streams to us.", |p| {
            number(p.incoming.streams)
        }),
    ];
    for (name, help, value) in each {
        text.family(name, "gauge", help);
        for (domain, peer) in &shown {
            text.sample(name, &[("peer", domain)], value(peer));
        }
    }
    text.family(
        "comity_peer_state",
        "gauge",
        "1 for the state that our stream to it is in.",
    );
    for (_, peer) in &shown {
        for out in &peer.outgoing {
            let labels = [
                ("peer", &*out.domain),
                ("domain", &*out.ours),
                ("state", out.state.name()),
            ];
            text.sample("comity_peer_state", &labels, 1.0);
        }
    }
    text.family(
        "comity_peer_last_error",
        "gauge",
        "1 with the last error, until a delivery.",
    );
    for (_, peer) in &shown {
        for out in &peer.outgoing {
            let Some(why) = &out.last_failure else {
                continue;
            };
            let why: String = why.text.chars().take(ERROR_SHOWN).collect();
            let labels = [
                ("peer", &*out.domain),
                ("domain", &*out.ours),
                ("error", &*why),
            ];
            text.sample("comity_peer_last_error", &labels, 1.0);
        }
    }
}

fn authorities(text: &mut Text, home: &Home) {
    text.family(
        "comity_ca_refused_total",
        "counter",
        "Requests for certificates, devices, their proofs and their end that were refused.",
    );
    for authority in home.services.authorities() {
        for (reason, count) in authority.refusals() {
            let labels = [("domain", authority.domain()), ("reason", reason)];
            text.sample("comity_ca_refused_total", &labels, float(count));
        }
    }
    text.family(
        "comity_ca_token_failures_total",
        "counter",
        "What was asked of the PKCS#11 token in vain.",
    );
    for authority in home.services.authorities() {
        if let Some(count) = authority.token_failures() {
            let labels = [("domain", authority.domain())];
            text.sample("comity_ca_token_failures_total", &labels, float(count));
        }
    }
}

fn number(count: usize) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}

fn float(count: u64) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}

/// The text format 0.0.4.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
            .collect();
        match labels.is_empty() {
            true => self.line(format_args!("{name} {value}")),
            false => self.line(format_args!("{name}{{{}}} {value}", labels.join(","))),
        }
    }

    /// A number of any size.
    fn whole(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.sample(name, labels, value);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(domain: &str, queued: u64) -> Peer {
        Peer {
            queued,
            oldest: queued,
            outgoing: vec![comity_s2s::link::Status {
                ours: "a.example".to_owned(),
                domain: domain.to_owned(),
                state: State::Waiting,
                waiting: 0,
                last_failure: Some(comity_s2s::peer::Failure {
                    not_found: false,
                    text: "it said \"no\"\nand went".to_owned(),
                }),
                way: None,
            }],
            incoming: comity_s2s::link::Incoming::default(),
        }
    }

    /// The names of all families, as they are given.
    async fn given() -> Vec<String> {
        let play = crate::play::Play::of(&["alice@a.example"]).await;
        let text = gather(&play.home).await.unwrap();
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        names
            .filter_map(|line| line.split(' ').next())
            .map(str::to_owned)
            .collect()
    }

    fn document(path: &str) -> String {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(root.join(path)).unwrap()
    }

    #[tokio::test]
    async fn what_is_documented_is_what_there_is() {
        let text = document("docs/metrics.md");
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        let mut documented: Vec<&str> = rows
            .filter_map(|row| row.split(" | ").next())
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .collect();
        let mut given = given().await;
        given.sort_unstable();
        documented.sort_unstable();
        assert_eq!(given, documented);
    }

    #[tokio::test]
    async fn the_dashboard_asks_for_what_there_is() {
        let text = document("../conf/grafana.json");
        let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
        let given = given().await;
        let mut asked = 0;
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = target["expr"].as_str().unwrap();
                let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                for word in words {
                    if word.starts_with("comity_") || word.starts_with("process_") {
                        asked += 1;
                        assert!(given.iter().any(|name| name == word), "{word}");
                    }
                }
            }
        }
        assert!(asked > 15, "only {asked}");
    }

    #[tokio::test]
    async fn what_has_passed_is_counted() {
        let play = crate::play::Play::of(&["alice@a.example", "bob@a.example"]).await;
        let alice = play.login("alice@a.example/1").await;
        play.home.counters.entered.add(3);
        alice
            .send("<iq type='get' id='p' to='a.example'><ping xmlns='urn:xmpp:ping'/></iq>")
            .await;
        let text = gather(&play.home).await.unwrap();
        let value = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name} in {text}"))
                .trim()
                .parse()
                .unwrap()
        };
        assert_eq!(value("comity_accounts{domain=\"a.example\"}"), 2);
        assert_eq!(value("comity_sessions{domain=\"a.example\"}"), 1);
        assert_eq!(value("comity_logins_total{result=\"entered\"}"), 3);
        assert!(value("comity_stanzas_received_total{from=\"clients\"}") >= 1);
        assert!(value("comity_stanzas_sent_total{to=\"clients\"}") >= 1);
        assert!(value("comity_database_bytes") > 0);
    }

    #[test]
    fn a_peer_is_told_of_with_its_state_and_error() {
        let peers = BTreeMap::from([("b.example".to_owned(), peer("b.example", 3))]);
        let mut text = Text::default();
        outbox(&mut text, &peers);
        streams(&mut text, &peers);
        for line in [
            "comity_outbox_stanzas 3",
            "comity_peer_queue_stanzas{peer=\"b.example\"} 3",
            "comity_peer_state{peer=\"b.example\",domain=\"a.example\",state=\"waiting\"} 1",
            "comity_peer_last_error{peer=\"b.example\",domain=\"a.example\",\
             error=\"it said \\\"no\\\" and went\"} 1",
        ] {
            assert!(text.0.lines().any(|one| one == line), "{line}:\n{}", text.0);
        }
    }

    /// A stream that a peer has opened and that takes ours along is one stream.
    #[test]
    fn streams_are_counted_once_and_by_who_has_opened_them() {
        let with = |way| {
            let mut peer = peer("b.example", 0);
            peer.outgoing[0].state = State::Up;
            peer.outgoing[0].way = Some(way);
            peer
        };
        let mut theirs = with(Way::Theirs);
        (theirs.incoming.streams, theirs.incoming.both_ways) = (2, 1);
        let peers = BTreeMap::from([
            ("b.example".to_owned(), theirs),
            ("c.example".to_owned(), with(Way::BothWays)),
            ("d.example".to_owned(), with(Way::OneWay)),
        ]);
        let mut text = Text::default();
        outbox(&mut text, &peers);
        for line in [
            "comity_streams{direction=\"out\"} 2",
            "comity_streams{direction=\"in\"} 2",
            "comity_streams_both_ways{direction=\"out\"} 1",
            "comity_streams_both_ways{direction=\"in\"} 1",
        ] {
            assert!(text.0.lines().any(|one| one == line), "{line}:\n{}", text.0);
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_a_time() {
        let all = BTreeMap::from([("a.example".to_owned(), 1_800_000_123)]);
        let mut text = Text::default();
        expiries(&mut text, &all);
        let line = "comity_certificate_not_after_seconds{domain=\"a.example\"} 1800000123";
        assert!(text.0.lines().any(|one| one == line), "{}", text.0);
    }

    #[test]
    fn a_crowd_has_no_more_labels_than_the_limit() {
        let all = (0..500_u32).map(|n| {
            let domain = format!("{n}.example");
            let queued = u64::from(n);
            (domain.clone(), peer(&domain, queued))
        });
        let peers: BTreeMap<_, _> = all.collect();
        let mut text = Text::default();
        streams(&mut text, &peers);
        let states = text
            .0
            .lines()
            .filter(|line| line.starts_with("comity_peer_state{"));
        assert_eq!(states.count(), PEERS_SHOWN);
        assert!(text.0.contains("comity_peers_not_shown 300"));
        assert!(text.0.contains("\"499.example\"") && !text.0.contains("\"1.example\""));
    }

    #[test]
    fn only_the_addresses_named_may_read() {
        let list = ["127.0.0.1".parse().unwrap()];
        assert!(allowed(&list, "::ffff:127.0.0.1".parse().unwrap()));
        assert!(!allowed(&list, "::1".parse().unwrap()));
        assert!(!allowed(&[], "127.0.0.1".parse().unwrap()));
    }
}
