//! Who asks how often: a bucket for each account and kind of request, refilled by the minute.

use std::collections::HashMap;

use comity_mls_wire::refusal::Refusal;
use comity_xmpp::jid::BareJid;

use super::limits::RateLimits;

/// Buckets kept; when there are more, those that are full again are forgotten.
const BUCKETS: usize = 16_384;
const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// What a domain may ask for all its accounts together, against one account.
const DOMAIN_FACTOR: u32 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Creation,
    Commit,
    Proposal,
    Message,
    Ephemeral,
    Question,
}

#[derive(Default)]
pub struct Rates {
    buckets: HashMap<(BareJid, Kind), Bucket>,
}

struct Bucket {
    /// In thousandths of a request.
    tokens: u64,
    at: u64,
}

impl Rates {
    /// Takes one request at `now` (milliseconds since 1970), or says when to come again.
    pub fn take(
        &mut self,
        who: &BareJid,
        kind: Kind,
        limits: &RateLimits,
        now: u64,
    ) -> Result<(), Refusal> {
        let rate = Rate::of(who, kind, limits);
        if self.buckets.len() >= BUCKETS && !self.buckets.contains_key(&(who.clone(), kind)) {
            self.forget(limits, now);
        }
        let bucket = self.buckets.entry((who.clone(), kind)).or_insert(Bucket {
            tokens: rate.full(),
            at: now,
        });
        bucket.refill(&rate, now);
        if bucket.tokens < TOKEN {
            let missing_ms = (TOKEN - bucket.tokens) * rate.period_ms / (rate.requests * TOKEN);
            return Err(Refusal::RateLimited {
                retry_after_s: u32::try_from(missing_ms / 1000 + 1).unwrap_or(u32::MAX),
            });
        }
        bucket.tokens -= TOKEN;
        Ok(())
    }

    fn forget(&mut self, limits: &RateLimits, now: u64) {
        self.buckets.retain(|(who, kind), bucket| {
            let rate = Rate::of(who, *kind, limits);
            bucket.refill(&rate, now);
            bucket.tokens < rate.full()
        });
        if self.buckets.len() >= BUCKETS {
            // So many busy accounts at once: counting anew costs less than refusing newcomers.
            self.buckets.clear();
        }
    }
}

/// A whole request, in the parts that a bucket counts.
const TOKEN: u64 = 1000;

impl Bucket {
    fn refill(&mut self, rate: &Rate, now: u64) {
        let passed = now.saturating_sub(self.at).min(rate.period_ms);
        let gained = rate.requests * TOKEN * passed / rate.period_ms;
        if gained > 0 || passed == rate.period_ms {
            self.tokens = (self.tokens + gained).min(rate.full());
            self.at = self.at.max(now);
        }
    }
}

/// So many requests in such a time, and so many at once.
struct Rate {
    requests: u64,
    period_ms: u64,
    at_once: u64,
}

impl Rate {
    fn of(who: &BareJid, kind: Kind, limits: &RateLimits) -> Self {
        let (requests, period_ms, share) = match kind {
            Kind::Creation => (limits.creations_per_day, DAY_MS, 10),
            Kind::Commit => (limits.commits, MINUTE_MS, 1),
            Kind::Proposal => (limits.proposals, MINUTE_MS, 1),
            Kind::Message => (limits.messages, MINUTE_MS, 1),
            Kind::Ephemeral => (limits.ephemerals, MINUTE_MS, 1),
            Kind::Question => (limits.questions, MINUTE_MS, 1),
        };
        let factor = if who.local().is_some() {
            1
        } else {
            DOMAIN_FACTOR
        };
        let requests = u64::from(requests.saturating_mul(factor)).max(1);
        Self {
            requests,
            period_ms,
            at_once: (requests / share).max(1),
        }
    }

    fn full(&self) -> u64 {
        self.at_once * TOKEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> BareJid {
        BareJid::parse(text).unwrap()
    }

    #[test]
    fn lets_so_many_through_and_more_after_a_while() {
        let (mut rates, limits) = (Rates::default(), RateLimits::default());
        let alice = jid("alice@a.example");
        let mut take = |who: &BareJid, now| rates.take(who, Kind::Creation, &limits, now);
        for _ in 0..10 {
            take(&alice, 1000).unwrap();
        }
        let refused = take(&alice, 1000).unwrap_err();
        assert_eq!(refused, Refusal::RateLimited { retry_after_s: 865 });
        take(&jid("bob@a.example"), 1000).unwrap();
        take(&alice, 866_000).unwrap();
        take(&alice, 866_000).unwrap_err();
    }

    #[test]
    fn remembers_a_bounded_number() {
        let (mut rates, limits) = (Rates::default(), RateLimits::default());
        for number in 0..BUCKETS + 10 {
            let who = jid(&format!("u{number}@a.example"));
            rates.take(&who, Kind::Message, &limits, 0).unwrap();
        }
        assert!(rates.buckets.len() <= BUCKETS);
    }
}
