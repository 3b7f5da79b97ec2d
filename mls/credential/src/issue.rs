//! Certificates as a domain makes them: root, issuing CA, and the leaves below (RFC 5280).

use comity_xmpp::jid::BareJid;
use openssl::error::ErrorStack;
use openssl::rand::rand_bytes;
use uuid::Uuid;

use crate::certificate::{Certificate, issuer_id};
use crate::der;
use crate::keys::{KeyError, PrivateKey, PublicKey};
use crate::leaf::{CredentialError, IssuerId};

/// OBJECT IDENTIFIERs as DER: basicConstraints, keyUsage, subjectKeyIdentifier,
/// authorityKeyIdentifier, subjectAltName (RFC 5280 §4.2.1), id-on-xmppAddr (RFC 6120 §13.7.1.4),
/// and the attribute commonName.
const BASIC_CONSTRAINTS: [u8; 5] = [0x06, 3, 0x55, 0x1d, 0x13];
const KEY_USAGE: [u8; 5] = [0x06, 3, 0x55, 0x1d, 0x0f];
const SUBJECT_KEY: [u8; 5] = [0x06, 3, 0x55, 0x1d, 0x0e];
const AUTHORITY_KEY: [u8; 5] = [0x06, 3, 0x55, 0x1d, 0x23];
const SUBJECT_ALT_NAME: [u8; 5] = [0x06, 3, 0x55, 0x1d, 0x11];
const XMPP_ADDR: [u8; 10] = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x05];
const COMMON_NAME: [u8; 5] = [0x06, 3, 0x55, 0x04, 0x03];

const VERSION_3: [u8; 5] = [0xa0, 3, der::INTEGER, 1, 2];
const TRUE: [u8; 3] = [0x01, 1, 0xff];
/// keyCertSign and cRLSign, and digitalSignature (RFC 5280 §4.2.1.3).
const SIGNS_CERTIFICATES: [u8; 4] = [der::BIT_STRING, 2, 1, 0b0000_0110];
const SIGNS: [u8; 4] = [der::BIT_STRING, 2, 7, 0b1000_0000];
const NOBODY: [u8; 2] = [der::SEQUENCE, 0];

#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("OpenSSL failed: {0}")]
    OpenSsl(#[from] ErrorStack),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Certificate(#[from] CredentialError),
    #[error("the time {0} is beyond what certificates can say")]
    Time(u64),
}

/// From when to when a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: u64,
    pub not_after: u64,
}

/// A key that issues, and the certificate that says it may.
#[derive(Clone, Debug)]
pub struct Issuer {
    pub key: PrivateKey,
    /// DER.
    pub certificate: Vec<u8>,
}

/// What a certificate says; names and extensions in DER.
struct Words<'a> {
    issuer: &'a [u8],
    subject: &'a [u8],
    key: &'a PublicKey,
    validity: Validity,
    extensions: Vec<u8>,
}

/// A domain's root: signs issuing CAs and anchors statements, and nothing else.
pub fn root(domain: &str, key: PrivateKey, validity: Validity) -> Result<Issuer, IssueError> {
    let name = authority_name(domain, "root");
    let public = key.public()?;
    let words = Words {
        issuer: &name,
        subject: &name,
        key: &public,
        validity,
        extensions: authority_extensions(1, &public, &public)?,
    };
    let certificate = certificate(&words, &key)?;
    Ok(Issuer { key, certificate })
}

/// An issuing CA under a root; the private key may lie elsewhere, so only its public half is asked.
pub fn issuing(
    domain: &str,
    key: &PublicKey,
    root: &Issuer,
    validity: Validity,
) -> Result<Vec<u8>, IssueError> {
    // The name tells issuing CAs of one domain apart; it is for humans.
    let name = authority_name(domain, &format!("issuing {:?}", issuer_id(key)?));
    let words = Words {
        issuer: &Certificate::read(&root.certificate)?.subject_name,
        subject: &name,
        key,
        validity,
        extensions: authority_extensions(0, key, &root.key.public()?)?,
    };
    certificate(&words, &root.key)
}

/// A leaf: an account's device, or with no device and a domain as account, a hub.
pub fn leaf(
    account: &BareJid,
    device: Option<Uuid>,
    key: &PublicKey,
    issuer: &Issuer,
    validity: Validity,
) -> Result<Vec<u8>, IssueError> {
    let authority = issuer_id(&issuer.key.public()?)?;
    let names = alternative_names(account.as_str(), device);
    let words = Words {
        issuer: &Certificate::read(&issuer.certificate)?.subject_name,
        subject: &NOBODY,
        key,
        validity,
        extensions: [
            extension(&KEY_USAGE, true, &SIGNS),
            extension(&AUTHORITY_KEY, false, &authority_key(&authority)),
            // RFC 5280 §4.1.2.6: with an empty subject, the subjectAltName is critical.
            extension(&SUBJECT_ALT_NAME, true, &names),
        ]
        .concat(),
    };
    certificate(&words, &issuer.key)
}

/// The subjectAltName of a leaf.
fn alternative_names(account: &str, device: Option<Uuid>) -> Vec<u8> {
    let address = der::tlv(
        0xa0,
        &[
            &XMPP_ADDR,
            &der::tlv(0xa0, &[&der::tlv(der::UTF8_STRING, &[account.as_bytes()])]),
        ],
    );
    let uri = device.map_or_else(Vec::new, |device| {
        der::tlv(0x86, &[device.urn().to_string().as_bytes()])
    });
    der::tlv(der::SEQUENCE, &[&address, &uri])
}

/// Written here and not by OpenSSL's builder, which wants the private key itself and not its
/// signature.
fn certificate(words: &Words<'_>, signer: &PrivateKey) -> Result<Vec<u8>, IssueError> {
    let algorithm = signer.algorithm();
    let from = time(words.validity.not_before)?;
    let until = time(words.validity.not_after)?;
    let content = der::tlv(
        der::SEQUENCE,
        &[
            &VERSION_3,
            &der::tlv(der::INTEGER, &[&serial()?]),
            algorithm.identifier(),
            words.issuer,
            &der::tlv(der::SEQUENCE, &[&from, &until]),
            words.subject,
            &words.key.to_spki(),
            &der::tlv(0xa3, &[&der::tlv(der::SEQUENCE, &[&words.extensions])]),
        ],
    );
    let signature = signer.sign(&content)?;
    Ok(algorithm.signed(&content, &signature))
}

/// `below`: how many CAs may stand under it.
fn authority_extensions(
    below: u64,
    key: &PublicKey,
    parent: &PublicKey,
) -> Result<Vec<u8>, IssueError> {
    let constraints = der::tlv(der::SEQUENCE, &[&TRUE, &der::unsigned(below)]);
    let own = der::tlv(der::OCTET_STRING, &[&issuer_id(key)?.0]);
    let parent = authority_key(&issuer_id(parent)?);
    Ok([
        extension(&BASIC_CONSTRAINTS, true, &constraints),
        extension(&KEY_USAGE, true, &SIGNS_CERTIFICATES),
        extension(&SUBJECT_KEY, false, &own),
        extension(&AUTHORITY_KEY, false, &parent),
    ]
    .concat())
}

fn authority_key(id: &IssuerId) -> Vec<u8> {
    der::tlv(der::SEQUENCE, &[&der::tlv(0x80, &[&id.0])])
}

fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    // DER leaves out what is the default: FALSE.
    let critical: &[u8] = if critical { &TRUE } else { &[] };
    let value = der::tlv(der::OCTET_STRING, &[value]);
    der::tlv(der::SEQUENCE, &[oid, critical, &value])
}

/// A Name of one commonName.
fn authority_name(domain: &str, role: &str) -> Vec<u8> {
    // X.520 limits a common name to 64 characters; the name is for humans, the SHA-256 counts.
    let short: String = domain.chars().take(30).collect();
    let text = der::tlv(der::UTF8_STRING, &[format!("{short} {role}").as_bytes()]);
    let attribute = der::tlv(der::SEQUENCE, &[&COMMON_NAME, &text]);
    der::tlv(der::SEQUENCE, &[&der::tlv(der::SET, &[&attribute])])
}

/// 127 random bits: positive, unpredictable (CA/Browser Forum BR §7.1 asks for 64).
fn serial() -> Result<[u8; 16], ErrorStack> {
    let mut octets = [0; 16];
    rand_bytes(&mut octets)?;
    octets[0] = octets[0] & 0x7f | 0x40;
    Ok(octets)
}

fn time(seconds: u64) -> Result<Vec<u8>, IssueError> {
    der::time(seconds).ok_or(IssueError::Time(seconds))
}

#[cfg(test)]
mod tests {
    use openssl::x509::{X509, X509VerifyResult};

    use super::*;
    use crate::keys::Algorithm;

    #[test]
    fn openssl_reads_and_believes_what_is_written() {
        for algorithm in [Algorithm::P256, Algorithm::Ed25519] {
            let key = || PrivateKey::generate(algorithm).unwrap();
            let validity = Validity {
                not_before: 1_700_000_000,
                not_after: 2_600_000_000,
            };
            let root = root("a.example", key(), validity).unwrap();
            let below = key();
            let issuing = Issuer {
                certificate: issuing("a.example", &below.public().unwrap(), &root, validity)
                    .unwrap(),
                key: below,
            };
            let account = BareJid::parse("alice@a.example").unwrap();
            let own = key().public().unwrap();
            let leaf = leaf(&account, Some(Uuid::nil()), &own, &issuing, validity).unwrap();

            let [root, issuing, leaf] =
                [&root.certificate, &issuing.certificate, &leaf].map(|der| {
                    let read = X509::from_der(der).unwrap();
                    assert_eq!(&read.to_der().unwrap(), der);
                    read
                });
            for (above, below) in [(&root, &root), (&root, &issuing), (&issuing, &leaf)] {
                assert_eq!(above.issued(below), X509VerifyResult::OK);
                assert!(below.verify(&above.public_key().unwrap()).unwrap());
            }
            assert_eq!((root.pathlen(), issuing.pathlen()), (Some(1), Some(0)));
            let name = root.subject_name().entries().next().unwrap();
            assert_eq!(name.data().to_string().unwrap(), "a.example root");
        }
    }
}
