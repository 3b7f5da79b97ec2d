//! Where a domain's server is: what the operator says, else what the DNS says.

use std::collections::HashMap;

use comity_net::dns::order::{Start, Target, targets};
use comity_net::dns::{DnsError, Lookup, Srv};
use comity_net::tls::Service;

/// The port of server-to-server streams where the DNS names none (RFC 6120 §14.7).
pub const DEFAULT_PORT: u16 = 5269;

/// Why a domain has no target to try.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nowhere {
    #[error(transparent)]
    Dns(#[from] DnsError),
    #[error("{0} says in the DNS that it offers no XMPP service")]
    NotOffered(String),
}

/// The targets of a domain, in the order in which they are to be tried.
pub async fn resolve(
    lookup: &dyn Lookup,
    overrides: &HashMap<String, Target>,
    domain: &str,
    draw: &mut (dyn FnMut(u32) -> u32 + Send),
) -> Result<Vec<Target>, Nowhere> {
    if let Some(target) = overrides.get(domain) {
        return Ok(vec![target.clone()]);
    }
    let fallback = Target {
        host: domain.to_owned(),
        port: DEFAULT_PORT,
        start: Start::StartTls,
    };
    if is_address(domain) {
        return Ok(vec![fallback]);
    }
    let plain_name = format!("_{}._tcp.{domain}", Service::Server.name());
    let direct_name = format!("_{}._tcp.{domain}", Service::Server.direct_name());
    let plain = lookup.srv(&plain_name);
    let direct = lookup.srv(&direct_name);
    let (plain, direct) = tokio::join!(plain, direct);
    let (plain, direct) = one_is_enough(plain, direct)?;
    targets(plain, direct, fallback, draw).ok_or_else(|| Nowhere::NotOffered(domain.to_owned()))
}

/// An address has no SRV records.
fn is_address(domain: &str) -> bool {
    let bare = domain.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<std::net::IpAddr>().is_ok()
}

/// A resolver that fails for one of the names still tells enough with the other; but when no
/// record came and one question failed, nobody knows whether the domain has records, and the
/// fallback to its address must not be taken (it might be somebody else's server).
fn one_is_enough(
    plain: Result<Vec<Srv>, DnsError>,
    direct: Result<Vec<Srv>, DnsError>,
) -> Result<(Vec<Srv>, Vec<Srv>), DnsError> {
    match (plain, direct) {
        (Ok(plain), Ok(direct)) => Ok((plain, direct)),
        (Ok(one), Err(_)) if !one.is_empty() => Ok((one, Vec::new())),
        (Err(_), Ok(one)) if !one.is_empty() => Ok((Vec::new(), one)),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use comity_net::dns::Later;

    use super::*;

    /// Answers with one record for the names it knows, with an error for the others it is told of.
    struct Zone {
        known: Vec<(&'static str, &'static str)>,
        failing: Vec<&'static str>,
    }

    impl Lookup for Zone {
        fn srv<'a>(&'a self, name: &'a str) -> Later<'a, Result<Vec<Srv>, DnsError>> {
            Box::pin(async move {
                if self.failing.contains(&name) {
                    return Err(DnsError {
                        name: name.to_owned(),
                        why: "no answer".to_owned(),
                    });
                }
                let found = self.known.iter().filter(|(known, _)| *known == name);
                let records = found.map(|(_, target)| Srv {
                    priority: 0,
                    weight: 0,
                    port: 1,
                    target: (*target).to_owned(),
                });
                Ok(records.collect())
            })
        }

        fn addresses<'a>(&'a self, _: &'a str) -> Later<'a, Result<Vec<IpAddr>, DnsError>> {
            Box::pin(async { Ok(Vec::new()) })
        }
    }

    const PLAIN: &str = "_xmpp-server._tcp.b.example";
    const DIRECT: &str = "_xmpps-server._tcp.b.example";

    async fn hosts(
        known: &[(&'static str, &'static str)],
        failing: &[&'static str],
    ) -> Result<Vec<String>, Nowhere> {
        let zone = Zone {
            known: known.to_vec(),
            failing: failing.to_vec(),
        };
        let overrides = HashMap::from([(
            "c.example".to_owned(),
            Target {
                host: "127.0.0.1".to_owned(),
                port: 5270,
                start: Start::Direct,
            },
        )]);
        let domain = if known.is_empty() && failing.is_empty() {
            "c.example"
        } else {
            "b.example"
        };
        let found = resolve(&zone, &overrides, domain, &mut |_| 0).await?;
        Ok(found
            .into_iter()
            .map(|t| format!("{}:{}", t.host, t.port))
            .collect())
    }

    #[tokio::test]
    async fn the_operator_goes_before_the_dns() {
        assert_eq!(hosts(&[], &[]).await.unwrap(), ["127.0.0.1:5270"]);
    }

    #[tokio::test]
    async fn both_kinds_of_records_are_asked_for() {
        let known = [(PLAIN, "plain"), (DIRECT, "direct")];
        assert_eq!(hosts(&known, &[]).await.unwrap(), ["plain:1", "direct:1"]);
        assert_eq!(hosts(&[("x", "y")], &[]).await.unwrap(), ["b.example:5269"]);
    }

    #[tokio::test]
    async fn half_an_answer_is_one_only_when_it_names_somebody() {
        let known = [(PLAIN, "plain")];
        assert_eq!(hosts(&known, &[DIRECT]).await.unwrap(), ["plain:1"]);
        let silent = hosts(&[], &[DIRECT]).await;
        assert!(matches!(silent, Err(Nowhere::Dns(_))), "{silent:?}");
    }

    #[tokio::test]
    async fn a_domain_may_say_that_it_has_no_server() {
        let refused = hosts(&[(PLAIN, ".")], &[]).await;
        assert_eq!(refused, Err(Nowhere::NotOffered("b.example".to_owned())));
    }
}
