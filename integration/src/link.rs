//! A line between two servers that can be slow, cut, or dead without saying so: a TCP relay.
//! (`tc netem` would do the same and is not everywhere to be had.)

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Octets carried at a time; small enough that a cut falls into the middle of a stanza.
const CHUNK: usize = 1500;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weather {
    #[default]
    Fair,
    /// Every chunk waits so long.
    Slow(Duration),
    /// Connections break, and none can be made.
    Cut,
    /// What is said is swallowed, by connections that stay open; new ones are accepted and hear
    /// nothing. They stay dead when the weather changes, and then break.
    HalfOpen,
}

/// A relay; it ends with the runtime it was made in.
pub struct Link {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    /// Connections that were made to break.
    lost: Arc<AtomicUsize>,
    target: Arc<RwLock<SocketAddr>>,
}

impl Link {
    /// Listens on a port of its own and carries what comes to `target`.
    pub async fn to(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (weather, now) = watch::channel(Weather::Fair);
        let lost = Arc::new(AtomicUsize::new(0));
        let target = Arc::new(RwLock::new(target));
        tokio::spawn(serve(listener, Arc::clone(&target), now, Arc::clone(&lost)));
        Ok(Self {
            address,
            weather,
            lost,
            target,
        })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where connections made from now on lead.
    pub fn retarget(&self, target: SocketAddr) {
        *self.target.write().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// What happens from now on, to connections there are and to those that come.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// How many connections it has broken.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }
}

async fn serve(
    listener: TcpListener,
    target: Arc<RwLock<SocketAddr>>,
    weather: watch::Receiver<Weather>,
    lost: Arc<AtomicUsize>,
) {
    while let Ok((from, _)) = listener.accept().await {
        let target = *target.read().unwrap_or_else(PoisonError::into_inner);
        let (weather, lost) = (weather.clone(), Arc::clone(&lost));
        tokio::spawn(async move {
            if *weather.borrow() == Weather::Cut {
                return;
            }
            let Ok(to) = TcpStream::connect(target).await else {
                return;
            };
            if relay(from, to, weather).await {
                lost.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

/// Carries both ways until one side ends, or the weather does. True: it was the weather.
async fn relay(from: TcpStream, to: TcpStream, weather: watch::Receiver<Weather>) -> bool {
    let (from_read, from_write) = from.into_split();
    let (to_read, to_write) = to.into_split();
    let mut there = tokio::spawn(carry(from_read, to_write, weather.clone()));
    let mut back = tokio::spawn(carry(to_read, from_write, weather));
    let first = tokio::select! {
        there = &mut there => there,
        back = &mut back => back,
    };
    // Half a connection is no use to anybody here.
    there.abort();
    back.abort();
    first.unwrap_or(false)
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) -> bool {
    let mut chunk = [0; CHUNK];
    loop {
        let read = tokio::select! {
            read = from.read(&mut chunk) => read,
            changed = weather.changed() => {
                if changed.is_err() || *weather.borrow() == Weather::Cut {
                    return true;
                }
                if *weather.borrow() == Weather::HalfOpen {
                    return swallow(from, weather).await;
                }
                continue;
            }
        };
        let Ok(read @ 1..) = read else {
            return false;
        };
        let now = *weather.borrow_and_update();
        match now {
            Weather::Fair => {}
            Weather::Slow(delay) => tokio::time::sleep(delay).await,
            Weather::Cut => return true,
            Weather::HalfOpen => return swallow(from, weather).await,
        }
        if to.write_all(&chunk[..read]).await.is_err() {
            return false;
        }
    }
}

/// Reads and forgets until the weather changes. Even an end is kept from the other side.
async fn swallow(mut from: OwnedReadHalf, mut weather: watch::Receiver<Weather>) -> bool {
    let mut chunk = [0; CHUNK];
    loop {
        tokio::select! {
            read = from.read(&mut chunk) => {
                if !matches!(read, Ok(1..)) {
                    let _ = weather.changed().await;
                    return true;
                }
            }
            _ = weather.changed() => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    async fn says(stream: &mut TcpStream, word: &str) -> io::Result<()> {
        stream.write_all(word.as_bytes()).await?;
        let mut back = vec![0; word.len()];
        let read = stream.read_exact(&mut back);
        let patience = Duration::from_millis(300);
        let read = tokio::time::timeout(patience, read).await;
        read.map_err(|_| io::Error::from(ErrorKind::TimedOut))??;
        assert_eq!(back, word.as_bytes());
        Ok(())
    }

    #[tokio::test]
    async fn fair_cut_and_half_open() {
        let link = Link::to(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        says(&mut stream, "fair").await.unwrap();
        link.set(Weather::Slow(Duration::from_millis(20)));
        says(&mut stream, "slow").await.unwrap();
        link.set(Weather::Cut);
        says(&mut stream, "cut").await.unwrap_err();
        assert_eq!(link.lost(), 1);
        link.set(Weather::Fair);
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        says(&mut stream, "fair again").await.unwrap();
        link.set(Weather::HalfOpen);
        let silent = says(&mut stream, "hello?").await.unwrap_err();
        assert_eq!(silent.kind(), ErrorKind::TimedOut);
        link.set(Weather::Fair);
        says(&mut stream, "too late").await.unwrap_err();
    }
}
