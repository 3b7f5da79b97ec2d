//! How many octets of large objects were moved for each account in this hour.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use comity_mls_wire::refusal::Refusal;

const HOUR_MS: u64 = 3_600_000;
/// Accounts counted; with more at once all are counted anew, which refuses nobody.
const ACCOUNTS: usize = 16_384;

#[derive(Default)]
pub(crate) struct Spent {
    hour: Mutex<Hour>,
}

#[derive(Default)]
struct Hour {
    number: u64,
    octets: HashMap<String, u64>,
}

impl Spent {
    /// Counts octets for an account, or says when there may be more.
    pub(crate) fn take(
        &self,
        account: &str,
        octets: u64,
        most: u64,
        now: u64,
    ) -> Result<(), Refusal> {
        // Nothing panics while it holds the lock.
        let mut hour = self.hour.lock().unwrap_or_else(PoisonError::into_inner);
        if hour.number != now / HOUR_MS || hour.octets.len() >= ACCOUNTS {
            hour.number = now / HOUR_MS;
            hour.octets.clear();
        }
        let spent = hour.octets.entry(account.to_owned()).or_default();
        if spent.saturating_add(octets) > most {
            let rest = HOUR_MS - now % HOUR_MS;
            return Err(Refusal::RateLimited {
                retry_after_s: u32::try_from(rest / 1000 + 1).unwrap_or(u32::MAX),
            });
        }
        *spent += octets;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_in_an_hour_and_again_in_the_next() {
        let spent = Spent::default();
        let take = |account: &str, octets, now| spent.take(account, octets, 100, now);
        assert!(take("a", 60, 0).is_ok());
        assert!(take("a", 40, 1).is_ok());
        assert_eq!(
            take("a", 1, HOUR_MS - 1_500),
            Err(Refusal::RateLimited { retry_after_s: 2 })
        );
        assert!(take("b", 100, 2).is_ok());
        assert!(take("b", u64::MAX, 2).is_err());
        assert!(take("a", 100, HOUR_MS).is_ok());
    }
}
