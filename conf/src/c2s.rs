//! `[c2s]`: the streams of clients.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct C2s {
    /// Where clients connect and then start TLS (RFC 6120 §5). Default port 5222 on all addresses,
    /// IPv4 and IPv6. Several may be named; none is none.
    pub listen: Vec<SocketAddr>,
    /// Where TLS comes first (XEP-0368). Default port 5223 on all addresses.
    pub listen_tls: Vec<SocketAddr>,
    /// Connections at a time, each listener. Default 10,000, about 200 MB.
    pub connections: u32,
    /// Connections at a time from one IP address. Default 100: an office behind one address.
    pub connections_per_address: u32,
    /// Connections that one IP address may open in a minute, at each listener. Default 300: an
    /// office comes back after its router was restarted.
    pub connections_per_minute: u32,
    /// Failed logins from one IP address, and at one account, that have no consequence; further ones
    /// make the next wait, up to 32 s and 8 s. One is forgotten each minute. Default 10 and 20.
    pub failures_per_address: u32,
    pub failures_per_account: u32,
    /// Addresses and networks of proxies in front, which say in the PROXY protocol whose each of their
    /// connections is: what comes from there has to, what comes from elsewhere must not. Default none.
    pub proxies: Vec<String>,
    /// What all sessions of an account may send: stanzas at once, and then a second; who is faster
    /// is read more slowly. Default 10,000 and 200; 0 a second: as fast as it goes.
    pub stanza_burst: u32,
    pub stanzas_per_second: u32,
    /// Offer PLAIN beside SCRAM, always inside TLS. Default true: mcabber and go-sendxmpp need it.
    pub plain: bool,
    /// SCRAM with these hashes, the preferred first. Default both. Who has imported accounts with
    /// password keys for one alone names that, so that clients do not try the other.
    pub scram: Vec<Scram>,
    /// Octets of a stanza before the client has logged in. Default 16 KiB; RFC 6120 §13.12 asks
    /// for 10,000 or more.
    pub stanza_bytes_before_login: u32,
    /// Octets of a stanza. Default 256 KiB, which the MLS extension counts on.
    pub stanza_bytes: u32,
    /// From connecting to a bound session. Default 1 min.
    #[serde(with = "crate::duration")]
    pub negotiation: Duration,
    /// A client silent for this long is asked for a sign of life. Default 5 min, below the timeouts
    /// of most NATs.
    #[serde(with = "crate::duration")]
    pub silence: Duration,
    /// How long it then has to give one. Default 30 s.
    #[serde(with = "crate::duration")]
    pub sign_of_life: Duration,
    /// How long a session waits for a client that has lost its connection (XEP-0198 §5). Default
    /// 5 min: a train in a tunnel. `0s`: it does not.
    #[serde(with = "crate::duration")]
    pub resumption: Duration,
    /// How long a client may log in again with a token instead of its password (XEP-0484), counted
    /// from when it got it; a token in use is replaced in time. Default 21 d. `0s`: there are none.
    #[serde(with = "crate::duration")]
    pub fast: Duration,
    /// Stanzas waiting for a session; a client that lets it fill up is dropped. Default 1,024.
    pub queue: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Scram {
    #[serde(rename = "SCRAM-SHA-1")]
    Sha1,
    #[serde(rename = "SCRAM-SHA-256")]
    Sha256,
}

impl Default for C2s {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 5222))],
            listen_tls: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 5223))],
            connections: 10_000,
            connections_per_address: 100,
            connections_per_minute: 300,
            failures_per_address: 10,
            failures_per_account: 20,
            proxies: Vec::new(),
            stanza_burst: 10_000,
            stanzas_per_second: 200,
            plain: true,
            scram: vec![Scram::Sha256, Scram::Sha1],
            stanza_bytes_before_login: 16 << 10,
            stanza_bytes: 256 << 10,
            negotiation: Duration::from_secs(60),
            silence: Duration::from_secs(5 * 60),
            sign_of_life: Duration::from_secs(30),
            resumption: Duration::from_secs(5 * 60),
            fast: Duration::from_secs(21 * 24 * 3600),
            queue: 1024,
        }
    }
}
