//! Certificate revocation lists (RFC 5280 §5): which certificates an issuing CA has taken back. A
//! list is complete: it names every revoked certificate of its issuer that has not expired.
//!
//! A list is believed by the signature of the issuing CA that its authorityKeyIdentifier names, so
//! that it may come from anywhere. Its number tells which of two lists is the newer one, and is the
//! evidence of whoever acts upon a revocation: everybody can look the serial up in that list or in
//! a later one.

mod make;

use std::fmt;
use std::sync::Arc;

use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::{CertificateRevocationList, TbsCertList};
use x509_parser::x509::X509Version;

use crate::certificate::{Certificate, algorithm, identifier, issuer_id, seconds, serial, sha256};
use crate::keys::Algorithm;
use crate::leaf::{CLOCK_TOLERANCE_S, CredentialError, IssuerId, check_authority};

pub use make::make;

/// The largest list that is read: some 59,000 certificates, revoked and not yet expired.
pub const MAX_CRL_BYTES: usize = 2 * 1024 * 1024;
/// How long a list is good for; it is signed anew every [`RENEWED_AFTER_S`].
pub const LIFETIME_S: u64 = 24 * 60 * 60;
/// After this a list is signed anew, and asked for again by those who hold it.
pub const RENEWED_AFTER_S: u64 = 60 * 60;

/// A revoked certificate of one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The content octets of the certificate's serial number.
    pub serial: Vec<u8>,
    /// When it was revoked, in seconds since 1970.
    pub at: u64,
}

/// Says that a certificate has been revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The number of the list that says so: it stands in every later one until the certificate
    /// expires.
    pub crl_number: u64,
    /// When it was revoked, in seconds since 1970.
    pub at: u64,
}

/// Why a list is not taken. What was known before stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    #[error("the revocation list cannot be read: {0}")]
    Unreadable(String),
    #[error("the revocation list: {0}")]
    Malformed(&'static str),
    #[error("the revocation list: {0}")]
    Authority(#[from] CredentialError),
    #[error("no CA {issuer:?} of {domain} is known here: fetch its anchors")]
    UnknownIssuer { domain: String, issuer: IssuerId },
    #[error("the revocation list was not signed by the CA {0:?} that it names")]
    Signature(IssuerId),
    #[error("the revocation list is of {this_update}, and it is {at}: compare the clocks")]
    FromTheFuture { this_update: u64, at: u64 },
    #[error("revocation list {known} was shown before, and now {found}: its domain goes back")]
    Older { known: u64, found: u64 },
    #[error("two revocation lists bear the number {0}: their domain speaks with two tongues")]
    Forked(u64),
}

/// A list as read; by whom it was signed is known once [`Self::verify`] has said so.
#[derive(Clone, PartialEq, Eq)]
pub struct Crl {
    issuer: IssuerId,
    issuer_name: Vec<u8>,
    number: u64,
    this_update: u64,
    next_update: u64,
    /// By serial number.
    entries: Vec<Entry>,
    der: Arc<[u8]>,
    signed: Vec<u8>,
    algorithm: Algorithm,
    signature: Vec<u8>,
}

impl Crl {
    /// Reads a list in DER, and refuses what follows it.
    pub fn read(der: &[u8]) -> Result<Self, CrlError> {
        use CrlError::Malformed;
        if der.len() > MAX_CRL_BYTES {
            return Err(Malformed("it is larger than 2 MiB"));
        }
        let (rest, parsed) = CertificateRevocationList::from_der(der)
            .map_err(|error| CrlError::Unreadable(error.to_string()))?;
        if !rest.is_empty() {
            return Err(Malformed("octets follow it"));
        }
        // RFC 5280 §5.1.1.2, §5.1.2.1: version 2, and one algorithm in both places.
        let list = &parsed.tbs_cert_list;
        if list.version != Some(X509Version::V2) || list.signature != parsed.signature_algorithm {
            return Err(Malformed(
                "it is not of version 2, or names two signature algorithms",
            ));
        }
        let algorithm = algorithm(&list.signature)?;
        let signature = parsed.signature_value.data.to_vec();
        // Written again, it must be what came: so nothing outside the signature can vary.
        if algorithm.signed(list.as_ref(), &signature) != der {
            return Err(Malformed("it is not in DER"));
        }
        let (issuer, number) = identity(list)?;
        let next = list
            .next_update
            .ok_or(Malformed("it does not say when the next one comes"))?;
        let (this_update, next_update) = (
            seconds(list.this_update.timestamp())?,
            seconds(next.timestamp())?,
        );
        if next_update <= this_update {
            return Err(Malformed("it ends before it begins"));
        }
        Ok(Self {
            issuer,
            issuer_name: list.issuer.as_raw().to_vec(),
            number,
            this_update,
            next_update,
            entries: entries(list)?,
            der: der.into(),
            signed: list.as_ref().to_vec(),
            algorithm,
            signature,
        })
    }

    /// Is it the word of that issuing CA (DER)?
    pub fn verify(&self, authority: &[u8]) -> Result<(), CrlError> {
        let authority = Certificate::read(authority)?;
        check_authority(&authority)?;
        // RFC 5280 §4.2.1.3: the key must be for lists too.
        let right = authority.usage.revocation
            && issuer_id(&authority.public_key)? == self.issuer
            && authority.subject_name == self.issuer_name
            && authority.public_key.algorithm() == self.algorithm
            && authority.public_key.verifies(&self.signed, &self.signature);
        if right {
            Ok(())
        } else {
            Err(CrlError::Signature(self.issuer))
        }
    }

    /// May it take the place of `known`, which is of the same issuer? A list that is past its end
    /// may: it warns, and what it says is true.
    pub fn follows(&self, known: Option<&Self>, at: u64) -> Result<(), CrlError> {
        if self.this_update > at.saturating_add(CLOCK_TOLERANCE_S) {
            return Err(CrlError::FromTheFuture {
                this_update: self.this_update,
                at,
            });
        }
        let Some(known) = known else { return Ok(()) };
        if self.number < known.number {
            return Err(CrlError::Older {
                known: known.number,
                found: self.number,
            });
        }
        if self.number == known.number && self.der != known.der {
            return Err(CrlError::Forked(self.number));
        }
        Ok(())
    }

    /// Has the certificate with this serial number been revoked?
    #[must_use]
    pub fn revoked(&self, serial: &[u8]) -> Option<Revoked> {
        let place = self
            .entries
            .binary_search_by(|entry| entry.serial.as_slice().cmp(serial))
            .ok()?;
        Some(Revoked {
            crl_number: self.number,
            at: self.entries[place].at,
        })
    }

    /// What it revokes that `known` did not.
    pub fn news<'a>(&'a self, known: Option<&'a Self>) -> impl Iterator<Item = &'a Entry> {
        self.entries
            .iter()
            .filter(move |entry| known.is_none_or(|known| known.revoked(&entry.serial).is_none()))
    }

    /// Has its successor been due for longer than clocks differ?
    #[must_use]
    pub fn ended(&self, at: u64) -> bool {
        at > self.next_update.saturating_add(CLOCK_TOLERANCE_S)
    }

    /// Is a newer one worth asking for?
    #[must_use]
    pub fn aged(&self, at: u64) -> bool {
        at >= self.this_update.saturating_add(RENEWED_AFTER_S)
    }

    #[must_use]
    pub fn issuer(&self) -> &IssuerId {
        &self.issuer
    }

    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn this_update(&self) -> u64 {
        self.this_update
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn next_update(&self) -> u64 {
        self.next_update
    }

    /// In the order of their serial numbers.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// As it came, for others to check by themselves.
    #[must_use]
    pub fn der(&self) -> &Arc<[u8]> {
        &self.der
    }

    /// SHA-256 of the list.
    pub fn hash(&self) -> Result<[u8; 32], CredentialError> {
        sha256(&self.der)
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (issuer, number, revoked) = (self.issuer, self.number, self.entries.len());
        write!(f, "Crl({issuer:?}, number {number}, {revoked} revoked)")
    }
}

/// Whose list it is, and which one. RFC 5280 §5.2: both extensions are required of a CA.
fn identity(list: &TbsCertList<'_>) -> Result<(IssuerId, u64), CrlError> {
    use CrlError::Malformed;
    let (mut issuer, mut number) = (None, None);
    for extension in list.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(authority) if issuer.is_none() => {
                let id = authority.key_identifier.as_ref();
                issuer = Some(identifier(
                    id.ok_or(Malformed("it names no issuing key"))?.0,
                )?);
            }
            ParsedExtension::CRLNumber(found) if number.is_none() => {
                number = Some(
                    u64::try_from(found.clone())
                        .map_err(|_| Malformed("its number is too large"))?,
                );
            }
            ParsedExtension::AuthorityKeyIdentifier(_) | ParsedExtension::CRLNumber(_) => {
                return Err(Malformed("an extension is repeated"));
            }
            // A list of some of the certificates, or of several issuers, says so critically.
            _ if extension.critical => {
                return Err(Malformed("a critical extension is not understood"));
            }
            _ => {}
        }
    }
    match (issuer, number) {
        (Some(issuer), Some(number)) => Ok((issuer, number)),
        (None, _) => Err(Malformed("it does not name its issuer's key")),
        (_, None) => Err(Malformed("it has no number")),
    }
}

fn entries(list: &TbsCertList<'_>) -> Result<Vec<Entry>, CrlError> {
    let mut entries = Vec::with_capacity(list.revoked_certificates.len());
    for revoked in &list.revoked_certificates {
        if revoked.extensions().iter().any(|one| one.critical) {
            return Err(CrlError::Malformed("a critical extension of an entry"));
        }
        entries.push(Entry {
            serial: serial(revoked.raw_serial())?,
            at: seconds(revoked.revocation_date.timestamp())?,
        });
    }
    entries.sort_by(|one, other| one.serial.cmp(&other.serial));
    if entries.windows(2).any(|two| two[0].serial == two[1].serial) {
        return Err(CrlError::Malformed("a certificate is revoked twice"));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;
