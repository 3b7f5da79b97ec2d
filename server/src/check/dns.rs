//! Do the DNS's records lead to us?

use std::net::IpAddr;

use comity_net::address::confined;
use comity_net::dns::Srv;

use super::records::{Service, ascii, record, services};
use super::{Findings, Ground};

const CHECK: &str = "dns";

pub(super) async fn check(ground: &Ground, domain: &str, found: &mut Findings) {
    if domain == "localhost" {
        let what = "it is for trying out, and no other machine finds it";
        let todo = "write the domain you own into server.domains";
        return found.advice(CHECK, domain, what, todo);
    }
    let addresses = addresses(ground, domain, found).await;
    for service in services(&ground.conf) {
        let name = format!("_{}._tcp.{domain}", service.name);
        match ground.lookup.srv(&name).await {
            Err(error) => found.fault(
                CHECK,
                domain,
                error.to_string(),
                format!(
                    "see that the name servers in /etc/resolv.conf answer, and those of {domain}"
                ),
            ),
            Ok(records) if records.is_empty() => {
                missing(&service, domain, addresses.is_some_and(|some| some), found);
            }
            Ok(records) => present(ground, &service, domain, &records, found).await,
        }
    }
}

/// Whether the domain has addresses; None where nobody knows.
async fn addresses(ground: &Ground, domain: &str, found: &mut Findings) -> Option<bool> {
    match ground.lookup.addresses(domain).await {
        Ok(addresses) if addresses.is_empty() => Some(false),
        Ok(addresses) => {
            reachable(domain, domain, &addresses, found);
            Some(true)
        }
        Err(error) => {
            let todo = "see that the name servers in /etc/resolv.conf answer";
            found.fault(CHECK, domain, error.to_string(), todo);
            None
        }
    }
}

/// Says where a host is, and whether that can be reached from elsewhere.
fn reachable(domain: &str, host: &str, addresses: &[IpAddr], found: &mut Findings) {
    let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let list = list.join(", ");
    if addresses.iter().any(|address| confined(*address).is_none()) {
        return found.ok(CHECK, domain, format!("{host} is at {list}"));
    }
    found.advice(
        CHECK,
        domain,
        format!("{host} is at {list}, which nobody can reach from the Internet"),
        format!(
            "{}. 3600 IN A <the public address of this machine>\n(well as it is for a private \
             network, or where this network has answers of its own for {host})",
            ascii(host)
        ),
    );
}

fn missing(service: &Service, domain: &str, has_address: bool, found: &mut Findings) {
    let Some(port) = service.ports.first() else {
        return;
    };
    let name = format!("_{}._tcp.{domain}", service.name);
    let mut todo = record(service.name, domain, *port);
    match service.fallback {
        // RFC 6120 §3.2.2.
        Some(fallback) if service.ports.contains(&fallback) && has_address => found.advice(
            CHECK,
            domain,
            format!("there is no record {name}: others try {domain}:{fallback} instead"),
            todo,
        ),
        Some(_) => {
            if !has_address {
                let address = "IN A <the public address of this machine>";
                todo = format!("{todo}\n{}. 3600 {address}", ascii(domain));
            }
            let what = format!("there is no record {name}: nobody finds the way");
            found.fault(CHECK, domain, what, todo);
        }
        None => found.advice(
            CHECK,
            domain,
            format!("there is no record {name}: direct TLS (XEP-0368) is not found"),
            todo,
        ),
    }
}

async fn present(
    ground: &Ground,
    service: &Service,
    domain: &str,
    records: &[Srv],
    found: &mut Findings,
) {
    let name = format!("_{}._tcp.{domain}", service.name);
    for srv in records {
        // RFC 2782: a target of "." is a decided no.
        if srv.target == "." {
            if let Some(port) = service.ports.first() {
                let what = format!("{name} says that the service is not offered; it is");
                found.fault(CHECK, domain, what, record(service.name, domain, *port));
            }
            continue;
        }
        let place = format!("{}:{}", srv.target, srv.port);
        if service.ports.is_empty() {
            let what = format!("{name} leads to {place}, but {} is empty", service.key);
            let todo = format!(
                "remove the record, or {} = [\"[::]:{}\"]",
                service.key, srv.port
            );
            found.fault(CHECK, domain, what, todo);
            continue;
        }
        if !service.ports.contains(&srv.port) {
            let what = format!(
                "{name} leads to {place}, but this server listens on {:?}: well only if \
                 something forwards one to the other",
                service.ports
            );
            let todo = record(service.name, domain, service.ports[0]);
            found.advice(CHECK, domain, what, todo);
        }
        match ground.lookup.addresses(&srv.target).await {
            Ok(addresses) if addresses.is_empty() => found.fault(
                CHECK,
                domain,
                format!("{name} leads to {place}, which has no address"),
                format!(
                    "{}. 3600 IN A <the public address of this machine>",
                    ascii(&srv.target)
                ),
            ),
            Ok(addresses) if srv.target != domain => {
                reachable(domain, &srv.target, &addresses, found);
            }
            Ok(_) => found.ok(CHECK, domain, format!("{name} leads to {place}")),
            Err(error) => {
                let todo = format!("see that the name servers of {} answer", srv.target);
                found.fault(CHECK, domain, error.to_string(), todo);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::zone::{Zone, ground};
    use super::super::{Finding, Level};
    use super::*;

    async fn found(zone: Zone, change: impl FnOnce(&mut comity_conf::Conf)) -> Vec<Finding> {
        let mut ground = ground(zone);
        change(&mut ground.conf);
        let mut found = Findings::default();
        check(&ground, "a.example", &mut found).await;
        found.0
    }

    fn all(zone: Zone) -> Zone {
        zone.srv("_xmpp-client._tcp.a.example", "a.example", 5222)
            .srv("_xmpps-client._tcp.a.example", "a.example", 5223)
            .srv("_xmpp-server._tcp.a.example", "a.example", 5269)
            .srv("_xmpps-server._tcp.a.example", "a.example", 5270)
    }

    #[tokio::test]
    async fn a_domain_with_all_its_records_is_well() {
        let zone = all(Zone::default().address("a.example", "192.0.2.1"));
        let found = found(zone, |_| ()).await;
        assert!(found.iter().all(|f| f.level == Level::Ok), "{found:#?}");
        assert_eq!(found.len(), 5);
    }

    #[tokio::test]
    async fn a_fresh_domain_is_told_every_record() {
        let found = found(Zone::default(), |_| ()).await;
        let faults: Vec<_> = found.iter().filter(|f| f.level == Level::Fault).collect();
        assert_eq!(faults.len(), 2, "{found:#?}");
        let todo: Vec<_> = found.iter().filter_map(|f| f.todo.clone()).collect();
        let todo = todo.join("\n");
        for service in ["xmpp-client", "xmpps-client", "xmpp-server", "xmpps-server"] {
            assert!(
                todo.contains(&format!("_{service}._tcp.a.example. ")),
                "{todo}"
            );
        }
        assert!(todo.contains("a.example. 3600 IN A "), "{todo}");
    }

    #[tokio::test]
    async fn records_that_lead_elsewhere_are_named() {
        let at = || Zone::default().address("a.example", "192.0.2.1");
        let zone = all(at().srv("_xmpp-server._tcp.a.example", "gone.example", 5269));
        let gone = found(zone, |_| ()).await;
        let fault = gone.iter().find(|f| f.level == Level::Fault).unwrap();
        assert!(
            fault
                .what
                .contains("gone.example:5269, which has no address")
        );

        let zone = at().srv("_xmpp-client._tcp.a.example", "a.example", 1);
        let other = found(zone, |_| ()).await;
        assert!(other.iter().any(|f| f.what.contains("listens on [5222]")));

        let zone = at().srv("_xmpp-server._tcp.a.example", ".", 0);
        let denied = found(zone, |_| ()).await;
        assert!(
            denied
                .iter()
                .any(|f| f.what.contains("is not offered; it is"))
        );

        let closed = found(all(at()), |conf| conf.s2s.listen_tls.clear()).await;
        let fault = closed.iter().find(|f| f.level == Level::Fault).unwrap();
        assert!(fault.what.contains("s2s.listen_tls is empty"), "{fault:?}");
    }

    #[tokio::test]
    async fn private_addresses_and_a_silent_dns() {
        let zone = all(Zone::default().address("a.example", "192.168.1.2"));
        let private = found(zone, |_| ()).await;
        assert!(private.iter().any(|f| f.what.contains("nobody can reach")));
        let silent = found(Zone::default().failing("a.example"), |_| ()).await;
        assert!(silent.iter().any(|f| f.level == Level::Fault));
    }
}
