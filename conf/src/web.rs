//! `[web]`: the pages this server serves itself, over HTTPS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Web {
    /// Where it listens. Default port 5443 on all addresses: where nothing else serves the domain's
    /// web, 443 lets browsers find everything by themselves. None is none.
    pub listen: Vec<SocketAddr>,
    /// What browsers and clients are told to call, without a slash at its end; `{domain}` stands
    /// for the domain. Default none: the domain, at the first port of `listen`. For a proxy in
    /// front, or another host.
    pub url: String,
    /// Whose pages may open streams from a browser (RFC 6454), as in `https://chat.example`, beside
    /// those of our own domains; `*` for all. Default none: others could use their visitors'
    /// browsers and addresses to guess passwords. Clients outside browsers name no origin, and are
    /// served.
    pub origins: Vec<String>,
    /// From which addresses the metrics may be read. Default this machine's own.
    pub metrics_from: Vec<IpAddr>,
    /// From which addresses the status page may be read. Default this machine's own.
    pub status_from: Vec<IpAddr>,
    /// Addresses and networks of proxies in front, which say in the PROXY protocol whose each of
    /// their connections is. Default none.
    pub proxies: Vec<String>,
    /// Connections at a time, each listener. Default 1,000.
    pub connections: u32,
    /// Connections at a time from one IP address. Default 100: an office behind one address.
    pub connections_per_address: u32,
    /// Connections that one IP address may open in a minute, at each listener; 0: without limit.
    /// Default 300.
    pub connections_per_minute: u32,
}

impl Default for Web {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 5443))],
            url: String::new(),
            origins: Vec::new(),
            metrics_from: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            status_from: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            proxies: Vec::new(),
            connections: 1_000,
            connections_per_address: 100,
            connections_per_minute: 300,
        }
    }
}
