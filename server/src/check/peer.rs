//! The way to another domain: its records, its addresses, and a real stream to each of its servers,
//! made by the running server as for any stanza.

use std::collections::HashMap;

use comity_net::dns::order::Start;
use comity_s2s::resolve::{Nowhere, resolve};
use comity_xmpp::jid::BareJid;

use crate::admin::client::{Client, Error};
use crate::admin::protocol::{Answer, Peer, Probe, Request};

use super::records::record;
use super::{Findings, Ground};

const CHECK: &str = "peer";

pub(super) async fn check(
    ground: &Ground,
    server: Option<&mut Client>,
    peer: &str,
    found: &mut Findings,
) {
    let jid = BareJid::parse(peer)
        .ok()
        .filter(|jid| jid.local().is_none());
    let Some(peer) = jid.map(|jid| jid.domain().to_owned()) else {
        return found.fault(
            CHECK,
            peer,
            "that is no domain",
            "write it as in bob@DOMAIN",
        );
    };
    if ground.conf.server.domains.contains(&peer) {
        let what = "it is served here, and needs no stream";
        return found.advice(
            CHECK,
            &peer,
            what,
            "comity check, without a domain, looks at it",
        );
    }
    records(ground, &peer, found).await;
    let Some(server) = server else {
        let what = "no server is running here, which could try a stream";
        return found.advice(CHECK, &peer, what, "comity serve --config FILE");
    };
    if allowed(server, &peer, found).await {
        streams(server, &peer, found).await;
    }
}

async fn records(ground: &Ground, peer: &str, found: &mut Findings) {
    if let Some(target) = ground.conf.s2s.targets.get(peer) {
        let what = format!(
            "s2s.targets says that it is at {}: the DNS is not asked",
            target.address
        );
        return found.ok(CHECK, peer, what);
    }
    // In the order of the records, not of a lot.
    let targets = resolve(&*ground.lookup, &HashMap::new(), peer, &mut |_| 0).await;
    let targets = match targets {
        Ok(targets) => targets,
        Err(why @ Nowhere::NotOffered(_)) => {
            let todo = format!(
                "its operator has to set\n{}",
                record("xmpp-server", peer, 5269)
            );
            return found.fault(CHECK, peer, why.to_string(), todo);
        }
        Err(why) => {
            let todo =
                format!("see that /etc/resolv.conf is right, and the name servers of {peer}");
            return found.fault(CHECK, peer, why.to_string(), todo);
        }
    };
    for target in targets {
        let place = format!("{}:{}", target.host, target.port);
        let how = match target.start {
            Start::StartTls => "STARTTLS",
            Start::Direct => "direct TLS",
        };
        match ground.lookup.addresses(&target.host).await {
            Ok(addresses) if addresses.is_empty() => found.fault(
                CHECK,
                peer,
                format!("the DNS leads to {place}, which has no address"),
                format!(
                    "its operator has to give {} an address, or to set\n{}",
                    target.host,
                    record("xmpp-server", peer, 5269)
                ),
            ),
            Ok(addresses) => {
                let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                let what = format!("the DNS leads to {place} ({how}), at {}", list.join(", "));
                found.ok(CHECK, peer, what);
            }
            Err(error) => {
                let todo = format!("see that the name servers of {} answer", target.host);
                found.fault(CHECK, peer, error.to_string(), todo);
            }
        }
    }
}

/// Whether we want streams with it at all.
async fn allowed(server: &mut Client, peer: &str, found: &mut Findings) -> bool {
    let request = Request::PeerShow {
        domain: peer.to_owned(),
    };
    let known: Peer = match server.ask(&request).await {
        Ok(Answer::Peer { peer, .. }) => peer,
        Ok(_) => return false,
        Err(error) => {
            found.fault(CHECK, peer, error.to_string(), "restart the server");
            return false;
        }
    };
    if known.blocked.is_some() {
        let todo = format!("comity peer unblock {peer}");
        found.fault(CHECK, peer, "it is blocked here", todo);
    } else if !known.allowed {
        let todo = format!(
            "in [s2s], with federation = \"listed\": allow = [\"{peer}\"]; and take it out of deny"
        );
        found.fault(
            CHECK,
            peer,
            "the configuration has no streams with it",
            todo,
        );
    } else {
        return true;
    }
    false
}

async fn streams(server: &mut Client, peer: &str, found: &mut Findings) {
    let request = Request::PeerProbe {
        domain: peer.to_owned(),
    };
    let probes = match server.ask(&request).await {
        Ok(Answer::Probes { probes }) => probes,
        Ok(other) => {
            let todo = "restart the server, so that it is of this program's version";
            return found.fault(CHECK, peer, format!("{other:?}"), todo);
        }
        // What the DNS did not tell was said before.
        Err(Error::Refused(why)) => return found.fault(CHECK, peer, why, "see above"),
        Err(error) => return found.fault(CHECK, peer, error.to_string(), "see the server's log"),
    };
    for probe in probes {
        told(peer, probe, found);
    }
}

fn told(peer: &str, probe: Probe, found: &mut Findings) {
    let Probe {
        from,
        at,
        how,
        error,
        todo,
        by,
        dialback,
        certificate_ends,
        ends_soon,
    } = probe;
    if let Some(error) = error {
        let what = format!("no stream from {from} to {at} ({how}): {error}");
        return found.fault(CHECK, peer, what, todo.unwrap_or_default());
    }
    let by = match by.as_deref() {
        Some("EXTERNAL") if dialback => "by our certificate (EXTERNAL); it takes dialback as well",
        Some("EXTERNAL") => "by our certificate (EXTERNAL)",
        Some(_) => "by dialback, for want of a certificate of ours that it believes",
        None => "by itself",
    };
    let ends = certificate_ends.unwrap_or_else(|| "an unknown day".to_owned());
    let what = format!(
        "a stream from {from} to {at} ({how}) is authenticated {by}; its certificate lasts until \
         {ends}"
    );
    if ends_soon {
        let todo = format!("{peer}'s operator has to renew it, or there will be no streams");
        found.advice(CHECK, peer, format!("{what}, which is soon"), todo);
    } else {
        found.ok(CHECK, peer, what);
    }
}
