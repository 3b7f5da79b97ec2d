//! How much may be under way after its stanza has been handled: waiting for other domains, handing
//! over what was kept. Bounded for each that causes it, so that nobody's requests hold up others'.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::module::Origin;

/// For one account of ours.
const OF_AN_ACCOUNT: usize = 32;
/// For one other domain. Its stream waits beyond, and the answers it may bring with it, so this is
/// more than it has rooms in step with us.
const OF_A_PEER: usize = 256;
/// For the server itself.
const OF_THE_SERVER: usize = 4096;
/// Causes remembered before those at rest are forgotten.
const REMEMBERED: usize = 1024;

/// What is under way, by who caused it.
#[derive(Default)]
pub struct Afterwards {
    causes: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Afterwards {
    /// Waits until there is room for one thing more of this origin; the room is given back with
    /// the permit. `None` never comes: nobody closes these semaphores.
    pub(crate) async fn room(&self, origin: &Origin) -> Option<OwnedSemaphorePermit> {
        self.of(origin).acquire_owned().await.ok()
    }

    fn of(&self, origin: &Origin) -> Arc<Semaphore> {
        let (cause, most) = match origin {
            // An account has an `@`, a domain has none.
            Origin::Session(session) => (session.to_bare().to_string(), OF_AN_ACCOUNT),
            Origin::Peer(domain) => (domain.clone(), OF_A_PEER),
            Origin::Server => (String::new(), OF_THE_SERVER),
        };
        let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = causes.get(&cause).and_then(Weak::upgrade) {
            return known;
        }
        if causes.len() >= REMEMBERED {
            causes.retain(|_, known| known.strong_count() > 0);
        }
        let new = Arc::new(Semaphore::new(most));
        causes.insert(cause, Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn one_account_waits_for_itself_alone() {
        let afterwards = Afterwards::default();
        let session = |jid: &str| Origin::Session(jid.parse().unwrap());
        let mut held = Vec::new();
        for _ in 0..OF_AN_ACCOUNT {
            held.push(afterwards.room(&session("a@a.example/1")).await.unwrap());
        }
        let origin = session("a@a.example/2");
        let more = afterwards.room(&origin);
        assert!(
            tokio::time::timeout(Duration::from_millis(20), more)
                .await
                .is_err()
        );
        assert!(afterwards.room(&session("b@a.example/1")).await.is_some());
        held.pop();
        assert!(afterwards.room(&origin).await.is_some());
    }

    #[tokio::test]
    async fn causes_at_rest_are_forgotten() {
        let afterwards = Afterwards::default();
        for n in 0..3 * REMEMBERED {
            drop(afterwards.room(&Origin::Peer(format!("{n}.example"))).await);
        }
        assert!(afterwards.causes.lock().unwrap().len() <= REMEMBERED);
    }
}
