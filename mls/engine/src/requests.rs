//! Questions under way: which answer belongs to what, and when to ask again.

use std::collections::HashMap;

use comity_mls_credential::leaf::IssuerId;
use comity_mls_wire::refusal::Refusal;
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use crate::outgoing::{Destination, Outgoing, Request, RequestId};

/// An answer that has not come by then is asked for again, with the same idempotency key.
pub(crate) const ANSWER_WITHIN_MS: u64 = 60_000;
const FIRST_PAUSE_MS: u64 = 1_000;
const LONGEST_PAUSE_MS: u64 = 5 * 60_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    Challenge,
    Register,
    Prove,
    Enrol,
    Publish,
    Count,
    Sync,
    Acknowledge(BareJid),
    AcknowledgeWelcome(Uuid),
    Anchors(String),
    /// A revocation list of that domain.
    Crl(String, IssuerId),
    Hub(BareJid),
    /// Where a room's log ends.
    Head(BareJid),
    /// GroupInfo and tree of a room to come back to.
    GroupInfo(BareJid),
    /// That a commit cannot be applied here.
    Report(BareJid),
    /// A message to be shown to the hub's operator, by its id.
    Complaint(BareJid, [u8; 16]),
    Claim {
        room: BareJid,
        account: BareJid,
    },
    /// What is in flight to a room, by its idempotency key.
    InFlight(BareJid, [u8; 16]),
    /// A message outside the log, by its number in the epoch.
    Ephemeral(BareJid, u32),
    Revoke,
    Devices,
    LogEntries,
    LogInclusion(BareJid),
    /// Of a domain's log, between two sizes.
    LogConsistency(String, u64, u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) purpose: Purpose,
    pub(crate) to: Destination,
    pub(crate) request: Request,
    pub(crate) attempt: u32,
    at: u64,
}

#[derive(Default)]
pub(crate) struct Requests {
    last: u64,
    /// Sent; `at` is when the answer is overdue.
    sent: HashMap<RequestId, Pending>,
    /// To be sent again at `at`.
    paused: Vec<Pending>,
}

impl Requests {
    /// Asks, unless the same is asked already.
    pub(crate) fn ask(
        &mut self,
        purpose: Purpose,
        to: Destination,
        request: Request,
        now: u64,
    ) -> Option<Outgoing> {
        if self.is_asked(&purpose) {
            return None;
        }
        Some(self.send(
            Pending {
                purpose,
                to,
                request,
                attempt: 0,
                at: 0,
            },
            now,
        ))
    }

    pub(crate) fn is_asked(&self, purpose: &Purpose) -> bool {
        self.sent.values().any(|p| p.purpose == *purpose)
            || self.paused.iter().any(|p| p.purpose == *purpose)
    }

    fn send(&mut self, mut pending: Pending, now: u64) -> Outgoing {
        self.last += 1;
        let id = RequestId(self.last);
        pending.at = now.saturating_add(ANSWER_WITHIN_MS);
        let outgoing = Outgoing {
            id,
            to: pending.to.clone(),
            request: pending.request.clone(),
        };
        self.sent.insert(id, pending);
        outgoing
    }

    /// What a request under way is for.
    pub(crate) fn asked(&self, id: RequestId) -> Option<&Purpose> {
        self.sent.get(&id).map(|pending| &pending.purpose)
    }

    pub(crate) fn take(&mut self, id: RequestId) -> Option<Pending> {
        self.sent.remove(&id)
    }

    /// Asks again after a pause that grows with each attempt.
    pub(crate) fn pause(&mut self, mut pending: Pending, at_least_ms: u64, now: u64) {
        let doubled = FIRST_PAUSE_MS << pending.attempt.min(16);
        pending.attempt = pending.attempt.saturating_add(1);
        pending.at = now.saturating_add(doubled.min(LONGEST_PAUSE_MS).max(at_least_ms));
        self.paused.push(pending);
    }

    /// Those under way that are for such a purpose.
    pub(crate) fn count(&self, of: impl Fn(&Purpose) -> bool) -> usize {
        self.sent.values().filter(|p| of(&p.purpose)).count()
    }

    /// What is due now: pauses that are over, and answers that never came.
    pub(crate) fn due(&mut self, now: u64) -> Vec<(Outgoing, u32)> {
        // What is said to who is there now is not said again later.
        self.sent
            .retain(|_, p| p.at > now || !matches!(p.purpose, Purpose::Ephemeral(..)));
        let overdue: Vec<RequestId> = self
            .sent
            .iter()
            .filter(|(_, pending)| pending.at <= now)
            .map(|(id, _)| *id)
            .collect();
        let mut due: Vec<Pending> = Vec::new();
        for id in overdue {
            if let Some(mut pending) = self.sent.remove(&id) {
                pending.attempt = pending.attempt.saturating_add(1);
                due.push(pending);
            }
        }
        let (over, still) = std::mem::take(&mut self.paused)
            .into_iter()
            .partition(|pending| pending.at <= now);
        self.paused = still;
        due.extend(over);
        due.into_iter()
            .map(|pending| {
                let attempt = pending.attempt;
                (self.send(pending, now), attempt)
            })
            .collect()
    }

    pub(crate) fn next_due(&self) -> Option<u64> {
        let sent = self.sent.values().map(|p| p.at);
        sent.chain(self.paused.iter().map(|p| p.at)).min()
    }

    /// Answers to these are no longer wanted.
    pub(crate) fn drop_matching(&mut self, unwanted: impl Fn(&Purpose) -> bool) {
        self.sent.retain(|_, p| !unwanted(&p.purpose));
        self.paused.retain(|p| !unwanted(&p.purpose));
    }

    pub(crate) fn clear(&mut self) {
        self.sent.clear();
        self.paused.clear();
    }
}

/// A refusal that another attempt with the same octets may get around: after so many milliseconds
/// at least.
pub(crate) fn transient(refusal: &Refusal) -> Option<u64> {
    match refusal {
        Refusal::RateLimited { retry_after_s } => Some(u64::from(*retry_after_s) * 1_000),
        Refusal::UnreachableDomain { .. } | Refusal::Internal => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use comity_mls_wire::authority;

    fn ask(requests: &mut Requests, now: u64) -> Option<Outgoing> {
        requests.ask(
            Purpose::Challenge,
            Destination::Own,
            Request::Authority(authority::Request::Challenge),
            now,
        )
    }

    #[test]
    fn the_same_question_is_asked_once_and_again_when_overdue() {
        let mut requests = Requests::default();
        let first = ask(&mut requests, 0).unwrap();
        assert_eq!(ask(&mut requests, 1), None);
        assert!(requests.due(ANSWER_WITHIN_MS - 1).is_empty());
        let again = requests.due(ANSWER_WITHIN_MS);
        assert_eq!(again.len(), 1);
        assert_ne!(again[0].0.id, first.id);
        assert!(requests.take(first.id).is_none());
        assert!(requests.take(again[0].0.id).is_some());
        assert!(ask(&mut requests, 2).is_some());
    }

    #[test]
    fn pauses_grow_and_have_an_end() {
        let mut requests = Requests::default();
        let mut now = 0;
        let mut outgoing = ask(&mut requests, now).unwrap();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let pending = requests.take(outgoing.id).unwrap();
            requests.pause(pending, 0, now);
            let at = requests.next_due().unwrap();
            pauses.push(at - now);
            now = at;
            outgoing = requests.due(now).remove(0).0;
        }
        assert_eq!(pauses[..4], [1_000, 2_000, 4_000, 8_000]);
        assert_eq!(*pauses.last().unwrap(), LONGEST_PAUSE_MS);
    }
}
