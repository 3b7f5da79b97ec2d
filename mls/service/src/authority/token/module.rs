//! A PKCS#11 library, loaded once in a process, and the sessions that wait in it to be used again.
//!
//! Some libraries see a token that was away only after they are initialised anew, and that may
//! happen only while nobody uses them: whoever uses one holds it for reading.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::slot::Slot;

use super::TokenError;

/// Not more often is a library initialised anew.
const RESET_EVERY: Duration = Duration::from_secs(1);

/// A session in which one is logged in.
pub(super) struct Line {
    /// Which of the module's tokens.
    pub(super) token: String,
    pub(super) slot: Slot,
    pub(super) session: Session,
    /// Private keys found in it, by label.
    pub(super) keys: Vec<(String, ObjectHandle)>,
}

pub(super) struct Module {
    path: PathBuf,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    loaded: Option<Pkcs11>,
    reset: Option<Instant>,
    /// As many as were used at a time, which is bounded.
    idle: Mutex<Vec<Line>>,
}

/// Nobody initialises the library anew while this is held.
pub(super) struct Loaded<'a>(RwLockReadGuard<'a, State>, Pkcs11);

impl Module {
    pub(super) fn of(path: &Path) -> Arc<Self> {
        static MODULES: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            Arc::new(Self {
                path: path.to_owned(),
                state: RwLock::default(),
            })
        };
        Arc::clone(modules.entry(path.to_owned()).or_insert_with(new))
    }

    pub(super) fn loaded(&self) -> Result<Loaded<'_>, TokenError> {
        loop {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(pkcs11) = state.loaded.clone() {
                return Ok(Loaded(state, pkcs11));
            }
            drop(state);
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            if state.loaded.is_none() {
                state.loaded = Some(self.load()?);
            }
        }
    }

    fn load(&self) -> Result<Pkcs11, TokenError> {
        let pkcs11 = Pkcs11::new(&self.path).map_err(|error| self.unusable(error))?;
        self.initialize(&pkcs11)?;
        Ok(pkcs11)
    }

    fn initialize(&self, pkcs11: &Pkcs11) -> Result<(), TokenError> {
        pkcs11
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .map_err(|error| self.unusable(error))
    }

    /// Closes everything and initialises the library anew, unless that was done just now.
    pub(super) fn reset(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.reset.is_some_and(|last| last.elapsed() < RESET_EVERY) {
            return;
        }
        // Before it is closed down, lest an old session's end ends a new one of its number.
        state
            .idle
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        state.reset = Some(Instant::now());
        let Some(pkcs11) = state.loaded.take() else {
            return;
        };
        if let Err(error) = pkcs11.clone().finalize() {
            tracing::debug!(%error, "a PKCS#11 module does not close down");
        }
        match self.initialize(&pkcs11) {
            Ok(()) => state.loaded = Some(pkcs11),
            Err(error) => tracing::error!(%error, "a PKCS#11 module does not start again"),
        }
    }

    fn unusable(&self, error: cryptoki::error::Error) -> TokenError {
        TokenError::Module {
            path: self.path.clone(),
            error,
        }
    }
}

impl Loaded<'_> {
    pub(super) fn pkcs11(&self) -> &Pkcs11 {
        &self.1
    }

    pub(super) fn take(&self, token: &str) -> Option<Line> {
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let place = idle.iter().position(|line| line.token == token)?;
        Some(idle.swap_remove(place))
    }

    pub(super) fn keep(&self, line: Line) {
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(line);
    }
}
