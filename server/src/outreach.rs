//! How many other domains an account may address: each that is addressed costs a task, lookups and
//! attempts to connect, so one account that names fifty thousand of them would use up what all have.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::BareJid;

/// Domains that one account may address within a [`PERIOD_MS`]: more than a full roster names.
pub const DOMAINS_OF_AN_ACCOUNT: usize = 2_500;
/// Everybody's count begins anew.
const PERIOD_MS: u64 = 3600 * 1000;

/// Who has addressed whom in this period.
#[derive(Default)]
pub struct Outreach {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    since: u64,
    /// By account; bounded by the accounts there are and the domains each may have.
    addressed: HashMap<BareJid, HashSet<String>>,
}

impl Outreach {
    /// Notes that an account of ours addresses another domain.
    ///
    /// # Errors
    /// When it has addressed too many others; the error is for its stanza.
    pub(crate) fn address(
        &self,
        account: &BareJid,
        domain: &str,
        now_ms: u64,
    ) -> Result<(), StanzaError> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ms.abs_diff(table.since) >= PERIOD_MS {
            *table = Table {
                since: now_ms,
                addressed: HashMap::new(),
            };
        }
        let domains = match table.addressed.get_mut(account) {
            Some(domains) => domains,
            None => table.addressed.entry(account.clone()).or_default(),
        };
        if domains.contains(domain) {
            return Ok(());
        }
        if domains.len() < DOMAINS_OF_AN_ACCOUNT {
            domains.insert(domain.to_owned());
            return Ok(());
        }
        Err(
            StanzaError::new(ErrorType::Wait, StanzaCondition::ResourceConstraint).with_text(
                format!(
                    "you have addressed {DOMAINS_OF_AN_ACCOUNT} other domains within an hour: \
                     try again later"
                ),
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_thousand_domains_meet_the_limit_and_one_account_does_not_stop_another() {
        let outreach = Outreach::default();
        let romeo = BareJid::parse("romeo@a.example").unwrap();
        let juliet = BareJid::parse("juliet@a.example").unwrap();
        let start = 1_800_000_000_000;
        let address = |who: &BareJid, n: usize, now| {
            let addressed = outreach.address(who, &format!("{n}.example"), now);
            addressed.map_err(|error| error.condition)
        };
        let constraint = Err(StanzaCondition::ResourceConstraint);
        for n in 0..50_000 {
            let expected = if n < DOMAINS_OF_AN_ACCOUNT {
                Ok(())
            } else {
                constraint
            };
            assert_eq!(address(&romeo, n, start), expected);
        }
        let known = outreach.table.lock().unwrap().addressed[&romeo].len();
        assert_eq!(known, DOMAINS_OF_AN_ACCOUNT);
        // Those it has addressed before go on.
        assert_eq!(address(&romeo, 0, start + 1), Ok(()));
        assert_eq!(address(&juliet, 49_999, start), Ok(()));
        assert_eq!(address(&romeo, 49_999, start + PERIOD_MS - 1), constraint);
        assert_eq!(address(&romeo, 49_999, start + PERIOD_MS), Ok(()));
    }
}
