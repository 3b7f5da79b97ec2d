//! What is held of one domain: its root, pinned on first use, the newest statement, and every
//! issuing CA it ever showed. The rules of what may follow what are here and nowhere else.

use std::collections::BTreeMap;
use std::sync::Arc;

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};

use super::AnchorsError;
use super::statement::{self, Der, Verified};
use super::tls::TlsRoots;
use crate::certificate::{Certificate, issuer_id, sha256};
use crate::leaf::IssuerId;

/// Issuing CAs held of one domain, with those that its statement no longer lists: whoever follows
/// an old commit needs the issuers of its time.
pub const MAX_HELD: usize = 64;

/// One domain as it is believed.
#[derive(Clone, Debug)]
pub struct Pinned {
    domain: String,
    root: [u8; 32],
    sequence: u64,
    hash: [u8; 32],
    expires: u64,
    signed: Arc<[u8]>,
    issuers: BTreeMap<IssuerId, Arc<[u8]>>,
}

/// How [`Pinned`] is stored.
#[derive(MlsSize, MlsEncode, MlsDecode)]
struct Record {
    domain: String,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    signed: Vec<u8>,
    held: Vec<Der>,
}

impl Pinned {
    /// Believes a domain that was not known before: its root is pinned as it is.
    pub fn first(
        domain: &str,
        signed: &[u8],
        roots: &TlsRoots,
        at: u64,
    ) -> Result<Self, AnchorsError> {
        Ok(Self::of(
            statement::verify(signed, domain, roots, at)?,
            signed,
        ))
    }

    /// One's own domain, of which only the signature of one's own root is asked. `retired`: the
    /// certificates (DER) of issuing CAs that the statement lists no longer.
    pub fn own(signed: &[u8], retired: &[Vec<u8>]) -> Result<Self, AnchorsError> {
        let mut pinned = Self::of(statement::reopen(signed)?, signed);
        pinned.also_holds(retired.iter().map(Vec::as_slice))?;
        Ok(pinned)
    }

    /// What is believed after the domain has shown this statement. The same one again is believed
    /// again, with whatever TLS chain it has now.
    pub fn next(&self, signed: &[u8], roots: &TlsRoots, at: u64) -> Result<Self, AnchorsError> {
        let verified = statement::verify(signed, &self.domain, roots, at)?;
        if verified.root != self.root && !handed_over(&verified, &self.root)? {
            return Err(AnchorsError::RootChanged {
                domain: self.domain.clone(),
                found: hex(&verified.root),
            });
        }
        self.check_order(&verified)?;
        self.check_signer(&verified)?;
        self.with(verified, signed)
    }

    /// The same where a person, or the operator, has compared the new root with the domain's
    /// operator: `root` is what they compared.
    pub fn next_with_root(
        &self,
        signed: &[u8],
        root: &[u8; 32],
        roots: &TlsRoots,
        at: u64,
    ) -> Result<Self, AnchorsError> {
        let verified = statement::verify(signed, &self.domain, roots, at)?;
        if verified.root != *root {
            return Err(AnchorsError::RootChanged {
                domain: self.domain.clone(),
                found: hex(&verified.root),
            });
        }
        // A domain that lost its root may have lost its sequence with it.
        if verified.root == self.root {
            self.check_order(&verified)?;
        }
        self.with(verified, signed)
    }

    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// SHA-256 of the root's certificate, which people compare.
    #[must_use]
    pub fn root(&self) -> &[u8; 32] {
        &self.root
    }

    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// SHA-256 of the statement.
    #[must_use]
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// After this, rooms go on, and new anchors wait for a newer statement. Seconds since 1970.
    #[must_use]
    pub fn expires(&self) -> u64 {
        self.expires
    }

    /// The statement as it came, for others to check by themselves.
    #[must_use]
    pub fn signed(&self) -> &Arc<[u8]> {
        &self.signed
    }

    /// The certificate of an issuing CA.
    #[must_use]
    pub fn issuer(&self, id: &IssuerId) -> Option<&Arc<[u8]>> {
        self.issuers.get(id)
    }

    /// The issuing CAs that the statement lists: those with certificates that have not expired.
    pub fn listed(&self) -> Result<Vec<IssuerId>, AnchorsError> {
        let (_, statement) = super::Signed::read(&self.signed)?;
        let mut listed = Vec::with_capacity(statement.issuing.len());
        for der in &statement.issuing {
            listed.push(issuer_id(&Certificate::read(&der.0)?.public_key)?);
        }
        Ok(listed)
    }

    /// For storage; [`Self::restore`] reads it.
    pub fn record(&self) -> Result<Vec<u8>, AnchorsError> {
        let record = Record {
            domain: self.domain.clone(),
            signed: self.signed.to_vec(),
            held: self.issuers.values().map(|der| Der(der.to_vec())).collect(),
        };
        Ok(record.mls_encode_to_vec()?)
    }

    /// What was stored was checked before.
    pub fn restore(record: &[u8]) -> Result<Self, AnchorsError> {
        let record = Record::mls_decode_exhaustive(record)?;
        let mut pinned = Self::of(statement::reopen(&record.signed)?, &record.signed);
        if pinned.domain != record.domain {
            return Err(AnchorsError::OtherDomain {
                expected: record.domain,
                found: pinned.domain,
            });
        }
        pinned.also_holds(record.held.iter().map(|der| der.0.as_slice()))?;
        Ok(pinned)
    }

    fn also_holds<'a>(
        &mut self,
        authorities: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), AnchorsError> {
        for der in authorities {
            let id = issuer_id(&Certificate::read(der)?.public_key)?;
            self.issuers.entry(id).or_insert_with(|| der.into());
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn named(&self, domain: &str) -> Self {
        Self {
            domain: domain.to_owned(),
            ..self.clone()
        }
    }

    fn of(verified: Verified, signed: &[u8]) -> Self {
        Self {
            domain: verified.statement.domain,
            root: verified.root,
            sequence: verified.statement.sequence,
            hash: verified.hash,
            expires: verified.statement.expires,
            signed: signed.into(),
            issuers: verified
                .issuing
                .into_iter()
                .map(|(id, der)| (id, der.into()))
                .collect(),
        }
    }

    fn with(&self, verified: Verified, signed: &[u8]) -> Result<Self, AnchorsError> {
        let mut next = Self::of(verified, signed);
        for (id, der) in &self.issuers {
            next.issuers.entry(*id).or_insert_with(|| Arc::clone(der));
        }
        if next.issuers.len() > MAX_HELD {
            return Err(AnchorsError::Malformed(
                "the domain has shown more than 64 issuing CAs",
            ));
        }
        Ok(next)
    }

    /// An issuing CA speaks for the root only while none that the domain has ever shown is newer.
    fn check_signer(&self, verified: &Verified) -> Result<(), AnchorsError> {
        let Some(begins) = verified.delegated else {
            return Ok(());
        };
        for der in self.issuers.values() {
            if Certificate::read(der)?.not_before > begins {
                return Err(AnchorsError::Replaced {
                    domain: self.domain.clone(),
                });
            }
        }
        Ok(())
    }

    fn check_order(&self, verified: &Verified) -> Result<(), AnchorsError> {
        let statement = &verified.statement;
        if statement.sequence < self.sequence {
            return Err(AnchorsError::Backwards {
                domain: self.domain.clone(),
                known: self.sequence,
                found: statement.sequence,
            });
        }
        let same = statement.sequence == self.sequence;
        let follows = self.sequence.checked_add(1) == Some(statement.sequence);
        let forked = (same && verified.hash != self.hash)
            || (follows && statement.predecessor != Some(self.hash));
        if forked {
            return Err(AnchorsError::Forked {
                domain: self.domain.clone(),
                sequence: statement.sequence,
            });
        }
        Ok(())
    }
}

/// Does an unbroken line of handovers lead from `old` to the statement's root? That each is signed
/// and leads to the next was checked with the statement.
fn handed_over(verified: &Verified, old: &[u8; 32]) -> Result<bool, AnchorsError> {
    for handover in &verified.statement.handovers {
        if sha256(&handover.old.0)? == *old {
            return Ok(true);
        }
    }
    Ok(false)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
