//! Signatures and trees take milliseconds: that work goes to threads which serve no sockets, a few
//! at a time.

use std::sync::Arc;

use comity_mls_wire::refusal::Refusal;
use tokio::sync::Semaphore;

/// A bounded place for work that keeps a core busy.
#[derive(Clone)]
pub struct Work {
    permits: Arc<Semaphore>,
}

impl Work {
    /// At most `at_a_time` pieces at once; the others wait their turn.
    #[must_use]
    pub fn new(at_a_time: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(at_a_time.max(1))),
        }
    }

    /// As many as there are cores.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self::new(std::thread::available_parallelism().map_or(2, usize::from))
    }

    /// Does `work` there and waits for it.
    ///
    /// # Errors
    /// [`Refusal::Internal`] when it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        // Never closed while we hold it.
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| Refusal::Internal)?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(|error| {
            tracing::error!(%error, "work on a request did not end well");
            Refusal::Internal
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn so_many_at_a_time_and_no_more() {
        let work = Work::new(2);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let all: Vec<_> = (0..8)
            .map(|_| {
                let (work, now, most) = (work.clone(), Arc::clone(&now), Arc::clone(&most));
                tokio::spawn(async move {
                    work.run(move || {
                        let count = now.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(count, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(5));
                        now.fetch_sub(1, Ordering::SeqCst);
                    })
                    .await
                })
            })
            .collect();
        for one in all {
            assert_eq!(one.await.unwrap(), Ok(()));
        }
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_failure_and_gives_its_place_back() {
        let work = Work::new(1);
        let failed = work.run(|| panic!("on purpose")).await;
        assert_eq!(failed, Err::<(), _>(Refusal::Internal));
        assert_eq!(work.run(|| 1).await, Ok(1));
    }
}
