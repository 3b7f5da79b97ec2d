//! Asking the DNS: SRV records and addresses, behind a trait so that plays bring their own names.

pub mod order;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData};
use hickory_resolver::{ResolverBuilder, TokioResolver};

pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One SRV record (RFC 2782). A `target` of `.` says that the service is decidedly not offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    /// Without the final dot, except for the root itself.
    pub target: String,
}

/// The DNS could not answer. That a name has no records is no error but an empty answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("looking up {name}: {why}")]
pub struct DnsError {
    pub name: String,
    pub why: String,
}

/// Whoever knows names.
pub trait Lookup: Send + Sync + 'static {
    /// The SRV records of a name such as `_xmpp-server._tcp.example.net`.
    fn srv<'a>(&'a self, name: &'a str) -> Later<'a, Result<Vec<Srv>, DnsError>>;
    fn addresses<'a>(&'a self, host: &'a str) -> Later<'a, Result<Vec<IpAddr>, DnsError>>;
}

/// Answers that are remembered, those that say "nothing" included.
const REMEMBERED: u64 = 4096;
/// How long at most, whatever the zone says: a day of a wrong record would be a day without mail.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);
/// RFC 2308 §5 lets a zone say how long "nothing" holds; an operator who adds a record waits no
/// longer than this.
const NOTHING_FOR: Duration = Duration::from_secs(300);

/// Asks resolvers, and remembers what they say. Where there are none to ask, every question is
/// answered with that error: a server whose peers are all configured needs no DNS.
pub struct Dns(Result<TokioResolver, String>);

impl Dns {
    /// Asks the system's resolvers (`/etc/resolv.conf`, `/etc/hosts`).
    #[must_use]
    pub fn system() -> Self {
        Self::built(TokioResolver::builder_tokio())
    }

    /// Asks these; the system's where none is named.
    #[must_use]
    pub fn asking(nameservers: &[SocketAddr]) -> Self {
        if nameservers.is_empty() {
            return Self::system();
        }
        let servers = nameservers.iter().map(nameserver).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let provider = TokioRuntimeProvider::default();
        Self::built(Ok(TokioResolver::builder_with_config(config, provider)))
    }

    fn built(builder: Result<ResolverBuilder<TokioRuntimeProvider>, NetError>) -> Self {
        let resolver = builder.and_then(|mut builder| {
            let options = builder.options_mut();
            options.cache_size = REMEMBERED;
            options.positive_max_ttl = Some(REMEMBERED_FOR);
            options.negative_max_ttl = Some(NOTHING_FOR);
            builder.build()
        });
        Self(resolver.map_err(|error| {
            tracing::warn!(%error, "no name can be looked up: see /etc/resolv.conf");
            format!("the system's resolver configuration is unusable: {error}")
        }))
    }

    fn resolver(&self, name: &str) -> Result<&TokioResolver, DnsError> {
        self.0.as_ref().map_err(|why| DnsError {
            name: name.to_owned(),
            why: why.clone(),
        })
    }
}

impl Lookup for Dns {
    fn srv<'a>(&'a self, name: &'a str) -> Later<'a, Result<Vec<Srv>, DnsError>> {
        Box::pin(async move {
            let answer = match self.resolver(name)?.srv_lookup(absolute(name)?).await {
                Ok(answer) => answer,
                Err(error) if error.is_no_records_found() => return Ok(Vec::new()),
                Err(error) => return Err(failed(name, &error)),
            };
            let records = answer
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::SRV(srv) => Some(Srv {
                        priority: srv.priority,
                        weight: srv.weight,
                        port: srv.port,
                        target: without_dot(&srv.target),
                    }),
                    _ => None,
                });
            Ok(records.collect())
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Later<'a, Result<Vec<IpAddr>, DnsError>> {
        Box::pin(async move {
            match self.resolver(host)?.lookup_ip(absolute(host)?).await {
                Ok(answer) => Ok(answer.iter().collect()),
                Err(error) if error.is_no_records_found() => Ok(Vec::new()),
                Err(error) => Err(failed(host, &error)),
            }
        })
    }
}

/// A name as it is asked for: in ASCII (RFC 7622 keeps U-labels), and never completed by the
/// system's search domains, which would let those answer for somebody else.
fn absolute(name: &str) -> Result<Name, DnsError> {
    let broken = |why: String| DnsError {
        name: name.to_owned(),
        why,
    };
    // The underscores of SRV names are no host name characters: only the STD3 rule minds them,
    // and `domain_to_ascii` does not apply it.
    let ascii = idna::domain_to_ascii(name).map_err(|error| broken(error.to_string()))?;
    let mut parsed = Name::from_ascii(ascii).map_err(|error| broken(error.to_string()))?;
    parsed.set_fqdn(true);
    Ok(parsed)
}

fn nameserver(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

fn without_dot(name: &Name) -> String {
    let text = name.to_ascii();
    match text.strip_suffix('.') {
        Some("") | None => text,
        Some(host) => host.to_owned(),
    }
}

fn failed(name: &str, error: &NetError) -> DnsError {
    DnsError {
        name: name.to_owned(),
        why: error.to_string(),
    }
}

#[cfg(test)]
mod tests;
