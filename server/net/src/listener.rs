//! Where the streams of others come in: a bounded number of them, and a smaller one from each
//! address.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::proxy::{self, Proxies};

/// How long `accept` rests when the system has no descriptor or memory for another connection.
const EXHAUSTED_REST: Duration = Duration::from_millis(200);
/// Addresses whose latest connections are remembered.
const REMEMBERED: usize = 65_536;
const MINUTE: Duration = Duration::from_secs(60);

/// How many streams a listener carries at once.
#[derive(Clone, Copy, Debug)]
pub struct Permits {
    /// All together; further ones wait in the system's backlog.
    pub connections: usize,
    /// From one IPv4 address or one IPv6 /64; further ones are closed at once.
    pub per_address: usize,
}

pub struct Listener {
    socket: TcpListener,
    connections: Arc<Semaphore>,
    addresses: Arc<Addresses>,
    proxies: Proxies,
}

/// A connection that was let in; its place is free again once `permit` is dropped.
pub struct Accepted {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    pub permit: Permit,
    /// It is a proxy's, which has yet to say for whom: counted there then.
    behind: Option<Arc<Addresses>>,
}

impl Accepted {
    /// Whose connection it is, where a proxy has to say so first; the others are as they are.
    /// `None`: it is not served, and the log says why.
    pub async fn introduced(mut self) -> Option<Self> {
        let Some(addresses) = self.behind.take() else {
            return Some(self);
        };
        let proxy = self.peer;
        match proxy::read(&mut self.stream, proxy.ip()).await {
            Ok(Some(peer)) => self.peer = peer,
            Ok(None) => {}
            Err(why) => {
                tracing::info!(%proxy, %why, "a connection of a proxy is not served");
                return None;
            }
        }
        let peer = self.peer;
        self.permit.address = Addresses::enter(&addresses, peer.ip());
        if self.permit.address.is_none() {
            tracing::info!(%peer, %proxy, "too many connections from one address: closed");
            return None;
        }
        Some(self)
    }
}

/// A place among the connections of a listener.
pub struct Permit {
    _place: OwnedSemaphorePermit,
    /// None while a proxy has not said for whom it is.
    address: Option<AddressPlace>,
}

impl Listener {
    /// # Errors
    /// The system's.
    pub async fn bind(address: SocketAddr, permits: Permits) -> io::Result<Self> {
        Ok(Self {
            socket: TcpListener::bind(address).await?,
            proxies: Proxies::default(),
            connections: Arc::new(Semaphore::new(permits.connections)),
            addresses: Arc::new(Addresses {
                limit: permits.per_address,
                per_minute: None,
                open: Mutex::default(),
                opened: Mutex::default(),
            }),
        })
    }

    /// With a bound on how many connections one address may open in a minute; further ones are
    /// closed at once.
    #[must_use]
    pub fn paced(self, per_minute: u32) -> Self {
        Self {
            addresses: Arc::new(Addresses {
                limit: self.addresses.limit,
                per_minute: Some(per_minute),
                open: Mutex::default(),
                opened: Mutex::default(),
            }),
            ..self
        }
    }

    /// With proxies in front, which say in the PROXY protocol whose each of their connections is: what
    /// comes from their addresses has to, what comes from others must not.
    #[must_use]
    pub fn behind(self, proxies: Proxies) -> Self {
        Self { proxies, ..self }
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next connection there is a place for. Errors of a single connection pass unseen; when
    /// the system is out of descriptors this waits rather than spins. Cancel-safe.
    pub async fn accept(&self) -> Accepted {
        loop {
            let Ok(place) = Arc::clone(&self.connections).acquire_owned().await else {
                // The semaphore is never closed; were it, no connection could be let in.
                std::future::pending::<()>().await;
                continue;
            };
            match self.socket.accept().await {
                Ok((stream, peer)) => {
                    let proxy = self.proxies.contains(peer.ip());
                    let address = match proxy {
                        true => None,
                        false => Addresses::enter(&self.addresses, peer.ip()),
                    };
                    if address.is_none() && !proxy {
                        tracing::info!(%peer, "too many connections from one address: closed");
                        continue;
                    }
                    // Stanzas are small and somebody waits for each: Nagle would only delay them.
                    if stream.set_nodelay(true).is_err() {
                        continue;
                    }
                    let permit = Permit {
                        _place: place,
                        address,
                    };
                    return Accepted {
                        stream,
                        peer,
                        permit,
                        behind: proxy.then(|| Arc::clone(&self.addresses)),
                    };
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections at the moment");
                    tokio::time::sleep(EXHAUSTED_REST).await;
                }
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// How many connections each address has open, and how many it has opened lately.
struct Addresses {
    limit: usize,
    /// Connections that one address may open in a minute; none: as many as it likes.
    per_minute: Option<u32>,
    open: Mutex<HashMap<IpAddr, usize>>,
    opened: Mutex<HashMap<IpAddr, Instant>>,
}

struct AddressPlace {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    fn enter(this: &Arc<Self>, address: IpAddr) -> Option<AddressPlace> {
        let address = household(address);
        if !this.in_time(address, Instant::now()) {
            return None;
        }
        let mut open = this.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= this.limit {
            return None;
        }
        *count += 1;
        Some(AddressPlace {
            addresses: Arc::clone(this),
            address,
        })
    }
}

impl Addresses {
    /// Counts a new connection; false if the address has opened too many lately. Remembered for
    /// each is when it will have made up for them, and only while it has not.
    fn in_time(&self, address: IpAddr, now: Instant) -> bool {
        let Some(per_minute) = self.per_minute.filter(|per_minute| *per_minute > 0) else {
            return true;
        };
        let each = MINUTE / per_minute;
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.len() >= REMEMBERED && !opened.contains_key(&address) {
            opened.retain(|_, even| *even > now);
            if opened.len() >= REMEMBERED {
                // Thousands of addresses at once: the bound on all connections is what is left.
                return true;
            }
        }
        let even = opened.entry(address).or_insert(now);
        let next = (*even).max(now) + each;
        if next - now > MINUTE {
            return false;
        }
        *even = next;
        true
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut open = self
            .addresses
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Who counts as one: an IPv4 address, or the /64 that one IPv6 subscriber has for itself.
#[must_use]
pub fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn listen(connections: usize, per_address: usize) -> Listener {
        let permits = Permits {
            connections,
            per_address,
        };
        Listener::bind("127.0.0.1:0".parse().unwrap(), permits)
            .await
            .unwrap()
    }

    async fn within<T>(future: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(Duration::from_millis(100), future)
            .await
            .ok()
    }

    #[tokio::test]
    async fn one_address_gets_its_share_and_no_more() {
        let listener = listen(10, 1).await;
        let address = listener.local_addr().unwrap();
        let _first = TcpStream::connect(address).await.unwrap();
        let accepted = listener.accept().await;
        let refused = TcpStream::connect(address).await.unwrap();
        assert!(within(listener.accept()).await.is_none());
        assert_eq!(
            within(refused.readable()).await.map(|r| r.is_ok()),
            Some(true)
        );
        assert_eq!(refused.try_read(&mut [0; 1]).unwrap(), 0);

        drop(accepted);
        let _third = TcpStream::connect(address).await.unwrap();
        assert!(within(listener.accept()).await.is_some());
    }

    #[tokio::test]
    async fn who_is_behind_a_proxy_is_counted_and_the_proxy_is_not() {
        let proxies = Proxies(vec!["127.0.0.1".parse().unwrap()]);
        let listener = listen(10, 1).await.behind(proxies);
        let address = listener.local_addr().unwrap();
        let header = |source: &str| format!("PROXY TCP4 {source} 198.51.100.1 4711 5222\r\n");
        let mut clients = Vec::new();
        let mut introduced = Vec::new();
        for source in ["192.0.2.1", "192.0.2.2", "192.0.2.1"] {
            let mut client = TcpStream::connect(address).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut client, header(source).as_bytes())
                .await
                .unwrap();
            clients.push(client);
            let accepted = within(listener.accept()).await.unwrap();
            introduced.push(accepted.introduced().await);
        }
        let peers: Vec<Option<String>> = introduced
            .iter()
            .map(|one| one.as_ref().map(|one| one.peer.to_string()))
            .collect();
        let [one, two] = ["192.0.2.1:4711", "192.0.2.2:4711"].map(|peer| Some(peer.to_owned()));
        assert_eq!(peers, [one, two, None]);
    }

    /// Whoever is no proxy cannot say who it is: the header is its first words, and no stream's.
    #[tokio::test]
    async fn only_proxies_are_believed() {
        let proxies = Proxies(vec!["192.0.2.9".parse().unwrap()]);
        let listener = listen(10, 1).await.behind(proxies);
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let own = client.local_addr().unwrap();
        let accepted = listener.accept().await.introduced().await.unwrap();
        assert_eq!(accepted.peer, own);
    }

    #[tokio::test]
    async fn an_address_opens_so_many_in_a_minute() {
        let listener = listen(10, 10).await.paced(3);
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let start = Instant::now();
        let opens = |address, after| listener.addresses.in_time(address, start + after);
        let at_once: Vec<bool> = (0..5).map(|_| opens(one, Duration::ZERO)).collect();
        assert_eq!(at_once, [true, true, true, false, false]);
        assert!(opens(other, Duration::ZERO));
        // A third of a minute later there is room for one.
        assert!(opens(one, Duration::from_secs(20)));
        assert!(!opens(one, Duration::from_secs(21)));
        assert!(opens(one, Duration::from_secs(120)));
    }

    #[tokio::test]
    async fn beyond_the_limit_connections_wait() {
        let listener = listen(1, 10).await;
        let address = listener.local_addr().unwrap();
        let _first = TcpStream::connect(address).await.unwrap();
        let accepted = listener.accept().await;
        let _second = TcpStream::connect(address).await.unwrap();
        assert!(within(listener.accept()).await.is_none());
        drop(accepted);
        assert!(within(listener.accept()).await.is_some());
    }

    #[test]
    fn a_household_is_an_ipv4_address_or_an_ipv6_64() {
        let of = |text: &str| household(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
