//! Tries another domain's servers for the operator, from each of our domains.

use comity_net::dns::order::Start;
use comity_s2s::probe::{Fruitless, Probe as Tried, Whose};
use openssl::x509::X509;

use super::peers::Streams;
use crate::admin::protocol::Probe;

/// Domains of ours that try.
const OURS: usize = 8;

pub(super) async fn probe(
    streams: &Streams,
    ours: &[String],
    domain: &str,
) -> Result<Vec<Probe>, String> {
    let peers = streams.peers().ok_or("the server is stopping")?;
    let mut probes = Vec::new();
    for from in ours.iter().take(OURS) {
        let tried = peers.probe(from, domain).await;
        let tried = tried.map_err(|nowhere| nowhere.to_string())?;
        probes.extend(tried.into_iter().map(|tried| told(from, domain, tried)));
    }
    Ok(probes)
}

fn told(from: &str, domain: &str, tried: Tried) -> Probe {
    let (error, todo, certificate_ends) = match tried.result {
        Ok(shown) => {
            let first = shown.first().and_then(|der| X509::from_der(der).ok());
            (None, None, first.map(|first| first.not_after().to_string()))
        }
        Err(Fruitless { why, whose }) => (Some(why), Some(todo(from, domain, whose)), None),
    };
    Probe {
        from: from.to_owned(),
        at: format!("{}:{}", tried.target.host, tried.target.port),
        how: match tried.target.start {
            Start::StartTls => "STARTTLS".to_owned(),
            Start::Direct => "direct TLS".to_owned(),
        },
        error,
        todo,
        certificate_ends,
    }
}

fn todo(from: &str, domain: &str, whose: Whose) -> String {
    match whose {
        Whose::Network => format!(
            "let this machine connect to that port; if it may, {domain}'s operator has to open it"
        ),
        Whose::Theirs => format!(
            "{domain}'s operator has to get a certificate for {domain} that is believed; where \
             you run that domain too: tls.extra_roots = [\"its authority.pem\"]"
        ),
        Whose::Ours => format!(
            "see that the certificate of {from} is believed: comity check\n(where {domain} is a \
             private network, its operator has to trust our authority)"
        ),
        Whose::Peer => format!("{domain}'s operator has to mend that"),
    }
}
