//! What these plays begin with: domains with their records, certificates and people.

use std::path::Path;
use std::time::{Duration, Instant};

use integration::Home;
use integration::certificates::{Authority, Files, Shape};
use integration::comity::Comity;
use integration::network::{Network, Place};
use integration::ordinary::{LIMIT, Ordinary};
use integration::stage::PASSWORD;

/// How a domain says where its server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// `_xmpp-server._tcp` (RFC 6120 §3.2.1).
    StartTls,
    /// `_xmpps-server._tcp` (XEP-0368).
    Direct,
    /// No SRV record: the address of the domain itself (RFC 6120 §3.2.2).
    Address,
}

impl Found {
    /// How a log names where TLS begins on a stream that was found so.
    fn start(self) -> &'static str {
        match self {
            Self::Direct => "start=Direct",
            Self::StartTls | Self::Address => "start=StartTls",
        }
    }
}

/// An authority everybody believes, on an empty network.
pub(crate) fn authority(network: &Network) -> Authority {
    Authority::new("The world's authority", &network.folder().join("authority")).unwrap()
}

/// Writes a domain's records.
pub(crate) async fn publish(network: &Network, domain: &str, place: Place, found: Found) {
    let host = format!("xmpp.{domain}");
    let dns = &network.dns;
    match found {
        Found::Address => return network.host(domain, place).await,
        Found::StartTls => {
            let name = format!("_xmpp-server._tcp.{domain}");
            dns.srv(&name, (10, 5), &host, 5269).await;
        }
        Found::Direct => {
            let name = format!("_xmpps-server._tcp.{domain}");
            dns.srv(&name, (10, 5), &host, 5270).await;
            let name = format!("_xmpp-server._tcp.{domain}");
            dns.srv(&name, (20, 5), &host, 5269).await;
        }
    }
    network.host(&host, place).await;
}

/// One of our servers with a good certificate, at `place`.
pub(crate) fn comity(domain: &str, place: Place, authority: &Authority) -> Comity {
    let certificate = authority.issue(domain, &Shape::dns(domain)).unwrap();
    with(domain, place, authority, certificate)
}

pub(crate) fn with(
    domain: &str,
    place: Place,
    authority: &Authority,
    certificate: Files,
) -> Comity {
    Comity {
        domain: domain.to_owned(),
        place,
        certificate,
        authority: authority.file(),
        folder: domain.to_owned(),
        server: String::new(),
        c2s: String::new(),
        c2s_tls: String::new(),
        s2s: String::new(),
        extra: String::new(),
    }
}

/// Somebody at one of our servers.
pub(crate) async fn resident(home: &Home, local: &str, authority: &Authority) -> Ordinary {
    home.add_user(local, PASSWORD).unwrap();
    let jid = format!("{local}@{}", home.domain());
    Ordinary::login(&jid, PASSWORD, home.c2s(), &authority.file()).await
}

/// The same, with a client that asks no certificate of its server.
pub(crate) async fn careless(home: &Home, local: &str) -> Ordinary {
    home.add_user(local, PASSWORD).unwrap();
    let jid = format!("{local}@{}", home.domain());
    Ordinary::login(&jid, PASSWORD, home.c2s(), Path::new("-")).await
}

/// Did the streams of a server begin as the records say: those it made, and those it was asked for?
pub(crate) fn streams_were(home: &Home, outgoing: Found, incoming: Found) {
    let log = std::fs::read_to_string(home.log()).unwrap();
    let made = [
        ("comity_s2s::reach", outgoing),
        ("a peer has come", incoming),
    ];
    for (words, found) in made {
        let line = (log.lines()).find(|line| line.contains(words) && line.contains("start="));
        let line = line.unwrap_or_else(|| panic!("no line has {words}:\n{log}"));
        assert!(line.contains(found.start()), "{line}");
    }
}

/// Waits until a server's log has a line with all the words; gives the line.
pub(crate) async fn logged(home: &Home, words: &[&str]) -> String {
    logged_at(&home.log(), words).await
}

/// The same, in anybody's log.
pub(crate) async fn logged_at(path: &Path, words: &[&str]) -> String {
    let started = Instant::now();
    loop {
        let log = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        let line = (log.lines()).find(|line| words.iter().all(|word| line.contains(word)));
        if let Some(line) = line {
            return line.to_owned();
        }
        assert!(started.elapsed() < LIMIT, "no line has {words:?}:\n{log}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
