//! The one strict reader of certificates (RFC 5280): what a certificate of ours may contain, before
//! anybody asks whether it is true. Whoever is read here was read once, by one parser, so that two
//! parsers cannot disagree about what was signed.

use openssl::hash::{MessageDigest, hash};
use uuid::Uuid;
use x509_parser::asn1_rs::Any;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, KeyUsage, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AlgorithmIdentifier, X509Version};

use crate::der;
use crate::keys::{Algorithm, PublicKey};
use crate::leaf::{CredentialError, IssuerId};

/// The largest certificate that is read: ours take 450 octets, generous names 2 KiB.
pub const MAX_CERTIFICATE_BYTES: usize = 8 * 1024;
/// The most names one certificate may carry; more is an attempt to make us work.
const MAX_NAMES: usize = 8;

const XMPP_ADDR: &str = "1.3.6.1.5.5.7.8.5"; // RFC 6120 §13.7.1.4
const IM_URI: &str = "1.3.6.1.5.5.7.3.40"; // RFC 9734 §3

/// A certificate as read; nothing is believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// At most 20 octets, positive.
    pub serial: Vec<u8>,
    /// Names as DER, compared octet by octet (RFC 5280 §7.1 allows it to be exact).
    pub issuer_name: Vec<u8>,
    pub subject_name: Vec<u8>,
    /// Seconds since 1970.
    pub not_before: u64,
    pub not_after: u64,
    pub public_key: PublicKey,
    pub authority: bool,
    pub path_length: Option<u32>,
    pub usage: Usage,
    /// Whether the purposes named, if any, admit an MLS credential.
    pub purpose: bool,
    pub subject_key: Option<IssuerId>,
    pub authority_key: Option<IssuerId>,
    pub names: Names,
    signed: Vec<u8>,
    signature_algorithm: Algorithm,
    signature: Vec<u8>,
}

/// What a subjectAltName says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// id-on-xmppAddr.
    pub xmpp: Vec<String>,
    /// `urn:uuid:`.
    pub uuids: Vec<Uuid>,
    pub dns: Vec<String>,
}

/// The key usages that matter here; None where the certificate does not restrict its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub digital_signature: bool,
    pub certificates: bool,
    pub revocation: bool,
    pub other: bool,
}

impl Certificate {
    /// Reads one certificate in DER, and refuses what follows it.
    pub fn read(der: &[u8]) -> Result<Self, CredentialError> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(CredentialError::Malformed(
                "the certificate is larger than 8 KiB",
            ));
        }
        let (rest, parsed) = X509Certificate::from_der(der)
            .map_err(|error| CredentialError::Unreadable(error.to_string()))?;
        if !rest.is_empty() {
            return Err(CredentialError::Malformed("octets follow the certificate"));
        }
        let mut read = Self::fields(&parsed)?;
        // Written again, it must be what came: so that nothing outside the signature can vary, and
        // a certificate has one hash.
        let again = read
            .signature_algorithm
            .signed(&read.signed, &read.signature);
        if again != der {
            return Err(CredentialError::Malformed("the certificate is not in DER"));
        }
        read.extensions(&parsed)?;
        Ok(read)
    }

    /// Was this certificate signed with that key?
    #[must_use]
    pub fn signed_by(&self, issuer: &PublicKey) -> bool {
        issuer.algorithm() == self.signature_algorithm
            && issuer.verifies(&self.signed, &self.signature)
    }

    fn fields(parsed: &X509Certificate<'_>) -> Result<Self, CredentialError> {
        if parsed.version() != X509Version::V3 {
            return Err(CredentialError::Malformed(
                "the certificate is not of version 3",
            ));
        }
        // RFC 5280 §4.1.1.2: both places must name the same algorithm.
        if parsed.signature_algorithm != parsed.signature {
            return Err(CredentialError::Malformed(
                "the certificate names two signature algorithms",
            ));
        }
        if parsed.issuer_uid.is_some() || parsed.subject_uid.is_some() {
            return Err(CredentialError::Malformed(
                "the certificate has unique identifiers",
            ));
        }
        Ok(Self {
            serial: serial(parsed.raw_serial())?,
            issuer_name: parsed.issuer.as_raw().to_vec(),
            subject_name: parsed.subject.as_raw().to_vec(),
            not_before: seconds(parsed.validity.not_before.timestamp())?,
            not_after: seconds(parsed.validity.not_after.timestamp())?,
            public_key: PublicKey::from_spki(parsed.public_key().raw)
                .map_err(|_| CredentialError::Malformed("the key is neither P-256 nor Ed25519"))?,
            authority: false,
            path_length: None,
            usage: Usage::default(),
            purpose: true,
            subject_key: None,
            authority_key: None,
            names: Names::default(),
            signed: parsed.tbs_certificate.as_ref().to_vec(),
            signature_algorithm: algorithm(&parsed.signature_algorithm)?,
            signature: parsed.signature_value.data.to_vec(),
        })
    }

    fn extensions(&mut self, parsed: &X509Certificate<'_>) -> Result<(), CredentialError> {
        let mut seen = Vec::new();
        for extension in parsed.extensions() {
            // RFC 5280 §4.2: not more than one instance of an extension.
            if seen.contains(&&extension.oid) {
                return Err(CredentialError::Malformed("an extension is repeated"));
            }
            seen.push(&extension.oid);
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(constraints) => {
                    self.authority = constraints.ca;
                    self.path_length = constraints.path_len_constraint;
                }
                ParsedExtension::KeyUsage(usage) => self.usage = usages(usage),
                ParsedExtension::ExtendedKeyUsage(usage) => self.purpose = admits_mls(usage),
                ParsedExtension::SubjectKeyIdentifier(id) => {
                    self.subject_key = Some(identifier(id.0)?);
                }
                ParsedExtension::AuthorityKeyIdentifier(authority) => {
                    self.authority_key = match &authority.key_identifier {
                        Some(id) => Some(identifier(id.0)?),
                        None => None,
                    };
                }
                ParsedExtension::SubjectAlternativeName(names) => {
                    self.names.read(&names.general_names)?;
                }
                ParsedExtension::ParseError { .. } => {
                    return Err(CredentialError::Malformed("an extension cannot be read"));
                }
                // RFC 5280 §4.2: a critical extension that is not understood refuses the whole.
                _ if extension.critical => {
                    return Err(CredentialError::Malformed(
                        "a critical extension is not understood",
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Names {
    pub(crate) fn read(&mut self, names: &[GeneralName<'_>]) -> Result<(), CredentialError> {
        if names.len() > MAX_NAMES {
            return Err(CredentialError::Malformed("the certificate has many names"));
        }
        for name in names {
            match name {
                GeneralName::OtherName(oid, value) if oid.to_id_string() == XMPP_ADDR => {
                    self.xmpp.push(utf8_string(value)?);
                }
                GeneralName::URI(uri) => self.uuids.extend(device(uri)?),
                GeneralName::DNSName(name) => self.dns.push((*name).to_owned()),
                GeneralName::Invalid(..) => {
                    return Err(CredentialError::Malformed("a name cannot be read"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// SHA-256 of a SubjectPublicKeyInfo: how issuing CAs are named.
pub fn issuer_id(key: &PublicKey) -> Result<IssuerId, CredentialError> {
    let digest = sha256(&key.to_spki())?;
    Ok(IssuerId(digest))
}

pub(crate) fn sha256(bytes: &[u8]) -> Result<[u8; 32], CredentialError> {
    let digest = hash(MessageDigest::sha256(), bytes)
        .map_err(|error| CredentialError::Unreadable(error.to_string()))?;
    let mut out = [0; 32];
    out.copy_from_slice(&digest);
    Ok(out)
}

pub(crate) fn serial(raw: &[u8]) -> Result<Vec<u8>, CredentialError> {
    // RFC 5280 §4.1.2.2: positive, at most 20 octets.
    let positive = raw.first().is_some_and(|first| first & 0x80 == 0);
    if !positive || raw.len() > 20 || raw.iter().all(|octet| *octet == 0) {
        return Err(CredentialError::Malformed(
            "the serial number is not positive and at most 20 octets",
        ));
    }
    Ok(raw.to_vec())
}

pub(crate) fn seconds(time: i64) -> Result<u64, CredentialError> {
    u64::try_from(time).map_err(|_| CredentialError::Malformed("the validity begins before 1970"))
}

pub(crate) fn algorithm(id: &AlgorithmIdentifier<'_>) -> Result<Algorithm, CredentialError> {
    // RFC 5758 §3.2, RFC 8410 §3: neither takes parameters.
    match (id.algorithm.to_id_string().as_str(), &id.parameters) {
        ("1.2.840.10045.4.3.2", None) => Ok(Algorithm::P256),
        ("1.3.101.112", None) => Ok(Algorithm::Ed25519),
        _ => Err(CredentialError::Malformed(
            "the certificate is signed with neither ECDSA-SHA-256 nor Ed25519",
        )),
    }
}

fn usages(usage: &KeyUsage) -> Usage {
    Usage {
        digital_signature: usage.digital_signature(),
        certificates: usage.key_cert_sign(),
        revocation: usage.crl_sign(),
        other: usage.key_encipherment() || usage.data_encipherment() || usage.key_agreement(),
    }
}

fn admits_mls(usage: &ExtendedKeyUsage<'_>) -> bool {
    usage.any || usage.other.iter().any(|oid| oid.to_id_string() == IM_URI)
}

pub(crate) fn identifier(octets: &[u8]) -> Result<IssuerId, CredentialError> {
    <[u8; 32]>::try_from(octets)
        .map(IssuerId)
        .map_err(|_| CredentialError::Malformed("a key identifier is no SHA-256"))
}

/// The value of an otherName: `[0] EXPLICIT UTF8String`, in its one DER spelling.
fn utf8_string(value: &[u8]) -> Result<String, CredentialError> {
    const UNREADABLE: CredentialError =
        CredentialError::Malformed("the id-on-xmppAddr is no UTF8String");
    let (_, explicit) = Any::from_der(value).map_err(|_| UNREADABLE)?;
    let (_, string) = Any::from_der(explicit.data).map_err(|_| UNREADABLE)?;
    let text = std::str::from_utf8(string.data).map_err(|_| UNREADABLE)?;
    // Written again, it must be what came: so tags and lengths are checked, and nothing follows.
    let again = der::tlv(0xa0, &[&der::tlv(der::UTF8_STRING, &[text.as_bytes()])]);
    if again == value {
        Ok(text.to_owned())
    } else {
        Err(UNREADABLE)
    }
}

/// The device in a URI; None where the URI is of another kind.
fn device(uri: &str) -> Result<Option<Uuid>, CredentialError> {
    let Some(text) = uri.strip_prefix("urn:uuid:") else {
        return Ok(None);
    };
    let id = Uuid::try_parse(text)
        .map_err(|_| CredentialError::Malformed("the device URI holds no UUID"))?;
    // One spelling for each device (RFC 9562 §4: lower case on output).
    if id.hyphenated().to_string() == text {
        Ok(Some(id))
    } else {
        Err(CredentialError::Malformed(
            "the device URI is not written in lower case with hyphens",
        ))
    }
}
