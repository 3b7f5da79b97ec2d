//! Certificates as a domain makes them: root, issuing CA, and the leaves below (RFC 5280).

use comity_xmpp::jid::BareJid;
use openssl::asn1::{Asn1Integer, Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::rand::rand_bytes;
use openssl::x509::extension::{BasicConstraints, KeyUsage};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name, X509NameRef};
use uuid::Uuid;

use crate::certificate::issuer_id;
use crate::der;
use crate::keys::{KeyError, PrivateKey, PublicKey};
use crate::leaf::{CredentialError, IssuerId};

const SUBJECT_KEY: &str = "2.5.29.14";
const AUTHORITY_KEY: &str = "2.5.29.35";
const SUBJECT_ALT_NAME: &str = "2.5.29.17";
/// id-on-xmppAddr as DER (RFC 6120 §13.7.1.4).
const XMPP_ADDR: [u8; 10] = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x05];

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

/// A domain's root: signs issuing CAs and anchors statements, and nothing else.
pub fn root(domain: &str, key: PrivateKey, validity: Validity) -> Result<Issuer, IssueError> {
    let name = authority_name(domain, "root")?;
    let public = key.public()?;
    let mut builder = start(&name, &name, &public, validity)?;
    builder.append_extension(BasicConstraints::new().critical().ca().pathlen(1).build()?)?;
    authority_extensions(&mut builder, &public, &public)?;
    let certificate = finish(builder, &key)?;
    Ok(Issuer { key, certificate })
}

/// An issuing CA under a root; the private key may lie elsewhere, so only its public half is asked.
pub fn issuing(
    domain: &str,
    key: &PublicKey,
    root: &Issuer,
    validity: Validity,
) -> Result<Vec<u8>, IssueError> {
    let parent = X509::from_der(&root.certificate)?;
    // The name tells issuing CAs of one domain apart; it is for humans.
    let name = authority_name(domain, &format!("issuing {:?}", issuer_id(key)?))?;
    let mut builder = start(parent.subject_name(), &name, key, validity)?;
    builder.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
    authority_extensions(&mut builder, key, &root.key.public()?)?;
    finish(builder, &root.key)
}

/// A leaf: an account's device, or with no device and a domain as account, a hub.
pub fn leaf(
    account: &BareJid,
    device: Option<Uuid>,
    key: &PublicKey,
    issuer: &Issuer,
    validity: Validity,
) -> Result<Vec<u8>, IssueError> {
    let parent = X509::from_der(&issuer.certificate)?;
    let nobody = X509Name::builder()?.build();
    let mut builder = start(parent.subject_name(), &nobody, key, validity)?;
    builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
    let authority = issuer_id(&issuer.key.public()?)?;
    append(
        &mut builder,
        AUTHORITY_KEY,
        false,
        &authority_key(&authority),
    )?;
    // RFC 5280 §4.1.2.6: with an empty subject, the subjectAltName is critical.
    let names = alternative_names(account.as_str(), device);
    append(&mut builder, SUBJECT_ALT_NAME, true, &names)?;
    finish(builder, &issuer.key)
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

fn start(
    issuer: &X509NameRef,
    subject: &X509NameRef,
    key: &PublicKey,
    validity: Validity,
) -> Result<X509Builder, IssueError> {
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(serial()?.as_ref())?;
    builder.set_issuer_name(issuer)?;
    builder.set_subject_name(subject)?;
    builder.set_not_before(time(validity.not_before)?.as_ref())?;
    builder.set_not_after(time(validity.not_after)?.as_ref())?;
    builder.set_pubkey(key.to_openssl()?.as_ref())?;
    Ok(builder)
}

fn finish(mut builder: X509Builder, key: &PrivateKey) -> Result<Vec<u8>, IssueError> {
    builder.sign(key.as_openssl(), key.algorithm().digest())?;
    Ok(builder.build().to_der()?)
}

fn authority_extensions(
    builder: &mut X509Builder,
    key: &PublicKey,
    parent: &PublicKey,
) -> Result<(), IssueError> {
    let usage = KeyUsage::new()
        .critical()
        .key_cert_sign()
        .crl_sign()
        .build()?;
    builder.append_extension(usage)?;
    let own = der::tlv(der::OCTET_STRING, &[&issuer_id(key)?.0]);
    append(builder, SUBJECT_KEY, false, &own)?;
    append(
        builder,
        AUTHORITY_KEY,
        false,
        &authority_key(&issuer_id(parent)?),
    )
}

fn authority_key(id: &IssuerId) -> Vec<u8> {
    der::tlv(der::SEQUENCE, &[&der::tlv(0x80, &[&id.0])])
}

fn append(
    builder: &mut X509Builder,
    oid: &str,
    critical: bool,
    value: &[u8],
) -> Result<(), IssueError> {
    let oid = Asn1Object::from_str(oid)?;
    let value = Asn1OctetString::new_from_bytes(value)?;
    let extension = X509Extension::new_from_der(&oid, critical, &value)?;
    Ok(builder.append_extension(extension)?)
}

fn authority_name(domain: &str, role: &str) -> Result<X509Name, ErrorStack> {
    // X.520 limits a common name to 64 characters; the name is for humans, the SHA-256 counts.
    let short: String = domain.chars().take(30).collect();
    let mut name = X509Name::builder()?;
    name.append_entry_by_text("CN", &format!("{short} {role}"))?;
    Ok(name.build())
}

/// 127 random bits: positive, unpredictable (CA/Browser Forum BR §7.1 asks for 64).
fn serial() -> Result<Asn1Integer, ErrorStack> {
    let mut octets = [0; 16];
    rand_bytes(&mut octets)?;
    octets[0] = octets[0] & 0x7f | 0x40;
    BigNum::from_slice(&octets)?.to_asn1_integer()
}

fn time(seconds: u64) -> Result<Asn1Time, IssueError> {
    let signed = i64::try_from(seconds).map_err(|_| IssueError::Time(seconds))?;
    Asn1Time::from_unix(signed).map_err(|_| IssueError::Time(seconds))
}
