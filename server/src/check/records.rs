//! The DNS records of a domain, as `comity init` prints them and the checks miss them.

use comity_conf::Conf;
use comity_net::tls;

/// A service that SRV records name (RFC 6120 §3.2.1, XEP-0368).
pub(super) struct Service {
    pub(super) name: &'static str,
    /// Where it listens here.
    pub(super) ports: Vec<u16>,
    /// Where it is looked for without a record; direct TLS is not.
    pub(super) fallback: Option<u16>,
    /// For servers, not clients.
    pub(super) peers: bool,
    /// The key in the configuration.
    pub(super) key: &'static str,
}

pub(super) fn services(conf: &Conf) -> [Service; 4] {
    let ports = |listen: &[std::net::SocketAddr]| {
        let mut ports: Vec<u16> = listen.iter().map(std::net::SocketAddr::port).collect();
        ports.dedup();
        ports
    };
    let service = |name, listen: &[_], fallback, peers, key| Service {
        name,
        ports: ports(listen),
        fallback,
        peers,
        key,
    };
    let (c2s, s2s) = (&conf.c2s, &conf.s2s);
    [
        service("xmpp-client", &c2s.listen, Some(5222), false, "c2s.listen"),
        service(
            "xmpps-client",
            &c2s.listen_tls,
            None,
            false,
            "c2s.listen_tls",
        ),
        service("xmpp-server", &s2s.listen, Some(5269), true, "s2s.listen"),
        service(
            "xmpps-server",
            &s2s.listen_tls,
            None,
            true,
            "s2s.listen_tls",
        ),
    ]
}

/// A domain as the DNS writes it.
pub(super) fn ascii(domain: &str) -> String {
    tls::ascii(domain).unwrap_or_else(|_| domain.to_owned())
}

pub(super) fn record(service: &str, domain: &str, port: u16) -> String {
    let domain = ascii(domain);
    let name = format!("_{service}._tcp.{domain}.");
    format!("{name:<32} 3600 IN SRV 0 5 {port} {domain}.")
}

/// All SRV records of a domain served as the configuration says.
#[must_use]
pub fn records(conf: &Conf, domain: &str) -> Vec<String> {
    services(conf)
        .iter()
        .filter_map(|service| Some(record(service.name, domain, *service.ports.first()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_that_is_open_has_its_record() {
        let mut conf = Conf::default();
        let all = records(&conf, "b\u{fc}cher.example");
        assert_eq!(all.len(), 4);
        assert_eq!(
            all[3],
            "_xmpps-server._tcp.xn--bcher-kva.example. 3600 IN SRV 0 5 5270 xn--bcher-kva.example."
        );
        conf.c2s.listen_tls.clear();
        assert_eq!(records(&conf, "a.example").len(), 3);
    }
}
