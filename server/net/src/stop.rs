//! How everything ends: one word to all, then a wait, with a bound, until all have gone.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

/// Held by whoever may end the server.
pub struct Stopper {
    told: watch::Sender<bool>,
    gone: mpsc::Receiver<()>,
}

/// Held by everything that has to end; dropped when it has.
#[derive(Clone)]
pub struct Stop {
    told: watch::Receiver<bool>,
    here: mpsc::Sender<()>,
}

/// Kept by what starts tasks but is not itself waited for.
#[derive(Clone)]
pub struct WeakStop {
    told: watch::Receiver<bool>,
    here: mpsc::WeakSender<()>,
}

#[must_use]
pub fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    let (here, gone) = mpsc::channel(1);
    let stop = Stop {
        told: receiver,
        here,
    };
    (Stopper { told: sender, gone }, stop)
}

impl Stopper {
    /// Tells everyone, then waits until all have gone or `patience` is over. False: some had to
    /// be left behind.
    pub async fn stop(mut self, patience: Duration) -> bool {
        self.told.send_replace(true);
        tokio::time::timeout(patience, self.gone.recv())
            .await
            .is_ok()
    }
}

impl WeakStop {
    /// For a task that begins; None once all have gone, when none may begin any more.
    #[must_use]
    pub fn upgrade(&self) -> Option<Stop> {
        Some(Stop {
            told: self.told.clone(),
            here: self.here.upgrade()?,
        })
    }
}

impl Stop {
    #[must_use]
    pub fn downgrade(&self) -> WeakStop {
        WeakStop {
            told: self.told.clone(),
            here: self.here.downgrade(),
        }
    }

    #[must_use]
    pub fn requested(&self) -> bool {
        *self.told.borrow()
    }

    /// Returns once the end is asked for, or the one who could ask is gone. Cancel-safe.
    pub async fn wait(&mut self) {
        // An error means that the stopper is dropped: nobody wants us any more.
        let _ = self.told.wait_for(|told| *told).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_all_and_only_as_long_as_allowed() {
        let (stopper, mut stop) = channel();
        let worker = tokio::spawn(async move { stop.wait().await });
        assert!(stopper.stop(Duration::from_secs(5)).await);
        worker.await.unwrap();

        let (stopper, stop) = channel();
        assert!(!stopper.stop(Duration::from_millis(20)).await);
        assert!(stop.requested());
    }

    #[tokio::test]
    async fn who_only_starts_tasks_is_not_waited_for() {
        let (stopper, stop) = channel();
        let weak = stop.downgrade();
        assert!(weak.upgrade().is_some());
        drop(stop);
        assert!(stopper.stop(Duration::from_secs(5)).await);
        assert!(weak.upgrade().is_none());
    }
}
