//! Who is behind a proxy: the header that it sends ahead of a connection's own octets (HAProxy's PROXY
//! protocol, versions 1 and 2). Read only from where the operator says that a proxy is; from there
//! a connection without it is none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// How long a proxy may take for its header.
const PATIENCE: Duration = Duration::from_secs(5);
/// Version 1 is one line, with its end.
const LINE_BYTES: usize = 107;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const HEAD_BYTES: usize = 16;
/// Addresses and what is told beside them, in version 2.
const REST_BYTES: usize = 2048;
/// What both versions have at least.
const LEAST_BYTES: usize = 13;

/// Where proxies are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(pub Vec<Network>);

/// Addresses with the same beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("it begins with no header of the PROXY protocol, which {0} has to send")]
    None(IpAddr),
    #[error("its header of the PROXY protocol is broken: {0}")]
    Broken(&'static str),
    #[error("its header of the PROXY protocol did not come within {} s", PATIENCE.as_secs())]
    Slow,
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address, as in \"192.0.2.1\", or a network, as in \"192.0.2.0/24\"")]
pub struct NoNetwork;

impl Proxies {
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

impl Network {
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                (ours.to_bits() ^ other.to_bits()) & mask == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(other)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.bits))
                    .unwrap_or(0);
                (ours.to_bits() ^ other.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let address = address.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().map_err(|_| NoNetwork)?,
        };
        match bits <= most {
            true => Ok(Self { address, bits }),
            false => Err(NoNetwork),
        }
    }
}

/// Reads the header of a connection that has come from a proxy, and not an octet more: whose it is.
/// `None`: the proxy's own, which looks whether we are there.
///
/// # Errors
/// Such a connection cannot be served: whose it is, nobody knows.
pub async fn read(stream: &mut TcpStream, proxy: IpAddr) -> Result<Option<SocketAddr>, ProxyError> {
    let header = tokio::time::timeout(PATIENCE, header(stream, proxy)).await;
    match parse(&header.map_err(|_| ProxyError::Slow)??)? {
        Parsed::Of(peer) => Ok(Some(peer)),
        Parsed::Own => Ok(None),
    }
}

async fn header(stream: &mut TcpStream, proxy: IpAddr) -> Result<Vec<u8>, ProxyError> {
    let mut header = vec![0; LEAST_BYTES];
    stream.read_exact(&mut header).await?;
    if header.starts_with(SIGNATURE) {
        header.resize(HEAD_BYTES, 0);
        stream.read_exact(&mut header[LEAST_BYTES..]).await?;
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if rest > REST_BYTES {
            return Err(ProxyError::Broken("it is too long"));
        }
        header.resize(HEAD_BYTES + rest, 0);
        stream.read_exact(&mut header[HEAD_BYTES..]).await?;
        return Ok(header);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(ProxyError::None(proxy));
    }
    // What follows the line is the client's: octet by octet, since none may be taken too many.
    while !header.ends_with(b"\r\n") {
        if header.len() >= LINE_BYTES {
            return Err(ProxyError::Broken("its line is too long"));
        }
        header.push(stream.read_u8().await?);
    }
    Ok(header)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parsed {
    Of(SocketAddr),
    /// LOCAL, or UNKNOWN: nothing that could be said of anybody.
    Own,
}

fn parse(header: &[u8]) -> Result<Parsed, ProxyError> {
    match header.strip_prefix(SIGNATURE) {
        Some(rest) => binary(rest),
        None => line(header),
    }
}

/// Version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 5222\r\n`.
fn line(header: &[u8]) -> Result<Parsed, ProxyError> {
    let broken = ProxyError::Broken;
    let text = std::str::from_utf8(header).map_err(|_| broken("it is no text"))?;
    let text = text
        .strip_suffix("\r\n")
        .ok_or(broken("its line has no end"))?;
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        ["PROXY", "UNKNOWN", ..] => Ok(Parsed::Own),
        [
            "PROXY",
            family @ ("TCP4" | "TCP6"),
            source,
            destination,
            port,
            other,
        ] => {
            let source: IpAddr = source.parse().map_err(|_| broken("no address"))?;
            let destination: IpAddr = destination.parse().map_err(|_| broken("no address"))?;
            let four = family == "TCP4";
            if source.is_ipv4() != four || destination.is_ipv4() != four {
                return Err(broken("an address of another family"));
            }
            number(other)?;
            Ok(Parsed::Of((source, number(port)?).into()))
        }
        _ => Err(broken("not what the protocol has in its line")),
    }
}

/// Digits alone: `+5` and `005` are none.
fn number(text: &str) -> Result<u16, ProxyError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = plain && (text == "0" || !text.starts_with('0'));
    let port = plain.then(|| text.parse().ok()).flatten();
    port.ok_or(ProxyError::Broken("no port"))
}

/// Version 2, behind the signature.
fn binary(rest: &[u8]) -> Result<Parsed, ProxyError> {
    let broken = ProxyError::Broken;
    let [command, family, _, _, addresses @ ..] = rest else {
        return Err(broken("it is too short"));
    };
    let own = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(broken("neither LOCAL nor PROXY of version 2")),
    };
    let short = || broken("its addresses are too short");
    let port = |at: usize| {
        let port = addresses.get(at..at + 2).ok_or_else(short)?;
        Ok::<_, ProxyError>(u16::from_be_bytes([port[0], port[1]]))
    };
    match family {
        _ if own => Ok(Parsed::Own),
        // TCP over IPv4, and over IPv6.
        0x11 => {
            let source = addresses.first_chunk::<4>().ok_or_else(short)?;
            Ok(Parsed::Of((Ipv4Addr::from(*source), port(8)?).into()))
        }
        0x21 => {
            let source = addresses.first_chunk::<16>().ok_or_else(short)?;
            Ok(Parsed::Of((Ipv6Addr::from(*source), port(32)?).into()))
        }
        0x00 => Ok(Parsed::Own),
        _ => Err(broken("neither TCP over IPv4 nor over IPv6")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, addresses].concat()
    }

    #[test]
    fn both_versions_say_whose_a_connection_is() {
        let check = |header: &[u8], expected: &str| {
            let parsed = parse(header).unwrap();
            assert_eq!(parsed, Parsed::Of(expected.parse().unwrap()));
        };
        check(
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 5222\r\n",
            "192.0.2.1:56324",
        );
        check(
            b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 5222\r\n",
            "[2001:db8::1]:56324",
        );
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0x14, 0x66];
        check(&version_2(0x21, 0x11, &v4), "192.0.2.1:56324");
        // What is told beside (here the name that TLS was asked for) is passed over.
        let more = [&v4[..], &[0x02, 0, 9], b"a.example"].concat();
        check(&version_2(0x21, 0x11, &more), "192.0.2.1:56324");
        let mut v6 = [0; 36];
        v6[..2].copy_from_slice(&[0x20, 0x01]);
        v6[15] = 1;
        v6[32..].copy_from_slice(&[0xdc, 0x04, 0x14, 0x66]);
        check(&version_2(0x21, 0x21, &v6), "[2001::1]:56324");
    }

    #[test]
    fn a_proxy_may_come_for_itself() {
        let long = b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
        for header in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            long.to_vec(),
            version_2(0x20, 0x00, &[]),
            version_2(0x20, 0x11, &[1; 12]),
            version_2(0x21, 0x00, &[]),
        ] {
            assert_eq!(parse(&header).unwrap(), Parsed::Own, "{header:?}");
        }
    }

    #[test]
    fn what_is_broken_is_refused() {
        let lines: [&[u8]; 12] = [
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 5222\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 5222 1\r\n",
            b"PROXY  TCP4 192.0.2.1 198.51.100.1 56324 5222\r\n",
            b"PROXY TCP4 2001:db8::1 2001:db8::2 56324 5222\r\n",
            b"PROXY TCP6 192.0.2.1 198.51.100.1 56324 5222\r\n",
            b"PROXY TCP4 192.0.2.300 198.51.100.1 56324 5222\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 5222\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 5222\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 01 5222\r\n",
            b"PROXY UDP4 192.0.2.1 198.51.100.1 1 5222\r\n",
            b"PROXY \xff\xff\xff\xff\xff\xff\xff\xff\r\n",
        ];
        let binaries = [
            version_2(0x22, 0x11, &[1; 12]),
            version_2(0x11, 0x11, &[1; 12]),
            version_2(0x21, 0x12, &[1; 12]),
            version_2(0x21, 0x31, &[1; 216]),
            version_2(0x21, 0x11, &[1; 9]),
            version_2(0x21, 0x21, &[1; 33]),
            SIGNATURE.to_vec(),
        ];
        for header in lines.map(<[u8]>::to_vec).into_iter().chain(binaries) {
            let parsed = parse(&header);
            assert!(
                matches!(parsed, Err(ProxyError::Broken(_))),
                "{header:?}: {parsed:?}"
            );
        }
    }

    async fn over_a_socket(sent: &[u8]) -> (Result<Option<SocketAddr>, ProxyError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        let (mut stream, peer) = listener.accept().await.unwrap();
        let read = read(&mut stream, peer.ip()).await;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        (read, rest)
    }

    #[tokio::test]
    async fn nothing_of_the_clients_is_taken() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0x14, 0x66];
        for header in [
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 5222\r\n".to_vec(),
            version_2(0x21, 0x11, &v4),
        ] {
            let (read, rest) = over_a_socket(&[&header[..], b"<?xml"].concat()).await;
            assert_eq!(read.unwrap(), Some("192.0.2.1:56324".parse().unwrap()));
            assert_eq!(rest, b"<?xml");
        }
        let (none, _) = over_a_socket(b"<?xml version='1.0'?>").await;
        assert!(matches!(none, Err(ProxyError::None(_))));
        let (long, _) = over_a_socket(&[b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat()).await;
        assert!(matches!(long, Err(ProxyError::Broken(_))));
        let mut huge = version_2(0x21, 0x11, &[]);
        huge[14] = 0xff;
        let (huge, _) = over_a_socket(&huge).await;
        assert!(matches!(huge, Err(ProxyError::Broken(_))));
        let (gone, _) = over_a_socket(b"PROXY TCP4 192.0").await;
        assert!(matches!(gone, Err(ProxyError::Io(_))));
    }

    #[test]
    fn networks_are_told_apart() {
        let check = |network: &str, address: &str, within| {
            let network: Network = network.parse().unwrap();
            let found = network.contains(address.parse().unwrap());
            assert_eq!(found, within, "{address} in {network:?}");
        };
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("192.0.2.0/24", "192.0.2.255", true);
        check("192.0.2.0/24", "192.0.3.0", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("192.0.2.1", "::ffff:192.0.2.1", true);
        check("2001:db8::/32", "2001:db8:ffff::1", true);
        check("2001:db8::/32", "2001:db9::1", false);
        check("::1", "::1", true);
        for text in [
            "",
            "a",
            "192.0.2.0/33",
            "192.0.2.0/",
            "::/129",
            "192.0.2.0/-1",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NoNetwork), "{text}");
        }
    }
}
