//! Whose turn it is: of several streams on which a domain sends us the same queue, the latest
//! counts. A sender that lost its connection comes back before we have noticed, and what still lies
//! in the old one would otherwise be taken in beside what comes on the new one, out of order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as Gate, MutexGuard};

#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<Names, Weak<Gate<u64>>>>);

/// Our domain and the peer's.
type Names = (String, String);

/// A stream's claim on a queue.
pub(crate) struct Turn {
    gate: Arc<Gate<u64>>,
    mine: u64,
}

impl Turns {
    /// From now on this stream's; returns once what an earlier one was doing is done. `ours` and
    /// `peer` name the queue.
    pub(crate) async fn take(&self, ours: &str, peer: &str) -> Turn {
        let gate = self.gate(ours, peer);
        let mine = {
            let mut latest = gate.lock().await;
            *latest += 1;
            *latest
        };
        Turn { gate, mine }
    }

    fn gate(&self, ours: &str, peer: &str) -> Arc<Gate<u64>> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (ours.to_owned(), peer.to_owned());
        if let Some(known) = gates.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        // As many entries as there are streams, and few that are over.
        gates.retain(|_, gate| gate.strong_count() > 0);
        let gate = Arc::new(Gate::new(0));
        gates.insert(key, Arc::downgrade(&gate));
        gate
    }
}

impl Turn {
    /// Held while the stream's stanzas are handled; `None`: a later stream has taken over.
    pub(crate) async fn hold(&self) -> Option<MutexGuard<'_, u64>> {
        let latest = self.gate.lock().await;
        (*latest == self.mine).then_some(latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_latest_stream_counts_and_waits_for_what_is_being_done() {
        let turns = Turns::default();
        let first = turns.take("a.example", "b.example").await;
        let other = turns.take("a.example", "c.example").await;
        let doing = first.hold().await.unwrap();
        {
            let mut second = Box::pin(turns.take("a.example", "b.example"));
            assert!(futures_pending(&mut second).await);
            drop(doing);
            let second = second.await;
            assert!(first.hold().await.is_none());
            assert!(second.hold().await.is_some());
        }
        assert!(other.hold().await.is_some());
        drop((first, other));
        let _third = turns.take("a.example", "d.example").await;
        assert_eq!(turns.0.lock().unwrap().len(), 1);
    }

    async fn futures_pending<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
        tokio::time::timeout(std::time::Duration::from_millis(20), future)
            .await
            .is_err()
    }
}
