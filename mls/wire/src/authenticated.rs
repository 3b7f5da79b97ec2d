//! What travels in `authenticated_data` of an MLS message (RFC 9420 §6): read by the hub and by every
//! member, covered by the sender's signature, no secret. `uint16 version`, then items in ascending
//! order of their type, each type once, and nothing after them. No octets at all: no items.

use comity_xmpp::jid::BareJid;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use uuid::Uuid;

use crate::limits;

/// The one version this library knows.
pub const VERSION: u16 = 1;

/// All that a message may say beside its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthenticatedData {
    /// For devices that come to a room where their account is already; of an Add, or of a commit
    /// that adds or is external.
    pub endorsements: Vec<Endorsement>,
    /// Why the hub removes a leaf; of its own Remove proposals alone.
    pub ground: Option<Ground>,
    /// Of an external commit: that the one who comes back held an earlier epoch.
    pub rejoin: Option<Rejoin>,
    /// Of an application message: it has no place in the log. So no server can pass the one off as
    /// the other, and spend the key of a message that is still to come.
    pub ephemeral: bool,
    /// Of an application message: by it what is said can be shown to the hub.
    pub franking: Option<[u8; 32]>,
}

/// A leaf of an account vouches for another device of the same account. What the signature covers
/// is `comity endorse v1` of `mls/PROTOCOL.md`.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Endorsement {
    device: [u8; 16],
    /// SHA-256 of the signature public key of the new leaf, as MLS writes it.
    pub key_hash: [u8; 32],
    /// Seconds since 1970; judged by the hub when it accepts.
    pub not_after: u64,
    endorser: [u8; 16],
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub signature: Vec<u8>,
}

impl Endorsement {
    #[must_use]
    pub fn new(
        device: Uuid,
        key_hash: [u8; 32],
        not_after: u64,
        endorser: Uuid,
        signature: Vec<u8>,
    ) -> Self {
        Self {
            device: device.into_bytes(),
            key_hash,
            not_after,
            endorser: endorser.into_bytes(),
            signature,
        }
    }

    /// The device that comes.
    #[must_use]
    pub fn device(&self) -> Uuid {
        Uuid::from_bytes(self.device)
    }

    /// The device whose leaf has signed.
    #[must_use]
    pub fn endorser(&self) -> Uuid {
        Uuid::from_bytes(self.endorser)
    }
}

/// Why the hub proposes a removal, and where anyone may look it up.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum Ground {
    /// The certificate of the leaf is on its issuer's revocation list.
    Revocation(Revocation) = 1,
    /// The account asked for it.
    Departure(SignedRequest) = 2,
    /// One who may remove the account asked for it.
    Ban(SignedRequest) = 3,
    /// The leaf was not updated for longer than the policy allows.
    Idle(Idle) = 4,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Revocation {
    /// Of the leaf's certificate: the content octets of its INTEGER.
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub serial: Vec<u8>,
    /// A list on which it stands; later ones name it too.
    pub crl_number: u64,
}

/// What a leaf of the room asks the hub to propose. The signature covers `comity departure v1` or
/// `comity ban v1` of `mls/PROTOCOL.md`.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct SignedRequest {
    /// Whose devices go.
    pub account: String,
    /// Who asks.
    pub by: String,
    device: [u8; 16],
    /// Seconds since 1970.
    pub time: u64,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub signature: Vec<u8>,
}

impl SignedRequest {
    #[must_use]
    pub fn new(
        account: &BareJid,
        by: &BareJid,
        device: Uuid,
        time: u64,
        signature: Vec<u8>,
    ) -> Self {
        Self {
            account: account.as_str().to_owned(),
            by: by.as_str().to_owned(),
            device: device.into_bytes(),
            time,
            signature,
        }
    }

    /// The device whose leaf has signed.
    #[must_use]
    pub fn device(&self) -> Uuid {
        Uuid::from_bytes(self.device)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Idle {
    /// The epoch that the leaf's last update, or its joining, began.
    pub updated_epoch: u64,
    /// `idle_removal_s` of the policy.
    pub limit_s: u32,
}

/// HMAC under the rejoin secret of an epoch, over new signature key, group and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Rejoin {
    pub epoch: u64,
    pub mac: [u8; 32],
}

/// Why octets are no authenticated data of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticatedDataError {
    #[error("authenticated data has {found} octets, at most {max} are read")]
    TooLarge { found: usize, max: usize },
    /// A newer client wrote it: upgrade.
    #[error("authenticated data has version {found}, and {VERSION} is the newest one known here")]
    UnknownVersion { found: u16 },
    #[error("authenticated data cannot be decoded: {0}")]
    Malformed(String),
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u16)]
enum Item {
    Endorsements(Vec<Endorsement>) = 1,
    Ground(Ground) = 2,
    Rejoin(Rejoin) = 3,
    Franking([u8; 32]) = 4,
    Ephemeral = 6,
}

impl AuthenticatedData {
    /// Of one who only vouches for newcomers; none makes no octets.
    #[must_use]
    pub fn endorsing(endorsements: Vec<Endorsement>) -> Self {
        Self {
            endorsements,
            ..Self::default()
        }
    }

    /// Of an application message.
    #[must_use]
    pub fn franked(tag: [u8; 32]) -> Self {
        Self {
            franking: Some(tag),
            ..Self::default()
        }
    }

    /// Of a removal that the hub proposes.
    #[must_use]
    pub fn grounded(ground: Ground) -> Self {
        Self {
            ground: Some(ground),
            ..Self::default()
        }
    }

    /// Of a message outside the log.
    #[must_use]
    pub fn ephemeral() -> Self {
        Self {
            ephemeral: true,
            ..Self::default()
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn to_bytes(&self) -> Result<Vec<u8>, AuthenticatedDataError> {
        self.check()?;
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let mut items = Vec::new();
        if !self.endorsements.is_empty() {
            items.push(Item::Endorsements(self.endorsements.clone()));
        }
        items.extend(self.ground.clone().map(Item::Ground));
        items.extend(self.rejoin.map(Item::Rejoin));
        items.extend(self.franking.map(Item::Franking));
        items.extend(self.ephemeral.then_some(Item::Ephemeral));
        let mut out = VERSION.to_be_bytes().to_vec();
        items.mls_encode(&mut out).map_err(malformed)?;
        Ok(out)
    }

    pub fn from_bytes(data: &[u8]) -> Result<Self, AuthenticatedDataError> {
        if data.is_empty() {
            return Ok(Self::default());
        }
        if data.len() > limits::AUTHENTICATED_BYTES {
            return Err(AuthenticatedDataError::TooLarge {
                found: data.len(),
                max: limits::AUTHENTICATED_BYTES,
            });
        }
        let short = || AuthenticatedDataError::Malformed("it ends before its version".to_owned());
        let (version, mut rest) = data.split_first_chunk::<2>().ok_or_else(short)?;
        let found = u16::from_be_bytes(*version);
        if found != VERSION {
            return Err(AuthenticatedDataError::UnknownVersion { found });
        }
        let mut read = Self::default();
        for item in Vec::<Item>::mls_decode(&mut rest).map_err(malformed)? {
            match item {
                Item::Endorsements(endorsements) => read.endorsements = endorsements,
                Item::Ground(ground) => read.ground = Some(ground),
                Item::Rejoin(rejoin) => read.rejoin = Some(rejoin),
                Item::Franking(tag) => read.franking = Some(tag),
                Item::Ephemeral => read.ephemeral = true,
            }
        }
        // There is one encoding: so items out of order or twice, an empty list of them, and octets
        // after the last are refused without a rule for each.
        if read.to_bytes()? != data {
            return Err(AuthenticatedDataError::Malformed(
                "it is not in the one encoding it has".to_owned(),
            ));
        }
        Ok(read)
    }

    fn check(&self) -> Result<(), AuthenticatedDataError> {
        let fault = |why: &str| Err(AuthenticatedDataError::Malformed(why.to_owned()));
        if self.endorsements.len() > limits::JOINERS {
            return fault("it has more endorsements than a commit adds devices");
        }
        if self.endorsements.iter().any(|e| unsigned(&e.signature)) {
            return fault("an endorsement's signature is empty or too long");
        }
        match &self.ground {
            Some(Ground::Revocation(Revocation { serial, .. }))
                if serial.len() > limits::SERIAL_BYTES
                    || serial.first().is_none_or(|o| *o == 0) =>
            {
                fault("a serial number has 1 to 20 octets without leading zeros")
            }
            Some(Ground::Departure(request) | Ground::Ban(request)) => {
                let account = |text: &str| {
                    BareJid::parse(text).is_ok_and(|j| j.as_str() == text && j.local().is_some())
                };
                if !account(&request.account) || !account(&request.by) {
                    return fault("a name in it is not the prepared address of an account");
                }
                if unsigned(&request.signature) {
                    return fault("a request's signature is empty or too long");
                }
                Ok(())
            }
            Some(Ground::Idle(Idle { limit_s: 0, .. })) => fault("a limit of 0 removes nobody"),
            _ => Ok(()),
        }
    }
}

fn unsigned(signature: &[u8]) -> bool {
    signature.is_empty() || signature.len() > limits::SIGNATURE_BYTES
}

fn malformed(fault: mls_rs_codec::Error) -> AuthenticatedDataError {
    AuthenticatedDataError::Malformed(fault.to_string())
}

#[cfg(test)]
#[path = "authenticated/tests.rs"]
mod tests;
