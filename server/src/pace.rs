//! How fast an account may send: so many stanzas at once, and then so many a second. Who is faster
//! is read more slowly, and loses nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use comity_xmpp::jid::BareJid;

/// Accounts remembered before those at rest are forgotten.
const REMEMBERED: usize = 4096;

#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Nothing: there is no limit.
    pub per_second: u32,
    pub burst: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            per_second: 0,
            burst: 1,
        }
    }
}

/// Of all sessions of an account together.
pub struct Pace {
    rate: Rate,
    /// When the account will have made up for what it has sent.
    even: Mutex<HashMap<BareJid, Instant>>,
}

impl Pace {
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            even: Mutex::default(),
        }
    }

    /// Counts one stanza; how long it has to wait.
    pub fn take(&self, account: &BareJid, now: Instant) -> Duration {
        if self.rate.per_second == 0 {
            return Duration::ZERO;
        }
        let each = Duration::from_secs(1) / self.rate.per_second;
        let mut all = self.even.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED && !all.contains_key(account) {
            all.retain(|_, even| *even > now);
        }
        let even = all.entry(account.clone()).or_insert(now);
        *even = (*even).max(now) + each;
        (*even - now).saturating_sub(each * self.rate.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_a_steady_stream() {
        let pace = Pace::new(Rate {
            per_second: 10,
            burst: 3,
        });
        let alice = BareJid::parse("alice@a.example").unwrap();
        let bob = BareJid::parse("bob@a.example").unwrap();
        let start = Instant::now();
        let waits: Vec<u128> = (0..6)
            .map(|_| pace.take(&alice, start).as_millis())
            .collect();
        assert_eq!(waits, [0, 0, 0, 100, 200, 300]);
        assert_eq!(pace.take(&bob, start), Duration::ZERO);
        // After a rest the whole burst is there again.
        let later = start + Duration::from_secs(1);
        let waits: Vec<u128> = (0..4)
            .map(|_| pace.take(&alice, later).as_millis())
            .collect();
        assert_eq!(waits, [0, 0, 0, 100]);
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let pace = Pace::new(Rate::default());
        let alice = BareJid::parse("alice@a.example").unwrap();
        let start = Instant::now();
        assert!((0..1000).all(|_| pace.take(&alice, start).is_zero()));
    }

    #[test]
    fn memory_is_bounded() {
        let pace = Pace::new(Rate {
            per_second: 10,
            burst: 3,
        });
        let start = Instant::now();
        for n in 0..3 * REMEMBERED {
            let jid = BareJid::parse(&format!("x{n}@a.example")).unwrap();
            let second = Duration::from_secs(u64::try_from(n / REMEMBERED).unwrap());
            pace.take(&jid, start + second);
        }
        assert!(pace.even.lock().unwrap().len() <= REMEMBERED + 1);
    }
}
