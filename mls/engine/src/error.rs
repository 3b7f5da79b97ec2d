//! What a verb or input can fail with. What a server or a peer did wrong is no error here but a
//! [`crate::Warning`] or [`crate::Event::Refused`]: the engine goes on.

use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use crate::keys::KeyFault;
use crate::store::StoreError;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Open the engine anew: what it holds in memory may not be what was written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store answered with something this engine never wrote.
    #[error("the engine's store is damaged: a {space} row cannot be read")]
    Corrupt { space: &'static str },
    #[error(transparent)]
    Key(#[from] KeyFault),
    #[error("the store belongs to {found}, not to {expected}")]
    OtherAccount { expected: String, found: String },
    #[error("{deed} needs the role of {needs:?} in this room")]
    NotAllowed {
        deed: &'static str,
        needs: comity_mls_wire::policy::Role,
    },
    #[error("the room's last owner stays one: make somebody else owner first")]
    LastOwner,
    #[error("this device is not enrolled yet: enrol it first")]
    NotEnrolled,
    #[error("this device is enrolled already")]
    Enrolled,
    #[error("this device is in no room {0}")]
    UnknownRoom(BareJid),
    #[error("the room {0} is not usable now: {1}")]
    RoomClosed(BareJid, &'static str),
    #[error("{0} is not a member of the room")]
    NoMember(BareJid),
    #[error("this account has no other device {0} that is in use")]
    UnknownDevice(Uuid),
    #[error("a code has thirty digits")]
    NoCode,
    #[error(
        "the codes differ: compare again with both in the same epoch, and if they differ still, \
         somebody sits between you"
    )]
    CodeDiffers,
    #[error("{what}: at most {limit}")]
    TooMuch { what: &'static str, limit: usize },
    #[error(
        "a content type has 1 to {max} octets of visible ASCII",
        max = crate::content::MAX_CONTENT_TYPE
    )]
    ContentType,
    #[error("a room's name is text without control characters")]
    RoomName,
    #[error("{0} is no account one can talk to")]
    NoAccount(BareJid),
    #[error("no message {0} is held here")]
    UnknownMessage(Uuid),
    #[error("that is a message of one's own")]
    OwnMessage,
    #[error("the room's policy forbids it: {0}")]
    Forbidden(String),
    #[error(
        "the device {device} of {account} is not in {room}: nothing of it can be used where it is"
    )]
    NotShared {
        room: BareJid,
        account: BareJid,
        device: Uuid,
    },
    /// OpenSSL or mls-rs refused what the engine made itself.
    #[error("the MLS library failed: {0}")]
    Mls(String),
}

impl From<mls_rs::error::MlsError> for Error {
    fn from(error: mls_rs::error::MlsError) -> Self {
        Self::Mls(error.to_string())
    }
}

impl From<openssl::error::ErrorStack> for Error {
    fn from(error: openssl::error::ErrorStack) -> Self {
        Self::Mls(error.to_string())
    }
}

impl From<comity_mls_credential::keys::KeyError> for Error {
    fn from(error: comity_mls_credential::keys::KeyError) -> Self {
        Self::Key(KeyFault::Unavailable(error.to_string()))
    }
}

/// How mls-rs carries an error of our storage.
impl mls_rs_core::error::IntoAnyError for Error {
    fn into_dyn_error(self) -> Result<Box<dyn std::error::Error + Send + Sync>, Self> {
        Ok(self.into())
    }
}
