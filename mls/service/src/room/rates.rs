//! Who asks how often: a bucket for each account and kind of request, refilled by the minute.

use std::collections::HashMap;

use comity_mls_wire::refusal::Refusal;
use comity_xmpp::jid::BareJid;

use super::limits::RateLimits;

/// Buckets kept; when there are more, those that are full again are forgotten.
const BUCKETS: usize = 16_384;
const MINUTE_MS: u64 = 60_000;
/// What a domain may ask for all its accounts together, against one account.
const DOMAIN_FACTOR: u32 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Creation,
    Commit,
    Proposal,
    Message,
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
        let per_minute = u64::from(allowance(who, kind, limits));
        let full = per_minute * 1000;
        if self.buckets.len() >= BUCKETS && !self.buckets.contains_key(&(who.clone(), kind)) {
            self.forget(limits, now);
        }
        let bucket = self.buckets.entry((who.clone(), kind)).or_insert(Bucket {
            tokens: full,
            at: now,
        });
        bucket.refill(per_minute, now);
        if bucket.tokens < 1000 {
            let missing_ms = (1000 - bucket.tokens) * MINUTE_MS / full.max(1);
            return Err(Refusal::RateLimited {
                retry_after_s: u32::try_from(missing_ms / 1000 + 1).unwrap_or(60),
            });
        }
        bucket.tokens -= 1000;
        Ok(())
    }

    fn forget(&mut self, limits: &RateLimits, now: u64) {
        self.buckets.retain(|(who, kind), bucket| {
            let per_minute = u64::from(allowance(who, *kind, limits));
            bucket.refill(per_minute, now);
            bucket.tokens < per_minute * 1000
        });
        if self.buckets.len() >= BUCKETS {
            // So many busy accounts at once: counting anew costs less than refusing newcomers.
            self.buckets.clear();
        }
    }
}

impl Bucket {
    fn refill(&mut self, per_minute: u64, now: u64) {
        let passed = now.saturating_sub(self.at).min(MINUTE_MS);
        self.tokens = (self.tokens + per_minute * 1000 * passed / MINUTE_MS).min(per_minute * 1000);
        self.at = self.at.max(now);
    }
}

fn allowance(who: &BareJid, kind: Kind, limits: &RateLimits) -> u32 {
    let account = match kind {
        Kind::Creation => limits.creations,
        Kind::Commit => limits.commits,
        Kind::Proposal => limits.proposals,
        Kind::Message => limits.messages,
        Kind::Question => limits.questions,
    };
    if who.local().is_some() {
        account
    } else {
        account.saturating_mul(DOMAIN_FACTOR)
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
        assert_eq!(refused, Refusal::RateLimited { retry_after_s: 7 });
        take(&jid("bob@a.example"), 1000).unwrap();
        take(&alice, 8000).unwrap();
        take(&alice, 8000).unwrap_err();
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
