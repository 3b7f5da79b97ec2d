//! `[s2s]`: the streams of other domains.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Peer;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct S2s {
    /// Where other domains connect and then start TLS. Default port 5269 on all addresses.
    pub listen: Vec<SocketAddr>,
    /// Where TLS comes first (XEP-0368). Default port 5270 on all addresses.
    pub listen_tls: Vec<SocketAddr>,
    /// With whom. Default `open`: every domain that proves itself, except those in `deny`.
    pub federation: Federation,
    /// The domains of `federation = "listed"`.
    pub allow: Vec<String>,
    /// Domains refused in any case.
    pub deny: Vec<String>,
    /// May domains prove themselves by dialback (XEP-0220)? Default `never`: a certificate does.
    pub dialback: Dialback,
    /// Where to find a domain without asking DNS: for test set-ups and private links.
    pub targets: BTreeMap<String, Target>,
    /// Go also to private and loopback addresses that the DNS names. Default false: anybody's
    /// domain could otherwise lead us to what listens on this machine and in its network. `targets`
    /// need no leave.
    pub private_addresses: bool,
    /// What holds for single domains.
    pub peers: BTreeMap<String, Peer>,
    /// What holds for single domains of ours in place of the above.
    pub domains: BTreeMap<String, Own>,
    /// Let one stream carry both directions (XEP-0288) with domains that know how. Default true:
    /// half the connections, and answers need no way of their own.
    pub bidi: bool,
    /// Show our certificate to the servers we connect to, and prove ourselves by it (EXTERNAL,
    /// XEP-0178). Default true; false: we prove ourselves by dialback alone.
    pub client_certificate: bool,
    /// Incoming connections at a time, each listener. Default 1,000.
    pub connections: u32,
    /// Incoming connections at a time from one IP address. Default 50.
    pub connections_per_address: u32,
    /// Octets of a stanza from another domain. Default 256 KiB, which the MLS extension counts on.
    pub stanza_bytes: u32,
    /// For each address tried. Default 10 s.
    #[serde(with = "crate::duration")]
    pub connect: Duration,
    /// From connected to authenticated, in either direction. Default 30 s.
    #[serde(with = "crate::duration")]
    pub negotiation: Duration,
    /// A stream over which nothing went for this long is closed. Default 10 min.
    #[serde(with = "crate::duration")]
    pub idle: Duration,
    /// The first pause before an unreachable domain is tried again; it doubles. Default 2 s.
    #[serde(with = "crate::duration")]
    pub retry_first: Duration,
    /// The longest pause. Default 5 min: how long a domain that is back may wait for its mail.
    #[serde(with = "crate::duration")]
    pub retry_most: Duration,
    /// Messages wait for an unreachable domain this long, then their senders are told. Default
    /// 3 days, a long weekend.
    #[serde(with = "crate::duration")]
    pub outbox_expiry: Duration,
    /// The same for a domain that the DNS knows nothing of. Default 5 min: it is a slip of the pen
    /// more often than a fault that passes.
    #[serde(with = "crate::duration")]
    pub unknown_expiry: Duration,
    /// Presence and IQs in memory for a domain that is being reached. Default 1,024.
    pub queue: u32,
}

/// What holds for one of our domains; a key that is left out is as in `[s2s]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Own {
    pub federation: Option<Federation>,
    pub allow: Option<Vec<String>>,
    pub deny: Option<Vec<String>>,
    pub dialback: Option<Dialback>,
    /// An entry takes the place of the one for the same domain in `s2s.peers`.
    pub peers: BTreeMap<String, Peer>,
}

/// All that holds for the streams of one of our domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub federation: Federation,
    pub allow: Vec<String>,
    pub deny: Vec<String>,
    pub dialback: Dialback,
    pub peers: BTreeMap<String, Peer>,
}

impl S2s {
    /// What holds for one of our domains.
    #[must_use]
    pub fn rules(&self, ours: &str) -> Rules {
        let own = self.domains.get(ours).cloned().unwrap_or_default();
        let mut peers = self.peers.clone();
        peers.extend(own.peers);
        Rules {
            federation: own.federation.unwrap_or(self.federation),
            allow: own.allow.unwrap_or_else(|| self.allow.clone()),
            deny: own.deny.unwrap_or_else(|| self.deny.clone()),
            dialback: own.dialback.unwrap_or(self.dialback),
            peers,
        }
    }
}

/// With whom streams are possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Federation {
    #[default]
    Open,
    /// Only the domains in `allow`.
    Listed,
    /// Nobody.
    Off,
}

/// XEP-0220, always inside TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialback {
    #[default]
    Never,
    /// Where no certificate is shown to us, and where ours is not wanted. A certificate that was
    /// shown and fails is never made up for.
    Fallback,
}

/// `"127.0.0.1:5269"`, or a table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "Written", into = "Written")]
pub struct Target {
    pub address: SocketAddr,
    /// Default STARTTLS.
    pub tls: TargetTls,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetTls {
    #[default]
    Starttls,
    Direct,
}

#[derive(Deserialize, Serialize)]
#[serde(
    untagged,
    expecting = "an address as \"192.0.2.1:5269\", or { address = \"…\", tls = \"starttls\" or \"direct\" }"
)]
enum Written {
    Address(SocketAddr),
    Table(Table),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Table {
    address: SocketAddr,
    #[serde(default)]
    tls: TargetTls,
}

impl From<Written> for Target {
    fn from(written: Written) -> Self {
        match written {
            Written::Address(address) => Self {
                address,
                tls: TargetTls::Starttls,
            },
            Written::Table(Table { address, tls }) => Self { address, tls },
        }
    }
}

impl From<Target> for Written {
    fn from(Target { address, tls }: Target) -> Self {
        Self::Table(Table { address, tls })
    }
}

impl Default for S2s {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 5269))],
            listen_tls: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 5270))],
            federation: Federation::Open,
            allow: Vec::new(),
            deny: Vec::new(),
            dialback: Dialback::Never,
            targets: BTreeMap::new(),
            private_addresses: false,
            peers: BTreeMap::new(),
            domains: BTreeMap::new(),
            bidi: true,
            client_certificate: true,
            connections: 1_000,
            connections_per_address: 50,
            stanza_bytes: 256 << 10,
            connect: Duration::from_secs(10),
            negotiation: Duration::from_secs(30),
            idle: Duration::from_secs(10 * 60),
            retry_first: Duration::from_secs(2),
            retry_most: Duration::from_secs(5 * 60),
            outbox_expiry: Duration::from_secs(3 * 24 * 3600),
            unknown_expiry: Duration::from_secs(5 * 60),
            queue: 1024,
        }
    }
}
