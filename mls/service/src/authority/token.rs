//! Keys of the CA in a PKCS#11 token: made there, used there, never outside.
//!
//! A key is found by its label, `PREFIX DOMAIN NAME`, where NAME is what its files would be called
//! (`root`, `issuing-1`). Nothing is asked of the token before a key is made or has to sign, so
//! that a server whose token is away starts, serves, and says what it cannot do. All here waits
//! for the token and is called where that holds nobody up.

mod keys;
mod module;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use comity_mls_credential::keys::{Algorithm, PrivateKey, PublicKey};
use cryptoki::context::Pkcs11;
use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use openssl::sha::sha256;

use keys::KeyInToken;
use module::{Line, Module};

/// How long somebody waits for one of the sessions to become free.
const WAIT: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 10_000 });

/// Where a token is, and how one logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The PKCS#11 library of the token's maker.
    pub module: PathBuf,
    /// The token's label.
    pub label: String,
    /// Where several tokens have one label.
    pub slot: Option<u64>,
    /// A file with the user's PIN in its first line; none where the token has a keypad of its own.
    pub pin_file: Option<PathBuf>,
    /// Of the labels of keys.
    pub key_prefix: String,
    /// Sessions with it at a time.
    pub sessions: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error(
        "the PKCS#11 module {} cannot be used: {error}; see that the token's software is installed \
         and reaches it, or correct the module's path", path.display()
    )]
    Module { path: PathBuf, error: Pkcs11Error },
    #[error(
        "there is no token {label:?}: plug it in and see that its software reaches it, or correct \
         the label; tokens here: {}",
        list(present)
    )]
    Absent { label: String, present: Vec<String> },
    #[error(
        "{count} tokens have the label {label:?}: say which, with its slot ({})",
        list(slots)
    )]
    Several {
        label: String,
        count: usize,
        slots: Vec<String>,
    },
    #[error("the file with the PIN, {}, cannot be read: {error}", path.display())]
    PinFile {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error(
        "the token {label:?} refuses the PIN ({error}): correct the file with the PIN; the same PIN \
         is not tried again, lest the token locks itself"
    )]
    Pin { label: String, error: String },
    #[error(
        "the token {label:?} has no key {key:?}: plug in the token the key was made in, or restore \
         the token from its maker's backup"
    )]
    NoKey { label: String, key: String },
    #[error("the token {label:?} has {count} keys {key:?}: remove or rename all but the right one")]
    Ambiguous {
        label: String,
        key: String,
        count: usize,
    },
    #[error("the token {label:?} cannot do {algorithm:?}: choose the other algorithm")]
    Unsupported { label: String, algorithm: Algorithm },
    #[error("the token's key {key:?} is neither on P-256 nor on Ed25519")]
    Kind { key: String },
    #[error(
        "all {sessions} sessions with the token {label:?} were busy for 10 s: the token is too slow \
         or hangs; more sessions may help"
    )]
    Busy { label: String, sessions: usize },
    #[error("the token {label:?} failed: {error}; see that it is plugged in and reached")]
    Failed { label: String, error: Pkcs11Error },
}

impl TokenError {
    /// May it be gone when everything is opened anew?
    fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Absent { .. } | Self::NoKey { .. } | Self::Failed { .. } | Self::Module { .. }
        )
    }
}

fn list(words: &[String]) -> String {
    match words {
        [] => "none".to_owned(),
        words => words.join(", "),
    }
}

/// One token. Cheap to clone.
#[derive(Clone)]
pub struct Token {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    module: Arc<Module>,
    /// Sessions in use.
    busy: Mutex<usize>,
    freed: Condvar,
    failures: AtomicU64,
    /// SHA-256 of a PIN that was refused.
    refused_pin: Mutex<Option<[u8; 32]>>,
}

impl Token {
    /// The token of that place: the same for all who name it.
    #[must_use]
    pub fn at(place: Place) -> Self {
        static TOKENS: Mutex<Vec<Token>> = Mutex::new(Vec::new());
        let mut tokens = TOKENS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = tokens.iter().find(|token| token.inner.place == place) {
            return known.clone();
        }
        let token = Self {
            inner: Arc::new(Inner {
                module: Module::of(&place.module),
                place,
                busy: Mutex::new(0),
                freed: Condvar::new(),
                failures: AtomicU64::new(0),
                refused_pin: Mutex::new(None),
            }),
        };
        tokens.push(token.clone());
        token
    }

    #[must_use]
    pub fn label(&self) -> &str {
        &self.inner.place.label
    }

    /// What was asked of it in vain since the start.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.inner.failures.load(Ordering::Relaxed)
    }

    /// Can it be reached, and does it let us in?
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn check(&self) -> Result<(), TokenError> {
        self.with(|_, line| {
            let info = line.session.get_session_info();
            info.map(|_| ()).map_err(|error| self.failed(error))
        })
    }

    /// The public half of the key of that name; None where there is no such key.
    pub(super) fn public(&self, domain: &str, name: &str) -> Result<Option<PublicKey>, TokenError> {
        let key = self.key_label(domain, name);
        self.with(|_, line| keys::public(self, line, &key))
    }

    /// Makes a key that cannot leave the token.
    pub(super) fn generate(
        &self,
        domain: &str,
        name: &str,
        algorithm: Algorithm,
    ) -> Result<PublicKey, TokenError> {
        let key = self.key_label(domain, name);
        self.with(|module, line| keys::generate(self, module, line, &key, algorithm))
    }

    /// The key of that name, whose public half is known.
    pub(super) fn key(&self, domain: &str, name: &str, public: PublicKey) -> PrivateKey {
        let algorithm = public.algorithm();
        let key = KeyInToken {
            token: self.clone(),
            label: self.key_label(domain, name),
            algorithm,
        };
        PrivateKey::in_token(public, Arc::new(key))
    }

    fn key_label(&self, domain: &str, name: &str) -> String {
        format!("{} {domain} {name}", self.inner.place.key_prefix)
    }

    /// Whoever means the same token uses the same sessions.
    fn line(&self) -> String {
        format!("{} {:?}", self.inner.place.label, self.inner.place.slot)
    }

    fn failed(&self, error: Pkcs11Error) -> TokenError {
        TokenError::Failed {
            label: self.label().to_owned(),
            error,
        }
    }

    /// Works over one of the sessions. What fails is tried once more with everything opened anew:
    /// a token that was unplugged and is back answers to nothing that was opened before.
    fn with<T>(
        &self,
        work: impl Fn(&Pkcs11, &mut Line) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let result = self.turn().and_then(|_turn| {
            self.attempt(&work).or_else(|error| match error.may_pass() {
                true => {
                    self.inner.module.reset();
                    self.attempt(&work)
                }
                false => Err(error),
            })
        });
        if result.is_err() {
            self.inner.failures.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    fn attempt<T>(
        &self,
        work: &impl Fn(&Pkcs11, &mut Line) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let module = self.inner.module.loaded()?;
        let mut line = match module.take(&self.line()) {
            Some(line) => line,
            None => self.open(module.pkcs11())?,
        };
        let result = work(module.pkcs11(), &mut line);
        // A session in which something failed is closed.
        if result.is_ok() {
            module.keep(line);
        }
        result
    }

    fn open(&self, module: &Pkcs11) -> Result<Line, TokenError> {
        let slot = self.slot(module)?;
        let session = module
            .open_ro_session(slot)
            .map_err(|error| self.failed(error))?;
        self.login(&session)?;
        Ok(Line {
            token: self.line(),
            slot,
            session,
            keys: Vec::new(),
        })
    }

    fn slot(&self, module: &Pkcs11) -> Result<Slot, TokenError> {
        let place = &self.inner.place;
        let slots = module
            .get_slots_with_token()
            .map_err(|error| self.failed(error))?;
        let (mut present, mut found) = (Vec::new(), Vec::new());
        for slot in slots {
            // A slot whose token cannot be asked is as good as empty.
            let Ok(info) = module.get_token_info(slot) else {
                continue;
            };
            let label = info.label();
            if label == place.label && place.slot.is_none_or(|wanted| slot.id() == wanted) {
                found.push(slot);
            }
            if !label.is_empty() {
                present.push(format!("{label} (slot {})", slot.id()));
            }
        }
        let label = place.label.clone();
        match found.as_slice() {
            [slot] => Ok(*slot),
            [] => Err(TokenError::Absent { label, present }),
            several => Err(TokenError::Several {
                label,
                count: several.len(),
                slots: several.iter().map(|slot| slot.id().to_string()).collect(),
            }),
        }
    }

    fn login(&self, session: &Session) -> Result<(), TokenError> {
        let pin = self.pin()?;
        let hash = pin.as_deref().map(|pin| sha256(pin.as_bytes()));
        let refused = &self.inner.refused_pin;
        let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = |error: &dyn fmt::Display| TokenError::Pin {
            label: self.label().to_owned(),
            error: error.to_string(),
        };
        if refused.is_some() && *refused == hash {
            return Err(wrong(&"it was refused before"));
        }
        let pin = pin.map(|pin| AuthPin::new(pin.into_boxed_str()));
        match session.login(UserType::User, pin.as_ref()) {
            // One login is for all sessions of a process.
            Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                *refused = None;
                Ok(())
            }
            Err(Pkcs11Error::Pkcs11(error, _)) if refuses(error) => {
                *refused = hash;
                Err(wrong(&error))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    fn pin(&self) -> Result<Option<String>, TokenError> {
        let Some(path) = &self.inner.place.pin_file else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path).map_err(|error| TokenError::PinFile {
            path: path.clone(),
            error,
        })?;
        Ok(Some(text.lines().next().unwrap_or("").to_owned()))
    }

    /// Waits until a session may be used.
    fn turn(&self) -> Result<Turn<'_>, TokenError> {
        let sessions = self.inner.place.sessions.max(1);
        let busy = self.inner.busy.lock();
        let busy = busy.unwrap_or_else(PoisonError::into_inner);
        let all = |busy: &mut usize| *busy >= sessions;
        let waited = self.inner.freed.wait_timeout_while(busy, WAIT, all);
        let (mut busy, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(TokenError::Busy {
                label: self.label().to_owned(),
                sessions,
            });
        }
        *busy += 1;
        Ok(Turn(&self.inner))
    }
}

fn refuses(error: RvError) -> bool {
    matches!(
        error,
        RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinLocked
    )
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.label())
    }
}

struct Turn<'a>(&'a Inner);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut busy = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
        *busy -= 1;
        drop(busy);
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests;
