//! What another machine's clock says, by one question in SNTP (RFC 4330). Nothing is set by it: a
//! person is told when the two differ.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use tokio::net::UdpSocket;

use crate::dns::{DnsError, Lookup};
use crate::random;

const PORT: u16 = 123;
/// For each question.
const PATIENCE: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 3;
/// From 1900 to 1970.
const ERA: u64 = 2_208_988_800;
/// No leap warning, version 4, client.
const CLIENT: u8 = 0b00_100_011;

/// Why nobody has told the time.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    #[error(transparent)]
    Dns(#[from] DnsError),
    #[error("it has no address")]
    NoAddress,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it does not answer")]
    Silent,
    #[error("it answers something else")]
    Nonsense,
}

/// The time that `server` tells, half of the way there and back added.
///
/// # Errors
/// Why it has not.
pub async fn ask(lookup: &dyn Lookup, server: &str) -> Result<SystemTime, Unknown> {
    let addresses = lookup.addresses(server).await?;
    let address = *addresses.first().ok_or(Unknown::NoAddress)?;
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(SocketAddr::new(address, PORT)).await?;
    let mut request = [0; 48];
    request[0] = CLIENT;
    // RFC 4330 §5: given back as the originate timestamp, it tells answers from forgeries.
    let cookie = u64::from(random::up_to(u32::MAX)) << 32 | u64::from(random::up_to(u32::MAX));
    request[40..].copy_from_slice(&cookie.to_be_bytes());
    for _ in 0..ATTEMPTS {
        let asked = std::time::Instant::now();
        socket.send(&request).await?;
        let mut answer = [0; 48];
        let received = tokio::time::timeout(PATIENCE, socket.recv(&mut answer)).await;
        // A datagram may be lost, and another asks again.
        let Ok(received) = received else { continue };
        if received? < answer.len() {
            return Err(Unknown::Nonsense);
        }
        let way = asked.elapsed() / 2;
        return read(&answer, cookie).map(|time| time + way);
    }
    Err(Unknown::Silent)
}

/// RFC 4330 §5: the checks a client has to make.
fn read(answer: &[u8; 48], cookie: u64) -> Result<SystemTime, Unknown> {
    let (mode, leap, stratum) = (answer[0] & 0b111, answer[0] >> 6, answer[1]);
    let field = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&answer[at..at + 8]);
        u64::from_be_bytes(bytes)
    };
    let (originate, transmit) = (field(24), field(40));
    let kiss_of_death = stratum == 0;
    if mode != 4 || leap == 3 || kiss_of_death || originate != cookie || transmit == 0 {
        return Err(Unknown::Nonsense);
    }
    // The era of 32 bits of seconds ends in 2036; RFC 4330 §3 has the next begin there.
    let seconds = transmit >> 32;
    let seconds = if seconds < ERA {
        seconds + (1 << 32)
    } else {
        seconds
    };
    let fraction = ((transmit & 0xffff_ffff) * 1_000_000_000) >> 32;
    let since = Duration::from_secs(seconds - ERA) + Duration::from_nanos(fraction);
    Ok(SystemTime::UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(first: u8, stratum: u8, cookie: u64, seconds: u32) -> [u8; 48] {
        let mut bytes = [0; 48];
        bytes[0] = first;
        bytes[1] = stratum;
        bytes[24..32].copy_from_slice(&cookie.to_be_bytes());
        bytes[40..44].copy_from_slice(&seconds.to_be_bytes());
        bytes[44] = 0x80;
        bytes
    }

    #[test]
    fn the_time_is_read_to_the_fraction_and_beyond_2036() {
        let half = Duration::from_millis(500);
        let time = read(&answer(0x24, 2, 7, 2_208_988_801), 7).unwrap();
        assert_eq!(time, SystemTime::UNIX_EPOCH + Duration::from_secs(1) + half);
        let time = read(&answer(0x24, 2, 7, 1), 7).unwrap();
        let turn = Duration::from_secs((1 << 32) - ERA + 1);
        assert_eq!(time, SystemTime::UNIX_EPOCH + turn + half);
    }

    #[test]
    fn answers_to_others_and_of_the_unsure_are_refused() {
        for (first, stratum, cookie) in [(0x24, 2, 8), (0x23, 2, 7), (0xe4, 2, 7), (0x24, 0, 7)] {
            assert!(read(&answer(first, stratum, cookie, 3_000_000_000), 7).is_err());
        }
    }
}
