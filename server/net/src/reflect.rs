//! Does what is sent to an address come to this machine? Found out by sending something there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::random;

/// For each address.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many are tried.
const ADDRESSES: usize = 8;

/// Why it does not.
#[derive(Debug, thiserror::Error)]
pub enum Unreflected {
    #[error("the port is in use")]
    Busy,
    #[error("the port may not be opened")]
    Forbidden,
    #[error("{0} leads elsewhere")]
    Elsewhere(IpAddr),
    #[error(transparent)]
    Io(io::Error),
}

/// Opens the port for a moment, and sends a word to it by each of the addresses.
///
/// # Errors
/// When the port cannot be opened, or what was sent to an address has not come.
pub async fn reflect(port: u16, addresses: &[IpAddr]) -> Result<(), Unreflected> {
    let listener = listen(port).await?;
    for address in addresses.iter().take(ADDRESSES) {
        let word = random::id();
        let sent = send(SocketAddr::new(*address, port), word.as_bytes());
        let heard = hear(&listener, word.as_bytes());
        let both = async { tokio::join!(sent, heard) };
        match tokio::time::timeout(PATIENCE, both).await {
            Ok((Ok(_), ())) => {}
            _ => return Err(Unreflected::Elsewhere(*address)),
        }
    }
    Ok(())
}

/// On all addresses of the machine, IPv4 included where the system has IPv6.
pub(crate) async fn listen(port: u16) -> Result<TcpListener, Unreflected> {
    let bound = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    };
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Unreflected::Busy,
        io::ErrorKind::PermissionDenied => Unreflected::Forbidden,
        _ => Unreflected::Io(error),
    })
}

async fn send(address: SocketAddr, word: &[u8]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(word).await?;
    stream.shutdown().await?;
    Ok(stream)
}

/// Waits for the word; what others say meanwhile is let go.
async fn hear(listener: &TcpListener, word: &[u8]) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            continue;
        };
        let mut heard = vec![0; word.len()];
        if stream.read_exact(&mut heard).await.is_ok() && heard == word {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn free() -> u16 {
        let listener = listen(0).await.unwrap();
        listener.local_addr().unwrap().port()
    }

    #[tokio::test]
    async fn what_is_sent_to_loopback_comes_back() {
        let here = ["127.0.0.1".parse().unwrap()];
        reflect(free().await, &here).await.unwrap();
    }

    #[tokio::test]
    async fn a_port_in_use_and_an_address_of_nobody() {
        let taken = listen(0).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let here = ["127.0.0.1".parse().unwrap()];
        let busy = reflect(port, &here).await.unwrap_err();
        assert!(matches!(busy, Unreflected::Busy), "{busy:?}");
        drop(taken);
        // RFC 1112: nobody is reached by TCP there.
        let nobody: IpAddr = "240.0.0.1".parse().unwrap();
        let elsewhere = reflect(free().await, &[nobody]).await.unwrap_err();
        assert!(
            matches!(elsewhere, Unreflected::Elsewhere(_)),
            "{elsewhere:?}"
        );
    }
}
