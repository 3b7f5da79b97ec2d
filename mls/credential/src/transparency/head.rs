//! The head of the log: what it holds at one moment, signed by the CA that issues at that moment, so
//! that nothing but the domain's anchors is needed to check it.

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};

use super::LogError;
use super::tree::{Hash, MAX_SIZE};
use crate::certificate::Certificate;
use crate::leaf::{IssuerId, Issuers};
use crate::signed;

pub const VERSION: u16 = 1;
/// The largest signed head that is read: ours take 250 octets, a domain's name at most 1023.
pub const MAX_HEAD_BYTES: usize = 2048;

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Head {
    pub version: u16,
    pub domain: String,
    /// Entries of the log.
    pub size: u64,
    pub root: Hash,
    /// Root of the map from accounts to their entries.
    pub map_root: Hash,
    /// Seconds since 1970; when the newest entry was made.
    pub time: u64,
    /// The CA that has signed, by the SHA-256 of its SubjectPublicKeyInfo.
    pub issuer: Hash,
}

/// A head as it travels: what is signed is the octets as they came.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct SignedHead {
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub head: Vec<u8>,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub signature: Vec<u8>,
}

impl Head {
    /// What the CA signs. A certificate's content begins with another octet, so that the two are
    /// never taken for each other.
    fn content(encoded: &[u8]) -> Vec<u8> {
        signed::content(signed::LOG_HEAD, &[encoded])
    }

    /// Signs with whatever holds the issuing CA's key; the octets that travel.
    pub fn sign<E: From<LogError>>(
        &self,
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let head = self.mls_encode_to_vec().map_err(LogError::from)?;
        let signed = SignedHead {
            signature: sign(&Self::content(&head))?,
            head,
        };
        Ok(signed.mls_encode_to_vec().map_err(LogError::from)?)
    }

    /// Two heads that one log cannot have both had.
    #[must_use]
    pub fn contradicts(&self, other: &Self) -> bool {
        self.size == other.size && (self.root != other.root || self.map_root != other.map_root)
    }
}

impl SignedHead {
    pub fn read(bytes: &[u8]) -> Result<(Self, Head), LogError> {
        if bytes.len() > MAX_HEAD_BYTES {
            return Err(LogError::Unreadable(
                "a head is larger than 2 KiB".to_owned(),
            ));
        }
        let signed = Self::mls_decode_exhaustive(bytes)?;
        let head = Head::mls_decode_exhaustive(&signed.head)?;
        if head.version != VERSION {
            return Err(LogError::Version(head.version));
        }
        if head.size > MAX_SIZE {
            return Err(LogError::Size(head.size));
        }
        Ok((signed, head))
    }

    /// The head, if it is `domain`'s by the CAs that are believed of it.
    pub fn verify(bytes: &[u8], domain: &str, issuers: &dyn Issuers) -> Result<Head, LogError> {
        let (signed, head) = Self::read(bytes)?;
        if head.domain != domain {
            return Err(LogError::OtherDomain {
                expected: domain.to_owned(),
                found: head.domain,
            });
        }
        let unknown = || LogError::UnknownSigner(domain.to_owned());
        let authority = issuers
            .issuer(domain, &IssuerId(head.issuer))
            .ok_or_else(unknown)?;
        let authority = Certificate::read(&authority)
            .map_err(|error| LogError::Unreadable(error.to_string()))?;
        let content = Head::content(&signed.head);
        if !authority.public_key.verifies(&content, &signed.signature) {
            return Err(LogError::Signature);
        }
        Ok(head)
    }
}
