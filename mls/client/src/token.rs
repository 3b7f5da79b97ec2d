//! Signature keys in a PKCS#11 token: made there, used there, never outside. A handle is the CKA_ID of
//! a pair of keys.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use comity_mls_credential::keys::{Algorithm, PublicKey};
use comity_mls_engine::{KeyFault, KeyHandle, SignatureKeys};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::sha::sha256;

/// What the token's own programs show of our keys.
const LABEL: &str = "comity-chat";
/// prime256v1 and id-Ed25519 as CKA_EC_PARAMS.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ED25519: [u8; 5] = [0x06, 0x03, 0x2b, 0x65, 0x70];
/// Keys remembered in one session.
const REMEMBERED: usize = 1_024;

/// Where a token is, and how one logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The PKCS#11 library of the token's maker.
    pub module: PathBuf,
    /// The token's label.
    pub label: String,
    /// None where the token has a keypad of its own.
    pub pin: Option<String>,
}

/// The keys of one device in a token.
pub struct TokenKeys {
    place: Place,
    open: Mutex<Option<Open>>,
}

struct Open {
    session: Session,
    /// Private keys found in it, and their kind.
    known: HashMap<Vec<u8>, (ObjectHandle, Algorithm)>,
}

/// What went wrong, before it is known whether trying again helps.
enum Fault {
    Missing,
    Failed(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<ErrorStack> for Fault {
    fn from(error: ErrorStack) -> Self {
        Self::Failed(error.to_string())
    }
}

impl TokenKeys {
    /// Opens the token, which has to be there and to take the PIN.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub fn open(place: Place) -> Result<Self, KeyFault> {
        let open = place.open()?;
        Ok(Self {
            place,
            open: Mutex::new(Some(open)),
        })
    }

    /// What fails is tried once more in a new session: a token that was unplugged and is back answers
    /// to nothing that was opened before.
    fn with<T>(&self, work: impl Fn(&mut Open) -> Result<T, Fault>) -> Result<T, KeyFault> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = &mut *open {
            match work(session) {
                Ok(done) => return Ok(done),
                Err(Fault::Missing) => return Err(KeyFault::Missing),
                Err(Fault::Failed(why)) => tracing::debug!(why, "the token is opened anew"),
            }
        }
        *open = None;
        let mut session = self.place.open()?;
        let done = work(&mut session);
        *open = Some(session);
        done.map_err(|fault| match fault {
            Fault::Missing => KeyFault::Missing,
            Fault::Failed(why) => self.place.unavailable(&why),
        })
    }
}

impl Place {
    fn unavailable(&self, why: &dyn std::fmt::Display) -> KeyFault {
        KeyFault::Unavailable(format!(
            "the token {:?}: {why}; see that it is plugged in and that {} reaches it",
            self.label,
            self.module.display()
        ))
    }

    fn open(&self) -> Result<Open, KeyFault> {
        let failed = |error: Error| self.unavailable(&error);
        let module = Pkcs11::new(&self.module).map_err(failed)?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Once for a process.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(failed(error)),
        }
        let slot = self.slot(&module)?;
        let session = module.open_rw_session(slot).map_err(failed)?;
        let pin = self.pin.clone();
        let pin = pin.map(|pin| AuthPin::new(pin.into_boxed_str()));
        match session.login(UserType::User, pin.as_ref()) {
            // One login is for all sessions of a process.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => return Err(failed(error)),
        }
        Ok(Open {
            session,
            known: HashMap::new(),
        })
    }

    fn slot(&self, module: &Pkcs11) -> Result<Slot, KeyFault> {
        let slots = module.get_slots_with_token();
        let slots = slots.map_err(|error| self.unavailable(&error))?;
        let ours = |slot: &Slot| {
            let info = module.get_token_info(*slot);
            info.is_ok_and(|info| info.label() == self.label)
        };
        let found: Vec<Slot> = slots.into_iter().filter(ours).collect();
        match found.as_slice() {
            [slot] => Ok(*slot),
            [] => Err(self.unavailable(&"there is none of that label")),
            _ => Err(self.unavailable(&"there are several of that label")),
        }
    }
}

impl Open {
    fn find(&self, class: ObjectClass, id: &[u8]) -> Result<ObjectHandle, Fault> {
        let wanted = [Attribute::Class(class), Attribute::Id(id.to_vec())];
        let found = self.session.find_objects(&wanted)?;
        found.first().copied().ok_or(Fault::Missing)
    }

    fn public(&self, id: &[u8]) -> Result<PublicKey, Fault> {
        let public = self.find(ObjectClass::PUBLIC_KEY, id)?;
        let attributes = self
            .session
            .get_attributes(public, &[AttributeType::EcPoint])?;
        let [Attribute::EcPoint(point)] = attributes.as_slice() else {
            return Err(Fault::Failed("a key without a point".to_owned()));
        };
        // An OCTET STRING around the point, or with some tokens the point itself.
        let point = match point.as_slice() {
            [0x04, 0x41, point @ ..] if point.len() == 65 => point,
            [0x04, 0x20, point @ ..] if point.len() == 32 => point,
            point => point,
        };
        let algorithm = match point.len() {
            32 => Algorithm::Ed25519,
            _ => Algorithm::P256,
        };
        let read = PublicKey::from_mls(algorithm, point);
        read.map_err(|error| Fault::Failed(error.to_string()))
    }

    fn private(&mut self, id: &[u8]) -> Result<(ObjectHandle, Algorithm), Fault> {
        if let Some(known) = self.known.get(id) {
            return Ok(*known);
        }
        let found = (
            self.find(ObjectClass::PRIVATE_KEY, id)?,
            self.public(id)?.algorithm(),
        );
        if self.known.len() < REMEMBERED {
            self.known.insert(id.to_vec(), found);
        }
        Ok(found)
    }

    fn generate(&self, id: &[u8], algorithm: Algorithm) -> Result<(), Fault> {
        let (mechanism, curve): (_, &[u8]) = match algorithm {
            Algorithm::P256 => (Mechanism::EccKeyPairGen, &P256),
            Algorithm::Ed25519 => (Mechanism::EccEdwardsKeyPairGen, &ED25519),
        };
        let both = [Attribute::Label(LABEL.into()), Attribute::Id(id.to_vec())];
        let mut public = vec![
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::EcParams(curve.to_vec()),
        ];
        public.extend(both.clone());
        let mut private = vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        private.extend(both);
        self.session
            .generate_key_pair(&mechanism, &public, &private)?;
        Ok(())
    }

    fn sign(&mut self, id: &[u8], content: &[u8]) -> Result<Vec<u8>, Fault> {
        let (key, algorithm) = self.private(id)?;
        match algorithm {
            // Every token signs a digest; not all hash by themselves.
            Algorithm::P256 => {
                let raw = self
                    .session
                    .sign(&Mechanism::Ecdsa, key, &sha256(content))?;
                // PKCS#11 v3.0 §2.3.1 writes r and s one after the other.
                let (r, s) = raw.split_at(raw.len() / 2);
                let (r, s) = (BigNum::from_slice(r)?, BigNum::from_slice(s)?);
                Ok(EcdsaSig::from_private_components(r, s)?.to_der()?)
            }
            Algorithm::Ed25519 => {
                let params = EddsaParams::new(EddsaSignatureScheme::Ed25519);
                Ok(self.session.sign(&Mechanism::Eddsa(params), key, content)?)
            }
        }
    }

    fn delete(&mut self, id: &[u8]) -> Result<(), Fault> {
        self.known.remove(id);
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            match self.find(class, id) {
                Ok(object) => self.session.destroy_object(object)?,
                Err(Fault::Missing) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }
}

impl SignatureKeys for TokenKeys {
    fn generate(&self, algorithm: Algorithm) -> Result<KeyHandle, KeyFault> {
        let id: [u8; 16] = comity_net::random::bytes();
        self.with(|open| open.generate(&id, algorithm))?;
        Ok(KeyHandle(id.to_vec()))
    }

    fn public(&self, key: &KeyHandle) -> Result<PublicKey, KeyFault> {
        self.with(|open| open.public(&key.0))
    }

    fn sign(&self, key: &KeyHandle, content: &[u8]) -> Result<Vec<u8>, KeyFault> {
        self.with(|open| open.sign(&key.0, content))
    }

    fn delete(&self, key: &KeyHandle) -> Result<(), KeyFault> {
        self.with(|open| open.delete(&key.0))
    }
}
