//! Happy Eyeballs (RFC 8305): connection attempts that start one after the other and run together,
//! so that an address that does not answer costs a moment and not its whole patience.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// RFC 8305 §5: the pause before the next attempt starts beside those that run.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The first connection that stands; all others end. Otherwise what became of each.
pub(super) async fn race<S, F>(
    addresses: Vec<SocketAddr>,
    patience: Duration,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<S, Vec<(SocketAddr, io::Error)>>
where
    S: Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    let mut waiting = addresses.into_iter();
    let mut running = JoinSet::new();
    let mut failed = Vec::new();
    let mut next = Instant::now();
    loop {
        tokio::select! {
            () = sleep_until(next), if waiting.len() > 0 => {
                if let Some(address) = waiting.next() {
                    let attempt = timeout(patience, connect(address));
                    running.spawn(async move { (address, attempt.await) });
                }
                next = Instant::now() + ATTEMPT_DELAY;
            }
            Some(ended) = running.join_next() => {
                let Ok((address, outcome)) = ended else { continue };
                let error = match outcome {
                    Ok(Ok(stream)) => return Ok(stream),
                    Ok(Err(error)) => error,
                    Err(_) => io::Error::new(io::ErrorKind::TimedOut, "no answer in time"),
                };
                failed.push((address, error));
                // Whoever refuses makes room for the next at once.
                next = Instant::now();
            }
            else => return Err(failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn addresses(count: u16) -> Vec<SocketAddr> {
        (1..=count)
            .map(|port| ([192, 0, 2, 1], port).into())
            .collect()
    }

    /// What the address with each port does: answers, refuses, or stays silent, after a time in ms.
    #[derive(Clone, Copy)]
    enum Does {
        Answer(u64),
        Refuse(u64),
        Nothing,
    }

    async fn run(does: &'static [Does]) -> (Result<u16, usize>, Duration) {
        let begun = Instant::now();
        let count = u16::try_from(does.len()).unwrap();
        let won = race(addresses(count), PATIENCE, |address| async move {
            match does[usize::from(address.port()) - 1] {
                Does::Answer(ms) => {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    Ok(address.port())
                }
                Does::Refuse(ms) => {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    Err(io::Error::from(io::ErrorKind::ConnectionRefused))
                }
                Does::Nothing => std::future::pending().await,
            }
        });
        (won.await.map_err(|failed| failed.len()), begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_costs_a_moment() {
        let (won, took) = run(&[Does::Nothing, Does::Answer(10)]).await;
        assert_eq!(won, Ok(2));
        assert!(took < Duration::from_millis(300), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_costs_nothing() {
        let (won, took) = run(&[Does::Refuse(5), Does::Refuse(5), Does::Answer(5)]).await;
        assert_eq!(won, Ok(3));
        assert!(took < Duration::from_millis(100), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_early_attempt_may_still_win() {
        let (won, _) = run(&[Does::Answer(400), Does::Answer(400)]).await;
        assert_eq!(won, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn when_nobody_answers_each_is_told_of_after_its_patience() {
        let (won, took) = run(&[Does::Nothing, Does::Refuse(1), Does::Nothing]).await;
        assert_eq!(won, Err(3));
        assert!(took >= PATIENCE && took < PATIENCE * 2, "{took:?}");
        assert_eq!(run(&[]).await.0, Err(0));
    }
}
