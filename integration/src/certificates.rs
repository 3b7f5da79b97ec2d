//! Certificates of every shape that a play wants, good and bad, and the authority that makes them.

use std::io;
use std::path::{Path, PathBuf};

use openssl::asn1::{Asn1Object, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

/// Seconds.
const DAY: i64 = 24 * 3600;
/// A day back: nobody minds, and peers may read the clock a second earlier.
const VALID: (i64, i64) = (-DAY, 90 * DAY);
const OVER: (i64, i64) = (-10 * DAY, -DAY);
const SOON: (i64, i64) = (-30 * DAY, DAY / 2);

/// RFC 6120 §13.7.1.4, RFC 4985 §2.
const XMPP_ADDR: &str = "1.3.6.1.5.5.7.8.5";
const DNS_SRV: &str = "1.3.6.1.5.5.7.8.7";
const UTF8_STRING: u8 = 0x0c;
const IA5_STRING: u8 = 0x16;

/// One name of a certificate.
#[derive(Clone, Copy, Debug)]
pub enum San<'a> {
    Dns(&'a str),
    XmppAddr(&'a str),
    /// Such as `_xmpp-server.montague.example`.
    SrvName(&'a str),
}

/// What a certificate looks like. The default is a good one, save that it has no names.
#[derive(Clone, Debug, Default)]
pub struct Shape<'a> {
    pub names: Vec<San<'a>>,
    pub expired: bool,
    /// Signed by its own key rather than by the authority's.
    pub self_signed: bool,
    /// As public authorities make them since 2025: not for clients.
    pub server_auth_only: bool,
    /// It ends within a day.
    pub ends_soon: bool,
}

impl<'a> Shape<'a> {
    /// What an ordinary public certificate for a domain says.
    #[must_use]
    pub fn dns(domain: &'a str) -> Self {
        Self {
            names: vec![San::Dns(domain)],
            ..Self::default()
        }
    }
}

/// A chain and its key, in PEM files.
#[derive(Clone, Debug)]
pub struct Files {
    pub chain: PathBuf,
    pub key: PathBuf,
}

impl Files {
    /// SHA-256 of the public key, in hexadecimal: what `s2s.peers` takes for a pin.
    ///
    /// # Errors
    /// Of the file.
    pub fn pin(&self) -> io::Result<String> {
        let certificate = X509::from_pem(&std::fs::read(&self.chain)?)?;
        let key = certificate.public_key()?.public_key_to_der()?;
        let digest = openssl::sha::sha256(&key);
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// An authority that a play's parties believe, or do not.
pub struct Authority {
    certificate: X509,
    key: PKey<Private>,
    folder: PathBuf,
}

impl Authority {
    /// # Errors
    /// Of the folder.
    pub fn new(name: &str, folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let (certificate, key) = root(name).map_err(io::Error::other)?;
        let this = Self {
            certificate,
            key,
            folder: folder.to_owned(),
        };
        std::fs::write(this.file(), this.certificate.to_pem()?)?;
        Ok(this)
    }

    /// Its own certificate, for those who are to believe it.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Makes a certificate; `name` is that of its files. Everybody may read the key: peers run as
    /// users of their own.
    ///
    /// # Errors
    /// Of the folder.
    pub fn issue(&self, name: &str, shape: &Shape<'_>) -> io::Result<Files> {
        let (certificate, key) = self.leaf(shape).map_err(io::Error::other)?;
        let files = Files {
            chain: self.folder.join(format!("{name}.pem")),
            key: self.folder.join(format!("{name}.key")),
        };
        std::fs::write(&files.chain, certificate.to_pem()?)?;
        std::fs::write(&files.key, key.private_key_to_pem_pkcs8()?)?;
        Ok(files)
    }

    fn leaf(&self, shape: &Shape<'_>) -> Result<(X509, PKey<Private>), ErrorStack> {
        let key = new_key()?;
        let validity = match (shape.expired, shape.ends_soon) {
            (true, _) => OVER,
            (false, true) => SOON,
            (false, false) => VALID,
        };
        let mut builder = begin("A play's certificate", &key, validity)?;
        let issuer = match shape.self_signed {
            true => None,
            false => Some(self.certificate.subject_name()),
        };
        if let Some(issuer) = issuer {
            builder.set_issuer_name(issuer)?;
        } else {
            builder.set_issuer_name(&*subject("A play's certificate")?)?;
        }
        let mut usage = ExtendedKeyUsage::new();
        usage.server_auth();
        if !shape.server_auth_only {
            usage.client_auth();
        }
        builder.append_extension(BasicConstraints::new().critical().build()?)?;
        builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
        builder.append_extension(usage.build()?)?;
        let context = builder.x509v3_context(Some(&self.certificate), None);
        let names = names(&shape.names)?.build(&context)?;
        builder.append_extension(names)?;
        let signer = if shape.self_signed { &key } else { &self.key };
        builder.sign(signer, MessageDigest::sha256())?;
        Ok((builder.build(), key))
    }
}

fn names(names: &[San<'_>]) -> Result<SubjectAlternativeName, ErrorStack> {
    let mut extension = SubjectAlternativeName::new();
    for name in names {
        match name {
            San::Dns(name) => {
                extension.dns(name);
            }
            San::XmppAddr(name) => {
                extension.other_name2(Asn1Object::from_str(XMPP_ADDR)?, &der(UTF8_STRING, name));
            }
            San::SrvName(name) => {
                extension.other_name2(Asn1Object::from_str(DNS_SRV)?, &der(IA5_STRING, name));
            }
        }
    }
    Ok(extension)
}

/// A DER string of fewer than 128 bytes.
fn der(tag: u8, text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("names of plays are short");
    assert!(length < 0x80, "names of plays are short");
    [&[tag, length], text.as_bytes()].concat()
}

fn root(name: &str) -> Result<(X509, PKey<Private>), ErrorStack> {
    let key = new_key()?;
    let mut builder = begin(name, &key, VALID)?;
    builder.set_issuer_name(&*subject(name)?)?;
    builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
    let usage = KeyUsage::new().critical().key_cert_sign().build()?;
    builder.append_extension(usage)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok((builder.build(), key))
}

fn new_key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn subject(name: &str) -> Result<openssl::x509::X509Name, ErrorStack> {
    let mut subject = X509NameBuilder::new()?;
    subject.append_entry_by_nid(Nid::COMMONNAME, name)?;
    Ok(subject.build())
}

fn begin(
    name: &str,
    key: &PKey<Private>,
    (from, until): (i64, i64),
) -> Result<X509Builder, ErrorStack> {
    let mut serial = BigNum::new()?;
    serial.rand(120, openssl::bn::MsbOption::ONE, false)?;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0));
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&*subject(name)?)?;
    builder.set_pubkey(key)?;
    builder.set_not_before(&*Asn1Time::from_unix(now + from)?)?;
    builder.set_not_after(&*Asn1Time::from_unix(now + until)?)?;
    Ok(builder)
}
