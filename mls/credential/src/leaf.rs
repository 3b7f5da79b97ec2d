//! A leaf certificate: the account and device it names, and the chain that makes it true.

use std::fmt;
use std::sync::Arc;

use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use crate::certificate::{Certificate, issuer_id};
use crate::crl::Revoked;
use crate::keys::PublicKey;

/// How far two clocks may be apart before a certificate counts as not yet or no longer valid.
pub const CLOCK_TOLERANCE_S: u64 = 300;

/// SHA-256 of an issuing CA's SubjectPublicKeyInfo: its subjectKeyIdentifier, and the
/// authorityKeyIdentifier of all it issues. A leaf thus names its issuer by hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IssuerId(pub [u8; 32]);

impl fmt::Debug for IssuerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0[..8] {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("…")
    }
}

/// What a leaf certificate says; not yet that it is true: see [`verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// id-on-xmppAddr: an account, or for a hub the domain itself.
    pub account: BareJid,
    /// `urn:uuid:…`; a hub has none.
    pub device: Option<Uuid>,
    /// Seconds since 1970.
    pub not_before: u64,
    pub not_after: u64,
    pub serial: Vec<u8>,
    pub issuer: IssuerId,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
}

/// Why a credential is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    #[error("no CA {issuer:?} of {domain} is known here: fetch its anchors")]
    UnknownIssuer { domain: String, issuer: IssuerId },
    #[error("the certificate for {account} was not issued by a CA of its domain")]
    WrongIssuer { account: String },
    #[error("the certificate is valid from {not_before} to {not_after}, and it is {at}")]
    OutsideValidity {
        not_before: u64,
        not_after: u64,
        at: u64,
    },
    #[error("{0}")]
    Malformed(&'static str),
    #[error("the successor names {found}, the predecessor {expected}")]
    NotSuccessor { expected: String, found: String },
    #[error("the certificate of {who} was revoked at {at}: revocation list {crl_number}")]
    Revoked {
        who: String,
        at: u64,
        crl_number: u64,
    },
}

/// The issuing CAs one believes, each already checked under its domain's pinned root, and what
/// they have taken back.
pub trait Issuers: Send + Sync {
    /// The certificate (DER) of that issuing CA of that domain.
    fn issuer(&self, domain: &str, id: &IssuerId) -> Option<Arc<[u8]>>;

    /// What the newest revocation list of that CA says of that serial number. Nothing where no list
    /// is known: a list that is missing or old warns, and does not block.
    fn revoked(&self, issuer: &IssuerId, serial: &[u8]) -> Option<Revoked> {
        let _ = (issuer, serial);
        None
    }
}

impl Leaf {
    /// Reads a certificate and refuses what is no leaf of ours; its truth is [`verify`]'s matter.
    pub fn read(der: &[u8]) -> Result<Self, CredentialError> {
        Self::of(&Certificate::read(der)?)
    }

    fn of(certificate: &Certificate) -> Result<Self, CredentialError> {
        use CredentialError::Malformed;
        let usage = certificate.usage;
        if certificate.authority {
            return Err(Malformed("a CA certificate is no credential"));
        }
        // RFC 5280 §4.2.1.3: the key signs, and signs no certificates.
        if !usage.digital_signature || usage.certificates || usage.revocation || usage.other {
            return Err(Malformed("the key usage is not digitalSignature alone"));
        }
        if !certificate.purpose {
            return Err(Malformed("the extended key usage is for another purpose"));
        }
        if certificate.not_after < certificate.not_before {
            return Err(Malformed("the validity ends before it begins"));
        }
        let [address] = certificate.names.xmpp.as_slice() else {
            return Err(Malformed("the certificate names not exactly one XmppAddr"));
        };
        let account = BareJid::parse(address)
            .map_err(|_| Malformed("the XmppAddr is no bare XMPP address"))?;
        // RFC 7622 §3: equal addresses are equal octets only when both are enforced.
        if account.as_str() != address {
            return Err(Malformed("the XmppAddr is not in its enforced form"));
        }
        let device = match certificate.names.uuids.as_slice() {
            [] => None,
            [device] => Some(*device),
            _ => return Err(Malformed("the certificate names several devices")),
        };
        Ok(Self {
            account,
            device,
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            serial: certificate.serial.clone(),
            issuer: certificate
                .authority_key
                .ok_or(Malformed("the certificate does not name its issuer's key"))?,
            public_key: certificate.public_key.to_spki(),
        })
    }

    /// The key as MLS writes it.
    pub fn key(&self) -> Result<PublicKey, CredentialError> {
        PublicKey::from_spki(&self.public_key)
            .map_err(|_| CredentialError::Malformed("the key is neither P-256 nor Ed25519"))
    }

    /// What makes a client the same client: account and device (RFC 9420 §5.3.1).
    #[must_use]
    pub fn identity(&self) -> Vec<u8> {
        identity(&self.account, self.device)
    }

    /// Is the certificate valid then, clocks being what they are?
    pub fn valid_at(&self, at: u64) -> Result<(), CredentialError> {
        let begins = self.not_before.saturating_sub(CLOCK_TOLERANCE_S);
        let ends = self.not_after.saturating_add(CLOCK_TOLERANCE_S);
        if (begins..=ends).contains(&at) {
            return Ok(());
        }
        Err(CredentialError::OutsideValidity {
            not_before: self.not_before,
            not_after: self.not_after,
            at,
        })
    }

    /// Has its issuer not taken it back, as far as is known?
    pub fn not_revoked(&self, issuers: &dyn Issuers) -> Result<(), CredentialError> {
        match issuers.revoked(&self.issuer, &self.serial) {
            None => Ok(()),
            Some(revoked) => Err(CredentialError::Revoked {
                who: self.to_string(),
                at: revoked.at,
                crl_number: revoked.crl_number,
            }),
        }
    }

    /// May a leaf with this certificate follow one with `predecessor` at the same place?
    pub fn succeeds(&self, predecessor: &Self) -> Result<(), CredentialError> {
        if self.account == predecessor.account && self.device == predecessor.device {
            return Ok(());
        }
        Err(CredentialError::NotSuccessor {
            expected: predecessor.to_string(),
            found: self.to_string(),
        })
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.device {
            Some(device) => write!(f, "{} device {device}", self.account),
            None => write!(f, "{}", self.account),
        }
    }
}

/// `account ‖ 0x00 ‖ device id`: the client identity of MLS. A hub has no device id.
#[must_use]
pub fn identity(account: &BareJid, device: Option<Uuid>) -> Vec<u8> {
    let mut out = account.as_str().as_bytes().to_vec();
    out.push(0);
    if let Some(device) = device {
        out.extend_from_slice(device.as_bytes());
    }
    out
}

/// Believes a leaf certificate or says why not. Time is given where something is made or accepted
/// and withheld where something is followed: then neither validity nor revocation is asked for. A
/// root of domain `b` speaks only for JIDs at `b`.
pub fn verify(der: &[u8], issuers: &dyn Issuers, at: Option<u64>) -> Result<Leaf, CredentialError> {
    let (leaf, _) = verify_with_issuer(der, issuers)?;
    if let Some(at) = at {
        leaf.valid_at(at)?;
        leaf.not_revoked(issuers)?;
    }
    Ok(leaf)
}

/// All of [`verify`] but the time, and the issuer it hangs on.
pub(crate) fn verify_with_issuer(
    der: &[u8],
    issuers: &dyn Issuers,
) -> Result<(Leaf, Arc<[u8]>), CredentialError> {
    let certificate = Certificate::read(der)?;
    let leaf = Leaf::of(&certificate)?;
    // The domain rule: only the CAs of the domain that the leaf names are ever asked.
    let issuer = issuers
        .issuer(leaf.account.domain(), &leaf.issuer)
        .ok_or_else(|| CredentialError::UnknownIssuer {
            domain: leaf.account.domain().to_owned(),
            issuer: leaf.issuer,
        })?;
    let authority = Certificate::read(&issuer)?;
    check_authority(&authority)?;
    let named = issuer_id(&authority.public_key)? == leaf.issuer
        && authority.subject_name == certificate.issuer_name;
    if !named || !certificate.signed_by(&authority.public_key) {
        return Err(CredentialError::WrongIssuer {
            account: leaf.account.to_string(),
        });
    }
    // RFC 5280 §6 asks that validity nest; here it makes an issuer's end the end of its leaves.
    if leaf.not_after > authority.not_after {
        return Err(CredentialError::Malformed(
            "the certificate outlives its issuer",
        ));
    }
    Ok((leaf, issuer))
}

/// May this certificate issue others?
pub(crate) fn check_authority(certificate: &Certificate) -> Result<(), CredentialError> {
    use CredentialError::Malformed;
    if !certificate.authority || !certificate.usage.certificates {
        return Err(Malformed("the issuer is no CA"));
    }
    // RFC 5280 §4.2.1.2, method (1) of RFC 7093 §2 without truncation.
    if certificate.subject_key != Some(issuer_id(&certificate.public_key)?) {
        return Err(Malformed(
            "the CA's subjectKeyIdentifier is not the SHA-256 of its key",
        ));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
