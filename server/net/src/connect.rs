//! Reaching a host: its addresses one after the other, each with its share of the time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::dns::{DnsError, Lookup};

/// How many addresses of one host are tried.
const ADDRESSES: usize = 8;

/// Why a host could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    #[error(transparent)]
    Dns(#[from] DnsError),
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("cannot connect to {address}: {error}")]
    Refused {
        address: SocketAddr,
        error: io::Error,
    },
}

/// Opens a TCP connection to the first address of `host` that answers; `patience` is for each.
/// A host written as an address is not looked up.
pub async fn tcp(
    lookup: &dyn Lookup,
    host: &str,
    port: u16,
    patience: Duration,
) -> Result<TcpStream, Unreachable> {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = match literal.parse() {
        Ok(address) => vec![address],
        Err(_) => lookup.addresses(host).await?,
    };
    let mut last = Unreachable::NoAddress {
        host: host.to_owned(),
    };
    for address in addresses.into_iter().take(ADDRESSES) {
        let address = SocketAddr::new(address, port);
        let error = match tokio::time::timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => match stream.set_nodelay(true) {
                Ok(()) => return Ok(stream),
                Err(error) => error,
            },
            Ok(Err(error)) => error,
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, "no answer in time"),
        };
        last = Unreachable::Refused { address, error };
    }
    Err(last)
}
