//! Who fails to log in too often waits, longer each time, up to a bound: by the address he comes
//! from, and by the account he tries, whether there is one or not. An address from which an account
//! was entered not long ago does not wait for what others do to that account, so that nobody is
//! locked out by strangers.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use comity_net::listener::household;
use comity_xmpp::jid::BareJid;

/// A failure is forgotten after so long, one at a time.
const FORGET_MS: u64 = 60_000;
/// The longest pause between two attempts, of an address and at an account.
const ADDRESS_PAUSE_MS: u64 = 32_000;
const ACCOUNT_PAUSE_MS: u64 = 8_000;
/// Who would have to wait longer is sent away: streams have a minute to be negotiated.
const PATIENCE_MS: u64 = 20_000;
/// Addresses, accounts, and pairs of both remembered; beyond that the one at rest longest goes.
const REMEMBERED: usize = 16_384;

/// Failures without a pause.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    pub per_address: u32,
    pub per_account: u32,
}

pub struct Guard {
    allowed: Allowed,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    addresses: HashMap<IpAddr, Level>,
    accounts: HashMap<BareJid, Level>,
    /// Who has entered from where, and when last.
    known: HashMap<(BareJid, IpAddr), u64>,
}

/// How many failures, and when the next attempt is let in.
#[derive(Clone, Copy, Default)]
struct Level {
    failures: u32,
    /// Since when they are being forgotten.
    since_ms: u64,
    next_ms: u64,
}

impl Guard {
    #[must_use]
    pub fn new(allowed: Allowed) -> Self {
        Self {
            allowed,
            inner: Mutex::default(),
        }
    }

    /// How many milliseconds an attempt waits before it is looked at; `None`: it is not.
    pub fn attempt(&self, from: IpAddr, account: &BareJid, now_ms: u64) -> Option<u64> {
        let from = household(from);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let known = inner.known.contains_key(&(account.clone(), from));
        let mut wait = 0;
        let allowed = self.allowed;
        if let Some(level) = inner.addresses.get_mut(&from) {
            wait = level.wait(allowed.per_address, ADDRESS_PAUSE_MS, now_ms)?;
        }
        if let Some(level) = inner.accounts.get_mut(account).filter(|_| !known) {
            wait = wait.max(level.wait(allowed.per_account, ACCOUNT_PAUSE_MS, now_ms)?);
        }
        Some(wait)
    }

    /// An attempt has failed; at no account, where it did not come so far.
    pub fn failed(&self, from: IpAddr, account: Option<&BareJid>, now_ms: u64) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        raise(&mut inner.addresses, household(from), now_ms);
        if let Some(account) = account {
            raise(&mut inner.accounts, account.clone(), now_ms);
        }
    }

    /// Somebody has logged in.
    pub fn entered(&self, from: IpAddr, account: &BareJid, now_ms: u64) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut inner.known, |at| *at);
        inner
            .known
            .insert((account.clone(), household(from)), now_ms);
    }
}

fn raise<K: Eq + Hash + Clone>(levels: &mut HashMap<K, Level>, key: K, now_ms: u64) {
    if !levels.contains_key(&key) {
        make_room(levels, |level| level.since_ms);
    }
    let level = levels.entry(key).or_default();
    level.forget(now_ms);
    if level.failures == 0 {
        level.since_ms = now_ms;
    }
    level.failures = level.failures.saturating_add(1);
}

fn make_room<K: Eq + Hash + Clone, V>(map: &mut HashMap<K, V>, at: impl Fn(&V) -> u64) {
    if map.len() < REMEMBERED {
        return;
    }
    let oldest = map.iter().min_by_key(|(_, value)| at(value));
    if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
        map.remove(&oldest);
    }
}

impl Level {
    fn forget(&mut self, now_ms: u64) {
        let forgotten = now_ms.saturating_sub(self.since_ms) / FORGET_MS;
        self.since_ms += forgotten * FORGET_MS;
        let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_sub(forgotten);
    }

    /// Attempts at once follow each other; who is refused takes no turn.
    fn wait(&mut self, allowed: u32, longest_ms: u64, now_ms: u64) -> Option<u64> {
        self.forget(now_ms);
        let beyond = self.failures.saturating_sub(allowed);
        if beyond == 0 {
            return Some(0);
        }
        let pause = 1000_u64.checked_shl(beyond - 1).unwrap_or(u64::MAX);
        let turn = self.next_ms.max(now_ms);
        let wait = turn - now_ms;
        if wait > PATIENCE_MS {
            return None;
        }
        self.next_ms = turn + pause.min(longest_ms);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Allowed = Allowed {
        per_address: 3,
        per_account: 5,
    };

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn account(name: &str) -> BareJid {
        BareJid::parse(&format!("{name}@a.example")).unwrap()
    }

    #[test]
    fn pauses_of_an_address_double_up_to_a_bound() {
        let guard = Guard::new(ALLOWED);
        let mut now = 1_000_000;
        let mut waits = Vec::new();
        for n in 0..12 {
            // Another account each time: it is the address that waits.
            let at = account(&format!("x{n}"));
            let Some(wait) = guard.attempt(address(1), &at, now) else {
                waits.push(None);
                now += 1000;
                continue;
            };
            waits.push(Some(wait / 1000));
            now += wait;
            guard.failed(address(1), Some(&at), now);
        }
        let expected = [0, 0, 0, 0, 0, 1, 2, 4, 8, 16].map(Some);
        assert_eq!(waits[..10], expected, "{waits:?}");
        assert_eq!(waits[10..], [None, None]);
        // Others do not wait, and in time nor does this one.
        assert_eq!(guard.attempt(address(2), &account("x"), now), Some(0));
        now += 20 * FORGET_MS;
        assert_eq!(guard.attempt(address(1), &account("x"), now), Some(0));
    }

    #[test]
    fn an_account_is_tried_from_everywhere_at_one_pace() {
        let guard = Guard::new(ALLOWED);
        let (alice, nobody) = (account("alice"), account("nobody"));
        let now = 1_000_000;
        guard.entered(address(200), &alice, now);
        for last in 0..9 {
            guard.failed(address(last), Some(&alice), now);
            guard.failed(address(last), Some(&nobody), now);
        }
        // The same for one that does not exist.
        for at in [&alice, &nobody] {
            let waits: Vec<_> = (100..106)
                .map(|last| guard.attempt(address(last), at, now))
                .collect();
            assert_eq!(waits, [Some(0), Some(8000), Some(16000), None, None, None]);
        }
        // Its owner comes in as ever.
        assert_eq!(guard.attempt(address(200), &alice, now), Some(0));
        assert_eq!(guard.attempt(address(200), &alice, now), Some(0));
    }

    #[test]
    fn an_ipv6_subscriber_is_one_address() {
        let guard = Guard::new(ALLOWED);
        let from = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n]);
        for n in 0..5 {
            guard.failed(from(n), None, 0);
        }
        assert_eq!(guard.attempt(from(9), &account("x"), 0), Some(0));
        assert_eq!(guard.attempt(from(8), &account("x"), 0), Some(2000));
    }

    #[test]
    fn memory_is_bounded() {
        let guard = Guard::new(ALLOWED);
        for n in 0..REMEMBERED + 100 {
            let [_, a, b, c] = u32::try_from(n).unwrap().to_be_bytes();
            let from = IpAddr::from([10, a, b, c]);
            guard.failed(from, Some(&account("x")), 7);
            guard.entered(from, &account("x"), 7);
        }
        let inner = guard.inner.lock().unwrap();
        assert_eq!(inner.addresses.len(), REMEMBERED);
        assert_eq!(inner.known.len(), REMEMBERED);
    }
}
