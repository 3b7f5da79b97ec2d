//! Can what is handed in be kept? Said once when it cannot, and once when it can again: a full disk
//! is no reason to fill it with a line for every stanza.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{Error, Trouble};

/// A disk that is full again within this time is not worth another line.
const QUIET: Duration = Duration::from_secs(60);

/// Shared by the writer and whoever asks.
#[derive(Clone, Default)]
pub(crate) struct Health(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    trouble: Option<Trouble>,
    /// When it was last said, and whether its end is to be.
    said: Option<Instant>,
    open: bool,
}

impl Health {
    /// What kept the last change from being written.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.state(|state| state.trouble)
    }

    /// A change failed. True: for a reason that is the disk's and not the change's.
    pub(crate) fn failed(&self, error: &Error) -> bool {
        let trouble = error.trouble();
        if !matches!(trouble, Trouble::Full | Trouble::ReadOnly | Trouble::Disk) {
            return false;
        }
        let now = Instant::now();
        let say = self.state(|state| {
            let news = state.trouble != Some(trouble);
            state.trouble = Some(trouble);
            let say = news && state.said.is_none_or(|said| now - said > QUIET);
            if say {
                state.said = Some(now);
                state.open = true;
            }
            say
        });
        if say {
            let todo = trouble.todo();
            tracing::error!(%error, "nothing can be kept: {todo}. Until then new messages and \
                requests are refused; what was accepted is safe");
        }
        true
    }

    /// A change was written.
    pub(crate) fn succeeded(&self) {
        let say = self.state(|state| {
            let over = state.trouble.take().is_some() && state.open;
            state.open &= !over;
            over
        });
        if say {
            tracing::info!("the database can be written again");
        }
    }

    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_known_until_something_is_written() {
        let health = Health::default();
        assert!(!health.failed(&Error::Panicked), "a bug is not the disk's");
        assert_eq!(health.trouble(), None);
        assert!(health.failed(&Error::NoRoom));
        assert_eq!(health.trouble(), Some(Trouble::Full));
        assert!(health.state(|state| state.open));
        health.succeeded();
        assert_eq!(health.trouble(), None);
        // Full again at once: known, and not said.
        assert!(health.failed(&Error::NoRoom));
        assert_eq!(health.trouble(), Some(Trouble::Full));
        assert!(!health.state(|state| state.open));
    }
}
