//! The statement itself, in the presentation language of RFC 9420 §2.1, and its two signatures.
//! What is signed is the octets as they came, never a second encoding of them.

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};

use super::AnchorsError;
use super::tls::{TlsKey, TlsRoots, TlsSignature};
use crate::certificate::{Certificate, issuer_id, sha256};
use crate::keys::PrivateKey;
use crate::leaf::{CLOCK_TOLERANCE_S, IssuerId, check_authority};
use crate::signed;

pub const VERSION: u16 = 1;
/// The longest a statement is good for.
pub const MAX_LIFETIME_S: u64 = 7 * 24 * 60 * 60;
/// The largest signed statement that is read: one with a long TLS chain takes 8 KiB.
pub const MAX_SIGNED_BYTES: usize = 64 * 1024;
/// Issuing CAs in one statement: five years of yearly rollovers, and as many for mishaps.
pub const MAX_ISSUING: usize = 16;
/// Root changes a statement remembers for those who slept through them.
pub const MAX_HANDOVERS: usize = 8;

/// By an old root: the next root. Parts: domain, SHA-256 of the next root's certificate.
const HANDOVER: &str = "comity root v1";

/// A certificate, DER.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Der(#[mls_codec(with = "mls_rs_codec::byte_vec")] pub Vec<u8>);

/// What a domain says of its CAs.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Statement {
    pub version: u16,
    pub domain: String,
    /// Grows with each statement. Whoever publishes takes the time of issue where that is more than
    /// the next number, so that it goes forward even over an old copy of a database.
    pub sequence: u64,
    /// Seconds since 1970.
    pub issued: u64,
    /// At most [`MAX_LIFETIME_S`] after `issued`.
    pub expires: u64,
    /// SHA-256 of the statement before, if that is known.
    pub predecessor: Option<[u8; 32]>,
    pub root: Der,
    /// Each until the last certificate it issued has expired.
    pub issuing: Vec<Der>,
    /// Earlier roots, oldest first, each handing over to the next.
    pub handovers: Vec<Handover>,
    /// The transparency log's signed head; none while the domain keeps no log.
    pub log_head: Option<Der>,
}

/// An old root's word for the root that follows it.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Handover {
    pub old: Der,
    /// SHA-256 of the certificate of the next root.
    pub new: [u8; 32],
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub signature: Vec<u8>,
}

/// A statement as it travels.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Signed {
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub statement: Vec<u8>,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub root_signature: Vec<u8>,
    pub tls: TlsSignature,
}

/// Issuing CAs and their certificates (DER).
pub(crate) type Issuing = Vec<(IssuerId, Vec<u8>)>;

/// A statement whose signatures hold, with what it declares; whether it may follow what was known
/// is [`super::pinned`]'s matter.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    pub(crate) statement: Statement,
    pub(crate) hash: [u8; 32],
    pub(crate) root: [u8; 32],
    pub(crate) issuing: Issuing,
    /// Where the newest issuing CA has signed in place of the root: when its validity begins.
    pub(crate) delegated: Option<u64>,
}

impl Statement {
    /// Signs a statement with the domain's TLS key and that of the root, or where the root is kept
    /// offline, of the newest issuing CA that it lists.
    pub fn sign(&self, root: &PrivateKey, tls: &TlsKey) -> Result<Vec<u8>, AnchorsError> {
        let statement = self.mls_encode_to_vec()?;
        let content = content(&sha256(&statement)?);
        let signed = Signed {
            root_signature: root.sign(&content)?,
            tls: tls.sign(&content)?,
            statement,
        };
        Ok(signed.mls_encode_to_vec()?)
    }

    fn verify(&self, expected: &str, at: u64) -> Result<(), AnchorsError> {
        use AnchorsError::Malformed;
        if self.version != VERSION {
            return Err(AnchorsError::Version(self.version));
        }
        if self.domain != expected {
            return Err(AnchorsError::OtherDomain {
                expected: expected.to_owned(),
                found: self.domain.clone(),
            });
        }
        if self.expires <= self.issued || self.expires - self.issued > MAX_LIFETIME_S {
            return Err(Malformed("the statement is good for more than 7 days"));
        }
        let begins = self.issued.saturating_sub(CLOCK_TOLERANCE_S);
        if at < begins || at > self.expires {
            return Err(AnchorsError::Expired {
                issued: self.issued,
                expires: self.expires,
                at,
            });
        }
        if self.sequence == 0 && self.predecessor.is_some() {
            return Err(Malformed("the first statement has no predecessor"));
        }
        if self.issuing.len() > MAX_ISSUING || self.handovers.len() > MAX_HANDOVERS {
            return Err(Malformed("the statement lists too many CAs"));
        }
        Ok(())
    }

    /// The issuing CAs, each checked under the root.
    fn authorities(&self, at: u64) -> Result<(Certificate, Issuing), AnchorsError> {
        use AnchorsError::Malformed;
        let root = Certificate::read(&self.root.0)?;
        check_authority(&root)?;
        if root.issuer_name != root.subject_name || !root.signed_by(&root.public_key) {
            return Err(Malformed("the root has not signed itself"));
        }
        if at > root.not_after.saturating_add(CLOCK_TOLERANCE_S) {
            return Err(Malformed("the root has expired"));
        }
        let root_id = issuer_id(&root.public_key)?;
        let mut found: Issuing = Vec::with_capacity(self.issuing.len());
        for Der(der) in &self.issuing {
            let authority = Certificate::read(der)?;
            check_authority(&authority)?;
            let under_root = authority.authority_key == Some(root_id)
                && authority.issuer_name == root.subject_name
                && authority.signed_by(&root.public_key);
            if !under_root && !self.under_earlier_root(&authority)? {
                return Err(Malformed(
                    "an issuing CA is not signed by the domain's root",
                ));
            }
            let id = issuer_id(&authority.public_key)?;
            if id == root_id || found.iter().any(|(known, _)| *known == id) {
                return Err(Malformed("an issuing CA is listed twice"));
            }
            found.push((id, der.clone()));
        }
        Ok((root, found))
    }

    /// After a root change, the issuing CAs below the root before are listed until their last
    /// certificates have expired.
    fn under_earlier_root(&self, authority: &Certificate) -> Result<bool, AnchorsError> {
        for handover in &self.handovers {
            let root = Certificate::read(&handover.old.0)?;
            if authority.issuer_name == root.subject_name && authority.signed_by(&root.public_key) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Every handover must lead to the next root, the last to the present one.
    fn check_handovers(&self, present: &[u8; 32]) -> Result<(), AnchorsError> {
        let mut next = *present;
        for handover in self.handovers.iter().rev() {
            let old = Certificate::read(&handover.old.0)?;
            check_authority(&old)?;
            let content = handover_content(&self.domain, &handover.new);
            if handover.new != next || !old.public_key.verifies(&content, &handover.signature) {
                return Err(AnchorsError::Signature("old root"));
            }
            next = sha256(&handover.old.0)?;
        }
        Ok(())
    }
}

impl Handover {
    /// The old root hands over to the new.
    pub fn sign(
        domain: &str,
        old: &crate::issue::Issuer,
        new_root: &[u8],
    ) -> Result<Self, AnchorsError> {
        let new = sha256(new_root)?;
        Ok(Self {
            signature: old.key.sign(&handover_content(domain, &new))?,
            old: Der(old.certificate.clone()),
            new,
        })
    }
}

impl Signed {
    pub fn read(bytes: &[u8]) -> Result<(Self, Statement), AnchorsError> {
        if bytes.len() > MAX_SIGNED_BYTES {
            return Err(AnchorsError::Unreadable(
                "it is larger than 64 KiB".to_owned(),
            ));
        }
        let signed = Self::mls_decode_exhaustive(bytes)?;
        let statement = Statement::mls_decode_exhaustive(&signed.statement)?;
        Ok((signed, statement))
    }
}

/// Checks all of a signed statement that can be checked without knowing what came before.
pub(crate) fn verify(
    bytes: &[u8],
    domain: &str,
    roots: &TlsRoots,
    at: u64,
) -> Result<Verified, AnchorsError> {
    let (signed, statement) = Signed::read(bytes)?;
    statement.verify(domain, at)?;
    let verified = open(&signed, statement, at)?;
    let content = content(&verified.hash);
    signed.tls.verify(&content, domain, roots, at)?;
    Ok(verified)
}

/// The same without the TLS key's signature: for one's own statement, and for those that were
/// checked before they were stored.
pub(crate) fn reopen(bytes: &[u8]) -> Result<Verified, AnchorsError> {
    let (signed, statement) = Signed::read(bytes)?;
    let at = statement.issued;
    open(&signed, statement, at)
}

fn open(signed: &Signed, statement: Statement, at: u64) -> Result<Verified, AnchorsError> {
    let (root, issuing) = statement.authorities(at)?;
    let hash = sha256(&signed.statement)?;
    let words = content(&hash);
    let delegated = if root.public_key.verifies(&words, &signed.root_signature) {
        None
    } else {
        Some(delegate(&root, &issuing, &words, &signed.root_signature)?)
    };
    let fingerprint = sha256(&statement.root.0)?;
    statement.check_handovers(&fingerprint)?;
    Ok(Verified {
        hash,
        root: fingerprint,
        issuing,
        delegated,
        statement,
    })
}

/// In place of a root that is kept offline its newest issuing CA may sign, which the root has
/// certified: the one whose validity begins last. So a root that has replaced an issuing CA has
/// taken its word away. Gives when that validity begins.
fn delegate(
    root: &Certificate,
    issuing: &Issuing,
    words: &[u8],
    signature: &[u8],
) -> Result<u64, AnchorsError> {
    let mut newest: Option<Certificate> = None;
    for (_, der) in issuing {
        let authority = Certificate::read(der)?;
        let later = newest
            .as_ref()
            .is_none_or(|newest| newest.not_before < authority.not_before);
        if later && authority.signed_by(&root.public_key) {
            newest = Some(authority);
        }
    }
    match newest {
        Some(newest) if newest.public_key.verifies(words, signature) => Ok(newest.not_before),
        _ => Err(AnchorsError::Signature("root")),
    }
}

/// What both keys sign. The padding and label keep a TLS key's signature from meaning anything in
/// TLS, and the reverse (RFC 8446 §4.4.3 has the same form).
fn content(hash: &[u8; 32]) -> Vec<u8> {
    let mut out = vec![0x20; 64];
    out.extend_from_slice(b"Comity anchors v1\0");
    out.extend_from_slice(hash);
    out
}

fn handover_content(domain: &str, new: &[u8; 32]) -> Vec<u8> {
    signed::content(HANDOVER, &[domain.as_bytes(), new])
}
