//! Franking: what binds a message to the log without showing it. Its sender puts
//! HMAC(key, message) in the clear beside the ciphertext and the key inside it; so whoever could read
//! the message can show it, with the key, to the keeper of the log, who finds its tag there, and nobody
//! can make the tag fit another message. It tells nothing of any other message, nor of the group.

use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::pkey::PKey;
use openssl::sign::Signer;

use crate::keys::KeyError;
use crate::signed;

/// Of the key, exactly: HMAC would take another for the same if lengths differed.
pub const KEY_BYTES: usize = 32;

pub type Key = [u8; KEY_BYTES];
pub type Tag = [u8; 32];

/// What the tag covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub id: &'a [u8; 16],
    pub content_type: &'a str,
    pub content: &'a [u8],
}

impl Message<'_> {
    pub fn tag(&self, key: &Key) -> Result<Tag, KeyError> {
        let parts: [&[u8]; 3] = [self.id, self.content_type.as_bytes(), self.content];
        let mut signer = Signer::new(MessageDigest::sha256(), &*PKey::hmac(key)?)?;
        let mut tag = [0; 32];
        signer.update(&signed::content(signed::FRANKING, &parts))?;
        signer.sign(&mut tag)?;
        Ok(tag)
    }

    /// Is this the message that the tag was made for?
    pub fn fits(&self, key: &Key, tag: &Tag) -> Result<bool, KeyError> {
        Ok(memcmp::eq(&self.tag(key)?, tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: Message<'static> = Message {
        id: &[1; 16],
        content_type: "text",
        content: b"hello",
    };

    #[test]
    fn a_tag_fits_one_message_and_one_key() {
        let key = [7; KEY_BYTES];
        let tag = MESSAGE.tag(&key).unwrap();
        assert!(MESSAGE.fits(&key, &tag).unwrap());
        assert!(!MESSAGE.fits(&[8; KEY_BYTES], &tag).unwrap());
        let others = [
            Message {
                id: &[2; 16],
                ..MESSAGE
            },
            Message {
                content_type: "texth",
                content: b"ello",
                ..MESSAGE
            },
            Message {
                content: b"hello ",
                ..MESSAGE
            },
        ];
        for other in others {
            assert!(!other.fits(&key, &tag).unwrap(), "{other:?}");
        }
    }
}
