//! Tries another domain's servers for the operator, from each of our domains.

use std::time::SystemTime;

use comity_net::dns::order::Start;
use comity_s2s::probe::{Fruitless, Met, Probe as Tried, Whose};
use openssl::x509::X509;

use super::peers::Streams;
use crate::admin::protocol::Probe;
use crate::check::certificate::ends_soon;

/// Domains of ours that try.
const OURS: usize = 8;

pub(super) async fn probe(
    streams: &Streams,
    ours: &[String],
    domain: &str,
    now: SystemTime,
) -> Result<Vec<Probe>, String> {
    let peers = streams.peers().ok_or("the server is stopping")?;
    let mut probes = Vec::new();
    for from in ours.iter().take(OURS) {
        let tried = peers.probe(from, domain).await;
        let tried = tried.map_err(|nowhere| nowhere.to_string())?;
        probes.extend(
            tried
                .into_iter()
                .map(|tried| told(from, domain, now, tried)),
        );
    }
    Ok(probes)
}

fn told(from: &str, domain: &str, now: SystemTime, tried: Tried) -> Probe {
    let probe = Probe {
        from: from.to_owned(),
        at: format!("{}:{}", tried.target.host, tried.target.port),
        how: match tried.target.start {
            Start::StartTls => "STARTTLS".to_owned(),
            Start::Direct => "direct TLS".to_owned(),
        },
        ..Probe::default()
    };
    match tried.result {
        Ok(Met { shown, ways }) => {
            let first = shown.first().and_then(|der| X509::from_der(der).ok());
            let ends = first.as_ref().map(|first| first.not_after());
            Probe {
                by: ways.taken.map(|way| way.name().to_owned()),
                dialback: ways.dialback,
                certificate_ends: ends.map(ToString::to_string),
                ends_soon: ends.is_some_and(|ends| ends_soon(ends, now)),
                ..probe
            }
        }
        Err(Fruitless {
            why,
            whose,
            dialback,
        }) => Probe {
            error: Some(why),
            todo: Some(todo(from, domain, whose, dialback)),
            dialback,
            ..probe
        },
    }
}

fn todo(from: &str, domain: &str, whose: Whose, dialback: bool) -> String {
    match whose {
        Whose::Network => format!(
            "let this machine connect to that port; if it may, {domain}'s operator has to open it"
        ),
        Whose::Theirs => format!(
            "{domain}'s operator has to get a certificate for {domain} that is believed; where \
             you run that domain too: tls.extra_roots = [\"its authority.pem\"]"
        ),
        Whose::Ours if dialback => format!(
            "it takes dialback as well: in [s2s], dialback = \"fallback\"\n\
             or see that the certificate of {from} is believed: comity check"
        ),
        Whose::Ours => format!(
            "see that the certificate of {from} is believed: comity check\n(where {domain} is a \
             private network, its operator has to trust our authority)"
        ),
        Whose::Peer => format!("{domain}'s operator has to mend that"),
    }
}
