//! The inside of an application message: what its sender signs beside the content, so that replay,
//! loss and a forked log show (RFC 9750 §8.4.4), and padding to the steps of the policy.

use comity_mls_credential::franking;
use comity_mls_wire::room::Hash;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use uuid::Uuid;

/// The only version there is. A message of another is shown as unreadable, never guessed at.
const VERSION: u8 = 1;
/// Lengths are hidden up to this step.
/// Longer steps than this, whatever the policy says, would fill a message the hub does not take.
const LONGEST_STEP: usize = 32 * 1024;
/// A content type is a short word such as `sce`.
pub const MAX_CONTENT_TYPE: usize = 128;
/// What one message may carry; larger things are sent as files.
pub const MAX_CONTENT: usize = 48 * 1024;
/// Content type of the engine's own message that names the room; content: the name in UTF-8.
pub const ROOM_STATE: &str = "room-state";
/// Content type of the engine's own message that says nothing but how far its sender has read: that
/// stands beside every content.
pub const ACKNOWLEDGEMENT: &str = "acknowledgement";

/// Content type of the engine's own message that hands out a pre-shared key.
pub const PSK: &str = "psk";
/// Content type of the engine's own message that says that its sender holds one.
pub const PSK_HELD: &str = "psk-held";
/// Nothing of these is shown.
pub(crate) const ENGINES_OWN: [&str; 4] = [ROOM_STATE, ACKNOWLEDGEMENT, PSK, PSK_HELD];

/// Chosen by the sender, kept when the message must be encrypted anew for a later epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub Uuid);

impl std::fmt::Display for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct Framed {
    version: u8,
    pub(crate) id: [u8; 16],
    /// Counts the sender's accepted messages in this room, from 1, without gaps.
    pub(crate) counter: u64,
    /// The last entry of the log the sender held, and its head.
    pub(crate) seq: u64,
    pub(crate) head: Hash,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) epoch_authenticator: Vec<u8>,
    /// The head of a domain's transparency log as the sender has it, now and then.
    pub(crate) log_head: Option<LogHead>,
    /// With it a receiver can show the message to the hub.
    pub(crate) franking_key: franking::Key,
    pub(crate) content_type: String,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) content: Vec<u8>,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    padding: Vec<u8>,
}

/// A signed head, as `comity_mls_credential::transparency` encodes it.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct LogHead(#[mls_codec(with = "mls_rs_codec::byte_vec")] pub(crate) Vec<u8>);

/// What a message says of itself and of its sender's view of the room.
pub(crate) struct Position {
    pub(crate) id: MessageId,
    pub(crate) counter: u64,
    pub(crate) seq: u64,
    pub(crate) head: Hash,
    pub(crate) epoch_authenticator: Vec<u8>,
    pub(crate) log_head: Option<Vec<u8>>,
    pub(crate) franking_key: franking::Key,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContentError {
    #[error("it has the unknown content version {0}")]
    Version(u8),
    #[error("its content cannot be read")]
    Unreadable,
}

impl Framed {
    /// Padded to a multiple of `step` octets, the policy's `padding`.
    pub(crate) fn new(position: Position, content_type: &str, content: &[u8], step: u16) -> Self {
        let mut framed = Self {
            version: VERSION,
            id: position.id.0.into_bytes(),
            counter: position.counter,
            seq: position.seq,
            head: position.head,
            epoch_authenticator: position.epoch_authenticator,
            log_head: position.log_head.map(LogHead),
            franking_key: position.franking_key,
            content_type: content_type.to_owned(),
            content: content.to_vec(),
            padding: Vec::new(),
        };
        framed.padding = padding(framed.mls_encoded_len(), step);
        framed
    }

    pub(crate) fn read(mut bytes: &[u8]) -> Result<Self, ContentError> {
        match bytes.first() {
            Some(&VERSION) => {}
            Some(&other) => return Err(ContentError::Version(other)),
            None => return Err(ContentError::Unreadable),
        }
        match Self::mls_decode(&mut bytes) {
            Ok(framed) if bytes.is_empty() && framed.is_plausible() => Ok(framed),
            _ => Err(ContentError::Unreadable),
        }
    }

    fn is_plausible(&self) -> bool {
        is_content_type(&self.content_type) && self.content.len() <= MAX_CONTENT
    }
}

/// What is said outside the log. It has no id, no counter and no place: nothing refers to it.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct Passing {
    version: u8,
    pub(crate) content_type: String,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) content: Vec<u8>,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    padding: Vec<u8>,
}

impl Passing {
    pub(crate) fn new(content_type: &str, content: &[u8], step: u16) -> Self {
        let mut passing = Self {
            version: VERSION,
            content_type: content_type.to_owned(),
            content: content.to_vec(),
            padding: Vec::new(),
        };
        passing.padding = padding(passing.mls_encoded_len(), step);
        passing
    }

    pub(crate) fn read(mut bytes: &[u8]) -> Result<Self, ContentError> {
        match bytes.first() {
            Some(&VERSION) => {}
            Some(&other) => return Err(ContentError::Version(other)),
            None => return Err(ContentError::Unreadable),
        }
        match Self::mls_decode(&mut bytes) {
            Ok(read) if bytes.is_empty() && is_content_type(&read.content_type) => Ok(read),
            _ => Err(ContentError::Unreadable),
        }
    }
}

/// As many zeros as bring what is so long without them to a multiple of `step` octets.
fn padding(length: usize, step: u16) -> Vec<u8> {
    let step = usize::from(step).clamp(1, LONGEST_STEP);
    let missing = length.next_multiple_of(step) - length;
    // RFC 9420 §2.1.2: the length of the padding takes more octets itself once it exceeds 63.
    let longer = match missing {
        0..64 => 0,
        64..16_384 => 1,
        _ => 3,
    };
    vec![0; missing.saturating_sub(longer % step)]
}

/// A content type is shown where it is not known: it is no place for spaces, colours and cursors.
pub(crate) fn is_content_type(text: &str) -> bool {
    let visible = |octet: u8| octet.is_ascii_graphic();
    (1..=MAX_CONTENT_TYPE).contains(&text.len()) && text.bytes().all(visible)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(length: usize) -> Framed {
        padded(length, 128)
    }

    fn padded(length: usize, step: u16) -> Framed {
        let position = Position {
            id: MessageId(Uuid::from_u128(7)),
            counter: 3,
            seq: 4,
            head: [5; 32],
            epoch_authenticator: vec![6; 32],
            log_head: length.is_multiple_of(2).then(|| vec![9; 250]),
            franking_key: [7; 32],
        };
        Framed::new(position, "sce", &vec![b'x'; length], step)
    }

    #[test]
    fn every_length_is_padded_to_a_step_and_read_back() {
        for step in [1, 16, 128, 1_000] {
            for length in 0..700 {
                let bytes = padded(length, step).mls_encode_to_vec().unwrap();
                let (step, over) = (usize::from(step), bytes.len() % usize::from(step));
                assert!(
                    over == 0 || over == step - 1,
                    "{length} became {} in steps of {step}",
                    bytes.len()
                );
                let read = Framed::read(&bytes).unwrap();
                assert_eq!(read.content.len(), length);
                assert_eq!((read.counter, read.seq), (3, 4));
            }
        }
    }

    #[test]
    fn a_policys_step_is_kept_within_what_a_message_holds() {
        let octets = |step| padded(10, step).mls_encode_to_vec().unwrap().len();
        assert_eq!(octets(u16::MAX), LONGEST_STEP);
        assert_eq!(octets(0), octets(1));
    }

    #[test]
    fn what_is_no_content_is_refused() {
        let bytes = framed(10).mls_encode_to_vec().unwrap();
        assert_eq!(Framed::read(b""), Err(ContentError::Unreadable));
        let mut other = bytes.clone();
        other[0] = 2;
        assert_eq!(Framed::read(&other), Err(ContentError::Version(2)));
        for cut in 1..bytes.len() {
            assert_eq!(Framed::read(&bytes[..cut]), Err(ContentError::Unreadable));
        }
        let mut trailing = bytes;
        trailing.push(0);
        assert_eq!(Framed::read(&trailing), Err(ContentError::Unreadable));
        let types = [
            "",
            "a b",
            "\u{1b}[2J",
            "größe",
            &"x".repeat(MAX_CONTENT_TYPE + 1),
        ];
        for content_type in types {
            let mut odd = framed(10);
            odd.content_type = content_type.to_owned();
            let odd = odd.mls_encode_to_vec().unwrap();
            assert_eq!(Framed::read(&odd), Err(ContentError::Unreadable));
        }
        let large = framed(MAX_CONTENT + 1).mls_encode_to_vec().unwrap();
        assert_eq!(Framed::read(&large), Err(ContentError::Unreadable));
    }
}
