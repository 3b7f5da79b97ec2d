//! Which challenge of ACME (RFC 8555 §8) can work for a domain? The authority goes to the domain's
//! addresses, and those are often another machine.

use comity_net::reflect::{self, Unreflected};

use super::{Findings, Ground};
use crate::run::acme::failure_of;
use crate::run::tls::files;

const CHECK: &str = "acme";

pub(super) async fn check(ground: &Ground, domain: &str, found: &mut Findings) {
    let acme = ground.conf.tls.acme_for(domain);
    // With a certificate that somebody else looks after, nobody needs to know.
    if ground.conf.tls.certificates.contains_key(domain) || domain == "localhost" {
        return;
    }
    if acme.is_some() {
        let note = failure_of(&files(&ground.conf, domain));
        if let Ok(why) = std::fs::read_to_string(&note) {
            let what = format!("the last order of a certificate failed: {why}");
            let todo = "mend what is said; the server tries again by itself, and at its next start";
            found.fault(CHECK, domain, what, todo);
        }
    }
    let addresses = match ground.lookup.addresses(domain).await {
        Ok(addresses) if !addresses.is_empty() => addresses,
        // The DNS is another check's.
        _ => return,
    };
    let mut possible = Vec::new();
    let mut faults = Vec::new();
    for (challenge, port) in [("http-01", 80), ("tls-alpn-01", 443)] {
        match reflect::reflect(port, &addresses).await {
            Ok(()) => possible.push(challenge),
            Err(why) => faults.push(explain(challenge, port, domain, &why)),
        }
    }
    let faults = faults.join("\n");
    let wanted = acme.map(|acme| acme.challenge.name());
    match wanted {
        Some("dns-01") => {}
        Some(wanted) if !possible.contains(&wanted) => {
            let what = format!("{wanted}, which is configured, cannot work");
            found.fault(CHECK, domain, what, faults + "\n" + DNS);
        }
        _ if possible.is_empty() => {
            let what = "neither http-01 nor tls-alpn-01 can work, but dns-01 may";
            found.advice(CHECK, domain, what, faults + "\n" + DNS);
        }
        _ => found.ok(
            CHECK,
            domain,
            format!("{} can work", possible.join(" and ")),
        ),
    }
}

const DNS: &str = "dns-01 needs no port: in [tls.acme], challenge = \"dns-01\" with update or hook";

fn explain(challenge: &str, port: u16, domain: &str, why: &Unreflected) -> String {
    match why {
        Unreflected::Busy => format!(
            "{challenge}: port {port} belongs to another program here; let it go, or let that \
             program get the certificate"
        ),
        Unreflected::Forbidden => format!(
            "{challenge}: this user may not open port {port}: AmbientCapabilities=\
             CAP_NET_BIND_SERVICE in the service's unit lets it"
        ),
        Unreflected::Elsewhere(address) => format!(
            "{challenge}: {domain} is at {address}, and what is sent to its port {port} does not \
             come to this machine: open or forward it, or take {address} out of the DNS"
        ),
        Unreflected::Io(error) => format!("{challenge}: {error}"),
    }
}
