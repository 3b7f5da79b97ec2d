//! Reaching a host: its addresses of both families against each other, the first that answers wins.

mod race;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::address::confined;
use crate::dns::{DnsError, Lookup};

/// How many addresses of one host are tried.
const ADDRESSES: usize = 8;

/// How a host is to be reached.
#[derive(Clone, Copy, Debug)]
pub struct Dial {
    /// For each address.
    pub patience: Duration,
    /// Addresses that are not of the Internet too ([`confined`]). Not where somebody else names the
    /// host: it would let the whole world speak to what is meant for this machine alone.
    pub private: bool,
}

/// Why a host could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    #[error(transparent)]
    Dns(#[from] DnsError),
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error(
        "{host} is at {address}, a {kind} address: only s2s.private_addresses = true or an entry in \
         s2s.targets leads there"
    )]
    Private {
        host: String,
        address: IpAddr,
        kind: &'static str,
    },
    #[error("cannot connect: {}", tried(.0))]
    Refused(Vec<(SocketAddr, io::Error)>),
}

fn tried(faults: &[(SocketAddr, io::Error)]) -> String {
    let faults = faults
        .iter()
        .map(|(address, error)| format!("{address}: {error}"));
    faults.collect::<Vec<_>>().join("; ")
}

/// Opens a TCP connection to an address of `host`, judged as it is dialled: what a name led to
/// before counts for nothing. A host written as an address is not looked up.
///
/// # Errors
/// Why none of the addresses could be reached.
pub async fn tcp(
    lookup: &dyn Lookup,
    host: &str,
    port: u16,
    dial: Dial,
) -> Result<TcpStream, Unreachable> {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = match literal.parse() {
        Ok(address) => vec![address],
        Err(_) => lookup.addresses(host).await?,
    };
    let addresses = permitted(host, addresses, dial)?;
    let addresses = interleaved(addresses).into_iter().take(ADDRESSES);
    let sockets = addresses.map(|address| SocketAddr::new(address, port));
    let stream = race::race(sockets.collect(), dial.patience, TcpStream::connect).await;
    let stream = stream.map_err(Unreachable::Refused)?;
    let peer = stream.peer_addr();
    match (stream.set_nodelay(true), peer) {
        (Ok(()), _) | (Err(_), Err(_)) => Ok(stream),
        (Err(error), Ok(peer)) => Err(Unreachable::Refused(vec![(peer, error)])),
    }
}

fn permitted(host: &str, found: Vec<IpAddr>, dial: Dial) -> Result<Vec<IpAddr>, Unreachable> {
    let allowed = |address: &IpAddr| dial.private || confined(*address).is_none();
    let (addresses, refused): (Vec<_>, Vec<_>) = found.into_iter().partition(allowed);
    if !addresses.is_empty() {
        return Ok(addresses);
    }
    let host = host.to_owned();
    Err(match refused.first() {
        Some(&address) => Unreachable::Private {
            host,
            address,
            kind: confined(address).unwrap_or("private"),
        },
        None => Unreachable::NoAddress { host },
    })
}

/// RFC 8305 §4: the families take turns, IPv6 first; within each the resolver's order stays.
fn interleaved(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (six, four): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    let mut ordered = Vec::new();
    loop {
        let turn = [six.next(), four.next()];
        if turn == [None, None] {
            return ordered;
        }
        ordered.extend(turn.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Later, Srv};

    struct Zone(&'static [&'static str]);

    impl Lookup for Zone {
        fn srv<'a>(&'a self, _: &'a str) -> Later<'a, Result<Vec<Srv>, DnsError>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn addresses<'a>(&'a self, _: &'a str) -> Later<'a, Result<Vec<IpAddr>, DnsError>> {
            let found = self.0.iter().map(|address| address.parse().unwrap());
            Box::pin(async move { Ok(found.collect()) })
        }
    }

    fn dial(private: bool) -> Dial {
        Dial {
            patience: Duration::from_secs(5),
            private,
        }
    }

    #[test]
    fn families_take_turns() {
        let addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"];
        let ordered = interleaved(addresses.map(|a| a.parse().unwrap()).to_vec());
        let shown: Vec<_> = ordered.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"]
        );
    }

    #[tokio::test]
    async fn addresses_of_this_machine_are_reached_only_where_that_is_allowed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "rebound.example"] {
            let zone = Zone(&["127.0.0.1"]);
            let refused = tcp(&zone, host, port, dial(false)).await.unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!(
                    "{host} is at 127.0.0.1, a loopback address: only s2s.private_addresses = true \
                     or an entry in s2s.targets leads there"
                )
            );
            assert!(tcp(&zone, host, port, dial(true)).await.is_ok());
        }
        let nobody = tcp(&Zone(&[]), "empty.example", port, dial(true)).await;
        assert!(matches!(nobody, Err(Unreachable::NoAddress { .. })));
    }

    #[test]
    fn one_private_address_does_not_spoil_the_others() {
        let found = ["10.0.0.1", "192.0.2.1"]
            .map(|a| a.parse().unwrap())
            .to_vec();
        let kept = permitted("b.example", found, dial(false)).unwrap();
        assert_eq!(kept, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    }
}
